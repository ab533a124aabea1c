"""Optimizers of the recipes."""
