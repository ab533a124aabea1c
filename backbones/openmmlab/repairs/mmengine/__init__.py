"""mmengine's defects, by topic."""
