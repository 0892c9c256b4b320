"""What only PostgreSQL does: many writers, a server that can be away, an index with a measured recall, a replica."""

import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pairlens.collection import postgres_recall
from pairlens.collection.filters import as_conditions, under
from pairlens.collection.index_recall import wilson_interval
from pairlens.collection.item import NewItem
from pairlens.collection.postgres_address import parse_address
from pairlens.collection.postgres_hnsw import build_index, index_state
from pairlens.collection.postgres_recall import measure_index, moved_items
from pairlens.collection.postgres_store import PostgresStore
from support.postgres_server import new_url, postgres_server, run_program

psycopg = pytest.importorskip("psycopg")
MODEL, DIM = "model-a", 16


def unit_vectors(count, dim=DIM, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photo(number, **changed):
    values = {"root": "/photos", "path": f"{number}.jpg", "digest": f"{number:064x}", "label": f"class {number % 3}"}
    return NewItem(**{**values, **changed})


def fill(store, count, dim=DIM):
    vectors = unit_vectors(count, dim)
    store.start_model(MODEL, dim)
    return store.add([photo(number) for number in range(count)], vectors, MODEL), vectors


def run_sql(text, *values, database="postgres"):
    """Run statements as the administrator; returns the rows of the last one."""
    with psycopg.connect(postgres_server().get_uri(database), autocommit=True) as connection:
        cursor = connection.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def url():
    return new_url()


@pytest.fixture
def opened():
    """Opens collections, which are closed after the test."""
    stores = []

    def add(store):
        stores.append(store)
        return store

    yield add
    for store in stores:
        store.close()


@pytest.fixture
def store(url, opened):
    return opened(PostgresStore.create(url))


def schema(url):
    return parse_address(url).schema


def in_threads(*functions):
    """Run functions at once; returns what each has returned or raised."""
    results = [None] * len(functions)

    def call(position, function):
        try:
            results[position] = function()
        except Exception as error:
            results[position] = error

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class TestWriters:
    def test_two_writers_at_once_both_succeed(self, url, store, opened):
        store.start_model(MODEL, DIM)
        other = opened(PostgresStore.open(url))
        vectors = unit_vectors(200)
        before = store.change()

        def write(to, first):
            parts = [slice(start, start + 10) for start in range(first, first + 100, 10)]
            return [to.add([photo(n) for n in range(p.start, p.stop)], vectors[p], MODEL) for p in parts]

        written = in_threads(lambda: write(store, 0), lambda: write(other, 100))
        ids = [number for batches in written for batch in batches for number in batch]
        assert len(set(ids)) == store.count() == 200
        assert store.change() == before + 20
        assert np.array_equal(store.vectors(ids), vectors)
        assert store.check() == []

    def test_of_two_writers_of_one_place_one_is_refused(self, url, store, opened):
        store.start_model(MODEL, DIM)
        others = [opened(PostgresStore.open(url)) for _ in range(2)]
        adds = [lambda other=other: other.add([photo(7)], unit_vectors(1), MODEL) for other in others]
        results = in_threads(*adds)
        errors = [result for result in results if isinstance(result, Exception)]
        assert [type(error) for error in errors] == [ValueError]
        assert "/photos/7.jpg" in str(errors[0])
        assert store.count() == 1

    def test_no_item_is_added_without_a_vector_while_the_model_changes(self, url, store, opened):
        ids, _ = fill(store, 30)
        other = opened(PostgresStore.open(url))
        store.start_model("model-b", 4)
        store.add_vectors("model-b", ids, unit_vectors(30, 4))

        ended = threading.Event()

        def add():
            for number in range(100, 10_000):
                # One more photo after the change: the writer must not end before it could be told.
                is_last = ended.is_set()
                other.add([photo(number)], unit_vectors(1), MODEL)
                if is_last:
                    break

        def activate():
            try:
                while missing := store.without_vector("model-b", 100).tolist():
                    store.add_vectors("model-b", missing, unit_vectors(len(missing), 4))
                store.activate_model("model-b")
            finally:
                ended.set()

        added, activated = in_threads(add, activate)
        # Either the change or the writer came last; the one that lost was told.
        assert added is None or "active model" in str(added)
        assert activated is None or "no vector" in str(activated)
        assert [what for what in (added, activated) if what is not None]
        assert store.without_vector(store.models()[0].fingerprint, 10).tolist() == []

    def test_a_writer_waits_only_as_long_as_it_was_told(self, url, store, opened):
        store.start_model(MODEL, DIM)
        impatient = opened(PostgresStore.open(url, wait=0.1))
        with psycopg.connect(postgres_server().get_uri()) as connection:
            connection.execute(f"LOCK TABLE {schema(url)}.models IN EXCLUSIVE MODE")
            with pytest.raises(TimeoutError, match=r"another process writes .* 0\.1 s"):
                impatient.add([photo(1)], unit_vectors(1), MODEL)
            # Readers do not wait.
            assert impatient.count() == 0
        assert len(impatient.add([photo(1)], unit_vectors(1), MODEL)) == 1

    def test_a_killed_writer_loses_nothing_that_it_reported(self, url, store):
        store.start_model(MODEL, 64)
        script = Path(__file__).parents[1] / "support" / "postgres_writer.py"
        with subprocess.Popen(
            [sys.executable, script, url, "a", "50"], stdout=subprocess.PIPE, encoding="utf-8"
        ) as writer:
            lines = [writer.stdout.readline() for _ in range(3)]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout
        ids = [int(number) for line in lines if line.endswith("\n") for number in line.split()]
        assert len(ids) >= 150
        assert len(store.items(ids)) == len(store.thumbnails(ids)) == len(ids)
        # No part of a batch is stored.
        assert store.count() % 50 == 0
        assert store.check() == []


class TestServer:
    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            (("host=", "host=/nowhere&x="), ValueError, "cannot be read"),
            (("host=/", "host=/nowhere/"), ConnectionError, "start the server"),
            (("@/postgres", "@/absent"), ConnectionError, "createdb"),
            (("postgres@", "stranger@"), ConnectionError, "createuser"),
            (("collection=", "collection=no_"), FileNotFoundError, "does not exist"),
            (("collection=", "collection=1;DROP "), ValueError, "not valid"),
        ],
    )
    def test_a_wrong_url_is_one_sentence(self, url, store, change, error, words):
        with pytest.raises(error, match=words) as raised:
            PostgresStore.open(url.replace(*change))
        assert "\n" not in str(raised.value)

    def test_the_name_of_the_collection_is_given_once(self, url):
        with pytest.raises(ValueError, match="give one"):
            parse_address(url, "other")
        assert parse_address("postgresql://server/db").schema == "pairlens_photos"
        assert parse_address("postgresql://server/db", "shop").schema == "pairlens_shop"

    def test_a_collection_is_made_once(self, url, store):
        with pytest.raises(ValueError, match="exists already"):
            PostgresStore.create(url)

    def test_of_two_processes_that_make_a_collection_one_succeeds(self, url, opened):
        made = in_threads(*[lambda: PostgresStore.create(url)] * 2)
        stores = [opened(store) for store in made if isinstance(store, PostgresStore)]
        errors = [error for error in made if isinstance(error, ValueError)]
        assert (len(stores), len(errors)) == (1, 1)
        assert "exists already" in str(errors[0])

    def test_a_newer_version_is_refused(self, url, store):
        run_sql(f"UPDATE {schema(url)}.state SET version = 99")
        with pytest.raises(ValueError, match=r"version 99.*update Pairlens"):
            PostgresStore.open(url)

    def test_a_database_without_the_extension_says_who_can_add_it(self, url):
        role = f"plain_{uuid.uuid4().hex[:8]}"
        run_sql(f"CREATE ROLE {role} LOGIN")
        run_sql(f"CREATE DATABASE {role} OWNER postgres")
        run_sql(f"GRANT CREATE ON DATABASE {role} TO {role}", database=role)
        bare = url.replace("postgres@/postgres", f"{role}@/{role}")
        with pytest.raises(PermissionError, match=r"administrator.*CREATE EXTENSION vector"):
            PostgresStore.create(bare)
        PostgresStore.create(url.replace("@/postgres", f"@/{role}")).close()
        with pytest.raises(PermissionError, match=r"may not read.*GRANT USAGE"):
            PostgresStore.open(bare)

    def test_a_password_is_never_shown(self, url, opened):
        secret, role = "geheim%/:@ 1", f"locked_{uuid.uuid4().hex[:8]}"
        run_sql(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{secret}'")
        rules = Path(postgres_server().pgdata) / "pg_hba.conf"
        contents = rules.read_text(encoding="utf-8")
        rules.write_text(f"local all {role} scram-sha-256\n{contents}", encoding="utf-8")
        run_sql("SELECT pg_reload_conf()")
        right = url.replace("postgres@", f"{role}:geheim%25%2F%3A%40%201@")
        messages = []
        for wrong in (
            right.replace("geheim", "Geheim"),
            right.replace("%25", "%2"),
            right.replace("@/postgres", "@/absent"),
        ):
            with pytest.raises((OSError, ValueError)) as raised:
                PostgresStore.create(wrong)
            error = raised.value
            messages += [str(error), repr(error), str(error.__cause__)]
            assert error.__cause__ is None
        store = opened(PostgresStore.create(right))
        with pytest.raises(ValueError, match="already") as raised:
            PostgresStore.create(right)
        messages += [str(raised.value), store.name, repr(parse_address(right))]
        assert not [text for text in messages if "eheim" in text.replace(role, "")]
        # The name opens the same collection for someone who can give the password in another way.
        assert opened(PostgresStore.open(store.name.replace(f"{role}@", "postgres@"))).identity == store.identity

    def test_a_connection_that_was_lost_between_two_calls_is_replaced(self, url, opened):
        # A name of its own, because other processes test on this server, too.
        name = uuid.uuid4().hex
        store = opened(PostgresStore.create(f"{url}&application_name={name}"))
        fill(store, 5)
        kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        for call in (store.count, lambda: store.relabel([1], "a"), lambda: store.search(unit_vectors(1), 1)):
            assert run_sql(kill) == [(True,)]
            call()

    def test_a_write_that_was_not_confirmed_is_said_to_be_uncertain(self, url, store, monkeypatch):
        ids, _ = fill(store, 5)

        def cut(cursor, *values):
            run_sql("SELECT pg_terminate_backend(%s)", cursor.connection.info.backend_pid)
            cursor.execute("SELECT 1")

        monkeypatch.setattr("pairlens.collection.postgres_items.count_change", cut)
        with pytest.raises(ConnectionError, match="before the server confirmed"):
            store.relabel(ids, "other")
        assert store.count(as_conditions({"label": "other"})) == 0
        # A read is repeated once, and then it says so.
        monkeypatch.setattr("pairlens.collection.postgres_items.select_items", cut)
        with pytest.raises(ConnectionError, match="lost twice"):
            store.items(ids)

    def test_a_deadlock_is_tried_again(self, store):
        tries = []

        def work(cursor):
            tries.append(cursor)
            if len(tries) < 3:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")
            return len(tries)

        assert store._sessions.write(work) == 3

    def test_a_missing_package_is_one_sentence(self, url, monkeypatch):
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(ImportError, match=r"pip install 'pairlens\[postgres\]'"):
            PostgresStore.open(url)

    def test_a_closed_store_says_so(self, store):
        store.close()
        with pytest.raises(ValueError, match="closed"):
            store.count()

    def test_a_reader_needs_only_the_right_to_read(self, url, store, opened):
        ids, vectors = fill(store, 300)
        role = f"reader_{uuid.uuid4().hex[:8]}"
        run_sql(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema(url)} TO {role}")
        run_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema(url)} TO {role}")
        reader = opened(PostgresStore.open(url.replace("postgres@", f"{role}@"), index_above=100))
        # It may not build the index, so its searches are exact; with an index it measures for itself.
        assert reader.search(vectors[:1], 1).recall.is_exact
        with pytest.raises(PermissionError, match="grant the right"):
            reader.relabel(ids[:1], "x")
        store.build_index()
        run_sql(f"UPDATE {schema(url)}.models SET measured = NULL")
        later = opened(PostgresStore.open(url.replace("postgres@", f"{role}@"), index_above=100))
        found = later.search(vectors[:1], 1)
        assert found.ids[0, 0] == ids[0]
        assert found.recall.queries == 200
        assert run_sql(f"SELECT measured FROM {schema(url)}.models") == [(None,)]


