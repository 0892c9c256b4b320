"""The map of a collection: photos in the plane, similar ones near each other."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pairlens.collection.store import Store

# Of a larger collection photos at even distances are shown: t-SNE takes a second for each hundred of them.
MOST = 1500


@dataclass(frozen=True, eq=False)
class MapLayout:
    """Photos of a collection with their places.

    Attributes:
        ids: int64 (photo,).
        points: float (photo, 2) between 0 and 1.
        labels: of each photo.
        versions: of each photo's thumbnail.
        trustworthiness: 0 to 1, how far neighbours on the map are neighbours by cosine.
        photos: how many the collection has.
    """

    ids: np.ndarray
    points: np.ndarray
    labels: tuple[str | None, ...]
    versions: tuple[str, ...]
    trustworthiness: float
    photos: int


def lay_out(store: Store) -> MapLayout:
    """Return the map of a store; raises ValueError for fewer than five photos."""
    # Imported here, because it imports PyTorch, which a server needs for maps only.
    import torch

    from pairlens.analysis.embedding_map import embed_in_plane

    ids = store.ids()
    chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(MOST, len(ids))).astype(np.int64))] if len(ids) else ids
    items = store.items(chosen)
    vectors = store.vectors([item.id for item in items]) if items else np.empty((0, 1), np.float32)
    layout = embed_in_plane(torch.from_numpy(vectors))
    low = layout.points.min(axis=0)
    # One scale for both directions, so that distances are comparable.
    span = max(float(np.ptp(layout.points, axis=0).max()), 1e-9)
    points = (layout.points - low - np.ptp(layout.points, axis=0) / 2) / span + 0.5
    return MapLayout(
        np.array([item.id for item in items], np.int64),
        points,
        tuple(item.label for item in items),
        tuple(item.digest[:12] for item in items),
        layout.trustworthiness,
        len(ids),
    )


def plain_map(layout: MapLayout) -> dict[str, Any]:
    """Return the map as plain data for JSON: labels by frequency, and points [id, x, y, number of the label, version]."""
    names = sorted({label for label in layout.labels if label is not None}, key=lambda n: (-layout.labels.count(n), n))
    number_of = {name: number for number, name in enumerate(names)}
    rows = zip(layout.ids.tolist(), layout.points.round(5).tolist(), layout.labels, layout.versions, strict=True)
    return {
        "photos": layout.photos,
        "shown": len(layout.ids),
        "trustworthiness": round(layout.trustworthiness, 4),
        "labels": names,
        "points": [[id, x, y, number_of.get(label or "", -1), version] for id, (x, y), label, version in rows],
    }
