"""Studies made of several runs: what is run, each once, and what came out."""
