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
