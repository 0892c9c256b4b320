"""The tables of the collection, made from stored results."""

from claim_targets import read


def store_rows() -> list[tuple[str, ...]]:
    """Return the rows of the bars of the store: what, the bar, what was measured, whether it is reached."""
    rows = []
    for name, bar in read("collection_store.json")["bars"].items():
        value = bar["value"]
        shown = f"{value:.3g}" if isinstance(value, float) else f"{value:,}"
        rows.append((name, f"{bar['bar']:g}", shown, "met" if bar["reached"] else "not met"))
    return rows


def whole_rows() -> list[tuple[str, ...]]:
    """Return the rows of the bars of a whole collection: what, the bar, what was measured, whether it is reached."""
    found = read("collection.json")
    rows = []
    if index := found.get("index"):
        what = f"indexing {index['photos']:,} photos of CUB at 128 px / a bare loop of decoding and the model"
        measured = f"{index['ratio']:.2f}" + (
            f"; of processor time {index['processor_ratio']:.2f}" if "processor_ratio" in index else ""
        )
        rows.append((what, "≥ 0.9", measured, _met(index["ratio"] >= 0.9)))
    if query := found.get("query"):
        extra = query["milliseconds_beside_the_forward_pass"]
        what = f"one photo file to 10 matches with thumbnails among {query['photos']:,} photos, beside the forward pass"
        rows.append((what, "≤ 15 ms", f"{extra:.1f} ms", _met(extra <= 15)))
    if ray := found.get("ray"):
        is_same = ray["same_ids_and_labels"] and ray["largest_difference"] < 1e-5 and not ray["faults"]
        what = f"Ray with 2 processes on {ray['photos']:,} photos, without and with a kill, against one process"
        measured = f"vectors within {ray['largest_difference']:.0e}, ids and labels equal"
        rows.append((what, "same vectors, ids and labels", measured, _met(is_same)))
    for store, name in (("kills", "SQLite"), ("kills_postgres", "PostgreSQL")):
        kills = found[store]
        faults = len(kills["faults"])
        what = f"`kill -9` in add, update, remove, reindex and migrate on {name}"
        measured = f"{kills['kills']} kills, {faults} lost or torn changes"
        rows.append((what, "50 kills, none", measured, _met(kills["kills"] >= 50 and not faults)))
    return rows


def _met(is_reached: bool) -> str:
    return "met" if is_reached else "not met"


def calibration_rows() -> list[tuple[str, ...]]:
    """Return a row per data set and asked rate: measured rate, coverage of the interval, accepted true queries."""
    rows = []
    for name, found in read("calibration.json")["results"].items():
        for rate, at_rate in found["rates"].items():
            low, high = at_rate["interval"]
            rows.append(
                (
                    name,
                    rate,
                    f"{at_rate['measured']:.4f}",
                    f"{100 * at_rate['coverage']:.0f} %",
                    f"{low:.3f} to {high:.3f}",
                    f"{at_rate['true accepts']:.3f}",
                    f"{at_rate['ratio']:.2f} ×",
                    f"{found['calibration_error']:.3f}",
                )
            )
    return rows


def open_set_rows() -> list[tuple[str, ...]]:
    """Return a row per data set: the open-set measures of the field, of the calibrated score and of the cosine."""
    rows = []
    for name, found in read("calibration.json")["results"].items():
        rows.append(
            (
                name,
                f"{found['auroc']:.3f} ({found['raw_auroc']:.3f})",
                f"{found['baks']:.3f} ({found['raw_baks']:.3f})",
                f"{found['baus']:.3f}",
                f"{found['OPIS']:.4f}",
            )
        )
    return rows
