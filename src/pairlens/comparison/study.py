"""What a comparison compares: losses in fields, a field being a data set with the settings that all losses share."""

import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pairlens.core.files import write_text
from pairlens.core.records import from_plain, require, to_plain
from pairlens.core.untrusted import read_json, read_text
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.loss_spec import miner_from_text, trainable_from_text
from pairlens.losses import Loss
from pairlens.losses.protocols import Wrapped

STUDY_FILE = "study.json"
SEEDS = 5
MOST = 10_000
METRIC = "MAP@R"
SETTINGS = {f.name for f in fields(Experiment)} - {"loss", "seed", "folds", "fold"}


@dataclass(frozen=True)
class Arm:
    """One of the losses compared.

    Attributes:
        name: what tables and figures call it.
        loss: the loss as text: `circle:gamma=64`, or `module:callable(name=value)` of (embeddings, labels).
    """

    name: str
    loss: str

    @classmethod
    def of(cls, text: str) -> "Arm":
        """Read `LOSS` or `LOSS as NAME`.

        >>> Arm.of("circle:gamma=64 as circle 64")
        Arm(name='circle 64', loss='circle:gamma=64')
        """
        loss, _, name = (part.strip() for part in text.partition(" as "))
        return cls(name or loss, loss)

    def make(self) -> Loss | Wrapped:
        """Return the loss; raises ValueError if there is none of that name."""
        return trainable_from_text(self.loss, self.name)


@dataclass(frozen=True)
class Benchmark:
    """A data set and the settings in which all losses are trained on it.

    Attributes:
        name: what tables and figures call it.
        settings: everything but loss and seed.
        seeds: how many, from the first; the same seed gives every loss the same first weights, batches and crops.
        tuned_in: another field, whose tuned settings hold here as well; by default a field is tuned for itself.
        first_seed: seeds are counted from here.
    """

    name: str
    settings: Experiment
    seeds: int = SEEDS
    tuned_in: str = ""
    first_seed: int = 0

    @property
    def numbers(self) -> range:
        """The seeds themselves."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class Study:
    """Losses × fields × seeds.

    Attributes:
        arms: the losses.
        fields: where they are compared.
        tune: how many settings of each loss are tried before, on training classes only; 0 takes all as they are given.
        folds: into how many folds the training classes are dealt for it.
        metric: by which losses are tuned and ranked.
    """

    arms: tuple[Arm, ...]
    fields: tuple[Benchmark, ...]
    tune: int = 0
    folds: int = 4
    metric: str = METRIC

    def __post_init__(self) -> None:
        require(len(self.arms) > 1, "a comparison needs two losses or more; give them with --losses")
        require(bool(self.fields), "a comparison needs a data set; give one with --data_name")
        for what, names in (("losses", [a.name for a in self.arms]), ("fields", [f.name for f in self.fields])):
            slugs = Counter(map(slug, names))
            twice = [name for name in names if slugs[slug(name)] > 1]
            require(
                not twice, f"two {what} are called {twice[0] if twice else ''}; name them apart, as in 'circle as mine'"
            )
        require(0 <= self.tune <= MOST, f"--tune {self.tune} must be 0 to {MOST:,}")
        require(not self.tune or self.folds >= 2, f"--folds {self.folds} must be at least 2 to tune")
        for field in self.fields:
            self._check(field)

    def _check(self, field: Benchmark) -> None:
        require(1 <= field.seeds <= MOST, f"{field.seeds} seeds of {field.name} cannot be; give --seeds 1 to {MOST:,}")
        known = [f"{letter}@{k}" for letter in "RP" for k in field.settings.recalls] + ["R-Precision", "MAP@R"]
        require(self.metric in known, f"--metric {self.metric} is not measured; there are {', '.join(known)}")
        others = [f.name for f in self.fields if f is not field and not f.tuned_in]
        require(
            not field.tuned_in or field.tuned_in in others,
            f"{field.name} takes over the settings tuned in {field.tuned_in!r}; there are {', '.join(others) or 'none'}",
        )


def experiment_of(arm: Arm, field: Benchmark, seed: int) -> Experiment:
    """Return the run of a loss in a field; raises ValueError if they do not go together."""
    return replace(field.settings, loss=arm.make(), seed=seed)


def slug(name: str) -> str:
    """Return a name as a folder is called.

    No name leads out of the folder it is put into.

    >>> slug("Omniglot, loss alone"), slug("..")
    ('omniglot-loss-alone', 'unnamed')
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unnamed"


