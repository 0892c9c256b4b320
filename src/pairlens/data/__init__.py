"""Data sets: annotations, photos, prepared catalogs and batches."""