class TestSearch:
    def test_the_recall_of_the_index_is_measured_and_stated(self, url, store, opened):
        fill(store, 2000)
        approximate = opened(PostgresStore.open(url, index_above=500))
        queries = unit_vectors(100, seed=1)
        found, exact = approximate.search(queries, 10), approximate.search(queries, 10, mode="exact")
        assert exact.recall.is_exact
        assert (found.recall.k, found.recall.queries) == (10, 200)
        assert 0.95 <= found.recall.low <= found.recall.recall <= found.recall.high
        shares = [len(np.intersect1d(*pair)) / 10 for pair in zip(found.ids, exact.ids, strict=True)]
        assert np.mean(shares) >= 0.95
        assert approximate.search(queries, 50).recall.k == 100
        # What the index cannot promise is searched exactly.
        for options in ({"k": 101}, {"k": 10, "recall": 1.0}, {"k": 10, "where": as_conditions({"path": under("19")})}):
            assert approximate.search(queries[:1], **options).recall.is_exact
        # Another process has the same measurement, without making it again.
        assert opened(PostgresStore.open(url, index_above=500)).search(queries, 10).recall == found.recall
        measured = run_sql(f"SELECT measured FROM {schema(url)}.models")[0][0]
        store.add([photo(n) for n in range(5000, 5300)], unit_vectors(300, seed=2), MODEL)
        approximate.search(queries, 10)
        again = run_sql(f"SELECT measured FROM {schema(url)}.models")[0][0]
        assert (measured["items"], again["items"]) == (2000, 2300)

    def test_the_measurement_equals_its_plain_twin(self, url, store, monkeypatch):
        ids, vectors = fill(store, 120)
        monkeypatch.setattr(postgres_recall, "EFFORTS", (2,))
        monkeypatch.setattr(postgres_recall, "SAMPLE", 30)
        store.build_index()
        state = store._searcher._sessions.read(store._searcher._state)
        measured = store._sessions.read(lambda cursor: measure_index(cursor, state))
        sampled = run_sql(f"SELECT item FROM {schema(url)}.vectors_1 ORDER BY hashint8(item) LIMIT 30")
        vector_of = dict(zip(ids, vectors, strict=True))

        def nearest(query, k, without=()):
            return sorted((id for id in ids if id not in without), key=lambda id: -float(vector_of[id] @ query))[:k]

        shares = []
        for position, (item,) in enumerate(sampled):
            other = sampled[position - 1][0]
            query = vector_of[item] + vector_of[other] - vector_of[nearest(vector_of[other], 1, (other,))[0]]
            query = query / np.linalg.norm(query)
            text = "SET hnsw.ef_search = 2; SET hnsw.iterative_scan = strict_order; SET enable_seqscan = off; "
            text += f"SET search_path = {schema(url)}, public; SELECT item FROM vectors_1 "
            text += f"ORDER BY vector <#> '{query.tolist()}' LIMIT 100"
            with psycopg.connect(postgres_server().get_uri()) as connection:
                cursor = connection.execute(text)
                while cursor.nextset():
                    pass
                found = [number for (number,) in cursor.fetchall()][:10]
            shares.append(len(set(nearest(query, 10)) & set(found)) / 10)
        effort, k, share, low, high = measured["steps"][0]
        assert (effort, k) == (2, 10)
        assert share == pytest.approx(np.mean(shares))
        assert (low, high) == pytest.approx(wilson_interval(share, 30))

    def test_a_query_of_the_measurement_is_never_without_length(self):
        x, opposite = np.eye(2, dtype=np.float32)[:1], -np.eye(2, dtype=np.float32)[:1]
        assert moved_items(x, x).tolist() == x.tolist()
        assert moved_items(np.concatenate([x, opposite]), np.concatenate([opposite, opposite])).tolist()[0] == [1, 0]
        # x + x - 2 x
        assert moved_items(x, 2 * x).tolist() == x.tolist()

    def test_an_index_is_built_by_one_process_where_shared_memory_is_short(self, url, store):
        fill(store, 50)
        sessions = store._sessions
        with sessions.alone() as real:

            class ShortOfMemory:
                """A cursor whose first CREATE INDEX fails as in a container."""

                statements: ClassVar[list[str]] = []

                def execute(self, text, *values):
                    shown = text if isinstance(text, str) else text.as_string(real)
                    self.statements.append(shown)
                    if shown.startswith("CREATE") and sum(s.startswith("CREATE") for s in self.statements) == 1:
                        raise psycopg.errors.DiskFull("could not resize shared memory segment")
                    return real.execute(text, *values)

            assert build_index(ShortOfMemory(), sessions.read(index_state))
        assert "SET max_parallel_maintenance_workers = 0" in ShortOfMemory.statements
        assert sessions.read(index_state).is_built

    def test_k_is_full_where_the_filter_keeps_what_is_far_away(self, url, opened):
        store = opened(PostgresStore.create(url, index_above=10))
        store.start_model(MODEL, DIM)
        vectors = unit_vectors(1500)
        query = vectors[:1]
        far = set(np.argsort(vectors @ query[0])[:15].tolist())
        items = [photo(n, metadata={"far": n in far}) for n in range(1500)]
        ids = np.array(store.add(items, vectors, MODEL))
        where = as_conditions({"far": True})
        found = store.search(query, 12, where)
        assert not found.recall.is_exact
        order = sorted(far, key=lambda row: -float(vectors[row] @ query[0]))
        assert found.ids[0].tolist() == ids[order[:12]].tolist()
        without = ids[order[:5]]
        assert store.search(query, 12, where, without).ids[0].tolist() == [*ids[order[5:]], -1, -1]

    @pytest.mark.parametrize(("dim", "is_indexed"), [(2001, True), (4001, False)])
    def test_long_vectors_are_indexed_by_half_precision_and_scored_by_full(self, url, opened, dim, is_indexed):
        store = opened(PostgresStore.create(url, index_above=10))
        ids, vectors = fill(store, 90, dim)
        assert np.array_equal(store.vectors(ids), vectors)
        found = store.search(vectors[:5], 5)
        assert found.recall.is_exact != is_indexed
        exact = store.search(vectors[:5], 5, mode="exact")
        assert np.array_equal(found.ids, exact.ids)
        assert np.array_equal(found.scores, exact.scores)

    def test_too_many_dimensions_are_refused(self, store):
        with pytest.raises(ValueError, match="1 to 16,000"):
            store.start_model(MODEL, 16_001)


