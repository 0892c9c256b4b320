"""The check of a whole collection: its store, its models and its documents."""

from pairlens.collection.collection_model import NoModelError, load_model
from pairlens.collection.photo_view import digest_of
from pairlens.collection.store import Fault, Store

_PAGE = 1024


def check_collection(store: Store) -> list[Fault]:
    """Prove a collection against itself, and repair what is derived.

    Checked are the store (see `Store.check`), the digests of the photos that the collection keeps, and that each model opens
    and has the fingerprint of its vectors.
    """
    return [*store.check(), *_models(store), *_originals(store)]


def _models(store: Store) -> list[Fault]:
    faults = []
    for model in store.models():
        try:
            load_model(store, model.fingerprint)
        except NoModelError:
            # Vectors that were computed elsewhere come without a model.
            continue
        except ValueError as error:
            faults.append(Fault(str(error)))
    return faults


def _originals(store: Store) -> list[Fault]:
    faults = []
    after = 0
    while page := store.page(after, _PAGE):
        after = page[-1].id
        for item in page:
            contents = store.original(item.id) if item.has_original else None
            if contents is not None and digest_of(contents) != item.digest:
                faults.append(
                    Fault(f"the photo {item.id} ({item.path}) has other bytes than its digest says; remove it")
                )
    return faults
