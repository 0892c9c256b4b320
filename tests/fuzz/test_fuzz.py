"""A short run of every target, and all inputs that ever failed; the long runs are `tools/fuzz.py`."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.mutate import broken
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(file for file in CORPUS.rglob("*") if file.is_file())
# Each builds a model.
SLOW = {"model": 15, "catalog": 60, "parquet": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_valid_is_taken(name):
    for seed in TARGETS[name].seeds():
        TARGETS[name].open(seed)


@pytest.mark.parametrize("file", FOUND, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_once_failed_is_refused_in_a_sentence(file):
    TARGETS[file.parent.name].run(file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_broken_files_are_refused_in_a_sentence(name):
    target = TARGETS[name]

    @settings(
        max_examples=SLOW.get(name, 120),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(broken(target.seeds()))
    def run(data: bytes) -> None:
        target.run(data)

    run()