class TestTables:
    ODD = "'; DROP TABLE items; --"

    def test_texts_stay_texts(self, store):
        store.start_model(MODEL, DIM)
        odd = [self.ODD, '"quoted"', "%s %(a)s %%", "\\", "{}", "$1", "ü😀"]
        items = [photo(n, root=text, path=text, label=text, metadata={"k": text}) for n, text in enumerate(odd)]
        ids = store.add(items, unit_vectors(len(odd)), MODEL)
        for number, text in zip(ids, odd, strict=True):
            for where in ({"label": text}, {"path": text}, {"k": text}, {"label": under(text)}):
                assert store.ids(as_conditions(where)).tolist() == [number]
            assert [item.id for item in store.at(text, [text])] == [number]
        # Keys as no checked metadata have them, too.
        store.set_metadata(ids[:1], [{self.ODD: 1, "%s": 2}])
        assert dict(store.items(ids[:1])[0].metadata) == {self.ODD: 1, "%s": 2}
        store.write_document(self.ODD, b"1")
        assert store.documents() == [self.ODD]
        with pytest.raises(ValueError, match="vectors of the model"):
            store.without_vector(self.ODD, 1)
        with pytest.raises(ValueError, match="NUL"):
            store.relabel(ids, "a\0b")
        with pytest.raises(ValueError, match="surrogates"):
            store.relabel(ids, "\ud800")

    def test_long_texts_and_large_numbers_come_back(self, store):
        store.start_model(MODEL, DIM)
        draw = np.random.default_rng(0)
        text = "".join(map(chr, draw.integers(0x4E00, 0x9FFF, 6000)))
        values = {"a": 1e300, "b": 2**53, "c": -0.1, "d": text, "e": 1e16}
        ids = store.add([photo(1, path=text, label=text, metadata=values)], unit_vectors(1), MODEL)
        item = store.items(ids)[0]
        assert (item.path, item.label, dict(item.metadata)) == (text, text, values)
        assert store.ids(as_conditions({"label": text})).tolist() == ids
        assert [type(value) for value in item.metadata.values()] == [float, int, float, str, float]

    def test_several_collections_share_a_database(self, store, opened):
        fill(store, 3)
        other = opened(PostgresStore.create(new_url()))
        assert other.count() == 0
        assert other.identity != store.identity

    def test_check_finds_and_repairs(self, url, store):
        ids, _ = fill(store, 60)
        store.build_index()
        assert store.check() == []
        name = schema(url)
        run_sql(f"UPDATE {name}.state SET items = 7")
        run_sql(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}.vectors_1_hnsw'::regclass")
        run_sql(f"UPDATE {name}.items SET path = 'moved' WHERE id = {ids[1]}")
        run_sql(f"UPDATE {name}.items SET digest = '\\x00' WHERE id = {ids[2]}")
        run_sql(f"INSERT INTO {name}.originals VALUES ({ids[3]}, 'other bytes')")
        run_sql(f"UPDATE {name}.vectors_1 SET vector = vector + vector WHERE item = {ids[4]}")
        run_sql(f"DELETE FROM {name}.vectors_1 WHERE item = {ids[5]}")
        run_sql(f"SET session_replication_role = replica; DELETE FROM {name}.items WHERE id = {ids[6]}")
        faults = store.check()
        texts = [fault.what for fault in faults if not fault.repaired]
        for words in (f"item {ids[1]} has a place", f"item {ids[2]} has a digest", f"kept of item {ids[3]}"):
            assert any(words in text for text in texts)
        assert any(f"vector of item {ids[4]} has the length 2" in text for text in texts)
        assert any("1 items have no vector" in text for text in texts)
        repaired = [fault.what for fault in faults if fault.repaired]
        assert ["rows of items" in repaired[0], "counted" in repaired[1], "HNSW" in repaired[2]] == [True] * 3
        assert store.count() == 59
        assert not [fault for fault in store.check() if fault.repaired]

    def test_snapshots_are_left_to_the_tools_of_postgresql(self, url, store):
        fill(store, 5)
        with pytest.raises(ValueError, match="pg_dump") as raised:
            store.snapshot("copy.db")
        assert f"--schema={schema(url)}" in str(raised.value)
        dump = run_program("pg_dump", f"--schema={schema(url)}", postgres_server().get_uri())
        assert f"COPY {schema(url)}.items" in dump

    def test_compacting_keeps_the_index_and_the_items(self, url, opened):
        store = opened(PostgresStore.create(url, index_above=10))
        ids, vectors = fill(store, 400)
        assert not store.search(vectors[:1], 1).recall.is_exact
        store.remove(ids[:50])
        store.compact()
        found = store.search(vectors[50:60], 1)
        assert found.ids[:, 0].tolist() == ids[50:60]
        assert not found.recall.is_exact


