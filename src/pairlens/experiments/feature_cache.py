"""Pooled features of a frozen backbone, stored beside the prepared data set: one safetensors file per 512 photos.

It is a cache: a file that is missing, damaged, or of another key is computed again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pairlens.core.files import make_folder, write_tensors
from pairlens.core.untrusted import TensorForm, read_forms, regular_file
from pairlens.data.catalog import Catalog
from pairlens.model.descriptors import Letter

LETTERS: tuple[Letter, ...] = get_args(Letter)
SHARD_PHOTOS = 512
# All features of a run lie in memory as well.
MAX_BYTES = 8 << 30


@dataclass(frozen=True)
class FeatureKey:
    """Everything that the features of the photos of a data set depend on; any difference has files of its own.

    How the files of photos were read is part of the digest, which is that of the stored pictures.

    Attributes:
        catalog: digest of the prepared data set.
        backbone: its name.
        weights: SHA-256 of its weights.
        stride: which down-sampling was removed.
        image_size: height and width of the photos.
        view: test for the photo as it is tested, or the augmentation and the number of the view, such as standard-3.
        seed: seed of the augmentation.
        device: the kind of device, which rounds in its own way.
    """

    catalog: str
    backbone: str
    weights: str
    stride: str
    image_size: int
    view: str
    seed: int
    device: str

    @property
    def text(self) -> str:
        """The key as JSON; its form is the first entry."""
        return json.dumps({"form": 1, **asdict(self)})

    @property
    def folder(self) -> str:
        """A folder name that only this key has."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """The features of some photos under one key.

    Attributes:
        photos: all photos that the cache is about, in the order of the file.
        key: what the features depend on.
        channels: number of channels of the backbone.
    """

    photos: Catalog
    key: FeatureKey
    channels: int

    @property
    def folder(self) -> Path:
        """Where the files lie: in a folder beside the prepared data set."""
        return self.photos.file.with_suffix(".features") / self.key.folder

    def shard_rows(self, shard: int) -> slice:
        """Return the positions of the photos of a shard among `photos`."""
        return slice(shard * SHARD_PHOTOS, min((shard + 1) * SHARD_PHOTOS, len(self.photos)))

    def missing(self, positions: Tensor) -> list[int]:
        """Return the shards that have some of these positions and are not stored, or are damaged."""
        needed = positions.div(SHARD_PHOTOS, rounding_mode="floor").unique().tolist()
        return [shard for shard in needed if not self._is_stored(shard)]

    def write(self, shard: int, pooled: Mapping[Letter, Tensor]) -> None:
        """Store the features of a shard, (photo, channel) for each letter; raises ValueError through a link."""
        data_folder = self.photos.file.parent
        make_folder(self.folder, below=data_folder)
        write_tensors(self._file(shard), {name: pooled[name].contiguous() for name in LETTERS}, {"key": self.key.text})

    def read(self, positions: Tensor, letters: Sequence[Letter]) -> Tensor:
        """Return stored features of photos.

        Args:
            positions: ascending positions of the photos; all of their shards are stored.
            letters: which descriptors.

        Shapes:
            result: float32 (photo, letter, channel).

        Raises:
            ValueError: if a feature is not finite.
        """
        found = torch.empty(len(positions), len(letters), self.channels)
        shards = positions.div(SHARD_PHOTOS, rounding_mode="floor")
        for shard in shards.unique().tolist():
            chosen = shards == shard
            within = positions[chosen] - shard * SHARD_PHOTOS
            with safe_open(regular_file(self._file(shard)), framework="pt") as stored:
                for column, letter in enumerate(letters):
                    found[chosen, column] = stored.get_tensor(letter)[within]
        if not torch.isfinite(found).all():
            raise ValueError(
                f"the features in {self.folder} are not finite; check the weights of {self.key.backbone}, or remove that "
                "folder if it was changed"
            )
        return found

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.safetensors"

    def _is_stored(self, shard: int) -> bool:
        rows = self.shard_rows(shard)
        form = TensorForm((rows.stop - rows.start, self.channels), "floats")
        file = self._file(shard)
        try:
            # Of a file that was cut short, the header does not fit the length.
            forms = read_forms(file)
            with safe_open(regular_file(file), framework="pt") as stored:
                key = (stored.metadata() or {}).get("key")
        except (OSError, SafetensorError, ValueError):
            return False
        return key == self.key.text and forms == dict.fromkeys(LETTERS, form)


def check_size(photos: int, views: int, channels: int) -> None:
    """Raise ValueError if the features of this number of views would be too large."""
    total = photos * views * channels * len(LETTERS) * 4
    if total > MAX_BYTES:
        raise ValueError(
            f"the features of {photos:,} photos in {views} views would take {total / 1e9:.1f} GB, more than "
            f"{MAX_BYTES / 1e9:.1f} GB; use fewer --views, a backbone with fewer channels, or --warm_up in the place of "
            "--freeze backbone"
        )
