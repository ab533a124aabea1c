"""Data sets on disk: which layouts there are, whether the files are sound, and pointing a config at them."""
