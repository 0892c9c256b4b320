"""The embedding map: photos laid out in two dimensions so that neighbours stay neighbours."""

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pairlens.analysis.failure_cases import Searched, photo
from pairlens.core.files import write_text
from pairlens.evaluation.embedding_stats import whole_classes
from pairlens.plotting.contact_sheet import FADED, INK, PAPER
from pairlens.plotting.style import CYCLE, Picture

NEIGHBORS = 10
PERPLEXITY = 15
LEAST = 5
MAP_PHOTOS, MAP_SIDE, THUMB, RIM, MARGIN = 800, 1400, 30, 3, 50
COVERED = 0.45


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """A layout of photos in the plane.

    Attributes:
        points: (photo, 2).
        trustworthiness: 0 to 1: how far the 10 neighbours in the plane are neighbours by cosine as well.
    """

    points: np.ndarray
    trustworthiness: float


def embed_in_plane(vectors: Tensor, seed: int = 0) -> EmbeddingMap:
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


def write_map(searched: Searched, folder: Path, seed: int = 0) -> tuple[Picture, EmbeddingMap]:
    """Write map.png, photos of whole test classes as points, and map.csv; returns the picture and the layout."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = whole_classes(searched.embeddings.labels, MAP_PHOTOS)
    layout = embed_in_plane(searched.embeddings.vectors[chosen], seed)
    photos, labels = chosen.tolist(), searched.embeddings.labels[chosen].tolist()
    names = [searched.queries.class_names[label] for label in labels]
    table = zip([searched.queries.paths[i] for i in photos], names, *layout.points.T.tolist(), strict=True)
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([("photo", "class", "x", "y"), *table])
    write_text(folder / "map.csv", buffer.getvalue())
    trusted = f"trustworthiness {layout.trustworthiness:.3f}"
    title = f"{len(photos)} photos of {len(set(labels))} unseen classes, t-SNE of the embeddings, {trusted}"
    draw_map([photo(searched.queries, i) for i in photos], labels, layout.points, title).save(folder / "map.png")
    return Picture(
        folder / "map.png",
        f"The embedding map: {title}. A photo's border has the colour of its class; colours repeat after {len(CYCLE)}.",
        f"Photos laid out so that similar ones are near each other; classes told apart form islands; {trusted}.",
    ), layout


def draw_map(photos: Sequence[Image.Image], labels: Sequence[int], points: np.ndarray, title: str) -> Image.Image:
    """Draw photos at their points with the colours of their classes; one that would hide another is a dot."""
    sheet = Image.new("RGB", (MAP_SIDE, MAP_SIDE + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    places = MARGIN + (points - low) / span * (MAP_SIDE - 2 * MARGIN) + [0, MARGIN]
    colors = {label: CYCLE[number % len(CYCLE)] for number, label in enumerate(dict.fromkeys(labels))}
    for (x, y), label in zip(places, labels, strict=True):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colors[label])
    for number in _apart(places):
        x, y = (round(float(c) - THUMB / 2) for c in places[number])
        draw.rectangle((x - RIM, y - RIM, x + THUMB + RIM - 1, y + THUMB + RIM - 1), fill=colors[labels[number]])
        sheet.paste(photos[number].resize((THUMB, THUMB), Image.Resampling.LANCZOS), (x, y))
    draw.text((20, 16), title, INK, font=ImageFont.load_default(24))
    draw.text(
        (20, MAP_SIDE + MARGIN - 34), "dots: photos that would hide others", FADED, font=ImageFont.load_default(20)
    )
    return sheet


def _apart(places: np.ndarray) -> list[int]:
    """Return the points whose photos hide no more than a part of those before them."""
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or np.abs(places[kept] - place).max(axis=1).min() >= (1 - COVERED) * (THUMB + 2 * RIM):
            kept.append(number)
    return kept
