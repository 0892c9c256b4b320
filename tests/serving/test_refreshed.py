"""A value that takes long is computed once for a change, and the last one is shown meanwhile."""

from threading import Event

import pytest

from pairlens.serving.refreshed import Refreshed


def test_the_last_value_is_shown_while_a_new_one_is_computed():
    change, release, computed = [1], Event(), []

    def compute():
        release.wait(5)
        computed.append(change[0])
        return change[0]

    value = Refreshed(lambda: change[0], compute, seconds=0)
    assert value.get() is None
    release.set()
    assert value.wait() == 1
    assert value.get() == 1
    release.clear()
    change[0] = 2
    assert value.get() == 1
    thread = value._thread
    release.set()
    thread.join()
    assert value.get() == 2
    assert computed == [1, 2]


def test_it_is_not_computed_more_often_than_wanted():
    change, computed = [1], []
    value = Refreshed(lambda: change[0], lambda: computed.append(1) or len(computed), seconds=1000)
    assert value.wait() == 1
    change[0] = 2
    assert value.wait() == 1
    assert computed == [1]


def test_an_error_is_raised_for_whoever_asks():
    def fail():
        raise ValueError("too few photos")

    value = Refreshed(lambda: 1, fail, seconds=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="too few photos"):
            value.wait()
