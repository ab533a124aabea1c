"""The image tokenizer that gives BEiT its targets, its training, and a cache of its ids on disk."""
