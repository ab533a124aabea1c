"""Repairs of mmengine's defects, by topic."""
