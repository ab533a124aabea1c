"""Training loops that continue after a resume as if they had never stopped."""
