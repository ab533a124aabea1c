"""mmcv's compiled operators on the kernels of torchvision and torch."""
