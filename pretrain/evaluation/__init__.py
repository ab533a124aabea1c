"""How good features are: k-NN, probes, fine-tuned classifiers."""
