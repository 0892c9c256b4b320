import threading
import time

import pytest
import torch

from pairlens.core import threads
from pairlens.core.threads import map_in_order


def test_results_come_in_the_order_of_the_items():
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(map_in_order(work, range(40), threads=4)) == list(range(40))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_given_number_of_threads_is_used(threads):
    def work(_):
        time.sleep(0.002)
        return threading.current_thread().name

    names = set(map_in_order(work, range(20), threads))
    assert len(names) == max(threads, 1)
    assert (threading.current_thread().name in names) == (threads == 0)


def test_work_is_bounded_ahead_of_the_consumer():
    submitted = []
    results = map_in_order(abs, (submitted.append(i) or i for i in range(100)), threads=2, ahead=3)
    for done in range(1, 11):
        next(results)
        assert done <= len(submitted) < done + 6
    results.close()
    assert len(submitted) < 17


def test_an_error_is_raised_in_order_and_ends_the_threads():
    def work(number):
        if number == 3:
            raise ValueError("photo 3")
        return number

    results = map_in_order(work, range(10), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^photo 3$"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pairlens")]


def test_stopping_early_leaves_no_thread_behind():
    results = map_in_order(abs, range(1000), threads=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pairlens")]


def test_torch_uses_one_core_in_a_worker_and_all_elsewhere():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    later = []
    try:
        assert set(map_in_order(lambda _: torch.get_num_threads(), range(9), threads=2)) == {1}
        assert torch.get_num_threads() == 3
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start(), thread.join()
        assert later == [3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("died", [MemoryError(), RuntimeError("outside its task"), SystemExit(1)])
def test_a_thread_that_dies_outside_its_task_ends_the_work(monkeypatch, capfd, died):
    def die(*_):
        raise died

    monkeypatch.setattr(threads, "SECONDS_BETWEEN_CHECKS", 0.01)
    monkeypatch.setattr(threads._Pool, "_finish", die)
    start = time.monotonic()
    with pytest.raises(MemoryError, match="a loading thread ended without a result"):
        list(map_in_order(abs, range(10), threads=2))
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("started", [0, 1])
def test_a_thread_that_cannot_start_ends_the_work_and_the_threads_before_it(monkeypatch, started):
    start, count = threading.Thread.start, []

    def limited(thread):
        count.append(thread)
        if len(count) > started:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(MemoryError, match="cannot be started"):
        list(map_in_order(abs, range(10), threads=3))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pairlens")]


def test_what_a_worker_raises_is_raised_as_it_is():
    with pytest.raises(KeyboardInterrupt):
        list(map_in_order(lambda _: (_ for _ in ()).throw(KeyboardInterrupt()), [1], threads=1))
