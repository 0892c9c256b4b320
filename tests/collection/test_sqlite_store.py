"""What only the store in one SQLite file has: durability, damage, untrusted files, locks, and its approximate index."""

import contextlib
import errno
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
import time

import numpy as np
import pytest

from pairlens.collection import change_log, sqlite_schema
from pairlens.collection.filters import as_conditions, between
from pairlens.collection.inverted_file import lists_file, read_lists, write_lists
from pairlens.collection.sqlite_store import SqliteStore
from pairlens.core.files import UnwritableError
from support.killed_writer import write_until_killed
from support.ranks import PRELOADED
from support.stores import DIM, MODEL, fill, photo, unit_vectors


@pytest.fixture
def file(tmp_path):
    return tmp_path / "collection.sqlite"


@pytest.fixture
def closed(file):
    """The file of a collection of 40 items that nobody has open."""
    store = SqliteStore.create(file)
    fill(store, 40)
    store.close()
    return file


@pytest.fixture
def opened(closed):
    store = SqliteStore.open(closed)
    yield store
    store.close()


def execute(file, *statements):
    """Change a file behind the back of the store; returns the rows of the last statement."""
    with sqlite3.connect(file) as db:
        for statement, *values in statements:
            rows = db.execute(statement, values).fetchall()
    db.close()
    return rows


# The metadata of items 1 to 5, and the items that filters keep.
METADATA = ({"a": 3, "b": "3"}, {"a": 2.5, "b": True}, {"a": "x", "b": None}, {}, {"a": False, "b": 1})
KEPT = (
    ({"a": between(2, 3)}, [1, 2]),
    ({"a": between(2)}, [1, 2]),
    ({"a": between(None, 2.5)}, [2]),
    ({"a": [3.0, "x"]}, [1, 3]),
    ({"a": [0, 1]}, []),
    ({"a": False}, [5]),
    ({"b": "3"}, [1]),
    ({"b": 3}, []),
    ({"b": [True, None]}, [2, 3, 4]),
    ({"b": 1}, [5]),
    ({"a": 3, "b": "3", "label": "cat"}, [1]),
    ({"a": []}, []),
)


def write_version_1(file):
    """Write a collection as the version without an index of the metadata did."""
    store = SqliteStore.create(file)
    store.start_model(MODEL, DIM)
    items = [photo(number, label="cat", metadata=values) for number, values in enumerate(METADATA)]
    store.add(items, unit_vectors(len(items)), MODEL)
    store.close()
    # The tables must be exactly those of that version to be opened.
    execute(file, ["DROP TABLE metadata_values"], ["PRAGMA user_version = 1"])