def grid(
    settings: Experiment, data_names: tuple[str, ...], auxiliaries: tuple[float, ...], seeds: int
) -> tuple[Benchmark, ...]:
    """Return a field for every data set and every weight of the auxiliary loss."""
    return tuple(
        Benchmark(
            _benchmark_name(data, weight, auxiliaries), replace(settings, data_name=data, auxiliary=weight), seeds
        )
        for data in data_names
        for weight in auxiliaries
    )


def _benchmark_name(data_name: str, auxiliary: float, auxiliaries: tuple[float, ...]) -> str:
    if len(auxiliaries) == 1:
        return data_name
    return f"{data_name}, loss alone" if auxiliary == 0 else f"{data_name}, auxiliary {auxiliary:g}"


def read_toml(file: Path) -> Study:
    """Read a study from a TOML file.

    `losses` lists them, `[settings]` holds options of `pairlens train` for all fields, every `[[fields]]` a data set with
    the options it has for itself; `seeds`, `tune`, `folds` and `metric` are as on the command line.

    Raises:
        ValueError: naming the key that is unknown or of another type.
    """
    try:
        data = tomllib.loads(read_text(file))
    # TOML nested too deeply; and a number or date that is none can fail in Python's own types.
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} cannot be read as TOML ({error}); give a study as docs/analysis.md shows it"
        ) from error
    known = {"losses", "settings", "fields", "seeds", "tune", "folds", "metric"}
    unknown = sorted(set(data) - known)
    require(not unknown, f"{file} has an unknown key {unknown[:1]}; known are {', '.join(sorted(known))}")
    losses, settings = data.pop("losses", []), data.pop("settings", {})
    seeds, own = data.pop("seeds", SEEDS), data.pop("fields", [{}])
    tables = isinstance(settings, dict) and isinstance(own, list) and all(isinstance(one, dict) for one in own)
    require(tables, f"{file}: [settings] must be a table and [[fields]] a list of tables")
    require(
        isinstance(losses, list) and all(isinstance(x, str) for x in losses), f"{file}: losses must be a list of texts"
    )
    plain = {
        **data,
        "arms": [to_plain(Arm.of(text)) for text in losses],
        "fields": [_field({"seeds": seeds, **settings, **one}, str(file)) for one in own],
    }
    return from_plain(Study, plain, str(file))


def _field(given: dict[str, Any], where: str) -> Any:
    name = given.pop("name", given.get("data_name", "car"))
    outer = {key: given.pop(key) for key in ("seeds", "tuned_in", "first_seed") if key in given}
    unknown = sorted(set(given) - SETTINGS)
    require(
        not unknown, f"{where} has an unknown setting {unknown[:1]} in {name}; known are {', '.join(sorted(SETTINGS))}"
    )
    if isinstance(given.get("miner"), str):
        given["miner"] = to_plain(miner_from_text(given["miner"]))  # pyright: ignore[reportArgumentType]
    return {"name": name, "settings": given, **outer}


def write_study(study: Study, folder: Path) -> None:
    """Write a study into the folder of its comparison."""
    write_text(folder / STUDY_FILE, json.dumps(to_plain(study), indent=1) + "\n")


def read_study(folder: Path) -> Study:
    """Read the study of a comparison; raises ValueError if the folder is none."""
    file = folder / STUDY_FILE
    if not file.is_file():
        raise ValueError(f"{folder} is not the folder of a comparison: it has no {STUDY_FILE}")
    try:
        found = read_json(file)
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); start the comparison again with the same command") from error
    return from_plain(Study, found, str(file))
