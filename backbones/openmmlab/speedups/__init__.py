"""Faster or extended versions of classes of mmdet and mmseg, which configs choose by name."""
