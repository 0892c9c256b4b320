"""The state of the page is its address, and comes back from it unchanged."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlens.collection.filters import Between, OneOf, parse_filter
from pairlens.collection.item import Region
from pairlens.serving.page_state import PageState, filter_text, read_state

STATE = PageState("a" * 64, (3, 5), (7,), Region(1, 2, 30, 40), (("label", 'a,"b, c"'), ("price", "2..5")), 48, True, 9)


def read(address):
    return read_state(parse_qsl(urlsplit(address).query, keep_blank_values=True))


@pytest.mark.parametrize("state", [PageState(), STATE, PageState(ids=(1,)), PageState(where=(("label", ""),))])
def test_an_address_is_read_back(state):
    assert read(state.address()) == state


def test_boxes_and_ranges_of_a_form():
    state = read_state(
        [("where", "label=a"), ("where", "label=b"), ("from:price", "2"), ("to:price", ""), ("junk", "1")]
    )
    assert state.conditions() == {"label": OneOf(("a", "b")), "price": Between(2.0, None)}
    assert state.range_of("price") == ("2", "")
    assert state.chosen("label") == ("a", "b")


@given(
    st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"'), min_size=1, max_size=12)
)
def test_every_value_of_a_check_box_is_the_value_that_is_filtered_by(value):
    from unicodedata import normalize

    for key in ("label", "colour"):
        state = read_state([("where", f"{key}={filter_text(key, value)}")])
        assert state.conditions() == {key: OneOf((normalize("NFC", value),))}


@pytest.mark.parametrize("value", [3, 2.5, True, False, None, "3", "true", "1..2", ""])
def test_values_of_other_kinds_keep_their_kind(value):
    assert parse_filter([f"price={filter_text('price', value)}"])["price"] == OneOf((value,))


def test_links():
    state = PageState(photo="a" * 64, region=Region(1, 2, 3, 4))
    more = state.more_like(5)
    assert (more.ids, more.photo, more.region) == ((5,), "a" * 64, None)
    less = more.less_like(5)
    assert (less.ids, less.unlike) == ((), (5,))
    assert less.more_like(5).unlike == ()
    # Nothing is left to search for, so what is not wanted goes, too.
    assert less.without_photo() == PageState()
    assert more.without(5).ids == ()
    assert state.only(2) == PageState(ids=(2,))
    assert state.is_of_one_photo
    assert not more.is_of_one_photo
    assert PageState(where=(("label", "a"), ("price", "3"))).with_label("b, c").where == (
        ("price", "3"),
        ("label", '"b, c"'),
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("id", "x", "no id of a photo"),
        ("id", "-1", "no id of a photo"),
        ("id", "9" * 30, "no id of a photo"),
        ("k", "0", "at least 1"),
        ("k", "x", "whole number"),
        ("region", "1,2,3", "x,y,width,height"),
        ("region", "a,b,c,d", "x,y,width,height"),
        ("region", "0,0,0,0", "no rectangle"),
        ("where", "label", "has no ="),
        ("where", "pri$ce=3", "cannot be stored"),
    ],
)
def test_what_has_no_meaning_is_an_error_in_one_sentence(name, value, words):
    with pytest.raises(Exception, match=words):
        read_state([(name, value)])
