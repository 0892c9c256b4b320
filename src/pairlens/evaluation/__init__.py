"""Layer 2: embeddings of photos, retrieval metrics and their intervals."""
