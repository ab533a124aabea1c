"""Measures of how good features are: k-NN, probes, fine-tuned classifiers."""
