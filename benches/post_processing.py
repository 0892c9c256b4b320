"""What each step of post-processing gains on a trained run: `python benches/post_processing.py RUN...`.

    python benches/post_processing.py $(ls -d runs/cub_study/runs/cub-cropped-loss-alone/{circle,triplet,sup-ap}/seed0)

Measures the stored embeddings of finished runs with each step and some combinations, as `pairlens evaluate RUN --post` does,
and stores what R@1 and MAP@R gain on the same queries, with 95 % intervals over classes, in
benches/results/post_processing.json.
"""

from pathlib import Path
from time import process_time
from typing import Any

import tyro
from provenance import RESULTS, about, write_result

from pairlens.experiments.post_processed import PostProcessing, post_process_run
from pairlens.experiments.run_folder import RunFolder

FILE = RESULTS / "post_processing.json"
METRICS = ("R@1", "MAP@R")
PROCESSINGS = (
    PostProcessing(("whiten",)),
    PostProcessing((), 256),
    PostProcessing((), 128),
    PostProcessing((), 64),
    PostProcessing(("whiten",), 128),
    PostProcessing(("aqe",)),
    PostProcessing(("rerank",)),
    PostProcessing(("aqe", "rerank")),
    PostProcessing(("whiten", "aqe", "rerank")),
)


def measured(run: Path, processing: PostProcessing, data_path: Path | None) -> dict[str, Any]:
    """Return both metrics of a run after post-processing, and what they gain."""
    start = process_time()
    found = post_process_run(run, processing, data_path=data_path, device="cpu")
    seconds = process_time() - start
    gains = {change.metric: change for change in found.changes if change.metric in METRICS}
    metrics = {
        name: {
            "value": found.report.metric(name).value,
            "gain": gains[name].value,
            "low": gains[name].low,
            "high": gains[name].high,
        }
        for name in METRICS
    }
    return {"processing": found.name, "seconds of a core": seconds, **metrics}


def main(runs: tuple[Path, ...], /, data_path: Path | None = None) -> None:
    """Measure and store.

    Args:
        runs: folders of finished runs.
        data_path: folder of the prepared data sets, if they have moved since the runs.
    """
    results = []
    for run in runs:
        report = RunFolder(run).read_outcome().rows[-1].report
        trained = {name: report.metric(name).value for name in METRICS}
        rows = []
        for processing in PROCESSINGS:
            rows.append(measured(run, processing, data_path))
            print(run.parent.name, rows[-1], flush=True)
        results.append({"loss": run.parent.name, "seed": run.name, "trained": trained, "processed": rows})
    write_result(FILE, {"about": about(), "runs": results})


if __name__ == "__main__":
    tyro.cli(main)
