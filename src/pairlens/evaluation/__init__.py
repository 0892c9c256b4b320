"""Layer 2: embeddings to figures."""
