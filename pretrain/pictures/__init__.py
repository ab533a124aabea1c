"""Pictures that show the predictions of a pretrained model."""
