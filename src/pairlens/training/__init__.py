"""Layer 2: what a loss is applied to, and the one loop that trains."""
