"""mmengine's runtime: precision, processes, loops, logs, and what the command lines share."""

# First of all: with it everything is registered, and no module of this room is half made while that happens.
import mmengine  # noqa: F401
