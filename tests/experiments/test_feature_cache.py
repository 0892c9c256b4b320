import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import write_bars
from pairlens.experiments import feature_cache
from pairlens.experiments.feature_cache import LETTERS, FeatureCache, FeatureKey, check_size

KEY = FeatureKey("digest", "test_resnet", "0" * 64, "none", 32, "test", 0, "cpu")
CHANNELS = 5


@pytest.fixture
def cache(tmp_path, monkeypatch) -> FeatureCache:
    """48 photos in shards of 20."""
    monkeypatch.setattr(feature_cache, "SHARD_PHOTOS", 20)
    return FeatureCache(write_bars(tmp_path / "bars" / "uncropped.arrow"), KEY, CHANNELS)


def features(photos: int) -> dict:
    return {letter: torch.randn(photos, CHANNELS) for letter in LETTERS}


def filled(cache) -> dict:
    """Write all shards; returns their features as one tensor for each letter."""
    parts = [features(20), features(20), features(8)]
    for shard, part in enumerate(parts):
        cache.write(shard, part)
    return {letter: torch.cat([part[letter] for part in parts]) for letter in LETTERS}


def test_what_was_written_is_read_in_the_order_of_the_photos(cache):
    everything = filled(cache)
    positions = torch.tensor([0, 19, 20, 39, 47])
    found = cache.read(positions, ("G", "S"))
    assert torch.equal(found[:, 0], everything["G"][positions])
    assert torch.equal(found[:, 1], everything["S"][positions])


def test_only_shards_that_are_needed_and_not_stored_are_missing(cache):
    assert cache.missing(torch.arange(48)) == [0, 1, 2]
    cache.write(1, features(20))
    assert cache.missing(torch.arange(48)) == [0, 2]
    assert cache.missing(torch.tensor([21, 47])) == [2]


def test_features_of_another_key_are_missing(cache):
    filled(cache)
    for change in ({"weights": "1" * 64}, {"view": "standard-0"}, {"image_size": 64}, {"catalog": "other"}):
        other = FeatureCache(cache.photos, FeatureKey(**{**vars(KEY), **change}), CHANNELS)
        assert other.folder != cache.folder
        # Not even where somebody has moved the files into the folder of the other key.
        other.folder.parent.mkdir(exist_ok=True)
        cache.folder.rename(other.folder)
        assert other.missing(torch.arange(48)) == [0, 1, 2]
        other.folder.rename(cache.folder)
    assert cache.missing(torch.arange(48)) == []


@pytest.mark.parametrize("damage", ["cut", "noise", "shape", "letters"])
def test_a_damaged_shard_is_missing(cache, damage):
    filled(cache)
    file = cache.folder / "000001.safetensors"
    tensors = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "noise":
        file.write_bytes(b"noise")
    else:
        kept = {"shape": {n: t[:-1] for n, t in tensors.items()}, "letters": {"S": tensors["S"]}}[damage]
        save_file(kept, file, {"key": KEY.text})
    assert cache.missing(torch.arange(48)) == [1]


def test_features_that_are_not_finite_are_refused(cache):
    part = features(20)
    part["M"][3, 2] = torch.inf
    cache.write(0, part)
    assert torch.isfinite(cache.read(torch.arange(20), ("S",))).all()
    with pytest.raises(ValueError, match="are not finite; check the weights of test_resnet"):
        cache.read(torch.arange(20), ("M",))


def test_nothing_is_written_through_a_link(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    cache.folder.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link that leads out of"):
        cache.write(0, features(20))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_size_of_all_features_is_limited():
    check_size(11_788, 8, 1280)
    with pytest.raises(ValueError, match=r"1,000,000 photos in 2 views would take 49\.2 GB"):
        check_size(1_000_000, 2, 2048)
