"""What a collection holds, in numbers."""

from datetime import UTC, datetime
from typing import Any

from pairlens.collection.collection_model import NoModelError, model_name
from pairlens.collection.store import Store
from pairlens.collection.stored_calibration import DOCUMENT, read_calibration

_LABELS_SHOWN = 10


def plain_info(store: Store) -> dict[str, Any]:
    """Return numbers of photos and labels, models, size and calibration as plain data."""
    labels = store.labels()
    named = {label: count for label, count in labels.items() if label is not None}
    models = store.models()
    return {
        "collection": store.name,
        "photos": store.count(),
        "labels": len(named),
        "without_label": labels.get(None, 0),
        "most_frequent": dict(list(named.items())[:_LABELS_SHOWN]),
        "metadata": store.metadata_keys(),
        "roots": store.roots(),
        "model": _name(store, models[0].fingerprint) if models else "none yet",
        "dimension": models[0].dim if models else 0,
        "models": {
            model.fingerprint: f"{model.state} since {datetime.fromtimestamp(model.since, UTC):%Y-%m-%d %H:%M} UTC"
            for model in models
        },
        "calibration": _calibration_words(store, models[0].fingerprint if models else ""),
        "megabytes": round(store.size() / 1e6, 1),
    }


def _name(store: Store, fingerprint: str) -> str:
    try:
        return model_name(store, fingerprint)
    except NoModelError:
        return f"vectors computed elsewhere ({fingerprint})"


def _calibration_words(store: Store, fingerprint: str) -> str:
    try:
        calibration = read_calibration(store.document(DOCUMENT), fingerprint)
    except ValueError as error:
        return str(error)
    if calibration is None:
        return "none; pairlens collection calibrate makes one"
    rates = ", ".join(f"{one.rate:g} ({one.low:.4f} to {one.high:.4f})" for one in calibration.thresholds)
    return f"on {calibration.size.classes:,} classes, for the false accept rates {rates}"
