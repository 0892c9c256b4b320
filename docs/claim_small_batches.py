"""The table of small batches, made from stored results."""

from claim_targets import read

COLUMNS = [(kind, size) for kind in ("apart", "mixed") for size in ("32", "64", "128")]


def small_batch_rows() -> list[tuple[str, ...]]:
    """Return the rows of the table: each loss, and how many times faster it is than its peer."""
    rows = []
    for name, kinds in read("small_batches.json")["losses"].items():
        cells = [kinds[kind][size] for kind, size in COLUMNS]
        rows.append((name, *(f"{cell['peer'] / cell['ours']:.2f}" for cell in cells)))
    return rows


def small_batch_means() -> list[tuple[str, ...]]:
    """Return the rows of the geometric means and of the least ratios."""
    found = read("small_batches.json")["summary"]
    names = {
        "mean": "geometric mean of pairs and ranks",
        "mean without the three cubic ones": "without the three cubic ones",
        "least": "least",
        "mean on proxies": "geometric mean on proxies",
        "least on proxies": "least on proxies",
    }
    columns = [found[f"{kind}, {size}"] for kind, size in COLUMNS]
    return [(f"**{name}**", *(f"**{column[key]:.2f}**" for column in columns)) for key, name in names.items()]
