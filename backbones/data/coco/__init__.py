"""Annotation files in COCO's format."""
