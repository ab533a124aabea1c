"""What a pretrained model makes of images, to look at."""
