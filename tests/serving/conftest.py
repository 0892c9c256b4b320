from types import SimpleNamespace

import pytest

from pairlens.serving import app
from support.served_collection import make_collection, serving


@pytest.fixture(scope="session", autouse=True)
def garbage_collection_of_applications():
    """What applications have asked of the garbage collector, which the suite keeps for itself: tests/conftest.py."""
    asked: list[str] = []
    names = ("collect", "freeze", "unfreeze")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "gc", SimpleNamespace(**{name: lambda name=name: asked.append(name) for name in names}))
        yield asked


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "shop"
    make_collection(folder).close()
    return folder


@pytest.fixture(scope="module")
def client(shop_folder, tmp_path_factory):
    """A client of a collection of nine pictures that no test changes."""
    from pairlens.collection.collection import Collection

    with serving(Collection.open(shop_folder), tmp_path_factory.mktemp("queries")) as opened:
        yield opened


@pytest.fixture
def own_client(tmp_path):
    """A client of a collection of its own, which a test may change."""
    with serving(make_collection(tmp_path / "shop"), tmp_path / "queries") as opened:
        yield opened
