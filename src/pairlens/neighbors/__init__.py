"""Neighbours of vectors: exact, approximate, and without duplicates."""
