"""Part "tests": the tests marked `cuda`, with every failure by its name and its last line."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from gpu_parts.context import PartContext

BENCHES = Path(__file__).resolve().parent.parent
TESTS = BENCHES.parent / "tests" / "cuda"
SAVE_EVERY = 25


class _Progress:
    """A pytest plug-in that stores counts and failures while the tests run, so that a cut-off run keeps them."""

    def __init__(self, context: PartContext) -> None:
        self.context = context
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test when its body has run; a failure or a skip before the body counts as well."""
        if report.when != "call" and report.outcome == "passed":
            return
        self.counts[report.outcome] += 1
        if report.failed:
            self.failures[report.nodeid] = str(report.longrepr).strip().splitlines()[-1][:300]
        if report.failed or sum(self.counts.values()) % SAVE_EVERY == 0:
            self.store()

    def store(self) -> None:
        """Store what has been counted up to now."""
        self.context.save("counts", dict(self.counts))
        if self.failures:
            self.context.save("failures", self.failures)


def measure(context: PartContext) -> None:
    """Run the tests; raises RuntimeError if one has failed or none has run."""
    progress = _Progress(context)
    words = [str(TESTS), "-m", "cuda", "-p", "no:cacheprovider", "--tb=short", "--durations=5"]
    # Libraries on a GPU machine may warn of things that nobody here has seen; there a warning is shown and is no failure.
    words += [] if context.dry_run else ["-W", "default"]
    # A dry run takes one file: the test suite runs all of them on the CPU by itself.
    words += ["--cuda_on", "cpu", "-k", "criterion"] if context.dry_run else []
    # The tests have a package `losses` of their own, which a bench of that name beside this script would hide.
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != BENCHES]
    code = pytest.main(words, plugins=[progress])
    progress.store()
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"pytest ended with {code!r}: {dict(progress.counts)}")
