"""Defects of other packages, each repaired where it is present: one file or folder per package."""
