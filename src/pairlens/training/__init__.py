"""Layer 2: the references of a loss, the criterion, and the training loop."""
