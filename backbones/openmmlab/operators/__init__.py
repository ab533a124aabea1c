"""mmcv's compiled operators, rebuilt on the kernels of torchvision and torch."""
