"""Drawn scenes with exact labels: the data that ships with the project, as code."""
