"""Filters as callers and the command line write them."""

from unicodedata import normalize

import numpy as np
import pytest
import torch

from pairlens.collection.filters import Between, OneOf, Under, as_conditions, between, parse_filter, under

DECOMPOSED = normalize("NFD", "café")


def test_values_of_other_libraries_become_those_of_python():
    where = as_conditions({"price": np.arange(2), "size": np.float32(0.5), "sold": np.True_, "n": torch.tensor([1, 2])})
    assert where["price"] == OneOf((0, 1))
    assert [type(value) for value in where["price"].values] == [int, int]
    assert where["size"] == OneOf((0.5,))
    assert where["sold"].values[0] is True
    assert where["n"] == OneOf((1, 2))
    assert type(between(np.float32(1), np.int64(3)).high) is int


def test_texts_are_composed_as_they_are_stored():
    assert as_conditions({"label": DECOMPOSED, "name": [DECOMPOSED]}) == {
        "label": OneOf(("café",)),
        "name": OneOf(("café",)),
    }
    assert under(DECOMPOSED) == Under("café")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"price": {"gt": 3}}, "'price' has a dict"),
        ({"price": b"3"}, "'price' has a bytes"),
        ({"price": float("nan")}, "finite"),
        ({"price": 10**400}, "finite"),
        ({"id": "3"}, "whole number"),
        ({"id": 1 << 70}, "whole number"),
        ({"id": True}, "whole number"),
        ({"label": between(1, 2)}, "a label is a text"),
        ({"price": under("a")}, "only path and label"),
        ({"price": range(10_001)}, "10,001 values"),
        ({'a"b': 1}, "metadata key"),
        ([("a", 1)], "a mapping"),
        ({"price": [object()]}, "a object"),
    ],
)
def test_what_has_no_meaning_is_refused_by_its_key(where, words):
    with pytest.raises(ValueError, match=words):
        as_conditions(where)


@pytest.mark.parametrize("ends", [(None, None), (3, 1), ("a", 2), (float("inf"), None), (True, 2), (0, 10**400)])
def test_a_range_needs_numbers_in_their_order(ends):
    with pytest.raises(ValueError, match=r"the range"):
        between(*ends)


def test_a_range_of_ids_fits_64_bits():
    assert as_conditions({"id": between(1, 1e30)}) == {"id": Between(1, (1 << 63) - 1)}


def test_under_needs_a_text():
    with pytest.raises(ValueError, match="no text"):
        under(3)


@pytest.mark.parametrize(
    ("word", "condition"),
    [
        ("price=3", OneOf((3,))),
        ("price=3..10", Between(3.0, 10.0)),
        ("price=..10", Between(None, 10.0)),
        ("price=a..b", OneOf(("a..b",))),
        ('price="3"', OneOf(("3",))),
        ("sold=true,false", OneOf((True, False))),
        ("sold=", OneOf((None,))),
        ("label=3", OneOf(("3",))),
        ('label="a,b",c', OneOf(("a,b", "c"))),
        ("path=cat/", Under("cat/")),
        ("path=cat/1.jpg", OneOf(("cat/1.jpg",))),
        ("label=3..4", OneOf(("3..4",))),
    ],
)
def test_words_of_the_command_line(word, condition):
    assert list(parse_filter([word]).values()) == [condition]


@pytest.mark.parametrize(
    ("words", "sentence"), [(["price"], "has no ="), (["a=1", "a=2"], "twice"), (["a=.."], "no number")]
)
def test_wrong_words(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_filter(words)
