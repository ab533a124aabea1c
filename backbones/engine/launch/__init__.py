"""What the command lines share: flags, configs, weights and how an error ends."""
