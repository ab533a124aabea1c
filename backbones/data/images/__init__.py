"""Image files: list them, read their headers, decode their pixels."""
