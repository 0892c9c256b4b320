"""A collection over HTTP: an API, and a page to search with a photo."""