@pytest.fixture
def replica():
    """The URL of a server that follows the one of the tests."""
    # Made by the user that owns the server, in a folder where it may.
    folder = Path(tempfile.gettempdir()) / f"pgr_{uuid.uuid4().hex[:12]}"
    address = str(postgres_server().get_postmaster_info().socket_dir)
    run_program(
        "pg_basebackup",
        "-D",
        folder,
        "-h",
        address,
        "-U",
        "postgres",
        "-R",
        "-X",
        "stream",
        "--checkpoint=fast",
        "--no-sync",
    )
    # Another port, because the copy holds the lock of the first one's socket.
    options = f"-h '' -k {folder} -p 5433"
    run_program("pg_ctl", "-w", "-D", folder, "-o", options, "-l", folder / "log", "start")
    yield f"host={folder}&port=5433"
    run_program("pg_ctl", "-w", "-m", "immediate", "-D", folder, "stop")
    shutil.rmtree(folder)


def test_a_streaming_replica_sees_a_new_item_and_refuses_to_write(url, store, replica, opened):
    ids, vectors = fill(store, 20)
    host = f"host={postgres_server().get_postmaster_info().socket_dir}"
    deadline = time.monotonic() + 20
    while True:
        try:
            reader = opened(PostgresStore.open(url.replace(host, replica)))
            break
        except FileNotFoundError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert reader.identity == store.identity
    new = store.add([photo(100)], -vectors[:1], MODEL)
    while reader.search(-vectors[:1], 1).ids[0, 0] != new[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert reader.change() == store.change()
    for write in (lambda: reader.relabel(ids, "x"), lambda: reader.add([photo(101)], vectors[:1], MODEL), reader.check):
        with pytest.raises(OSError, match="read-only replica; write to its primary"):
            write()
