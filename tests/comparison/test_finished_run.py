import shutil

import numpy as np
import pytest

from pairlens.comparison.finished_run import FinishedRun
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run_sums import write_run_sums


@pytest.fixture
def finished(compared, tmp_path):
    return RunFolder(shutil.copytree(compared / "runs/bars/triplet/seed0", tmp_path / "run"))


def same(first, second):
    return all(np.array_equal(first.sums[name], second.sums[name]) for name in first.sums) and np.array_equal(
        first.counts, second.counts
    )


def test_stored_sums_are_those_that_the_embeddings_give(finished):
    stored = FinishedRun.open(0, finished)
    finished.class_sums.unlink()
    measured = FinishedRun.open(0, finished)
    assert stored.by_class.sums.keys() == measured.by_class.sums.keys()
    assert same(stored.by_class, measured.by_class)
    assert stored.photos == measured.photos != ""


def test_with_stored_sums_the_embeddings_are_not_read(finished):
    finished.gallery.unlink()
    assert FinishedRun.open(0, finished).row.epoch == 1
    finished.class_sums.unlink()
    with pytest.raises(ValueError, match="gallery"):
        FinishedRun.open(0, finished)


@pytest.mark.parametrize("change", ["cut", "of another epoch"])
def test_sums_that_do_not_fit_the_outcome_are_measured_again(finished, change):
    right = FinishedRun.open(0, finished).by_class
    if change == "cut":
        finished.class_sums.write_bytes(finished.class_sums.read_bytes()[:-9])
    else:
        report = finished.read_outcome().untrained
        wrong = type(right)({name: 0 * sums for name, sums in right.sums.items()}, right.counts)
        write_run_sums(finished, report, finished.read_embeddings(), wrong)
    assert same(FinishedRun.open(0, finished).by_class, right)
