"""The embedding map: photos of some classes, laid out in two dimensions so that similar photos are near each other."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pairlens.analysis.failure_cases import Searched, photo
from pairlens.core.files import make_folder, write_picture, write_text
from pairlens.core.table import Table
from pairlens.evaluation.evaluate import class_words
from pairlens.plotting.contact_sheet import DARK, LIGHT, Palette
from pairlens.plotting.lettering import Lettering
from pairlens.plotting.style import CYCLE, Picture, is_for_a_page

NEIGHBORS = 10
PERPLEXITY = 15
MIN_PHOTOS = 5
# One colour per class; more classes than colours could not be told apart.
MAX_CLASSES = len(CYCLE)
MAX_PHOTOS_PER_CLASS = 100
# In pixels: the square of the map, the photos on it, their coloured borders, and the space around the map.
MAP_SIDE, PHOTO_SIDE, BORDER, MARGIN = 1400, 64, 5, 60
NAME_TEXT, LEGEND_TEXT, SMALL_TEXT = Lettering(23), Lettering(19), Lettering(17)
# The widest name beside its photos, and in a column of the legend.
MAX_NAME_WIDTH, MAX_LEGEND_WIDTH = 340, 290
TITLE_HEIGHT, NAME_HEIGHT, LEGEND_ROW_HEIGHT, LEGEND_COLUMNS = 56, 34, 40, 4
# A photo is drawn unless it would be hidden, or would hide another one, by more than this share of its side.
MAX_OVERLAP = 0.3


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """A layout of photos in the plane.

    Attributes:
        points: (photo, 2).
        trustworthiness: 0 to 1, how far the 10 neighbours of a photo on the map are also its neighbours by cosine.
    """

    points: np.ndarray
    trustworthiness: float


def embed_in_plane(vectors: Tensor, seed: int = 0) -> EmbeddingMap:
    """Lay out (photo, dim) unit vectors by t-SNE on cosine distances; the same seed gives the same map.

    The perplexity is 15, less for few photos. Trustworthiness is that of Venna and Kaski (2001): 1 - 2/(n k (2n - 3k -
    1)) Σ (rank - k), where the sum is over the photos among the k neighbours on the map but not by cosine.
    Source: van der Maaten and Hinton, JMLR 2008; the implementation is openTSNE.

    Raises:
        ValueError: for fewer than five photos.
    """
    # Imported here because these take half a second, which only this command needs.
    from openTSNE import TSNE
    from sklearn.manifold import trustworthiness

    count = len(vectors)
    if count < MIN_PHOTOS:
        raise ValueError(f"a map needs {MIN_PHOTOS} photos or more, not {count}")
    x = vectors.double().numpy()
    # t-SNE cannot place identical photos, which have no direction from one to the other; a little noise gives them one.
    x = x + np.random.default_rng(seed).normal(0, 1e-9, x.shape)
    perplexity = max(1, min(PERPLEXITY, (count - 1) // 3))
    # One job and exact neighbours, because several threads would add up in another order every time.
    layout = TSNE(perplexity=perplexity, metric="cosine", random_state=seed, n_jobs=1, neighbors="exact")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = np.asarray(layout.fit(x))
    k = min(NEIGHBORS, (count - 1) // 2)
    return EmbeddingMap(points, float(trustworthiness(x, points, n_neighbors=k, metric="cosine")))


def photos_for_map(labels: Tensor) -> Tensor:
    """Return the positions of the photos of some classes, which are drawn at random but always the same ones.

    >>> photos_for_map(torch.tensor([3, 3, 5, 5])).tolist()
    [0, 1, 2, 3]
    """
    classes = labels.unique()
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    positions = [(labels == label).nonzero().squeeze(1) for label in classes[order[:MAX_CLASSES]]]
    # Of a large class, photos at even distances.
    chosen = [p[:: -(-len(p) // MAX_PHOTOS_PER_CLASS)] for p in positions]
    return torch.cat(chosen).sort().values


def write_map(searched: Searched, folder: Path, seed: int = 0) -> tuple[Picture, EmbeddingMap]:
    """Write map.png, photos of up to 8 test classes as points of a map, and map.csv; returns the picture and the layout."""
    make_folder(folder)
    chosen = photos_for_map(searched.embeddings.labels)
    layout = embed_in_plane(searched.embeddings.vectors[chosen], seed)
    photos = chosen.tolist()
    labels = searched.embeddings.labels[chosen].tolist()
    names = {label: searched.queries.class_names[label] for label in labels}
    rows = [
        (searched.queries.paths[index], names[label], str(x), str(y))
        for index, label, (x, y) in zip(photos, labels, layout.points.tolist(), strict=True)
    ]
    write_text(folder / "map.csv", Table("Embedding map", ("photo", "class", "x", "y"), rows).csv())
    title = f"{len(photos)} photos of {len(names)} {class_words(searched.seen_classes)}"
    pictures = [photo(searched.queries, index) for index in photos]
    picture = Picture(
        folder / "map.png",
        f"Embedding map: {title}, laid out by t-SNE so that similar photos are near each other. The colour of a border is "
        f"the class. Trustworthiness {layout.trustworthiness:.3f} (1 is best): how far neighbours on the map are also "
        "neighbours by cosine.",
        "A map of photos; classes that the model separates form groups of one colour. "
        f"Classes: {', '.join(names.values())}.",
    )
    write_picture(picture.file, draw_map(pictures, labels, layout.points, names, title))
    if is_for_a_page():
        write_picture(picture.dark_file, draw_map(pictures, labels, layout.points, names, title, DARK))
    return picture, layout


def draw_map(
    photos: Sequence[Image.Image],
    labels: Sequence[int],
    points: np.ndarray,
    names: Mapping[int, str],
    title: str,
    palette: Palette = LIGHT,
) -> Image.Image:
    """Draw photos at their points, with a colour and a name for every class; a photo that would hide another is a dot.

    Args:
        photos: at any size.
        labels: their classes, at most 8 different ones.
        points: (photo, 2).
        names: the name of every class.
        title: a line above the map.
        palette: the colours of paper, text and classes.
    """
    colors = dict(zip(dict.fromkeys(labels), palette.classes, strict=False))
    legend_rows = -(-len(colors) // LEGEND_COLUMNS)
    height = TITLE_HEIGHT + MAP_SIDE + legend_rows * LEGEND_ROW_HEIGHT + MARGIN
    sheet = Image.new("RGB", (MAP_SIDE, height), palette.paper)
    canvas = ImageDraw.Draw(sheet)
    NAME_TEXT.draw(canvas, (20, 16), title, palette.ink)
    positions = _positions_on_sheet(points)  # (photo, 2) in pixels
    for (x, y), label in zip(positions, labels, strict=True):
        canvas.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colors[label], outline=palette.paper)
    side = PHOTO_SIDE + 2 * BORDER
    for index in _visible_photos(positions, side):
        left, top = (round(float(center) - side / 2) for center in positions[index])
        canvas.rectangle((left, top, left + side - 1, top + side - 1), fill=colors[labels[index]])
        small = photos[index].resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + BORDER, top + BORDER))
    _draw_class_names(canvas, positions, labels, colors, names, palette.paper)
    _draw_legend(canvas, TITLE_HEIGHT + MAP_SIDE, colors, names, palette)
    return sheet


def _positions_on_sheet(points: np.ndarray) -> np.ndarray:
    low = points.min(axis=0)
    span = np.maximum(np.ptp(points, axis=0), 1e-9)
    return MARGIN + (points - low) / span * (MAP_SIDE - 2 * MARGIN) + [0, TITLE_HEIGHT]


def _visible_photos(positions: np.ndarray, side: int) -> list[int]:
    """Return the photos, in their order, that overlap with no earlier one by more than a part of their side."""
    visible: list[int] = []
    for index, position in enumerate(positions):
        # (visible, 2) -> (visible,): squares overlap if they do so in both directions.
        distances = np.abs(positions[visible] - position).max(axis=1)
        if not visible or distances.min() >= (1 - MAX_OVERLAP) * side:
            visible.append(index)
    return visible


def _draw_class_names(
    canvas: ImageDraw.ImageDraw,
    positions: np.ndarray,
    labels: Sequence[int],
    colors: Mapping[int, str],
    names: Mapping[int, str],
    paper: str,
) -> None:
    """Write the name of every class just above the median of its photos; a name that would cover another is moved down."""
    taken: list[tuple[float, float, float]] = []  # centre and half width of the names that are written already
    for label, color in colors.items():
        x, y = np.median(positions[np.array(labels) == label], axis=0) - [0, (PHOTO_SIDE + NAME_HEIGHT) / 2]
        text = NAME_TEXT.shortened(names[label], MAX_NAME_WIDTH)
        half = NAME_TEXT.width(text) / 2
        # The name stays on the sheet.
        x = min(max(x, half + 8), MAP_SIDE - half - 8)
        while any(abs(x - u) < half + width + 8 and abs(y - v) < NAME_HEIGHT for u, v, width in taken):
            y += NAME_HEIGHT / 4
        taken.append((x, y, half))
        NAME_TEXT.draw(canvas, (x, y), text, color, anchor="mm", stroke=(5, paper))


def _draw_legend(
    canvas: ImageDraw.ImageDraw, top: int, colors: Mapping[int, str], names: Mapping[int, str], palette: Palette
) -> None:
    for number, (label, color) in enumerate(colors.items()):
        row, column = divmod(number, LEGEND_COLUMNS)
        left = 20 + column * (MAP_SIDE - 40) // LEGEND_COLUMNS
        middle = top + row * LEGEND_ROW_HEIGHT + LEGEND_ROW_HEIGHT // 2
        canvas.rectangle((left, middle - 11, left + 22, middle + 11), fill=color)
        name = LEGEND_TEXT.shortened(names[label], MAX_LEGEND_WIDTH)
        LEGEND_TEXT.draw(canvas, (left + 34, middle), name, palette.ink, anchor="lm")
    bottom = top + (-(-len(colors) // LEGEND_COLUMNS)) * LEGEND_ROW_HEIGHT + 8
    SMALL_TEXT.draw(canvas, (20, bottom), "Dots are photos that would hide others.", palette.faded)
