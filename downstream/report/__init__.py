"""Runs on disk -> curves, pictures and one HTML page. Knows files only, no models."""
