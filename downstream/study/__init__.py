"""Studies that consist of several runs: the commands, each run once, and the results."""
