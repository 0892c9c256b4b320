import errno
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pairlens.core import files
from pairlens.core.files import (
    UnwritableError,
    atomic_write,
    lock_folder,
    make_folder,
    remove_folder,
    remove_old_leftovers,
    write_tensors,
    write_text,
)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    file = tmp_path / "a.txt"
    with atomic_write(file) as part:
        part.write(b"new")
        assert not file.exists()
    assert (names(tmp_path), file.read_text(encoding="utf-8")) == (["a.txt"], "new")


def test_the_previous_content_stays_when_writing_fails(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def write_half():
        with atomic_write(file) as part:
            part.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (names(tmp_path), file.read_text(encoding="utf-8")) == (["a.txt"], "old")


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "quota"), (errno.EROFS, "another folder")]
)
def test_a_disk_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, number, advice):
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"a": torch.ones(3)})

    def fail(_tensors, part, **_names):
        part.write_bytes(b"half")
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(UnwritableError, match=rf"a\.safetensors cannot be written \({os.strerror(number)}\).*{advice}"):
        write_tensors(file, {"a": torch.zeros(3)})
    assert names(tmp_path) == ["a.safetensors"]
    assert torch.equal(load_file(file)["a"], torch.ones(3))


def test_an_error_without_a_number_is_quoted(tmp_path, monkeypatch):
    def fail(_tensors, _part, **_names):
        raise SafetensorError("the header is too large")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(UnwritableError, match=r"cannot be written \(the header is too large\).*check the disk"):
        write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})


def test_tensor_files_have_the_permissions_that_the_umask_gives_text_files(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "a.txt").stat().st_mode


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(UnwritableError, match="its folder is gone"):
        write_text(tmp_path / "no" / "a.txt", "text")
    with pytest.raises(UnwritableError, match="its folder is gone"), lock_folder(tmp_path / "no"):
        pass
    assert names(tmp_path) == []


def test_the_content_is_flushed_before_the_name(tmp_path, monkeypatch):
    file_exists_at_flush = []
    monkeypatch.setattr(files.os, "fsync", lambda _handle: file_exists_at_flush.append((tmp_path / "a.txt").exists()))
    write_text(tmp_path / "a.txt", "text")
    assert file_exists_at_flush == [False, True]


def test_on_windows_the_folder_is_not_opened(tmp_path, monkeypatch):
    """Windows cannot open a folder as a file; there, only the content is flushed."""
    opened = []
    monkeypatch.setattr(files, "_flush", lambda path, flags: opened.append((path.name, flags)))
    monkeypatch.setattr(files.os, "name", "nt")
    files._flush_file(tmp_path / "a.txt.part")
    files._flush_folder(tmp_path)
    assert opened == [("a.txt.part", os.O_RDWR)]


def test_one_holder_at_a_time_and_its_process_number_is_named(tmp_path):
    with (
        lock_folder(tmp_path),
        pytest.raises(ValueError, match=f"is being written to by process {os.getpid()};"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass
    assert names(tmp_path) == [".lock"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in ("a.safetensors.part", ".tmpQ3xyzw", "kept.csv"):
        (tmp_path / name).write_bytes(b"x")
    with lock_folder(tmp_path):
        assert names(tmp_path) == [".lock", ".lock_holder", "kept.csv"]


def test_old_leftovers_are_removed_where_there_is_no_lock(tmp_path):
    for name in ("old.safetensors.part", ".tmpOld", "new.safetensors.part", "000001.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    two_days_ago = time.time() - 2 * 86_400
    for name in ("old.safetensors.part", ".tmpOld", "000001.safetensors"):
        os.utime(tmp_path / name, (two_days_ago, two_days_ago))
    remove_old_leftovers(tmp_path)
    assert names(tmp_path) == ["000001.safetensors", "new.safetensors.part"]
    remove_old_leftovers(tmp_path / "missing")


def fork(work):
    """Run `work` in a forked process that then sleeps until it is killed; returns its process number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        time.sleep(60)
    finally:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_killed_process_releases_the_lock_although_its_forked_child_lives(tmp_path):
    read_end, write_end = os.pipe()

    def hold_and_fork():
        with lock_folder(tmp_path):
            child = fork(lambda: None)
            os.write(write_end, str(child).encode())
            time.sleep(60)

    holder = fork(hold_and_fork)
    child = int(os.read(read_end, 20))
    try:
        with pytest.raises(ValueError, match=f"by process {holder};"), lock_folder(tmp_path):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(child, 0)  # raises if the child has ended, and then the test would prove nothing
        with lock_folder(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(read_end)
        os.close(write_end)


def test_a_link_is_replaced_and_what_it_leads_to_is_not_changed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    ours = tmp_path / "ours"
    ours.mkdir()
    for name in ("a.txt", "a.txt.part", ".a.txt.part"):
        (ours / name).symlink_to(victim)
    write_text(ours / "a.txt", "new")
    assert (victim.read_text(encoding="utf-8"), (ours / "a.txt").read_text(encoding="utf-8")) == ("precious", "new")
    assert not (ours / "a.txt").is_symlink()


def test_the_part_is_made_under_a_name_that_did_not_exist(tmp_path, monkeypatch):
    """Also a link whose name was guessed is refused."""
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    monkeypatch.setattr(files.uuid, "uuid4", lambda: SimpleNamespace(hex="0" * 32))
    (tmp_path / f".a.txt.{os.getpid()}-{'0' * 12}.part").symlink_to(victim)
    with pytest.raises(UnwritableError, match="File exists"):
        write_text(tmp_path / "a.txt", "new")
    assert victim.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("kind", ["link", "hard link", "contents", "folder", "pipe"])
def test_a_lock_that_is_not_an_empty_file_is_refused_and_not_emptied(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    ours = tmp_path / "ours"
    ours.mkdir()
    make = {
        "link": lambda lock: lock.symlink_to(victim),
        "hard link": lambda lock: lock.hardlink_to(victim),
        "contents": lambda lock: lock.write_text("x", encoding="utf-8"),
        "folder": lambda lock: lock.mkdir(),
        "pipe": os.mkfifo,
    }
    make[kind](ours / ".lock")
    with pytest.raises(ValueError, match="is not a lock file of Pairlens"), lock_folder(ours):
        pass
    assert victim.read_text(encoding="utf-8") == "precious"


def test_a_folder_below_the_named_one_is_not_a_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    named = tmp_path / "named"
    named.symlink_to(elsewhere)
    # The user's own link is followed, one inside it is not.
    assert make_folder(named / "a" / "b", below=named).is_dir()
    (elsewhere / "c").symlink_to(tmp_path)
    for act in (make_folder, remove_folder):
        with pytest.raises(ValueError, match=r"named/c is a link that leads out of"):
            act(named / "c" / "a", below=named)
    assert elsewhere.is_dir()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "caf\udce9", "\x7f"])
def test_a_new_folder_has_a_name_that_can_be_shown(tmp_path, name):
    with pytest.raises(ValueError, match="choose another name"):
        make_folder(tmp_path / name)
    assert names(tmp_path) == []
