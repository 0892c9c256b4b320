"""A loss by itself: its numbers without any data, as tables and as one sheet."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairlens.analysis.loss_figures import Explained, draw_explanations
from pairlens.analysis.loss_plane import POINTS, follow, similarity_plane
from pairlens.analysis.pair_weights import USUAL, ProbeBatch, weight_curve
from pairlens.core.threads import single_thread

OTHER_NEGATIVES = (0.0, 0.2, 0.5)


def explain(loss: Any, scene: ProbeBatch = USUAL, name: str = "", points: int = POINTS) -> Explained:
    """Return what there is to see of a loss: the similarity plane, its flow, and the weights of a pair in a batch.

    Args:
        loss: a loss of `pairlens.losses`.
        scene: the batch of the weight curves; its other negatives are drawn at 0, 0.2 and 0.5.
        name: what to call it; by default its class.
        points: of the plane, a side.
    """
    with single_thread():
        plane = similarity_plane(loss, points)
        curves = {level: weight_curve(loss, replace(scene, negatives=level)) for level in OTHER_NEGATIVES}
    return Explained(name or type(loss).__name__, plane, follow(plane), curves)


def write_explanations(explained: Sequence[Explained], folder: Path) -> list[Path]:
    """Write the sheet `explain.svg` and `explain.png` and every number in it as tables; returns the files."""
    files = [folder / name for name in ("explain.svg", "explain.png", "plane.csv", "paths.csv", "weights.csv")]
    for picture in files[:2]:
        draw_explanations(explained, picture)
    _write(files[2], ({"loss_name": one.name, **row} for one in explained for row in one.plane.table()))
    _write(files[3], (row for one in explained for row in _path_rows(one)))
    _write(files[4], (row for one in explained for row in _weight_rows(one)))
    return files


def _path_rows(one: Explained) -> Iterable[Mapping[str, Any]]:
    for number, path in enumerate(one.paths.points):
        for step, (s_n, s_p) in enumerate(path):
            yield {"loss_name": one.name, "path": number, "step": step, "s_n": float(s_n), "s_p": float(s_p)}


def _weight_rows(one: Explained) -> Iterable[Mapping[str, Any]]:
    for level, curve in one.curves.items():
        for s, w_p, w_n in zip(curve.similarity, curve.positive, curve.negative, strict=True):
            row = {"loss_name": one.name, "other_negatives": level, "similarity": float(s)}
            yield row | {"w_p": float(w_p), "w_n": float(w_n)}


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    listed = list(rows)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)
