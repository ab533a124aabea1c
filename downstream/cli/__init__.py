"""The commands: `dense-mae NAME` and `python tools/NAME.py`."""
