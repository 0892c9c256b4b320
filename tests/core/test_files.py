import errno
import os
import time

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pairlens.core import files
from pairlens.core.files import UnwritableError, atomic_write, lock_folder, write_tensors, write_text


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    file = tmp_path / "a.txt"
    with atomic_write(file) as part:
        part.write_text("new")
        assert not file.exists()
    assert (names(tmp_path), file.read_text()) == (["a.txt"], "new")


def test_what_was_there_stays_when_writing_fails(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def write_half():
        with atomic_write(file) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (names(tmp_path), file.read_text()) == (["a.txt"], "old")


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "quota"), (errno.EROFS, "another folder")]
)
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path, monkeypatch, number, advice):
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"a": torch.ones(3)})

    def full(_tensors, part, **_names):
        part.write_bytes(b"half")
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(UnwritableError, match=rf"a\.safetensors cannot be written \({os.strerror(number)}\).*{advice}"):
        write_tensors(file, {"a": torch.zeros(3)})
    assert names(tmp_path) == ["a.safetensors"]
    assert torch.equal(load_file(file)["a"], torch.ones(3))


def test_others_may_read_what_the_umask_lets_them_read(tmp_path):
    write_text(tmp_path / "a.txt", "text")
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "a.txt").stat().st_mode


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(UnwritableError, match="its folder is gone"):
        write_text(tmp_path / "no" / "a.txt", "text")


def test_contents_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda _handle: done.append((tmp_path / "a.txt").exists()))
    write_text(tmp_path / "a.txt", "text")
    assert done == [False, True]


def test_a_folder_is_held_by_one_alone_and_then_let_go(tmp_path):
    with (
        lock_folder(tmp_path),
        pytest.raises(ValueError, match=f"is being written to by process {os.getpid()};"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in ("a.safetensors.part", ".tmpQ3xyzw", "kept.csv"):
        (tmp_path / name).write_bytes(b"x")
    with lock_folder(tmp_path):
        assert names(tmp_path) == [".lock", "kept.csv"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_hold_the_folder(tmp_path):
    begun, ready = os.pipe()
    with lock_folder(tmp_path):
        child = os.fork()
        if not child:
            os.write(ready, b"x")
            time.sleep(30)
            os._exit(0)
        os.read(begun, 1)
    with lock_folder(tmp_path):
        os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(begun)
    os.close(ready)
