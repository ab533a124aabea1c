"""Image files: which there are, what their first bytes tell, and their pixels."""
