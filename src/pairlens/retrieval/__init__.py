"""Search in the test gallery of a run."""
