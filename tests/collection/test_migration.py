"""A migration: searches answer from the old vectors until one change-over, and back."""

from pathlib import Path

import numpy as np
import pytest

from pairlens.collection import migration
from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import MODELS
from pairlens.collection.photo_view import view_photo
from pairlens.collection.stored_calibration import DOCUMENT
from support.tiny_collections import (
    new_collection,
    photo_folder,
    pixels,
    tiny_backbone,
    tiny_run,
    write_photo,
)


@pytest.fixture
def shop(tmp_path):
    with new_collection(tmp_path / "shop") as collection:
        collection.add(photo_folder(tmp_path / "photos", "abc", 5))
        yield collection


def expected_vectors(shop, model):
    return np.stack([model.embed(view_photo((item_file(item)), model.view).seen[None])[0] for item in shop.photos()])


def item_file(item):
    return Path(item.file).read_bytes()


def plain_neighbours(vectors):
    """The 10 nearest rows of each row, by plain loops."""
    nearest = []
    for own, vector in enumerate(vectors):
        others = [(-float(vector @ other), number) for number, other in enumerate(vectors) if number != own]
        nearest.append([number + 1 for _, number in sorted(others)[:10]])
    return nearest


def test_the_report_is_that_of_a_plain_loop(shop):
    before = plain_neighbours(shop.store.vectors(shop.store.ids()))
    done = shop.migrate(tiny_run())
    vectors = shop.store.vectors(shop.store.ids())
    assert vectors == pytest.approx(expected_vectors(shop, tiny_run()), abs=1e-5)
    after = plain_neighbours(vectors)
    overlaps = [len(set(a) & set(b)) / 10 for a, b in zip(before, after, strict=True)]
    assert done.overlap == pytest.approx(np.mean(overlaps))
    assert done.nearest_changed == pytest.approx(np.mean([a[0] != b[0] for a, b in zip(before, after, strict=True)]))
    assert (done.embedded, done.from_thumbnails, done.compared) == (15, 0, 15)
    worst = done.examples[0]
    assert worst.overlap == min(overlaps)
    assert (list(worst.before), list(worst.after)) == (before[worst.id - 1], after[worst.id - 1])
    assert f"Of the 10 nearest photos {100 * done.overlap:.1f} % stayed" in done.sentence()
    assert [model.state for model in shop.store.models()] == ["active", "former"]
    assert shop.check() == []


def test_blocks_and_ties_change_no_neighbour(monkeypatch):
    rng = np.random.default_rng(0)
    scores, ids = rng.integers(0, 9, (4, 200)).astype(np.float32), np.arange(200)
    best, best_ids = np.full((4, 10), -np.inf, np.float32), np.full((4, 10), -1, np.int64)
    for start in (0, 90, 95):
        stop = {0: 90, 90: 95, 95: 200}[start]
        best, best_ids = migration._merged(best, best_ids, scores[:, start:stop], ids[start:stop])
    assert best == pytest.approx(-np.sort(-scores, axis=1)[:, :10])
    assert np.array_equal(np.take_along_axis(scores, best_ids, axis=1), best)


def test_searches_answer_from_the_old_vectors_meanwhile(shop, tmp_path):
    other = Collection.open(tmp_path / "shop")
    scores, query = [], pixels(1)
    old = other.search(query, k=15)

    def look(done, total):
        result = other.search(query, k=15)
        scores.append([(match.id, match.score) for match in result])
        assert other.active.fingerprint == tiny_backbone().fingerprint

    shop.migrate(tiny_run(), progress=look)
    assert scores == [[(match.id, match.score) for match in old]]
    assert other.active.fingerprint == tiny_run().fingerprint
    other.close()


