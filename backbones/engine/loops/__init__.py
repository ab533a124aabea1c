"""Loops of training that go on after a resume as if they had never stopped."""
