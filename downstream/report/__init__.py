"""Runs on disk -> curves, pictures and one HTML page. Works only on files, not on models."""
