"""Layer 0: similarities, pairs, neighbours and the serial form of records. Torch only, no photo, no model, no file."""
