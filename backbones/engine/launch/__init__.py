"""Code shared by the command lines: flags, configs, weights and how errors end a command."""
