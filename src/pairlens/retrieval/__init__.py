"""Layer 4: looking up what is near a photo."""
