"""Faster or fuller forms of classes of mmdet and mmseg, asked for by name."""
