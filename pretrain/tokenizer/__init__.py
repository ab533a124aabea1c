"""The image tokenizer that BEiT takes its targets from, its training, and its ids kept on disk."""
