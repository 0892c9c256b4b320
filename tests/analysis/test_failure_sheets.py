import csv

import numpy as np
import pytest
from PIL import Image

from pairlens.analysis.embedding_map import draw_map
from pairlens.analysis.failure_cases import Searched
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.run_folder import RunFolder
from pairlens.plotting.style import CYCLE
from support.commands import run


@pytest.fixture(scope="module")
def inspected(compared, tmp_path_factory):
    out = tmp_path_factory.mktemp("inspection")
    assert run("inspect", compared / "runs/bars/triplet/seed0", "--out", out) == 0
    return out


def read(file):
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_inspect_writes_the_map_the_sheets_and_their_numbers(inspected):
    names = {file.name for file in inspected.iterdir()}
    pictures = {"map", "worst_queries", "confused_classes", "hubs"}
    assert names == {f"{p}.{kind}" for p in pictures for kind in ("png", "csv")} | {
        "inspection.csv",
        "similarities.csv",
        "similarities.svg",
        "analysis.svg",
    }
    for name in pictures:
        with Image.open(inspected / f"{name}.png") as picture:
            assert picture.width > 400
    assert len(read(inspected / "map.csv")) == 24
    assert [float(r["average_precision"]) for r in read(inspected / "worst_queries.csv")] == sorted(
        float(r["average_precision"]) for r in read(inspected / "worst_queries.csv")
    )
    counts = [int(r["occurrences"]) for r in read(inspected / "hubs.csv")]
    assert counts == sorted(counts, reverse=True)


def test_inspect_tells_trustworthiness_and_gradient_cosine(compared, tmp_path, capsys):
    assert run("inspect", compared / "runs/bars/circle-10/seed0", "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "trustworthiness of the map: 0." in said or "trustworthiness of the map: 1.0" in said
    outcome = RunFolder(compared / "runs/bars/circle-10/seed0").read_outcome()
    assert f"kept epoch: {outcome.rows[-1].gradient_cosine:.3f}" in said


def test_queries_of_a_shop_are_searched_in_its_gallery(data_path, tmp_path):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "shop", "--data_name", "shop", "--num_epochs", 0]
    small = "--backbone_type test_resnet --gd_config S --feature_dim 8 --batch_size 6 --per_class 3 --weights none"
    rest = "--stride none --freeze_bn none --image_size 32 --device cpu --workers 0"
    assert run("train", "triplet", *words, *small.split(), *rest.split()) == 0
    assert run("inspect", tmp_path / "shop") == 0
    place = RunFolder(tmp_path / "shop")
    searched = Searched.open(place, place.experiment())
    assert set(searched.queries.paths).isdisjoint(searched.gallery.paths)
    assert all("/gallery" in r["photo"] for r in read(tmp_path / "shop/inspection/hubs.csv"))


def test_photos_that_were_prepared_anew_are_refused(compared, tmp_path):
    place = RunFolder(tmp_path)
    known = RunFolder(compared / "runs/bars/triplet/seed0")
    found = Embeddings.load(known.gallery)
    Embeddings(found.vectors[1:], found.labels[1:], found.paths[1:]).save(place.gallery)
    with pytest.raises(ValueError, match="prepared anew"):
        Searched.open(place, known.experiment())


def test_a_photo_lies_where_its_point_is_with_the_colour_of_its_class():
    photos = [Image.new("RGB", (10, 10), c) for c in ("red", "green", "blue")]
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    sheet = np.asarray(draw_map(photos, [4, 4, 7], points, "title"))
    height, width, _ = sheet.shape
    for x, y, color in ((50, 100, (255, 0, 0)), (width - 50, 100, (0, 128, 0)), (width - 50, height - 10, (0, 0, 255))):
        around = sheet[max(0, y - 60) : y + 60, max(0, x - 30) : x + 30].reshape(-1, 3)
        assert (around == color).all(axis=1).any()
    for color, count in ((CYCLE[0], 2), (CYCLE[1], 1)):
        value = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert (sheet == value).all(axis=2).sum() == pytest.approx(count * (36**2 - 30**2), rel=0.2)
