"""Drawn scenes with exact labels: the project's own data, shipped as code."""
