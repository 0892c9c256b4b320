"""The embedding map: photos laid out in two dimensions so that neighbours stay neighbours."""

import warnings
from dataclasses import dataclass

import numpy as np
from torch import Tensor

NEIGHBORS = 10
PERPLEXITY = 15
LEAST = 5


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """A layout of photos in the plane.

    Attributes:
        points: (photo, 2).
        trustworthiness: 0 to 1: how far the 10 neighbours in the plane are neighbours by cosine as well.
    """

    points: np.ndarray
    trustworthiness: float


def make_map(vectors: Tensor, seed: int = 0) -> EmbeddingMap:
    """Lay out (photo, dim) unit vectors by t-SNE with cosine affinities; the same seed gives the same map.

    Perplexity 15, less for few photos. Trustworthiness is of Venna and Kaski, 2001: 1 - 2/(n k (2n - 3k - 1)) Σ (rank -
    k) over what is among the k neighbours in the plane but not by cosine.
    Source: van der Maaten and Hinton, JMLR 2008; the implementation is openTSNE.

    Raises:
        ValueError: for fewer than five photos.
    """
    # Imported here, because they take half a second that no other command needs.
    from openTSNE import TSNE
    from sklearn.manifold import trustworthiness

    count = len(vectors)
    if count < LEAST:
        raise ValueError(f"{count} photos are too few for a map; it needs {LEAST} or more")
    x = vectors.double().numpy()
    # Identical photos have no direction from one to the other; a trace of noise gives them one.
    x = x + np.random.default_rng(seed).normal(0, 1e-9, x.shape)
    perplexity = max(1, min(PERPLEXITY, (count - 1) // 3))
    layout = TSNE(perplexity=perplexity, metric="cosine", random_state=seed, n_jobs=1, neighbors="exact")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = np.asarray(layout.fit(x))
    k = min(NEIGHBORS, (count - 1) // 2)
    return EmbeddingMap(points, float(trustworthiness(x, points, n_neighbors=k, metric="cosine")))
