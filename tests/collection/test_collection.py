"""A collection as a whole: made, opened, looked at, proved and copied."""

import os
import shutil

import numpy as np
import pytest

from pairlens.collection import collection_model
from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import MODELS, load_model, open_model
from pairlens.collection.filters import between, under
from pairlens.collection.location import DATABASE, create_store, exists
from pairlens.collection.stored_calibration import DOCUMENT
from support.tiny_collections import encoded, new_collection, photo_folder, pixels, tiny_backbone, tiny_run, write_photo


@pytest.fixture
def shop(tmp_path):
    with new_collection(tmp_path / "shop", tiny_run()) as collection:
        collection.add(photo_folder(tmp_path / "photos", "ab", 3))
        yield collection


class TestPlaces:
    def test_a_collection_is_made_once(self, shop, tmp_path):
        with pytest.raises(ValueError, match="a collection already"):
            new_collection(tmp_path / "shop")
        with pytest.raises(ValueError, match="other files"):
            new_collection(tmp_path / "photos")
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(ValueError, match="is a file"):
            new_collection(tmp_path / "file")
        (tmp_path / "empty").mkdir()
        new_collection(tmp_path / "empty").close()

    def test_a_wrong_model_leaves_nothing_behind(self, tmp_path):
        with pytest.raises(ValueError, match="no_such_backbone"):
            Collection.create(tmp_path / "new", "no_such_backbone")
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_is_none(self, shop, tmp_path):
        assert exists(tmp_path / "shop")
        assert not exists(tmp_path / "photos")
        with pytest.raises(ValueError, match="shopp is not a collection; did you mean"):
            Collection.open(tmp_path / "shopp")
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / DATABASE).write_bytes(b"no database" * 100)
        with pytest.raises(ValueError, match="bad"):
            Collection.open(tmp_path / "bad")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="pipe"):
            Collection.open(tmp_path / "pipe")

    def test_reading_only(self, shop, tmp_path):
        with Collection.open(tmp_path / "shop", read_only=True) as reader:
            assert reader.search(1, k=2)[0].score > 0
            for work in (lambda: reader.remove(1), lambda: reader.add(pixels(9)), lambda: reader.relabel(1, "x")):
                with pytest.raises(ValueError, match="for reading only"):
                    work()

    def test_it_works_where_it_is_moved(self, shop, tmp_path):
        shop.close()
        shutil.move(tmp_path / "shop", tmp_path / "moved")
        with Collection.open(tmp_path / "moved") as moved:
            assert moved.model.name == "tiny run 1"
            assert moved.search(tmp_path / "photos" / "a" / "0.png", k=1)[0].score == pytest.approx(1, abs=1e-4)


class TestModels:
    @pytest.mark.parametrize("make", [tiny_backbone, tiny_run])
    def test_a_copy_gives_the_same_vectors(self, tmp_path, make):
        with new_collection(tmp_path / "shop", make()) as shop:
            opened = load_model(shop.store, make().fingerprint)
        seen = np.stack([pixels(n, 32, 32) for n in range(40)])
        assert opened.embed(seen) == pytest.approx(make().embed(seen), abs=1e-6)
        assert (opened.name, opened.kind, opened.dim) == (make().name, make().kind, make().dim)
        assert opened.embed(seen[:0]).shape == (0, opened.dim)

    @pytest.mark.parametrize("source", ["no/such/run", "no.onnx", "no_such_backbone"])
    def test_what_is_no_model(self, source):
        with pytest.raises((ValueError, OSError)):
            open_model(source)

    def test_a_damaged_copy_is_refused_by_name(self, shop):
        prefix = f"{MODELS}/{shop.active.fingerprint}/"
        kind = shop.store.document(prefix + "kind.json")
        for name, contents, words in (
            ("kind.json", b"{}", "damaged or of a newer version"),
            ("kind.json", b"[" * 100_000, "nested"),
            ("model.json", b"{}", "damaged or of another shape"),
            ("model.safetensors", b"no weights", "damaged or of another shape"),
        ):
            before = shop.store.document(prefix + name)
            shop.store.write_document(prefix + name, contents)
            with pytest.raises(ValueError, match=words):
                load_model(shop.store, shop.active.fingerprint)
            shop.store.write_document(prefix + name, before)
        assert shop.store.document(prefix + "kind.json") == kind

    def test_weights_of_another_model_are_noticed(self, shop):
        other = tiny_run(2)
        collection_model.save_model(other, shop.store)
        for file in ("model.json", "model.safetensors"):
            wrong = shop.store.document(f"{MODELS}/{other.fingerprint}/{file}")
            shop.store.write_document(f"{MODELS}/{shop.active.fingerprint}/{file}", wrong)
        with pytest.raises(ValueError, match="has the fingerprint"):
            load_model(shop.store, shop.active.fingerprint)


