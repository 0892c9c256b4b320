"""Unpack the real files of ../shared/data and prepare them: `python tools/real_files.py --out data`.

Writes three prepared data sets under --out: omniglot (train on small1, test on small2; a class is a character), tiny (50
classes of Tiny ImageNet train, 50 test) and birds (five species train, five test); the first two also at 36 px.
"""

import csv
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from pairlens.data.prepare import Preparation, prepare


@dataclass(frozen=True)
class Sources:
    """Options: the folder of the files, and that of the prepared data sets."""

    shared: Path = Path(__file__).resolve().parents[2] / "shared" / "data"
    out: Path = Path("data")


def unpack_omniglot(sources: Sources, raw: Path) -> Path:
    """Unpack both zips and list their characters as a table."""
    rows = []
    for part, split in (("small1", "train"), ("small2", "test")):
        with zipfile.ZipFile(sources.shared / "omniglot" / f"images_background_{part}.zip") as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".png") and not n.startswith("__"))
            archive.extractall(raw, names)
        rows += [(f"{part}/" + "/".join(n.split("/")[1:3]), n, split) for n in names]
    table = raw / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "path", "split"), *rows])
    return table


def unpack_tar(file: Path, raw: Path) -> Path:
    """Unpack a tar of class folders; returns the folder that holds them."""
    with tarfile.open(file) as archive:
        archive.extractall(raw, filter="data")
    inside = [p for p in raw.iterdir() if p.is_dir()]
    return inside[0] if len(inside) == 1 else raw


def main(sources: Sources) -> None:
    """Unpack and prepare all data sets."""
    raw = sources.out / "raw"
    for name in ("omniglot", "tiny", "birds"):
        (raw / name).mkdir(parents=True, exist_ok=True)
    table = unpack_omniglot(sources, raw / "omniglot")
    tiny = unpack_tar(sources.shared / "tiny_imagenet_100.tar", raw / "tiny")
    birds = unpack_tar(sources.shared / "cub200_2010_ten.tar", raw / "birds")
    out = sources.out
    for name, size in (("omniglot", 72), ("omniglot36", 36)):
        prepare(Preparation("csv", out, source=table, name=name, size=size), show=print)
    for name, size in (("tiny", 72), ("tiny36", 36)):
        prepare(Preparation("folder", out, source=tiny, name=name, size=size), show=print)
    prepare(Preparation("folder", out, source=birds, name="birds", size=252), show=print)


if __name__ == "__main__":
    main(tyro.cli(Sources))
