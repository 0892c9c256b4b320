"""Embedding model: backbone, global descriptors, projections and auxiliary head."""
