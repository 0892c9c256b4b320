"""Indexing with Ray: the same collection as with threads, also if a process is killed."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pairlens.collection import ray_reader
from support.child_processes import descendants
from support.tiny_collections import new_collection, photo_folder


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc, which Linux has")
def test_a_killed_process_costs_nothing(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="a test with Ray needs ray")
    monkeypatch.setattr(ray_reader, "BATCH", 8)
    folder = photo_folder(tmp_path / "photos", "abc", 8)
    (folder / "a" / "bad.png").write_bytes(b"no photo")
    killed = []

    def kill_once(done, total):
        if not killed:
            killed.append(next(pid for pid, title in descendants() if title.startswith("ray::_Embedding")))
            os.kill(killed[0], signal.SIGKILL)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        with new_collection(tmp_path / "shop") as shop, new_collection(tmp_path / "threads") as expected:
            done = shop.add(folder, engine="ray", workers=2, progress=kill_once)
            expected.add(folder)
            assert (done.added, len(done.refused)) == (24, 1)
            fields = ("id", "path", "label", "digest", "width", "look")
            for one, other in zip(shop.photos(), expected.photos(), strict=True):
                assert all(getattr(one, name) == getattr(other, name) for name in fields)
            ids = np.arange(1, 25)
            assert shop.store.vectors(ids) == pytest.approx(expected.store.vectors(ids), abs=1e-6)
            assert killed
    finally:
        ray.shutdown()
