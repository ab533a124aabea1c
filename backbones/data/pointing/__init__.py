"""Point a config at a directory, and set classes, heads and data sets from what is there."""
