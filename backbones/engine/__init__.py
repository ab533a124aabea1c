"""mmengine's runtime: precision, processes, loops, logs, and what the command lines share."""
