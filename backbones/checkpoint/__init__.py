"""The one door for weights: files of any dialect -> a PlainViT, with a report; it never runs code."""