def test_an_interrupted_migration_goes_on(shop, monkeypatch):
    monkeypatch.setattr(migration, "_CHUNK", 4)

    def interrupt(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.migrate(tiny_run(), progress=interrupt)
    assert [model.state for model in shop.store.models()] == ["active", "new"]
    assert shop.search(1, k=3).vector.shape == (tiny_backbone().dim,)
    with pytest.raises(ValueError, match=r"has begun; finish it .*--back"):
        shop.migrate(tiny_backbone(1))
    assert shop.migrate(tiny_run()).embedded == 7
    assert shop.active.fingerprint == tiny_run().fingerprint


def test_a_migration_that_has_begun_can_be_given_up(shop, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migration, "_change_over", fail)
        with pytest.raises(KeyboardInterrupt):
            shop.migrate(tiny_run())
    assert shop.return_to_former_model().fingerprint == tiny_backbone().fingerprint
    assert len(shop.store.models()) == 1
    assert not [name for name in shop.store.documents() if tiny_run().fingerprint in name]
    assert shop.migrate(tiny_backbone(1)).embedded == 15


def test_photos_that_come_and_go_meanwhile_are_no_trouble(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(migration, "_CHUNK", 4)
    other = Collection.open(tmp_path / "shop")
    calls = []

    def change(done, total):
        calls.append(done)
        other.remove(other.store.ids()[-1:])
        other.add(write_photo(tmp_path / "more" / f"{len(calls)}.png", 500 + len(calls)))
        if len(calls) == 1:
            write_photo(tmp_path / "photos" / "a" / "0.png", 900)
            other.add(tmp_path / "photos", workers=0)

    replaced = migration._seen

    def seen(store, model, item):
        # One is removed, and another one changed, between the look at the list and the reading.
        if item.id == 10:
            other.remove([10])
        view = replaced(store, model, item)
        if item.id == 11:
            other.add(write_photo(tmp_path / "photos" / "c" / "0.png", 901))
        return view

    monkeypatch.setattr(migration, "_seen", seen)
    shop.migrate(tiny_run(), workers=0, progress=lambda *n: change(*n) if len(calls) < 3 else None)
    assert shop.store.vectors(shop.store.ids()) == pytest.approx(expected_vectors(shop, tiny_run()), abs=1e-5)
    assert shop.check() == []
    other.close()


def test_photos_that_are_added_before_the_change_over_are_embedded(shop, tmp_path, monkeypatch):
    sample = migration._sample

    def add_one(store):
        found = sample(store)
        shop.add(write_photo(tmp_path / "late.png", 700))
        return found

    monkeypatch.setattr(migration, "_sample", add_one)
    shop.migrate(tiny_run())
    assert len(shop.store.vectors(shop.store.ids())) == 16


class TestBack:
    def test_it_is_one_step_and_new_photos_come_along(self, shop, tmp_path):
        old = shop.store.vectors(shop.store.ids())
        shop.migrate(tiny_run())
        shop.add(write_photo(tmp_path / "photos" / "a" / "9.png", 800))
        assert shop.return_to_former_model().fingerprint == tiny_backbone().fingerprint
        vectors = shop.store.vectors(shop.store.ids())
        assert vectors[:15] == pytest.approx(old)
        assert vectors == pytest.approx(expected_vectors(shop, tiny_backbone()), abs=1e-5)
        # And forth again, without embedding anything.
        assert shop.migrate(tiny_run()).embedded == 0

    def test_without_a_former_model_there_is_no_way_back(self, shop):
        with pytest.raises(ValueError, match="no former model"):
            shop.return_to_former_model()


def test_of_three_models_the_first_is_dropped(shop):
    for model in (tiny_run(), tiny_backbone(1)):
        shop.migrate(model)
    kept = {name.split("/")[1] for name in shop.store.documents() if name.startswith(f"{MODELS}/")}
    assert kept == {tiny_run().fingerprint, tiny_backbone(1).fingerprint}


def test_the_calibration_of_the_former_model_goes(shop):
    shop.store.write_document(DOCUMENT, b"{}")
    shop.migrate(tiny_run())
    assert shop.store.document(DOCUMENT) is None


def test_files_that_are_gone_or_changed_are_embedded_from_thumbnails(shop, tmp_path):
    (tmp_path / "photos" / "a" / "0.png").unlink()
    write_photo(tmp_path / "photos" / "a" / "1.png", 999)
    shop.add([pixels(600, 300, 400)])
    done = shop.migrate(tiny_run())
    assert (done.embedded, done.from_thumbnails) == (16, 2)
    assert "2 of them from their thumbnails" in done.sentence()
    thumbnail = tiny_run().embed(view_photo(shop.store.thumbnails([1])[1], tiny_run().view).seen[None])
    assert shop.store.vectors([1]) == pytest.approx(thumbnail, abs=1e-5)
    # A given photo is kept as it was, so nothing of it is lost.
    whole = tiny_run().embed(view_photo(pixels(600, 300, 400), tiny_run().view).seen[None])
    assert shop.store.vectors([16]) == pytest.approx(whole, abs=1e-5)


def test_the_active_model_is_no_new_one(shop):
    with pytest.raises(ValueError, match="speaks tiny 0 already"):
        shop.migrate(tiny_backbone())


def test_a_collection_without_photos_has_nothing_to_move(tmp_path):
    with (
        Collection.create(tmp_path / "shop", "none") as shop,
        pytest.raises(ValueError, match="no photos and no model"),
    ):
        shop.migrate(tiny_run())


def test_vectors_without_pixels_cannot_move(tmp_path):
    from support.stores import fill

    with Collection.create(tmp_path / "shop", "none") as shop:
        fill(shop.store, 2)
        assert shop.migrate(tiny_run()).from_thumbnails == 2
    with Collection.create(tmp_path / "other", "none") as shop:
        from support.stores import MODEL, photo, unit_vectors

        shop.store.start_model(MODEL, 8)
        shop.store.add([photo(1, thumbnail=b"")], unit_vectors(1), MODEL)
        with pytest.raises(ValueError, match=r"no pixels of the photo 1 \(cat/1\.jpg\)"):
            shop.migrate(tiny_run())
