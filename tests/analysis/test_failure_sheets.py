import csv
from dataclasses import replace

import pytest
from PIL import Image

from pairlens.analysis.failure_cases import Searched
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.run_folder import RunFolder
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


def test_inspect_prints_trustworthiness_and_gradient_cosine(compared, tmp_path, capsys):
    assert run("inspect", compared / "runs/bars/circle-10/seed0", "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "trustworthiness of the map: 0." in said or "trustworthiness of the map: 1.0" in said
    outcome = RunFolder(compared / "runs/bars/circle-10/seed0").read_outcome()
    assert f"selected epoch: {outcome.rows[-1].gradient_cosine:.3f}" in said


def test_queries_are_searched_in_a_separate_gallery(data_path, tmp_path):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "shop", "--data_name", "shop", "--num_epochs", 0]
    small = "--backbone_type test_resnet --gd_config S --feature_dim 8 --batch_size 6 --per_class 3 --weights none"
    rest = "--stride none --freeze_bn none --image_size 32 --device cpu --workers 0"
    assert run("train", "triplet", *words, *small.split(), *rest.split()) == 0
    assert run("inspect", tmp_path / "shop") == 0
    searched = Searched.open(RunFolder(tmp_path / "shop").open())
    assert set(searched.queries.paths).isdisjoint(searched.gallery.paths)
    assert all("/gallery" in r["photo"] for r in read(tmp_path / "shop/inspection/hubs.csv"))


def test_photos_that_were_prepared_again_are_refused(compared, tmp_path):
    run_folder = RunFolder(tmp_path)
    known = RunFolder(compared / "runs/bars/triplet/seed0")
    found = Embeddings.load(known.gallery)
    Embeddings(found.vectors[1:], found.labels[1:], found.paths[1:]).save(run_folder.gallery)
    with pytest.raises(ValueError, match="have been prepared again since"):
        Searched.open(replace(known.open(), run_folder=run_folder))
