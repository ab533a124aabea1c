"""The pretraining models: what is masked, predicted and compared."""
