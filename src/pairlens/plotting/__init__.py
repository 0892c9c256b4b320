"""One style for every figure, and sheets of pictures."""
