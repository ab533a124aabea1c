"""What every command needs before it needs anything else: parsers, how an error ends, where configs are."""
