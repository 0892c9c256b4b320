"""A short run of every fuzz target, and all inputs that ever failed; `tools/fuzz.py` does the long runs."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FAILED_INPUTS = sorted(file for file in CORPUS.rglob("*") if file.is_file())
# Examples of the targets that take long per input.
SLOW = {"model": 15, "catalog": 60, "collection": 25, "parquet": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_are_read(name):
    for seed in TARGETS[name].seeds():
        TARGETS[name].open(seed)


@pytest.mark.parametrize("file", FAILED_INPUTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_inputs_that_once_failed_are_an_error_in_one_sentence(file):
    TARGETS[file.parent.name].run(file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_are_an_error_in_one_sentence(name):
    target = TARGETS[name]

    @settings(
        max_examples=SLOW.get(name, 120),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs())
    def run(data: bytes) -> None:
        target.run(data)

    run()
