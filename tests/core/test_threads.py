import threading
import time
from _thread import start_new_thread

import pytest
import torch

from pairlens.core import threads
from pairlens.core.threads import map_in_order
from support.threads import loading_threads


def test_results_come_in_the_order_of_the_items():
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(map_in_order(work, range(40), threads=4)) == list(range(40))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_given_number_of_threads_is_used(threads):
    def work(_):
        time.sleep(0.002)
        return threading.get_ident()

    numbers = set(map_in_order(work, range(20), threads))
    assert len(numbers) == max(threads, 1)
    assert (threading.get_ident() in numbers) == (threads == 0)


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
    assert not loading_threads()


def test_stopping_early_leaves_no_thread_behind():
    results = map_in_order(abs, range(1000), threads=3)
    next(results)
    assert loading_threads()
    results.close()
    assert not loading_threads()


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
    count = []

    def limited(work, arguments):
        count.append(work)
        if len(count) > started:
            raise RuntimeError("can't start new thread")
        return start_new_thread(work, arguments)

    monkeypatch.setattr(threads, "start_new_thread", limited)
    with pytest.raises(MemoryError, match="cannot be started"):
        list(map_in_order(abs, range(10), threads=3))
    assert not loading_threads()


@pytest.mark.parametrize("started", [0, 2])
def test_a_thread_that_ends_before_its_first_line_ends_the_work(monkeypatch, started):
    """With almost no memory Python cannot even call the function of a new thread, and nobody is told."""
    count = []

    def forgetful(work, arguments):
        count.append(work)
        return start_new_thread(work if len(count) <= started else lambda _: None, arguments)

    monkeypatch.setattr(threads, "SECONDS_BETWEEN_CHECKS", 0.01)
    monkeypatch.setattr(threads, "start_new_thread", forgetful)
    start = time.monotonic()
    with pytest.raises(MemoryError, match="a loading thread ended without a result"):
        list(map_in_order(lambda _: time.sleep(0.1), range(10), threads=3))
    assert time.monotonic() - start < 10
    assert not loading_threads()


def test_what_a_worker_raises_is_raised_as_it_is():
    with pytest.raises(KeyboardInterrupt):
        list(map_in_order(lambda _: (_ for _ in ()).throw(KeyboardInterrupt()), [1], threads=1))
