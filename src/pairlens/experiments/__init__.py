"""Layer 3: everything that defines a run, and running it."""
