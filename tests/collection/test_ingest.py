"""Indexing: every photo is added once, updated in place, and nothing that was acknowledged is lost."""

import multiprocessing
import os
import shutil
import signal
import time
from unicodedata import normalize

import numpy as np
import pytest
import torch

from pairlens.collection import ingest
from pairlens.collection.collection import Collection
from pairlens.collection.item import Region
from pairlens.collection.sources import find_sources
from support.tiny_collections import encoded, new_collection, paths, photo_folder, tiny_backbone, write_photo


@pytest.fixture
def shop(tmp_path):
    with new_collection(tmp_path / "shop") as collection:
        yield collection


def table(file, *lines):
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def found(done):
    return done.added + done.updated + done.moved + done.unchanged + len(done.refused) + len(done.left_out)


def test_found_is_read_refused_and_left_out(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "ab", 2)
    (folder / "a" / "broken.jpg").write_bytes(b"no JPEG")
    (folder / "b" / "notes.txt").write_text("", encoding="utf-8")
    seen = []
    done = shop.add(folder, progress=lambda *numbers: seen.append(numbers))
    assert (done.added, done.read, len(done.refused), len(done.left_out), found(done)) == (4, 4, 1, 1, 6)
    assert done.sentence() == "Found 6: 4 read, 1 refused (1 unreadable photo), 1 left out (1 .txt file). Added 4."
    assert done.refused[0].path == "a/broken.jpg"
    assert seen == [(n, 5) for n in range(1, 6)]
    assert list(done.ids) == [1, 2, 3, 4]
    assert paths(shop) == {"a/0.png": "a", "a/1.png": "a", "b/0.png": "b", "b/1.png": "b"}
    item = shop.get(1)
    assert (item.width, item.height, item.region, item.has_original) == (48, 40, None, False)
    assert shop.store.thumbnails([1])[1][:2] == b"\xff\xd8"


def test_a_photo_is_embedded_as_the_model_sees_it(shop, tmp_path):
    file = write_photo(tmp_path / "photos" / "a.png", 1)
    shop.add(file)
    expected = tiny_backbone().network.embed_batch(tiny_backbone().view.read([file])).numpy()
    assert shop.store.vectors([1]) == pytest.approx(expected, abs=1e-5)


