"""The folder of a server is removed with it, and that of a killed server by the next one; nobody else's is touched."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pairlens.core.files import lock_folder
from pairlens.serving.app import make_app
from pairlens.serving.query_folder import PREFIX, query_folder, remove_abandoned
from pairlens.serving.settings import ServingSettings
from support.served_collection import make_collection

HOURS_AGO = time.time() - 7200


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_old(folder):
    folder.mkdir()
    (folder / ("a" * 64)).write_bytes(b"photo")
    os.utime(folder, (HOURS_AGO, HOURS_AGO))
    return folder


def test_it_is_removed_at_the_end(place):
    with query_folder() as folder:
        assert folder.is_dir()
        assert folder.name.startswith(PREFIX)
        (folder / ("a" * 64)).write_bytes(b"photo")
    assert not list(place.iterdir())


def test_the_next_server_removes_what_a_killed_one_left(place):
    code = "import sys, time\nfrom pairlens.serving.query_folder import query_folder\n"
    code += "with query_folder() as folder:\n    print(folder, flush=True)\n    time.sleep(60)\n"
    environment = {**os.environ, "TMPDIR": str(place)}
    killed = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    with killed:
        left = Path(killed.stdout.readline().strip())
        assert left.parent == place
        os.utime(left, (HOURS_AGO, HOURS_AGO))
        # Its server lives.
        remove_abandoned(place)
        assert left.is_dir()
        killed.kill()
    os.utime(left, (HOURS_AGO, HOURS_AGO))
    with query_folder() as folder:
        assert [one for one in place.iterdir() if one.is_dir()] == [folder]


def test_what_is_not_removed(place):
    elsewhere = make_old(place / "photos")
    link = place / f"{PREFIX}link"
    link.symlink_to(elsewhere)
    file = place / f"{PREFIX}file"
    file.write_text("text", encoding="utf-8")
    starting = place / f"{PREFIX}starting"
    starting.mkdir()
    held = make_old(place / f"{PREFIX}held")
    with lock_folder(held):
        os.utime(held, (HOURS_AGO, HOURS_AGO))
        remove_abandoned(place)
    assert sorted(place.iterdir()) == sorted([elsewhere, link, file, starting, held])
    assert len(list(elsewhere.iterdir())) == 1
    os.utime(held, (HOURS_AGO, HOURS_AGO))
    remove_abandoned(place)
    assert not held.exists()


def test_links_within_are_not_followed(place):
    elsewhere = make_old(place / "photos")
    abandoned = make_old(place / f"{PREFIX}abandoned")
    (abandoned / "photos").symlink_to(elsewhere)
    os.utime(abandoned, (HOURS_AGO, HOURS_AGO))
    remove_abandoned(place)
    assert list(place.iterdir()) == [elsewhere]
    assert len(list(elsewhere.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives a folder to another user")
def test_the_folder_of_another_user_stays(place):
    foreign = make_old(place / f"{PREFIX}foreign")
    os.chown(foreign, 12345, 12345)
    remove_abandoned(place)
    assert foreign.is_dir()


def test_an_application_in_another_server_has_a_folder_while_it_runs(place, tmp_path_factory):
    shop = tmp_path_factory.mktemp("app") / "shop"
    make_collection(shop).close()
    with TestClient(make_app(ServingSettings(str(shop))), base_url="http://localhost") as client:
        assert client.get("/healthz").status_code == 200
        assert len(list(place.glob(f"{PREFIX}*"))) == 1
    assert not list(place.glob(f"{PREFIX}*"))
