"""What every command needs first: parsers, how to report an error, where to find configs."""