def test_the_same_command_again_changes_nothing(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos")
    shop.add(folder)
    before = shop.store.change()
    done = shop.add([folder, folder / "a"])
    assert (done.added, done.unchanged) == (0, 6)
    assert shop.store.change() == before


def test_a_photo_that_has_changed_keeps_id_label_and_metadata(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "ab", 1)
    shop.add(folder)
    shop.relabel(1, "cat")
    shop.set_metadata(1, {"price": 3})
    old = shop.store.vectors([1])
    write_photo(folder / "a" / "0.png", 55, height=60)
    done = shop.add(folder, labels="none")
    item = shop.get(1)
    assert (done.updated, done.unchanged) == (1, 1)
    assert (item.height, item.label, item.metadata) == (60, "cat", {"price": 3})
    assert not np.allclose(shop.store.vectors([1]), old)


def test_labels_and_metadata_of_known_photos_are_updated(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "ab", 2)
    shop.add(folder)
    shop.set_metadata(1, {"kept": True, "n": 1})
    metadata = table(tmp_path / "m.csv", "path,n", "a/0.png,1.0", "b/1.png,2")
    labels = table(tmp_path / "l.csv", "path,label", "a/1.png,dog")
    done = shop.add(folder, labels=labels, metadata=metadata)
    assert (done.updated, done.unchanged) == (3, 1)
    assert paths(shop) == {"a/0.png": "a", "a/1.png": "dog", "b/0.png": "b", "b/1.png": "b"}
    assert shop.get(1).metadata == {"kept": True, "n": 1.0}
    assert type(shop.get(1).metadata["n"]) is float
    assert shop.get(4).metadata == {"n": 2.0}


def test_a_photo_that_cannot_be_read_any_more_stays(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "a", 2)
    shop.add(folder)
    (folder / "a" / "0.png").write_bytes(b"broken")
    done = shop.add(folder, sync=True)
    assert (len(done.refused), done.removed, len(shop)) == (1, 0, 2)


class TestRegions:
    LINES = ("path,label,x_1,y_1,x_2,y_2", "a.png,left,0,0,20,40", "a.png,right,20,0,900,40", "a.png,,,,,")

    def test_regions_of_one_photo_are_items(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        listed = table(tmp_path / "photos" / "t.csv", *self.LINES)
        assert shop.add(listed).added == 3
        assert [item.region for item in shop.photos()] == [Region(0, 0, 20, 40), Region(20, 0, 28, 40), None]
        assert len({item.digest for item in shop.photos()}) == 1
        assert not np.allclose(*shop.store.vectors([1, 2]))

    def test_boxes_beyond_the_photo_are_the_same_item_again(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        listed = table(tmp_path / "photos" / "t.csv", *self.LINES)
        shop.add(listed)
        assert shop.add(listed).unchanged == 3

    def test_boxes_in_shares_follow_a_photo_that_changes_its_size(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        listed = table(tmp_path / "photos" / "t.csv", "path,x_1,y_1,x_2,y_2", "a.png,0,0,0.5,1", "a.png,0.5,0,1,1")
        shop.add(listed)
        assert shop.add(listed).unchanged == 2
        write_photo(tmp_path / "photos" / "a.png", 2, height=80, width=96)
        assert shop.add(listed).updated == 2
        assert [item.region for item in shop.photos()] == [Region(0, 0, 48, 80), Region(48, 0, 48, 80)]

    def test_a_box_outside_its_photo_is_refused(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        done = shop.add(table(tmp_path / "photos" / "t.csv", "path,x_1,y_1,x_2,y_2", "a.png,100,100,200,200"))
        assert "no pixel inside the photo of 48 × 40" in done.refused[0].reason

    def test_two_boxes_that_are_cut_to_one_region_are_one_item(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        lines = ("path,x_1,y_1,x_2,y_2", "a.png,10,0,100,90", "a.png,10,0,200,90")
        listed = table(tmp_path / "photos" / "t.csv", *lines)
        for added in (1, 0):
            done = shop.add(listed)
            assert (done.added, [entry.kind for entry in done.left_out], found(done)) == (added, ["repeated box"], 2)

    def test_a_folder_keeps_the_regions_of_a_table(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        shop.add(table(tmp_path / "photos" / "t.csv", *self.LINES[:3]))
        assert shop.add(tmp_path / "photos", sync=True).removed == 0
        assert len(shop) == 3

    def test_boxes_that_a_table_does_not_name_any_more_are_gone(self, shop, tmp_path):
        write_photo(tmp_path / "photos" / "a.png", 1)
        places = [tmp_path / "photos", table(tmp_path / "photos" / "t.csv", *self.LINES[:3])]
        shop.add(places)
        table(tmp_path / "photos" / "t.csv", *self.LINES[:2])
        assert shop.add(places, sync=True, confirm=lambda removal: True).removed == 1
        assert [item.region for item in shop.photos()] == [None, Region(0, 0, 20, 40)]


class TestSync:
    def test_a_moved_photo_keeps_its_id_and_what_is_known_of_it(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "ab", 2)
        shop.add(folder)
        shop.set_metadata(1, {"price": 3})
        (folder / "c").mkdir()
        (folder / "a" / "0.png").rename(folder / "c" / "new.png")
        done = shop.add(folder, sync=True, metadata=table(tmp_path / "m.csv", "path,n", "c/new.png,1"))
        assert (done.moved, done.unchanged, done.removed, done.added) == (1, 3, 0, 0)
        item = shop.get(1)
        assert (item.path, item.label, item.metadata) == ("c/new.png", "c", {"price": 3, "n": 1})

    def test_two_copies_of_a_photo_that_moved_are_one_moved_and_one_new(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 1)
        shop.add(folder)
        shutil.copy(folder / "a" / "0.png", folder / "a" / "1.png")
        (folder / "a" / "0.png").rename(folder / "a" / "2.png")
        done = shop.add(folder, sync=True)
        assert (done.moved, done.added, done.removed) == (1, 1, 0)

    def test_a_moved_photo_that_vanishes_meanwhile_is_refused(self, shop, tmp_path, monkeypatch):
        folder = photo_folder(tmp_path / "photos", "a", 1)
        shop.add(folder)
        shutil.copy(folder / "a" / "0.png", folder / "a" / "1.png")
        (folder / "a" / "0.png").rename(folder / "a" / "2.png")
        # As if both copies were read before the first one was taken for the moved photo.
        monkeypatch.setattr(ingest.GoneItems, "has", lambda *_: True)
        monkeypatch.setattr(ingest, "read_bytes", lambda *_: (_ for _ in ()).throw(FileNotFoundError("it is gone")))
        done = shop.add(folder, sync=True)
        assert (done.moved, len(done.refused)) == (1, 1)

    def test_few_photos_are_removed_without_a_question(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 10)
        shop.add(folder)
        (folder / "a" / "3.png").unlink()
        done = shop.add(folder, sync=True)
        assert (done.removed, done.unchanged) == (1, 9)
        assert "Removed 1 that are gone" in done.sentence()

    def test_more_than_a_tenth_is_asked_for(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 4)
        shop.add(folder)
        (folder / "a" / "3.png").unlink()
        write_photo(folder / "a" / "9.png", 9)
        with pytest.raises(ValueError, match=r"1 of 4 photos are gone.*a/3\.png.*--yes.*Added 1"):
            shop.add(folder, sync=True)
        assert len(shop) == 5
        asked = []
        with pytest.raises(ValueError, match="not removed"):
            shop.add(folder, sync=True, confirm=lambda removal: asked.append(removal) or False)
        assert (len(asked[0].ids), asked[0].held) == (1, 5)
        assert shop.add(folder, sync=True, confirm=lambda removal: True).removed == 1

    def test_without_sync_nothing_is_removed(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 2)
        shop.add(folder)
        (folder / "a" / "0.png").unlink()
        shop.add(folder)
        assert len(shop) == 2

    def test_a_folder_that_is_not_mounted_removes_nothing(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 2)
        shop.add(folder)
        shutil.rmtree(folder)
        with pytest.raises(FileNotFoundError):
            shop.add(folder, sync=True, confirm=lambda removal: True)
        folder.mkdir()
        with pytest.raises(ValueError, match="2 of 2 photos are gone"):
            shop.add(folder, sync=True)
        assert len(shop) == 2

    def test_a_folder_that_cannot_be_opened_removes_nothing(self, shop, tmp_path, monkeypatch):
        folder = photo_folder(tmp_path / "photos", "ab", 2)
        shop.add(folder)
        scan = os.scandir

        def closed(path):
            if str(path).endswith("/a"):
                raise PermissionError(13, "Permission denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", closed)
        done = shop.add(folder, sync=True, confirm=lambda removal: True)
        assert (done.removed, done.unchanged) == (0, 2)

    def test_an_inner_folder_that_was_indexed_first_is_part_of_the_outer_one(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "ab", 2)
        shop.add(folder / "a")
        assert (shop.add(folder).added, len(shop)) == (2, 4)
        assert shop.add(folder).unchanged == 4
        (folder / "a" / "0.png").unlink()
        assert shop.add(folder, sync=True, confirm=lambda removal: True).removed == 1

    def test_only_the_named_folder_is_looked_at(self, shop, tmp_path):
        folder = photo_folder(tmp_path / "photos", "ab", 1)
        shop.add(folder)
        shutil.rmtree(folder / "b")
        assert shop.add(folder / "a", sync=True).removed == 0
        assert len(shop) == 2

    def test_accents_of_either_form_are_one_name(self, shop, tmp_path):
        folder = tmp_path / "photos"
        write_photo(folder / normalize("NFD", "é") / "é.png", 1)
        shop.add(folder)
        assert shop.add(folder, sync=True).unchanged == 1
        assert list(paths(shop)) == ["é/é.png"]


class TestInterruption:
    def test_what_was_embedded_is_there_and_the_same_call_goes_on(self, shop, tmp_path, monkeypatch):
        folder = photo_folder(tmp_path / "photos", "ab", 40)

        def interrupt(done, total):
            if done == 70:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            shop.add(folder, progress=interrupt)
        # Whatever was counted is embedded, and so it is written.
        assert len(shop) == 70
        done = shop.add(folder)
        assert (done.added, done.unchanged) == (10, 70)

    @pytest.mark.parametrize("workers", [0, 3])
    def test_small_writes_are_the_same(self, shop, tmp_path, monkeypatch, workers):
        monkeypatch.setattr(ingest, "ITEMS_PER_WRITE", 3)
        folder = photo_folder(tmp_path / "photos", "ab", 5)
        assert shop.add(folder, workers=workers).added == 10
        assert shop.check() == []

    @pytest.mark.parametrize("workers", [None, 1, 5])
    def test_the_number_of_threads_changes_no_vector(self, tmp_path, monkeypatch, workers):
        monkeypatch.setattr(ingest, "BATCH", 3)
        folder = photo_folder(tmp_path / "photos", "ab", 10)
        found = []
        for name, threads in (("alone", 0), ("threads", workers)):
            with new_collection(tmp_path / name) as shop:
                shop.add(folder, workers=threads)
                ids = shop.store.ids()
                found.append((list(paths(shop)), np.concatenate([rows for _, rows in shop.store.vector_blocks()])))
                assert len(ids) == 20
        assert found[0][0] == found[1][0]
        assert np.allclose(found[0][1], found[1][1], rtol=0, atol=1e-6)

    def test_a_kill_loses_nothing_that_was_written(self, tmp_path):
        folder = photo_folder(tmp_path / "photos", "a", 60)
        new_collection(tmp_path / "shop").close()
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=index_slowly, args=(tmp_path / "shop", folder, theirs))
        child.start()
        acknowledged = [ours.recv() for _ in range(3)][-1]
        os.kill(child.pid, signal.SIGKILL)
        child.join(10)
        with Collection.open(tmp_path / "shop") as shop:
            held = len(shop)
            assert acknowledged <= held < 60
            assert shop.check() == []
            done = shop.add(folder)
            assert (done.unchanged, done.added) == (held, 60 - held)


def index_slowly(location, folder, pipe):
    """Index with a write after every fourth photo, and report how many photos each write has made durable."""
    # A forked process has none of the threads among which PyTorch would divide its work.
    torch.set_num_threads(1)
    ingest.BATCH = ingest.ITEMS_PER_WRITE = 4
    with Collection.open(location) as shop:
        write = ingest.Ingest._write

        def reported(self, batch):
            write(self, batch)
            pipe.send(len(shop))
            time.sleep(0.05)

        ingest.Ingest._write = reported
        # Without threads, which a forked process does not have.
        shop.add(folder, workers=0)


def test_two_processes_that_index_the_same_folder_end_well(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "ab", 3)
    sources = find_sources([folder])
    first, second = (ingest.Ingest(shop.store, shop.model) for _ in range(2))
    # The second one has looked before the first one wrote.
    asked = list(second._with_old(sources.photos))
    assert first.run(sources).added == 6
    second._with_old = lambda photos: iter(asked)
    write_photo(folder / "b" / "9.png", 99)
    done = second.run(sources)
    assert (done.added, done.unchanged, len(shop)) == (0, 6, 6)


def test_engines(shop, tmp_path):
    with pytest.raises(ValueError, match="engine 'dask' must be threads or ray"):
        shop.add(photo_folder(tmp_path / "photos", "a", 1), engine="dask")


def test_vectors_are_those_of_the_active_model(shop, tmp_path):
    folder = photo_folder(tmp_path / "photos", "a", 2)
    other = ingest.Ingest(shop.store, tiny_backbone(1))
    with pytest.raises(ValueError, match="two models cannot be compared"):
        other.run(find_sources([folder]))
    assert len(shop) == 0


def test_a_repaired_photo_is_read(shop, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encoded(1, "JPEG")[:-2])
    assert shop.add(tmp_path / "photos").added == 1
