"""Point a config at a directory: classes, heads and data sets follow from what is there."""
