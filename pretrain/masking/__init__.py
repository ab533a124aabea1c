"""Masks and patches as pure functions."""
