"""Drawn unit vectors of classes, of which some resemble each other, as species and car models do."""

import numpy as np


def gaussian_classes(classes, per_class, seed, dim=24, spread=0.9):
    """Return (photo, dim) float32 unit vectors and (photo,) labels of classes that come in groups of similar ones."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(size=(classes // 4 + 1, dim))
    centres = groups[rng.integers(len(groups), size=classes)] + 0.9 * rng.normal(size=(classes, dim))
    # Classes differ in their spread, so their false accept rates differ more than photos do.
    spreads = spread * rng.uniform(0.6, 1.4, size=classes)
    labels = np.arange(classes).repeat(per_class)
    vectors = centres[labels] + spreads[labels, None] * rng.normal(size=(len(labels), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels
