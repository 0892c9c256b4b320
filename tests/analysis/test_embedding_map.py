import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.analysis.embedding_map import (
    BORDER,
    MAX_CLASSES,
    MAX_PHOTOS_PER_CLASS,
    PHOTO_SIDE,
    draw_map,
    embed_in_plane,
    photos_for_map,
)
from pairlens.plotting.style import CYCLE
from support.naive import failure_cases as naive
from support.twin_checks import unit_points


def islands(count=5, each=12):
    torch.manual_seed(0)
    labels = torch.arange(count).repeat_interleave(each)
    return torch.nn.functional.normalize(torch.eye(count, 16)[labels] + 0.05 * torch.randn(count * each, 16)), labels


def test_the_same_seed_gives_the_same_map():
    vectors, _ = islands()
    assert np.array_equal(embed_in_plane(vectors, 1).points, embed_in_plane(vectors, 1).points)


def test_separated_classes_are_separated_on_the_map():
    vectors, labels = islands()
    found = embed_in_plane(vectors)
    centers = np.stack([found.points[labels == c].mean(axis=0) for c in range(5)])
    nearest = np.linalg.norm(found.points[:, None] - centers, axis=2).argmin(axis=1)
    assert (nearest == labels.numpy()).all()
    assert found.trustworthiness > 0.9


def test_trustworthiness_follows_its_formula():
    vectors = unit_points(30, 8)
    found = embed_in_plane(vectors)
    by_cosine = (1 - vectors.double() @ vectors.double().T).tolist()
    assert found.trustworthiness == pytest.approx(naive.trustworthiness(by_cosine, found.points.tolist(), 10), abs=1e-6)


@pytest.mark.parametrize("count", [5, 6, 12])
def test_few_photos_and_copies_have_a_map(count):
    assert np.isfinite(embed_in_plane(unit_points(count, 8)).points).all()
    assert np.isfinite(embed_in_plane(torch.eye(8)[:1].repeat(count, 1)).points).all()


def test_too_few_photos_are_refused():
    with pytest.raises(ValueError, match="needs 5 photos or more, not 4"):
        embed_in_plane(unit_points(4, 8))


def test_a_map_has_few_classes_with_few_photos_each():
    labels = torch.arange(30).repeat_interleave(250)
    chosen = labels[photos_for_map(labels)]
    counts = chosen.unique(return_counts=True)[1]
    assert len(counts) == MAX_CLASSES
    assert counts.max() <= MAX_PHOTOS_PER_CLASS
    assert torch.equal(photos_for_map(labels), photos_for_map(labels))


def rgb(color):
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def test_a_photo_is_drawn_at_its_point_with_the_colour_of_its_class():
    photos = [Image.new("RGB", (10, 10), color) for color in ("#ff0000", "#008000", "#0000ff")]
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    sheet = np.asarray(draw_map(photos, [4, 4, 7], points, {4: "four", 7: "seven"}, "title"))
    for color, right, down in ((255, 0, 0), 0, 0), ((0, 128, 0), 1, 0), ((0, 0, 255), 1, 1):
        rows, columns = (sheet == color).all(axis=2).nonzero()
        assert len(rows) > 0.8 * PHOTO_SIDE**2
        assert (columns.mean() > sheet.shape[1] / 2) == bool(right)
        assert (rows.mean() > sheet.shape[0] / 2) == bool(down)
    frame = (PHOTO_SIDE + 2 * BORDER) ** 2 - PHOTO_SIDE**2
    for color, count in ((CYCLE[0], 2), (CYCLE[1], 1)):
        # The legend and the name of the class have the colour too.
        assert (sheet == rgb(color)).all(axis=2).sum() >= 0.9 * count * frame


def test_photos_that_would_hide_others_are_dots():
    photos = [Image.new("RGB", (10, 10), "#ff0000")] * 3
    points = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0]])
    sheet = np.asarray(draw_map(photos, [0, 0, 0], points, {0: "one"}, ""))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() <= 2 * PHOTO_SIDE**2


def test_names_of_classes_at_one_place_do_not_cover_each_other():
    blank = Image.new("RGB", (10, 10), "white")
    apart, together = (
        np.asarray(draw_map([blank] * 4, [0, 0, 1, 1], np.array(points), {0: "name", 1: "name"}, ""))
        for points in ([[0, 0], [0, 1], [9, 0], [9, 1]], [[0, 0], [9, 9], [9, 9], [0, 0]])
    )
    for color in CYCLE[:2]:
        first, second = ((sheet == rgb(color)).all(axis=2)[600:900, 300:1100].sum() for sheet in (apart, together))
        assert second > first
