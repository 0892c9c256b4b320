"""Layer 1: photos to embeddings."""
