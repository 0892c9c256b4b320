"""A collection of photos that is searchable at once and stays so."""
