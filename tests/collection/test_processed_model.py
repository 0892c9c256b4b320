"""A collection whose vectors are whitened or reduced, and queries that are expanded."""

import numpy as np
import pytest

from pairlens.collection import migration
from pairlens.collection.collection import Collection
from pairlens.collection.processed_model import is_of_run, model_of_collection, model_of_run
from pairlens.collection.vector_map import VectorMap, fit_map
from support.commands import run as command
from support.experiments import changed
from support.tiny_collections import new_collection, photo_folder, pixels, tiny_backbone


@pytest.fixture
def shop(tmp_path):
    with new_collection(tmp_path / "shop") as collection:
        collection.add(photo_folder(tmp_path / "photos", "abc", 5))
        yield collection


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    import pairlens as pl

    return pl.run(changed(tiny, num_epochs=0), tmp_path_factory.mktemp("trained") / "run").folder


def whitened_by_hand(fitted, vectors, components):
    mean = fitted.mean(axis=0)
    _left, sizes, right = np.linalg.svd((fitted - mean).astype(np.float64), full_matrices=False)
    mapped = (vectors - mean) @ right[:components].T / sizes[:components]
    return mapped / np.linalg.norm(mapped, axis=1, keepdims=True)


def test_a_collection_is_whitened_by_its_own_vectors_without_its_photos(shop, monkeypatch):
    monkeypatch.setattr(migration, "_seen", lambda *_: pytest.fail("a photo was read"))
    before = shop.store.vectors(shop.store.ids())
    model = model_of_collection(shop.store, shop.model, True, 6)
    done = shop.migrate(model)
    assert done.embedded == 15
    after = shop.store.vectors(shop.store.ids())
    expected = whitened_by_hand(before, before, 6)
    # The sign of a component is arbitrary, the similarities are not.
    np.testing.assert_allclose(after @ after.T, expected @ expected.T, atol=1e-4)
    assert shop.active.fingerprint == f"{tiny_backbone().fingerprint}-{model.mapped.digest}"
    assert model.name == "tiny 0, 6 dimensions + whiten"
    with pytest.raises(ValueError, match=r"after 6 dimensions \+ whiten already; go back first"):
        model_of_collection(shop.store, shop.model, True, None)


def test_a_reopened_collection_embeds_new_photos_in_the_same_way(shop, tmp_path):
    model = model_of_collection(shop.store, shop.model, False, 5)
    shop.migrate(model)
    with Collection.open(tmp_path / "shop") as again:
        assert again.model.mapped.digest == model.mapped.digest
        (own,) = again.embed([again.photos()[0].file])
        np.testing.assert_allclose(own, again.store.vectors([1])[0], atol=1e-5)
        again.add([pixels(99)])
        assert again.search(pixels(99), 1)[0].score == pytest.approx(1, abs=1e-5)
        with pytest.raises(ValueError, match="places of photos do not add up to a score"):
            again.search(pixels(99), 1)[0].explain()
        assert again.check() == []
        former = again.return_to_former_model()
        assert former.fingerprint == tiny_backbone().fingerprint


def test_a_model_of_a_run_is_fitted_to_its_training_photos(trained, tmp_path):
    model = model_of_run(trained, True, 4)
    assert model.dim == 4
    assert is_of_run(model, trained, True, 4)
    assert not is_of_run(model, trained, True, 5)
    assert not is_of_run(tiny_backbone(), trained, True, 4)
    with pytest.raises(ValueError, match="is no folder of a run, whose training photos"):
        model_of_run("resnet50", True, None)
    photos = photo_folder(tmp_path / "photos", "ab", 3)
    words = ("--to", tmp_path / "shop", "--model", trained, "--post", "whiten", "--reduce", 4)
    assert command("index", photos, *words) == 0
    assert command("index", photos, *words) == 0
    with Collection.open(tmp_path / "shop") as shop:
        assert shop.active.fingerprint == model.fingerprint
        assert len(shop) == 6
    assert command("index", photos, *words[:-1], 5) == 2


def test_the_command_whitens_what_is_there(shop, capsys):
    location = shop.store.name
    shop.close()
    assert command("collection", "migrate", location, "--post", "whiten", "--reduce", 3) == 0
    assert "Embedded 15 photos" in " ".join(capsys.readouterr().out.split())
    assert command("collection", "migrate", location, "--reduce", 900, "--back") == 2
    assert command("collection", "migrate", location, "--back") == 0
    assert command("collection", "migrate", location, "--reduce", 900) == 2
    assert "--reduce 900 is not possible" in " ".join(capsys.readouterr().err.split())


def test_a_stored_map_is_checked(shop):
    mapped = fit_map(shop.store.vectors(shop.store.ids()), True, 3)
    again = VectorMap.read(mapped.contents())
    assert (again.steps, again.digest) == (mapped.steps, mapped.digest)
    for broken in (b"", mapped.contents()[:-8], VectorMap("x", mapped.mean[1:], mapped.matrix).contents()):
        with pytest.raises(ValueError, match="map of its vectors"):
            VectorMap.read(broken)
    with pytest.raises(ValueError, match="is not finite"):
        VectorMap.read(VectorMap("x", mapped.mean * np.nan, mapped.matrix).contents())


def test_an_expanded_query_is_that_of_a_plain_loop(shop):
    vectors = shop.store.vectors(shop.store.ids())
    query = vectors[4]
    scores = vectors @ query
    nearest = [row for row in np.argsort(-scores, kind="stable") if row != 4][:3]
    mixed = query + sum(max(scores[row], 0) ** 3 * vectors[row] for row in nearest)
    expected = [row + 1 for row in np.argsort(-(vectors @ mixed), kind="stable") if row != 4]
    found = shop.search(5, 14, expand=3)
    assert [match.id for match in found] == expected
    assert found[0].score == pytest.approx(float(vectors[expected[0] - 1] @ mixed / np.linalg.norm(mixed)), abs=1e-5)
    np.testing.assert_allclose(found.vector, mixed / np.linalg.norm(mixed), atol=1e-5)
    # What is mixed has no pixels that could be explained.
    assert found[0]._explain is None
    assert shop.search(5, 3).matches != found.matches[:3]


def test_the_command_expands_a_query(shop, capsys):
    location = shop.store.name
    shop.close()
    assert command("search", location, 1, "--expand", 3, "--json") == 0
    assert command("search", location, 1, "--expand", 3, "--explain") == 2
    assert "leave one out" in " ".join(capsys.readouterr().err.split())
