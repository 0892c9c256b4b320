"""A packed vector is the vector itself, and a text that packs none is refused."""

from base64 import b64encode

import numpy as np
import pytest

from pairlens.collection.packed_vector import MAX_NUMBERS, pack_vector, unpack_vector


def test_every_float32_comes_back():
    random = np.random.default_rng(0)
    vector = random.integers(0, 1 << 32, 5000, dtype=np.uint32).view(np.float32)
    vector = vector[np.isfinite(vector)]
    np.testing.assert_array_equal(unpack_vector(pack_vector(vector)), vector.astype(np.float64))


def test_other_orders_and_precisions_are_packed_alike():
    vector = np.array([0.5, -3.0, 7.25], np.float32)
    for other in (vector.astype(">f4"), vector.astype(np.float16), np.stack([vector, vector], 1)[:, 0]):
        assert pack_vector(other) == pack_vector(vector)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no base64!", "no base64"),
        ("AAAA\nAAAA", "no base64"),
        ("ünï", "no base64"),
        ("AAAAA", "no base64"),
        ("AAAAAAA=", "packs 5 bytes"),
        ("", "packs 0 bytes"),
        (pack_vector(np.array([1.0, np.nan], np.float32)), "finite"),
        (pack_vector(np.array([-np.inf], np.float32)), "finite"),
        (b64encode(bytes(4 * MAX_NUMBERS + 4)).decode(), "65,536 numbers"),
    ],
)
def test_texts_that_pack_no_vector(text, reason):
    with pytest.raises(ValueError, match=reason):
        unpack_vector(text)