def content(store):
    """All rows and all vectors."""
    ids = store.ids()
    return [store.items(ids), store.vectors(ids).tolist(), store.documents(), store.models()]


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have imported everything; each is forked from one that has no threads."""
    context = multiprocessing.get_context("forkserver")
    # The tests of several ranks in this process start theirs from the same one.
    context.set_forkserver_preload([*PRELOADED, "support.killed_writer"])
    with pytest.MonkeyPatch.context() as patch:
        # That process does not get the module path of this one by itself.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield context


def acknowledged(processes, file, first, seconds):
    """Let a process write, kill it, and yield what it has reported."""
    ours, theirs = processes.Pipe(duplex=False)
    worker = processes.Process(target=write_until_killed, args=(file, first, theirs), daemon=True)
    worker.start()
    theirs.close()
    yield ours.recv()
    time.sleep(seconds)
    worker.kill()
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield ours.recv()
    worker.join()
    ours.close()


class TestDurability:
    def test_what_was_acknowledged_survives_kills(self, closed, processes):
        draw = random.Random(0)
        expected, removed, unsure = {}, set(), set()
        for kill in range(6):
            last = None
            for word, number, ids in acknowledged(processes, closed, 1000 + kill * 10**5, draw.uniform(0, 0.15)):
                last = word, number, ids
                vectors = unit_vectors(20, seed=number)
                if word == "added":
                    expected |= dict(zip(ids, vectors, strict=True))
                elif word == "replaced":
                    expected |= dict(zip(ids, -vectors, strict=False))
                else:
                    removed |= set(ids)
            # What follows the last report may have happened.
            word, _, ids = last
            unsure |= set(range(ids[0], ids[0] + 4)) if word != "removed" else set()
        store = SqliteStore.open(closed)
        assert store.check() == []
        there = set(store.ids().tolist())
        assert len(expected) > 100
        assert not removed & there
        assert set(expected) - removed - unsure <= there
        for id in sorted(set(expected) & there - unsure):
            assert np.array_equal(store.vectors([id])[0], expected[id])
        # Batches that were not reported are there completely.
        unreported = there - set(expected) - set(range(1, 41))
        assert len(unreported) % 20 == 0
        store.close()

    def test_a_batch_that_fails_leaves_nothing(self, opened):
        before = content(opened)
        with pytest.raises(ValueError, match="already"):
            opened.add([*[photo(number) for number in range(100, 110)], photo(3)], unit_vectors(11), MODEL)
        assert content(opened) == before
        assert opened.check() == []

    def test_an_interrupted_writer_leaves_nothing_and_lets_others_write(self, opened, monkeypatch):
        from pairlens.collection import sqlite_store

        before = content(opened)

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sqlite_store, "append_vectors", interrupt)
            with pytest.raises(KeyboardInterrupt):
                opened.add([photo(100)], unit_vectors(1), MODEL)
        assert content(opened) == before
        opened.add([photo(100)], unit_vectors(1), MODEL)

    def test_commits_are_flushed_to_the_disk(self, opened):
        with opened._database.maintaining() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert db.execute("PRAGMA page_size").fetchone() == (16384,)

    def test_removed_bytes_are_gone_after_compacting(self, file):
        store = SqliteStore.create(file)
        vectors = unit_vectors(3, 512)
        store.start_model(MODEL, 512)
        secret = photo(
            1, path="a/secret-path.jpg", label="secret-label", metadata={"k": "secret-text"}, original=b"\1" * 99
        )
        ids = store.add([photo(0), secret, photo(2)], vectors, MODEL)
        store.remove(ids[1:2])
        store.compact()
        store.close()
        contents = file.read_bytes()
        assert not file.with_name(f"{file.name}-wal").exists()
        # Pieces, because a vector may lie on two pages.
        kept, lost = ([vectors[row, start : start + 4].tobytes() in contents for start in range(508)] for row in (0, 1))
        assert np.mean(kept) > 0.9
        assert not any(lost)
        for text in (b"secret", b"\1" * 99, bytes.fromhex(secret.digest)):
            assert text not in contents


class TestOtherProcesses:
    def test_a_second_writer_waits_and_then_says_so(self, closed):
        first, second = SqliteStore.open(closed), SqliteStore.open(closed, wait=0.1)
        with first._database.writing():
            with pytest.raises(ValueError, match=r"written to by another process.*--wait"):
                second.add([photo(100)], unit_vectors(1), MODEL)
            # Readers do not wait.
            assert second.count() == 40
            assert second.search(unit_vectors(1), 1).ids[0, 0] > 0
        second.add([photo(100)], unit_vectors(1), MODEL)
        assert first.count() == 41

    def test_a_reader_that_is_far_behind_loads_everything(self, closed, monkeypatch):
        monkeypatch.setattr(change_log, "LONGEST", 8)
        writer, reader = SqliteStore.open(closed), SqliteStore.open(closed)
        reader.search(unit_vectors(1), 1)
        ids = [writer.add([photo(100 + n)], unit_vectors(1, seed=n), MODEL)[0] for n in range(30)]
        with writer._database.reading() as db:
            assert db.execute("SELECT count(*) FROM changes").fetchone()[0] < 20
        assert [reader.search(unit_vectors(1, seed=n), 1).ids[0, 0] for n in (1, 9, 29)] == [ids[1], ids[9], ids[29]]

    def test_an_interrupted_search_leaves_no_half_changed_index(self, closed, monkeypatch):
        from pairlens.collection import live_index

        writer, reader = SqliteStore.open(closed), SqliteStore.open(closed)
        reader.search(unit_vectors(1), 1)
        ids = writer.add([photo(100)], unit_vectors(1, seed=3), MODEL)

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(live_index, "read_vectors", interrupt)
            with pytest.raises(KeyboardInterrupt):
                reader.search(unit_vectors(1), 1)
        assert reader.search(unit_vectors(1, seed=3), 1).ids.tolist() == [ids]

    def test_a_block_that_is_read_stays_as_it_was(self, closed):
        store, other = SqliteStore.open(closed), SqliteStore.open(closed)
        blocks = store.vector_blocks()
        ids, _ = next(blocks)
        other.remove(ids[:5])
        assert len(ids) + sum(len(more) for more, _ in blocks) == 40


class TestBadFiles:
    @pytest.mark.parametrize("contents", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
    def test_another_file_is_no_collection(self, file, contents):
        file.write_bytes(contents)
        with pytest.raises(ValueError, match="collection\\.sqlite is"):
            SqliteStore.open(file)
        assert file.read_bytes() == contents

    def test_another_database_is_no_collection(self, file):
        execute(file, ["CREATE TABLE a (b)"])
        with pytest.raises(ValueError, match="no collection of Pairlens"):
            SqliteStore.open(file)

    def test_a_missing_file_and_an_existing_one(self, closed):
        with pytest.raises(FileNotFoundError):
            SqliteStore.open(closed.with_name("other"))
        before = closed.read_bytes()
        with pytest.raises(ValueError, match="exists already"):
            SqliteStore.create(closed)
        assert closed.read_bytes() == before

    def test_a_newer_version_is_left_alone(self, closed):
        execute(closed, ["PRAGMA user_version = 99"])
        with pytest.raises(ValueError, match=r"version 99.*update Pairlens"):
            SqliteStore.open(closed)

    def test_an_older_version_is_led_to_the_present_one(self, closed, monkeypatch):
        monkeypatch.setattr(sqlite_schema, "STEPS", (*sqlite_schema.STEPS, "CREATE TABLE more (number INTEGER)"))
        for module in ("sqlite_schema", "sqlite_database"):
            monkeypatch.setattr(f"pairlens.collection.{module}.VERSION", len(sqlite_schema.STEPS))
        store = SqliteStore.open(closed)
        assert store.count() == 40
        store.close()
        execute(closed, ["INSERT INTO more VALUES (1)"])
        SqliteStore.open(closed, read_only=True).close()

    @pytest.mark.parametrize("read_only", [True, False])
    def test_a_collection_without_an_index_of_the_metadata_is_filtered_in_the_same_way(self, file, read_only):
        write_version_1(file)
        store = SqliteStore.open(file, read_only=read_only)
        for where, kept in KEPT:
            assert store.ids(as_conditions(where)).tolist() == kept, where
            assert set(store.search(unit_vectors(1), 4, as_conditions(where)).ids[0]) - {-1} == set(kept), where
        assert store.check() == []
        store.close()
        assert execute(file, ["PRAGMA user_version"]) == [(1 if read_only else 2,)]

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
            "CREATE VIEW v AS SELECT 1",
            "CREATE TABLE more (number INTEGER)",
            "DROP INDEX items_by_label",
            "ALTER TABLE documents ADD COLUMN more TEXT",
        ],
    )
    def test_third_party_tables_are_refused(self, closed, statement):
        execute(closed, [statement])
        with pytest.raises(ValueError, match="other tables, views or triggers"):
            SqliteStore.open(closed)

    def test_links_and_pipes_are_refused(self, closed, tmp_path):
        link = tmp_path / "link.sqlite"
        link.symlink_to(closed)
        with pytest.raises(ValueError, match="is a link"):
            SqliteStore.open(link)
        with pytest.raises(ValueError, match="exists already"):
            SqliteStore.create(link)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="pipe"):
            SqliteStore.open(tmp_path / "pipe")
        os.mkfifo(tmp_path / "collection.sqlite-wal")
        with pytest.raises(ValueError, match="pipe"):
            SqliteStore.open(closed)

    def test_a_damaged_page_is_one_sentence(self, closed):
        contents = bytearray(closed.read_bytes())
        contents[16384 * 2 : 16384 * 12] = b"\xff" * (16384 * 10)
        closed.write_bytes(contents)
        store = SqliteStore.open(closed)
        assert any("damaged" in fault.what for fault in store.check())
        with pytest.raises(ValueError, match="damaged"):
            store.items(range(40))

    def test_a_full_disk_loses_nothing(self, opened):
        before = content(opened)
        with opened._database.maintaining() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnwritableError, match=r"disk is full.*free some space"):
            opened.add([photo(100, original=bytes(10_000_000))], unit_vectors(1), MODEL)
        with opened._database.maintaining() as db:
            db.execute("PRAGMA max_page_count = 1000000")
        assert content(opened) == before
        assert opened.check() == []

    def test_reading_only_writes_nothing(self, closed):
        store = SqliteStore.open(closed, read_only=True)
        assert store.search(unit_vectors(1), 3).ids.shape == (1, 3)
        with pytest.raises(ValueError, match="for reading only"):
            store.remove([1])
        assert store.check() == []
        with pytest.raises(ValueError, match="for reading only"):
            store.compact()

    def test_a_read_only_disk_can_be_read(self, closed, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)
        store = SqliteStore.open(closed, read_only=True)
        assert store.search(unit_vectors(1), 1).ids.tolist() == [[1]]
        # Nothing was made beside the file.
        assert [file.name for file in closed.parent.iterdir()] == [closed.name]

    def test_errors_of_the_system_are_one_sentence(self, opened):
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        with pytest.raises(UnwritableError, match="get permission"), opened._database.errors():
            raise error

    def test_a_closed_store_says_so(self, opened):
        opened.close()
        with pytest.raises(ValueError, match="closed"):
            opened.count()

    def test_values_of_another_kind_are_no_traceback(self, closed):
        execute(closed, ["UPDATE items SET digest = 7 WHERE id = 3"], ["UPDATE thumbnails SET jpeg = 1000000000000"])
        store = SqliteStore.open(closed)
        with pytest.raises(ValueError, match="item 3 cannot be read"):
            store.items([3])
        assert store.thumbnails([4]) == {4: b"1000000000000"}

    @pytest.mark.parametrize("metadata", ["[1]", '{"a": {}}', "{", '{"a": [1]}', "[" * 5000])
    def test_third_party_metadata_gives_no_traceback(self, closed, metadata):
        execute(closed, ["UPDATE items SET metadata = ? WHERE id = 7", metadata])
        store = SqliteStore.open(closed)
        with pytest.raises(ValueError, match="item 7 cannot be read"):
            store.items([7])
        assert ["item 7" in fault.what for fault in store.check()] == [True]


class TestCheck:
    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            (["UPDATE slots SET slot = slot + 1 WHERE item = 40"], "places of vectors"),
            (["DELETE FROM slots WHERE item = 4"], "places of vectors"),
            (["UPDATE slots SET item = item + 100 WHERE item > 30"], "places of vectors"),
        ],
    )
    def test_places_are_repaired(self, closed, statement, words):
        execute(closed, statement)
        store = SqliteStore.open(closed)
        faults = store.check()
        assert any(words in fault.what and fault.repaired for fault in faults)
        assert store.check() == []
        assert np.array_equal(store.vectors(range(1, 41)), unit_vectors(40))

    @pytest.mark.parametrize(
        "statement",
        [
            ["DELETE FROM metadata_values WHERE item = 4"],
            ["UPDATE metadata_values SET value = 99 WHERE key = 'price' AND item = 4"],
            ["INSERT INTO metadata_values VALUES ('price', 3, 1000)"],
        ],
    )
    def test_the_index_of_the_metadata_is_repaired(self, closed, statement):
        execute(closed, statement)
        store = SqliteStore.open(closed)
        assert [fault.repaired for fault in store.check()] == [True]
        assert store.check() == []
        assert store.ids(as_conditions({"price": 3})).tolist() == [4]

    def test_vectors_of_no_item_are_removed(self, closed):
        execute(closed, ["PRAGMA foreign_keys = OFF"], ["DELETE FROM items WHERE id = 9"], ["DELETE FROM thumbnails"])
        store = SqliteStore.open(closed)
        # The place of its vector, and its metadata.
        assert [fault.repaired for fault in store.check()] == [True, True]
        assert store.check() == []
        assert 9 not in store.search(unit_vectors(40), 40).ids

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            (["UPDATE items SET digest = x'00' WHERE id = 3"], "digest of item 3"),
            (["UPDATE items SET label = ? WHERE id = 3", "a\x1b[31m"], "item 3 has control characters"),
            (["UPDATE thumbnails SET jpeg = x'00' WHERE item = 3"], "thumbnail of item 3"),
            (["UPDATE block_vectors SET vectors = zeroblob(length(vectors))"], "vector of item 1 is not finite"),
            (["UPDATE block_vectors SET vectors = zeroblob(7)"], "7 bytes of vectors"),
            (["UPDATE blocks SET ids = zeroblob(7)"], "7 bytes of ids"),
            (["UPDATE models SET dim = 1000000000"], "dimension"),
            (["DELETE FROM blocks"], "40 items have no vector"),
        ],
    )
    def test_what_cannot_be_repaired_is_named(self, closed, statement, words):
        execute(closed, ["PRAGMA foreign_keys = ON"], statement, *[["DELETE FROM slots"]] * ("no vector" in words))
        faults = SqliteStore.open(closed).check()
        assert any(words in fault.what and not fault.repaired for fault in faults)

    def test_a_lost_vector_comes_back_by_replacing_the_photo(self, closed):
        execute(closed, ["DELETE FROM slots WHERE item = 5"], ["UPDATE blocks SET ids = zeroblob(length(ids))"])
        store = SqliteStore.open(closed)
        store.replace([5], [photo(4)], unit_vectors(1, seed=4), MODEL)
        assert np.array_equal(store.vectors([5]), unit_vectors(1, seed=4))

    def test_an_index_that_has_gone_wrong_is_dropped(self, opened):
        opened.search(unit_vectors(1), 1)
        opened._index._loaded.index._vectors[3] = 0
        assert [fault.repaired for fault in opened.check()] == [True]
        assert opened.check() == []


class TestCopies:
    def test_a_snapshot_holds_everything(self, opened, tmp_path):
        opened.write_document("a", b"1")
        opened.snapshot(str(tmp_path / "snapshot.sqlite"))
        opened.remove([1, 2])
        with pytest.raises(ValueError, match="exists already"):
            opened.snapshot(str(tmp_path / "snapshot.sqlite"))
        copy = SqliteStore.open(tmp_path / "snapshot.sqlite")
        assert copy.count() == 40
        assert copy.identity == opened.identity
        assert copy.document("a") == b"1"
        assert copy.check() == []
        copy.remove([3])
        assert opened.count() == 38

    def test_a_snapshot_for_reading_only(self, opened, tmp_path):
        opened.snapshot(str(tmp_path / "snapshot.sqlite"))
        copy = SqliteStore.open(tmp_path / "snapshot.sqlite", read_only=True)
        assert content(copy) == content(opened)

    def test_a_snapshot_into_a_missing_folder(self, opened, tmp_path):
        with pytest.raises(OSError, match="cannot be written") as caught:
            opened.snapshot(str(tmp_path / "none" / "snapshot.sqlite"))
        assert caught.value.__cause__.errno == errno.ENOENT


@pytest.fixture
def large(tmp_path):
    """A collection above the number from which it is searched approximately, and its vectors by position."""
    file = tmp_path / "large.sqlite"
    store = SqliteStore.create(file, ivf_above=1000)
    draw = np.random.default_rng(0)
    vectors = (draw.normal(size=(60, 16))[draw.integers(0, 60, 3000)] + 0.6 * draw.normal(size=(3000, 16))).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.start_model(MODEL, 16)
    store.add([photo(number) for number in range(3000)], vectors, MODEL)
    yield store, vectors
    store.close()


def reopened(store, above=1000):
    return SqliteStore.open(store._database.file, ivf_above=above)


class TestApproximateSearch:
    def test_the_stated_recall_is_reached(self, large):
        store, vectors = large
        queries = vectors[::7]
        exact, found = store.search(queries, 10, mode="exact"), store.search(queries, 10)
        assert exact.recall.is_exact
        assert not found.recall.is_exact
        assert 0.95 <= found.recall.low <= found.recall.recall <= found.recall.high <= 1
        assert (found.recall.k, found.recall.queries) == (10, 500)
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(exact.ids.tolist(), found.ids.tolist(), strict=True)]
        assert found.recall.low - 0.02 <= np.mean(shares) < 1
        assert store.search(queries, 10, recall=0.5).recall.recall < found.recall.recall
        assert store.search(queries[:1], 20).recall.k == 100
        assert store.search(queries, 10, recall=1.0).recall.is_exact

    def test_exact_mode_and_filters_miss_nothing(self, large):
        store, vectors = large
        flat = reopened(store, above=10**6)
        for options in (
            {"mode": "exact"},
            {"where": as_conditions({"price": [3, 50, 999]})},
            {"where": as_conditions({"label": "cat"}), "without": store.ids()[:100]},
            {"mode": "exact", "without": store.ids()[:100]},
        ):
            store.search(vectors[:1], 1)
            a, b = store.search(vectors[:9], 12, **options), flat.search(vectors[:9], 12, **options)
            assert a.recall.is_exact
            assert np.array_equal(a.ids, b.ids)
            assert np.allclose(a.scores, b.scores, atol=1e-5)

    def test_it_follows_changes(self, large):
        store, vectors = large
        other = reopened(store)
        other.search(vectors[:1], 1)
        added = store.add([photo(5000)], -vectors[:1], MODEL)
        assert other.search(-vectors[:1], 1).ids.tolist() == [added]
        store.remove(added)
        assert added[0] not in other.search(-vectors[:1], 3000).ids
        store.replace([8], [photo(7)], -vectors[:1], MODEL)
        assert other.search(-vectors[:1], 1).ids.tolist() == [[8]]
        assert 1 not in other.search(vectors[:1], 5, without=[1]).ids
        assert other.check() == []
        before = other._index._loaded.recall
        store.remove(np.arange(100, 600))
        found = other.search(vectors[:1], 2400)
        assert (found.ids >= 0).all()
        other.search(vectors[:1], 1)
        assert other._index._loaded.recall is not before
        # Growth to more than twice the size needs other lists.
        lists = other._index._loaded.index.lists
        store.add([photo(number) for number in range(10_000, 30_000)], unit_vectors(20_000, 16), MODEL)
        other.search(vectors[:1], 1)
        other.search(vectors[:1], 1)
        assert other._index._loaded.index.lists > lists

    def test_the_training_is_kept_and_followed(self, large, monkeypatch):
        store, vectors = large
        before = store.search(vectors[:50], 10).ids
        store.add([photo(5000)], -vectors[:1], MODEL)
        monkeypatch.setattr("pairlens.collection.live_index.train_centres", None)
        other = reopened(store)
        assert np.array_equal(other.search(vectors[:50], 10).ids, before)
        assert other.search(-vectors[:1], 1).ids[0, 0] == 3001
        assert other.check() == []

    def test_a_file_of_something_else_is_not_used_and_reported(self, large, tmp_path):
        store, vectors = large
        expected = store.search(vectors[:20], 5).ids
        file = lists_file(store._database.file)
        right = read_lists(store._database.file)
        wrong = (
            {"identity": "0" * 32},
            {"model": "another"},
            {"change": 10**9},
            {"centres": right.centres[:, :5]},
            {"lists": right.lists + 10_000},
            {"lists": right.lists[:-1]},
            {"centres": np.full_like(right.centres, np.nan)},
            {"ids": right.ids.astype(np.int32)},
        )
        for changed in wrong:
            write_lists(store._database.file, type(right)(**{**vars(right), **changed}))
            other = reopened(store)
            assert [fault.repaired for fault in other.check()] == [True]
            assert not file.exists()
            other.close()
        for contents in (b"", b"\xff" * 100, (1 << 62).to_bytes(8, "little") + b"{}"):
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(contents)
            other = reopened(store)
            assert np.array_equal(np.sort(other.search(vectors[:20], 5).ids), np.sort(expected))
            other.close()

    def test_a_link_in_the_place_of_the_folder_is_not_followed(self, large, tmp_path):
        store, vectors = large
        (tmp_path / "elsewhere").mkdir()
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        (tmp_path / "index").symlink_to(tmp_path / "elsewhere")
        assert store.search(vectors[:1], 1).ids[0, 0] == 1
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_compacting_drops_the_file(self, large):
        store, vectors = large
        store.search(vectors[:1], 1)
        assert lists_file(store._database.file).exists()
        store.compact()
        assert not lists_file(store._database.file).exists()
        assert store.search(vectors[:1], 1).ids[0, 0] == 1
