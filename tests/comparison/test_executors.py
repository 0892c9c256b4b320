import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pairlens.comparison.executors import local_engine, ray_engine, run_here
from pairlens.comparison.run_study import run_study
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_plan import Plan
from pairlens.core.files import lock_folder
from support.executor_jobs import die, fail, hold_lock, where, work

TESTS = Path(__file__).parent.parent


def test_here_jobs_run_in_their_order():
    assert [number for number, _, _ in run_here([partial(work, i) for i in range(4)])] == [0, 1, 2, 3]
    assert local_engine(1) is run_here


def test_processes_share_the_cores_and_every_job_is_done_once():
    done = list(local_engine(2)([partial(work, i) for i in range(6)]))
    assert sorted(number for number, _, _ in done) == list(range(6))
    assert os.getpid() not in {process for _, process, _ in done}
    assert {threads for _, _, threads in done} == {max(1, (os.cpu_count() or 1) // 2)}


def test_an_error_of_a_job_is_raised():
    with pytest.raises(FloatingPointError, match="job 0"):
        list(local_engine(2)([partial(fail, 0)]))


def test_a_killed_process_is_reported_in_one_sentence():
    with pytest.raises(ValueError, match="fewer --processes"):
        list(local_engine(2)([partial(die, 0)]))


def test_the_workers_of_a_killed_comparison_end_and_free_their_folders(tmp_path):
    lines = (
        "from functools import partial; from pathlib import Path",
        "from pairlens.comparison.executors import local_engine; from support.executor_jobs import hold_lock",
        f"list(local_engine(2)([partial(hold_lock, Path({str(tmp_path)!r}))]))",
    )
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    parent = subprocess.Popen([sys.executable, "-c", "\n".join(lines)], env=os.environ | {"PYTHONPATH": paths})
    while not (tmp_path / "held").exists():
        time.sleep(0.1)
    with pytest.raises(ValueError, match="is being written to by process"), lock_folder(tmp_path):
        pass
    parent.kill()
    parent.wait()
    wait_until_free(tmp_path)


def wait_until_free(folder):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(ValueError), lock_folder(folder):
            return
        time.sleep(0.1)
    pytest.fail("the worker still holds the lock of its folder")


def test_only_its_own_processes_are_ended(tmp_path):
    results = local_engine(2)([partial(work, 0), partial(hold_lock, tmp_path)])
    next(results)
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.1)
    results.close()
    wait_until_free(tmp_path)
    assert other.is_alive()
    other.kill()
    other.join()


def test_zero_processes_are_refused():
    with pytest.raises(ValueError, match="--processes must be 1 or more, not 0"):
        local_engine(0)


@pytest.fixture(scope="module")
def cluster():
    """A real Ray cluster on this machine: a head without cores and two workers of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent / "src")]))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_comparison_runs_on_both_workers_of_a_ray_cluster(cluster, monkeypatch, compared, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    done = list(ray_engine(1)([partial(where, i) for i in range(6)]))
    assert sorted(number for number, _ in done) == list(range(6))
    assert len({node for _, node in done}) == 2
    study = read_study(compared)
    one_seed = replace(study, fields=tuple(replace(field, seeds=1) for field in study.fields))
    assert len(list(run_study(one_seed, tmp_path, ray_engine(1)))) == 2
    for arm in study.arms:
        there, here = (Plan(study, f).run_folder(study.fields[0], arm, 0) for f in (tmp_path, compared))
        assert there.experiment() == here.experiment()
        assert there.read_outcome().report["R@1"] == pytest.approx(here.read_outcome().report["R@1"], abs=0.1)


def test_without_jobs_nothing_is_started(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:1")
    assert list(ray_engine(1)([])) == []
    assert list(local_engine(2)([])) == []
