"""Defects of other packages, each repaired where it is present: one file or folder per package."""

# First of all: with it everything is registered, and no repair is half made while that happens.
import mmengine  # noqa: F401
