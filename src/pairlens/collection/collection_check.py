"""The check of a whole collection: its store, its models and its documents."""

from pairlens.collection.collection_model import MODELS, NoModelError, load_model
from pairlens.collection.photo_view import has_digest
from pairlens.collection.store import Fault, Store
from pairlens.collection.stored_calibration import DOCUMENT, read_calibration

_PAGE = 1024


def check_collection(store: Store) -> list[Fault]:
    """Prove a collection against itself, and repair what is derived.

    Checked are the store (see `Store.check`), the digests of the photos that the collection keeps, that each model opens and
    has the fingerprint of its vectors, and that the calibration can be read.
    """
    return [*store.check(), *_models(store), *_calibration(store), *_originals(store)]


def _models(store: Store) -> list[Fault]:
    faults = []
    for model in store.models():
        try:
            load_model(store, model.fingerprint)
        except NoModelError:
            # Vectors that were computed elsewhere come without any file of a model.
            if any(name.startswith(f"{MODELS}/{model.fingerprint}/") for name in store.documents()):
                faults.append(Fault(f"the model {model.fingerprint} lacks its first file; restore the collection"))
        except ValueError as error:
            faults.append(Fault(str(error)))
    return faults


def _calibration(store: Store) -> list[Fault]:
    try:
        read_calibration(store.document(DOCUMENT), "")
    except ValueError as error:
        return [Fault(str(error))]
    return []


def _originals(store: Store) -> list[Fault]:
    faults = []
    after = 0
    while page := store.page(after, _PAGE):
        after = page[-1].id
        for item in page:
            contents = store.original(item.id) if item.has_original else None
            if contents is not None and not has_digest(contents, item.digest):
                faults.append(
                    Fault(f"the photo {item.id} ({item.path}) has other bytes than its digest says; remove it")
                )
    return faults
