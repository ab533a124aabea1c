"""Images -> views and batches, labelled or not."""
