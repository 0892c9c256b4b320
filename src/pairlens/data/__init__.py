"""Layer 1: photos as files to batches of pixels."""
