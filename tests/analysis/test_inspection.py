import csv
from dataclasses import fields, replace

import pytest
import torch

from pairlens.analysis.inspection import inspect_run, some_classes, write_inspection
from pairlens.analysis.statistic_meanings import SHAPE_MEANINGS
from pairlens.cli.tables import inspection_table
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embedding_stats import EmbeddingStats, embedding_stats
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.open_set import OpenSetStats, open_set_stats
from pairlens.experiments.run import run
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, NPair, ProxyAnchor
from pairlens.report.sections import number, open_set_notes
from support.experiments import changed
from support.twin_checks import unit_points


def test_a_run_shows_seen_and_unseen_classes_side_by_side(tiny, tmp_path):
    finished = run(changed(tiny, num_epochs=1), tmp_path / "run")
    found = inspect_run(finished.folder)
    assert (found.seen.photos, found.seen.classes) == (24, 4)
    assert (found.unseen.photos, found.unseen.classes) == (24, 4)
    row = finished.outcome.rows[-1]
    assert (found.unseen.mean_s_p, found.unseen.mean_s_n) == pytest.approx((row.mean_s_p, row.mean_s_n), abs=1e-5)
    gallery = Embeddings.load(RunFolder(finished.folder).gallery)
    expected = vars(embedding_stats(gallery.vectors, gallery.labels, Circle()))
    assert vars(found.unseen) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    measured = open_set_stats(gallery.vectors, gallery.labels)
    assert measured is not None
    assert measured.divided_classes == 4
    assert vars(found.open_set["unseen"]) == pytest.approx(vars(measured), abs=1e-3)
    files = write_inspection(found, tmp_path / "out")
    with files[0].open(encoding="utf-8") as file:
        rows = {r["metric"]: r for r in csv.DictReader(file)}
    assert float(rows["rho"]["seen"]) == found.seen.rho
    assert float(rows["baks"]["unseen"]) == found.open_set["unseen"].baks
    with files[1].open(encoding="utf-8") as file:
        shares = [float(r["share"]) for r in csv.DictReader(file)]
    assert sum(shares) == pytest.approx(4, abs=1e-4)


def test_what_has_too_few_classes_has_no_open_set_measures(tiny, tmp_path):
    found = inspect_run(run(changed(tiny, num_epochs=0), tmp_path / "run").folder)
    assert open_set_notes(found) == []
    table = inspection_table(replace(found, open_set=found.open_set | {"seen": None}), "run")
    seen, unseen = next(row for row in table.rows if row[0] == "BAKS")[1:]
    assert (seen, unseen) == ("–", number(found.open_set["unseen"].baks))
    assert table.notes[-1].startswith("Not measured for seen classes: the open-set measures need 4 classes")


def test_weight_statistics_exist_only_for_losses_of_the_pairs_of_a_batch():
    vectors, labels = unit_points(24, 8), torch.arange(24) % 6
    assert embedding_stats(vectors, labels, Circle()).effective_pairs is not None
    for loss in (None, NPair(), ProxyAnchor()):
        assert embedding_stats(vectors, labels, loss).effective_pairs is None


def test_a_set_without_pairs_is_refused():
    with pytest.raises(ValueError, match="no positive or no negative pair"):
        embedding_stats(unit_points(4, 8), torch.arange(4))


def test_large_sets_are_cut_to_whole_classes(tiny):
    catalog = Catalog.open(tiny.data.path / "bars" / "uncropped.arrow").select("train")
    few = some_classes(catalog, max_photos=12)
    assert (len(few), few.classes) == (12, 2)
    assert some_classes(catalog, max_photos=100).paths == catalog.paths
    unseen = Catalog.open(tiny.data.path / "bars" / "uncropped.arrow").select("test")
    assert len(some_classes(unseen, max_photos=12)) == 12


def test_every_statistic_has_a_plain_name_and_one_sentence():
    assert list(SHAPE_MEANINGS) == [field.name for kind in (EmbeddingStats, OpenSetStats) for field in fields(kind)]
    assert len({meaning.name for meaning in SHAPE_MEANINGS.values()}) == len(SHAPE_MEANINGS)
    for meaning in SHAPE_MEANINGS.values():
        assert "_" not in meaning.name
        assert meaning.sentence.endswith(".")
        assert meaning.sentence.count(". ") == 0
