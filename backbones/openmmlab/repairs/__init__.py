"""Repairs of defects in other packages, applied where a defect is present: one file or folder per package."""

# Comes first: importing mmengine registers everything, which must not happen in the middle of a repair.
import mmengine  # noqa: F401
