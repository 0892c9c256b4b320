"""The style and the layout of figures, and contact sheets of photos."""
