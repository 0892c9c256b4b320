"""A real server: bodies without end, connections that say nothing, several processes, and the end by SIGTERM."""

import signal
import socket
import threading
import time

import httpx
import pytest

from pairlens.collection.collection import Collection
from pairlens.serving.run_server import run_server
from pairlens.serving.settings import ServingSettings
from support.served_collection import make_collection, picture
from support.server_process import server_process

SHORT = {"seconds_between_parts": 0.4, "seconds_for_body": 1.0, "seconds_for_headers": 0.4, "body": 300_000}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process") / "shop"
    make_collection(folder).close()
    with server_process(folder, seconds=SHORT) as started:
        yield started
        started.process.send_signal(signal.SIGINT)
        rest = started.process.stdout.read().decode()
        assert started.process.wait(30) == 0, rest
        assert "the server has ended" in rest
        assert "Traceback" not in rest


def answer_of(connection):
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except (ConnectionError, TimeoutError):
        pass
    return data


def test_it_answers(server):
    assert httpx.get(f"{server.address}/healthz", timeout=60).json()["status"] == "ok"
    found = httpx.post(f"{server.address}/api/search", files={"photo": picture(100)}, timeout=60).json()
    assert len(found["matches"]) == 9


def chunked_form():
    yield b"POST /api/search HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    yield b"transfer-encoding: chunked\r\n\r\n"
    head = b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    yield b"%x\r\n%s\r\n" % (len(head), head)
    while True:
        yield b"2000\r\n" + bytes(0x2000) + b"\r\n"


def test_a_chunked_body_without_end_is_ended_by_the_count_of_its_bytes(server):
    with server.connected() as connection:
        sent = 0
        try:
            for part in chunked_form():
                connection.sendall(part)
                sent += len(part)
        except ConnectionError:
            pass
        assert b" 413 " in answer_of(connection) or sent < 20_000_000
        assert sent < 20_000_000


def test_a_slow_body_is_ended_by_the_clock(server):
    start = time.monotonic()
    with server.connected() as connection:
        connection.sendall(b"POST /api/search HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n")
        connection.sendall(b"content-length: 1000\r\n\r\n{")
        assert b" 408 " in answer_of(connection)
    assert time.monotonic() - start < 10


def test_connections_that_say_nothing_are_closed(server):
    connections = [server.connected() for _ in range(5)]
    connections[0].sendall(b"GET /healthz HTT")
    for connection in connections:
        assert answer_of(connection) == b""
        connection.close()
    # A connection that has asked something may go on.
    with httpx.Client(base_url=server.address, timeout=60) as client:
        assert client.get("/healthz").status_code == 200
        time.sleep(0.6)
        assert client.get("/healthz").status_code == 200


def test_sigterm_finishes_what_is_under_way_keeps_what_was_acknowledged_and_writes_no_token(tmp_path, monkeypatch):
    folder = tmp_path / "shop"
    token = "correct-horse-battery-staple"
    monkeypatch.setenv("PAIRLENS_TOKEN", token)
    named = {"authorization": f"Bearer {token}"}
    make_collection(folder).close()
    with server_process(folder, "--workers", "2") as server:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            # Both processes may still be starting.
            assert client.get("/healthz").status_code == 200
            assert client.get("/api/labels").status_code == 401
            client.get("/api/labels", headers={"authorization": "Bearer wrong"})
        with Collection.connect(server.address) as shop:
            assert len(shop) == 9
        answers = []

        def add(number):
            photo = {"photo": picture(number)}
            answers.append(httpx.post(f"{server.address}/api/photos", files=photo, headers=named, timeout=60))

        threads = [threading.Thread(target=add, args=(number,)) for number in range(200, 206)]
        for thread in threads:
            thread.start()
        # One of them is acknowledged; the others are under way.
        while not answers:
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(60) == 0
        rest = server.process.stdout.read().decode()
    assert token not in rest
    assert [answer.status_code for answer in answers] == [201] * len(answers)
    with Collection.open(folder) as shop:
        assert len(shop) == 9 + len(answers)


def test_a_port_in_use_is_one_sentence(tmp_path):
    make_collection(tmp_path / "shop").close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be used .*in use"):
            run_server(ServingSettings(str(tmp_path / "shop"), port=port))
