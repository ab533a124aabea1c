"""mmengine's runtime: precision, processes, loops, logs, and code shared by the command lines."""

# Comes first: importing mmengine registers everything, which must not happen while a module here is half imported.
import mmengine  # noqa: F401
