"""Explanation of a loss without any data: its numbers as tables, and one figure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pairlens.analysis.explanation import Explained, Explanation
from pairlens.analysis.loss_plane import POINTS, follow, similarity_plane
from pairlens.analysis.pair_weights import DEFAULT_BATCH, ProbeBatch, weight_curve
from pairlens.core.files import make_folder, write_text
from pairlens.core.table import Table
from pairlens.core.threads import single_thread
from pairlens.losses import Sum
from pairlens.losses.loss_text import loss_from_text, loss_name, loss_text
from pairlens.losses.protocols import is_embedding_loss, needs_criterion
from pairlens.losses.third_party import WrappedPairs

OTHER_NEGATIVES = (0.0, 0.2, 0.5)


def explain(
    losses: Any, out: str | Path | None = None, *, batch: ProbeBatch = DEFAULT_BATCH, points: int = POINTS
) -> Explanation:
    """Explain losses without any data: similarity planes, where gradient descent leads in them, and pair weights.

    Args:
        losses: a loss of `pairlens.losses`, a text such as circle:gamma=64, or a list of these.
        out: the folder where the figure (explain.svg, explain.png) and its numbers (CSV) are written; None writes nothing.
        batch: the batch in which the weight of a pair is computed.
        points: number of points per side of a plane.

    Raises:
        ValueError: if there is no loss, if a text names none, or for a loss that is not one of pairs.

    >>> from pairlens.losses import Circle
    >>> explanation = explain([Circle(), "triplet"], points=5)
    >>> [one.name for one in explanation.losses], explanation.files
    (['Circle', 'Triplet'], ())
    """
    chosen = [_loss_of_pairs(loss) for loss in (losses if isinstance(losses, list | tuple) else [losses])]
    if not chosen:
        raise ValueError("there is no loss to explain; give one or more, such as circle or pl.losses.Circle()")
    explained = tuple(explain_loss(loss, batch, points=points) for loss in chosen)
    if out is None:
        return Explanation(explained)
    folder = Path(out)
    make_folder(folder)
    return Explanation(explained, tuple(write_explanations(explained, folder)))


def _loss_of_pairs(loss: Any) -> Any:
    """Return the loss that a text names, or a loss itself; raises ValueError if it has no value at a pair."""
    found = loss_from_text(loss) if isinstance(loss, str) else loss
    # The hyper-parameters of a loss are the fields of its record, and a class is not a loss yet.
    if not is_dataclass(found) or isinstance(found, type) or not needs_criterion(found) or is_embedding_loss(found):
        shown = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        raise ValueError(
            f"{shown} is not a loss of pairs, so it has no similarity plane; give losses such as pl.losses.Circle(); "
            "audit checks any other function"
        )
    return found


def explain_loss(loss: Any, batch: ProbeBatch = DEFAULT_BATCH, name: str = "", points: int = POINTS) -> Explained:
    """Return the similarity plane of a loss, where gradient descent leads in it, and the weights of a pair in a batch.

    Args:
        loss: a loss of `pairlens.losses`.
        batch: the batch of the weight curves; its other negatives are set to 0, 0.2 and 0.5.
        name: the name of the loss; by default that of its class.
        points: number of points per side of the plane.
    """
    # The tensors are tiny, and to share them out over threads takes longer than the work itself.
    with single_thread():
        plane = similarity_plane(loss, points)
        curves = {level: weight_curve(loss, replace(batch, negatives=level)) for level in OTHER_NEGATIVES}
    return Explained(name or _name_of(loss), settings_text(loss), plane, follow(plane), curves)


def _name_of(loss: Any) -> str:
    return loss_name(loss) if isinstance(loss, Sum | WrappedPairs) else type(loss).__name__


def settings_text(loss: Any) -> str:
    """Return the hyper-parameters of a loss in one line.

    >>> from pairlens.losses import Circle
    >>> settings_text(Circle(gamma=32))
    'margin 0.4, gamma 32'
    """
    # A sum and a function that was wrapped have no numbers of their own.
    if isinstance(loss, Sum | WrappedPairs):
        return loss_text(loss)
    values = {field.name: getattr(loss, field.name) for field in fields(loss)}
    return ", ".join(f"{name} {f'{v:.4g}' if isinstance(v, float) else v}" for name, v in values.items())


def write_explanations(explained: Sequence[Explained], folder: Path) -> list[Path]:
    """Write the figure as `explain.svg` and `explain.png`, and every number in it as CSV tables; returns the files."""
    # Imported here, because Matplotlib takes long to import, and only figures need it.
    from pairlens.analysis.loss_figures import draw_explanations

    figures = [folder / "explain.svg", folder / "explain.png"]
    for file in figures:
        draw_explanations(explained, file)
    tables = {
        folder / "plane.csv": _table(("loss_name", "s_n", "s_p", "loss", "w_p", "w_n"), map(_plane_rows, explained)),
        folder / "paths.csv": _table(("loss_name", "path", "step", "s_n", "s_p"), map(_path_rows, explained)),
        folder / "weights.csv": _table(
            ("loss_name", "other_negatives", "similarity", "w_p", "w_n"), map(_weight_rows, explained)
        ),
    }
    for file, table in tables.items():
        write_text(file, table.csv())
    return [*figures, *tables]


def _table(columns: Sequence[str], rows_of_losses: Iterable[Iterable[Sequence[object]]]) -> Table:
    rows = [[str(cell) for cell in row] for rows_of_loss in rows_of_losses for row in rows_of_loss]
    return Table("Explanation", columns, rows)


def _plane_rows(one: Explained) -> Iterator[Sequence[object]]:
    for point in one.plane.table():
        yield one.name, *point.values()


def _path_rows(one: Explained) -> Iterator[Sequence[object]]:
    for number, path in enumerate(one.paths.points):
        for step, (s_n, s_p) in enumerate(path):
            yield one.name, number, step, float(s_n), float(s_p)


def _weight_rows(one: Explained) -> Iterator[Sequence[object]]:
    for level, curve in one.curves.items():
        for s, w_p, w_n in zip(curve.similarity, curve.positive, curve.negative, strict=True):
            yield one.name, level, float(s), float(w_p), float(w_n)
