"""Minicars: a drawn data set of invented car models, for tests and demonstrations without downloads."""
