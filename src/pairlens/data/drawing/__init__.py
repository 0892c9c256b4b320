"""How the pictures of minicars are drawn: models, their shapes, and what surrounds them."""
