"""Nearest neighbours by cosine similarity: exact and approximate indexes, and de-duplication of equal vectors."""
