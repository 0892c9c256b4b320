"""Duplicates: the same photo, the same picture in another encoding, and near photos."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from pairlens.collection import duplicate_photos
from pairlens.collection.collection import Collection
from pairlens.collection.duplicate_photos import LOOK_BITS, PLAIN_BITS, same_looks
from pairlens.collection.item import Region
from pairlens.collection.photo_view import _at_most, look_of
from support.tiny_collections import encoded, new_collection, pixels, tiny_run


def looks(count=300):
    """Random looks, and near copies of some of them."""
    rng = np.random.default_rng(0)
    values = [int.from_bytes(rng.bytes(8), "big") for _ in range(count)]
    for copy in range(0, count, 3):
        values[copy] = values[copy + 1]
        for bit in rng.choice(64, int(rng.integers(0, 6)), replace=False).tolist():
            values[copy] ^= 1 << bit
    return values


def test_every_pair_of_like_looks_is_found():
    values = list(enumerate(looks()))
    found = {tuple(sorted(pair)) for pair in duplicate_photos._look_pairs(values)}
    expected = {
        (a, b)
        for a, first in values
        for b, second in values
        if a < b and sum(x != y for x, y in zip(f"{first:064b}", f"{second:064b}", strict=True)) <= LOOK_BITS
    }
    assert len(expected) > 30
    assert found == expected


def test_a_plain_picture_is_like_none():
    assert not same_looks(0, 0)
    assert not same_looks((1 << PLAIN_BITS - 1) - 1, (1 << PLAIN_BITS - 1) - 1)
    assert same_looks((1 << PLAIN_BITS) - 1, (1 << PLAIN_BITS) - 1)


def test_chains_of_pairs_are_one_group():
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 60, (40, 2)).tolist()
    groups = [{number} for number in range(60)]
    for first, second in pairs:
        joined = [group for group in groups if first in group or second in group]
        groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    found = duplicate_photos._Joined(pairs).groups()
    assert sorted(found) == sorted(tuple(sorted(group)) for group in groups if len(group) > 1)


def test_each_kind_is_told_from_the_others(tmp_path):
    big = {"height": 200, "width": 240}
    near = pixels(3, **big).copy()
    near[:, :120] = near[:, 119::-1]
    with new_collection(tmp_path / "shop", tiny_run()) as shop:
        (tmp_path / "photos").mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / "photos" / name).write_bytes(encoded(1, **big))
        shop.add(tmp_path / "photos")
        shop.add(
            [
                encoded(1, "JPEG", **big, quality=60),
                encoded(1, "JPEG", 100, 120),
                encoded(2, **big),
                encoded(3, **big),
                near,
            ]
        )
        found = shop.duplicates(near=0.9999)
        assert found.same_photo == ((1, 2),)
        assert found.same_picture == ((1, 2, 3, 4),)
        assert (found.threshold, found.reason) == (0.9999, "it was given")
        # All photos are near at this threshold, so the copies are part of one group of near ones.
        assert shop.duplicates(near=-1).near == (tuple(range(1, 8)),)
        derived = shop.duplicates()
        assert 0 < derived.threshold < 1
        assert "half of 7 photos have at least this cosine with themselves without a border" in derived.reason
    for wrong in (2, float("nan")):
        with pytest.raises(ValueError, match="between -1 and 1"):
            shop.duplicates(near=wrong)


def test_the_threshold_is_the_median_of_a_plain_loop(tmp_path):
    with new_collection(tmp_path / "shop", tiny_run()) as shop:
        shop.add([pixels(n, 100, 120) for n in range(5)])
        cosines = []
        for item in shop.photos():
            picture = Image.open(io.BytesIO(shop.store.thumbnails([item.id])[item.id]))
            inner = picture.crop((12, 10, 108, 90))
            cosines.append(float(shop.embed(picture)[0] @ shop.embed(inner)[0]))
        assert shop.duplicates().threshold == pytest.approx(sorted(cosines)[2], abs=1e-4)


def test_regions_of_one_photo_are_no_copies_of_each_other(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(encoded(1, height=200, width=240))
    (tmp_path / "photos" / "t.csv").write_text(
        "path,x_1,y_1,x_2,y_2\na.png,0,0,120,200\na.png,120,0,240,200\n", encoding="utf-8"
    )
    with new_collection(tmp_path / "shop") as shop:
        shop.add(tmp_path / "photos" / "t.csv")
        assert shop.get(2).region == Region(120, 0, 120, 200)
        found = shop.duplicates(near=1)
        assert (found.same_photo, found.same_picture) == ((), ())


def test_without_pixels_the_threshold_is_a_usual_one(tmp_path):
    from support.stores import fill

    with Collection.create(tmp_path / "shop", "none") as shop:
        fill(shop.store, 4)
        found = shop.duplicates()
        assert (found.threshold, found.near) == (0.95, ())
        assert "usual value" in found.reason


def small(picture):
    return _at_most(np.asarray(picture), 256)


def test_real_photos_are_recognised_in_other_encodings(shared):
    """Re-encoded at quality 60 and at half the size; and no two different photos are taken for one."""
    pictures = []
    with tarfile.open(shared / "cub200_2010_ten.tar") as tar:
        for member in [member for member in tar if member.name.endswith(".jpg")][:120]:
            pictures.append(Image.open(tar.extractfile(member)).convert("RGB"))
    values = [look_of(small(picture)) for picture in pictures]
    recognised = 0
    for picture, value in zip(pictures, values, strict=True):
        for size in (picture.size, (picture.width // 2, picture.height // 2)):
            contents = io.BytesIO()
            picture.resize(size).save(contents, "JPEG", quality=60)
            recognised += same_looks(value, look_of(small(Image.open(contents))))
    assert recognised >= 0.88 * 2 * len(pictures)
    assert not any(same_looks(a, b) for n, a in enumerate(values) for b in values[:n])
