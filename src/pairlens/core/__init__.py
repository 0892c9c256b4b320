"""Similarities, pairs, records, files, threads and ranks: the foundation that every other package uses."""