class TestItems:
    def test_reading(self, shop):
        assert len(shop) == shop.count() == 6
        assert [item.id for item in shop.photos(after=2, limit=2)] == [3, 4]
        assert [item.id for item in shop.photos({"path": under("b/")})] == [4, 5, 6]
        assert shop.count({"id": between(2, 3)}) == 2
        assert shop.labels() == {"a": 3, "b": 3}
        assert shop.get(np.int64(2)).path == "a/1.png"
        for id in (99, -1, 1.5, "1", True, 1 << 70):
            with pytest.raises(ValueError, match="id"):
                shop.get(id)
        with pytest.raises(ValueError, match="limit"):
            shop.photos(limit=0)

    def test_removing(self, shop):
        assert shop.remove(1) == 1
        assert shop.remove([1, 2, 99]) == 1
        assert shop.remove(where={"label": "b"}) == 3
        assert len(shop) == 1
        for named in (
            {},
            {"where": {}},
            {"ids": 3, "where": {"label": "a"}},
            {"ids": "3"},
            {"ids": 3.5},
            {"ids": [1 << 70]},
        ):
            with pytest.raises(ValueError, match=r"ids|id "):
                shop.remove(**named)

    def test_labels_and_metadata(self, shop):
        assert shop.relabel([1, 2, 99], " dress ") == 2
        assert shop.relabel(np.array([3]), None) == 1
        assert shop.labels() == {"b": 3, "dress": 2, None: 1}
        assert shop.set_metadata(1, {"price": np.float32(2.5)}) == 1
        assert shop.get(1).metadata == {"price": 2.5}
        assert shop.set_metadata(99, {}) == 0
        for label in ("", "  ", "\x1b", 3):
            with pytest.raises(ValueError, match="label"):
                shop.relabel(1, label)


class TestCare:
    def test_info(self, shop, tmp_path):
        shop.add([encoded(900)], metadata=[{"n": 1}])
        about = shop.info()
        assert (about["photos"], about["labels"], about["without_label"]) == (7, 2, 1)
        assert about["metadata"] == {"n": 1}
        assert about["roots"] == {"": 1, (tmp_path / "photos").as_posix(): 6}
        assert about["model"] == "tiny run 1"
        assert about["calibration"].startswith("none")
        shop.store.write_document(DOCUMENT, b"{}")
        assert "damaged" in shop.info()["calibration"]
        with Collection.create(tmp_path / "none", "none") as empty:
            assert (empty.info()["model"], empty.info()["dimension"]) == ("none yet", 0)

    def test_check_finds_what_is_wrong(self, shop):
        shop.add([encoded(900), pixels(901)])
        assert shop.check() == []
        with shop.store._database.writing() as db:
            db.execute("UPDATE originals SET contents = ? WHERE item = 7", (encoded(55),))
            db.execute("UPDATE originals SET contents = x'00' WHERE item = 8")
        prefix = f"{MODELS}/{shop.active.fingerprint}/"
        shop.store.remove_document(prefix + "kind.json")
        shop.store.write_document(DOCUMENT, b"{")
        faults = [fault.what for fault in shop.check()]
        assert len(faults) == 4
        for words in ("the photo 7", "the photo 8", "lacks its first file", "the calibration is damaged"):
            assert any(words in fault for fault in faults)
        shop.store.write_document(DOCUMENT, b"{")
        shop.store.remove_document(prefix + "model.safetensors")

    def test_a_snapshot_is_a_collection(self, shop, tmp_path):
        shop.add([encoded(900)])
        shop.snapshot(tmp_path / "copy")
        shop.remove(shop.store.ids())
        with Collection.open(tmp_path / "copy") as copy:
            assert copy.check() == []
            assert copy.search(tmp_path / "photos" / "b" / "1.png", k=1)[0].path == "b/1.png"
            assert copy.add(write_photo(tmp_path / "more.png", 901)).added == 1
        with pytest.raises(ValueError, match="never overwritten"):
            shop.snapshot(tmp_path / "copy")

    def test_a_snapshot_that_fails_leaves_nothing(self, shop, tmp_path, monkeypatch):
        def fail(target):
            raise OSError("the disk is full")

        monkeypatch.setattr(shop.store, "snapshot", fail)
        with pytest.raises(OSError, match="full"):
            shop.snapshot(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_reindexing_gives_bytes_back(self, shop, tmp_path):
        shop.add([pixels(n, 300, 300) for n in range(1000, 1010)])
        size = shop.store.size()
        shop.remove(shop.store.ids()[6:])
        shop.reindex()
        assert shop.store.size() < size
        assert shop.check() == []


def test_the_same_over_postgresql(tmp_path):
    pytest.importorskip("psycopg")
    from support.postgres_server import new_url

    url = new_url()
    photos = photo_folder(tmp_path / "photos", "ab", 3)
    with Collection.create(url, tiny_run()) as shop:
        assert shop.add(photos).added == 6
        assert shop.add([pixels(77)], labels=["kept"]).added == 1
        assert shop.add(photos).unchanged == 6
        result = shop.search(photos / "a" / "1.png", k=3, where={"label": ["a", "b"]})
        assert (result[0].path, len(result)) == ("a/1.png", 3)
        assert result[0].explain().score == pytest.approx(1, abs=1e-3)
        (photos / "a" / "0.png").rename(photos / "b" / "9.png")
        done = shop.add(photos, sync=True)
        assert (done.moved, done.unchanged) == (1, 5)
        assert shop.migrate(tiny_backbone()).embedded == 7
        with Collection.open(url) as other:
            assert other.search(photos / "a" / "1.png", k=1)[0].path == "a/1.png"
            other.return_to_former_model()
        assert shop.active.fingerprint == tiny_run().fingerprint
        assert shop.export_vectors(tmp_path / "v.parquet") == 7
        assert shop.info()["photos"] == 7
        with pytest.raises(ValueError, match="pg_dump"):
            shop.snapshot(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    with pytest.raises(ValueError, match="already"):
        create_store(url)
