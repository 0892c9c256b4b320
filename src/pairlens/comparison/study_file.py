"""Studies in files: the TOML file that a person writes, and the JSON file in the folder of a comparison."""

import json
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairlens.comparison.study import SEEDS, Arm, Study
from pairlens.core.files import write_text
from pairlens.core.import_rules import NamedIn
from pairlens.core.records import VERSION, from_plain, require, to_plain
from pairlens.core.settings import find_setting, settings_of
from pairlens.core.suggestion import suggest
from pairlens.core.untrusted import read_json, read_text
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.stored_paths import as_opened, as_stored
from pairlens.losses.loss_text import miner_from_text

STUDY_FILE = "study.json"
# A study sets loss, seed and folds of its runs itself; every other setting of an experiment can be given.
SETTINGS = set(settings_of(Experiment)) - {"loss", "seed", "folds", "fold"}
STUDY_KEYS = {
    *("losses", "settings", "fields", "seeds", "tune", "folds", "halving"),
    *("metric", "spaces", "post", "reduce", "keep"),
}


def read_toml(file: Path, trust: Collection[str] = ()) -> Study:
    """Read a study from a TOML file.

    `losses` lists the losses, `[settings]` holds options of `pairlens train` for all benchmarks, and every `[[fields]]`
    is a benchmark: a data set with the options that hold only there. `seeds`, `tune`, `halving`, `folds`, `metric`, `post`,
    `reduce` and `keep` are as on the command line. `[spaces."my_code:my_loss"]` holds the tuning ranges of a loss: margin =
    {low = 0.1, high = 1, log = true}.

    Args:
        file: what is read; nothing that it names is imported.
        trust: modules that may be imported when its losses and metrics are needed, see `NamedIn`.

    Raises:
        ValueError: naming the key that is unknown or has a value of the wrong type.
    """
    try:
        data = tomllib.loads(read_text(file))
    # Deep nesting raises RecursionError, and an impossible date or number raises an error of Python's own types.
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} cannot be read as TOML ({error}); write the study as docs/analysis.md shows"
        ) from error
    _check_known(data, STUDY_KEYS, "key", str(file))
    losses = data.pop("losses", [])
    settings = data.pop("settings", {})
    seeds = data.pop("seeds", SEEDS)
    benchmarks = data.pop("fields", [{}])
    _check_types(losses, settings, benchmarks, file)
    steps = {key: data.pop(key) for key in ("post", "reduce") if key in data}
    plain = {
        **data,
        "arms": [to_plain(Arm.of(text)) for text in losses],
        "fields": [_plain_benchmark({"seeds": seeds, **settings, **one}, str(file)) for one in benchmarks],
        "processing": steps,
    }
    return _named_in(NamedIn(file, tuple(trust)), from_plain(Study, plain, str(file)))


def _named_in(origin: NamedIn, study: Study) -> Study:
    """Return a study whose losses and metrics are imported only if a person trusts their modules."""
    arms = tuple(replace(arm, origin=origin) for arm in study.arms)
    return replace(study, arms=arms, fields=tuple(replace(one, origin=origin) for one in study.fields))


def _check_known(names: Iterable[str], known: set[str], what: str, where: str) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(f"{where} has the unknown {what} {unknown[0]!r}; {suggest(unknown[0], sorted(known))}")


def _check_types(losses: Any, settings: Any, benchmarks: Any, file: Path) -> None:
    are_tables = isinstance(benchmarks, list) and all(isinstance(one, dict) for one in benchmarks)
    require(
        isinstance(settings, dict) and are_tables,
        f"{file}: [settings] must be a table and [[fields]] a list of tables",
    )
    are_texts = isinstance(losses, list) and all(isinstance(loss, str) for loss in losses)
    require(are_texts, f"{file}: losses must be a list of texts")


def _plain_benchmark(options: dict[str, Any], where: str) -> Any:
    """Return a `[[fields]]` table, with the shared settings in it, in the form that `from_plain` reads."""
    name = options.pop("name", options.get("data_name", "car"))
    # These belong to the benchmark; everything else is a setting of its experiments.
    plain = {key: options.pop(key) for key in ("seeds", "tuned_in", "first_seed") if key in options}
    # An older name of a setting is as good as its present one.
    names = {key: entry.name for key in options if (entry := find_setting(Experiment, key)) is not None}
    _check_known([names.get(key, key) for key in options], SETTINGS, "setting", f"{where}, benchmark {name},")
    if isinstance(options.get("miner"), str):
        options["miner"] = to_plain(miner_from_text(options["miner"]))  # pyright: ignore[reportArgumentType]
    return {"name": name, "settings": options, **plain}


def write_study(study: Study, folder: Path) -> None:
    """Write a study into the folder of its comparison."""
    stored = _with_settings_of_all(study, lambda settings: as_stored(settings, folder))
    write_text(folder / STUDY_FILE, json.dumps(to_plain(stored), indent=1) + "\n")


def _with_settings_of_all(study: Study, change: Callable[[Experiment], Experiment]) -> Study:
    return replace(study, fields=tuple(replace(one, settings=change(one.settings)) for one in study.fields))


def read_study(folder: Path, trust: Collection[str] = ()) -> Study:
    """Read the study of a comparison; `trust` is as in `read_toml`.

    Raises:
        ValueError: if the folder has none, or the file is damaged.
    """
    file = folder / STUDY_FILE
    if not file.is_file():
        raise ValueError(f"{folder} is not the folder of a comparison: it has no {STUDY_FILE}")
    try:
        plain = read_json(file)
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); start the comparison again with the same command") from error
    study = _named_in(NamedIn(file, tuple(trust)), from_plain(Study, plain, str(file)))
    # Version 1 stored paths as they were given, which lead from the folder in which the command was started.
    return study if _is_version_1(plain) else _with_settings_of_all(study, lambda one: as_opened(one, folder))


def _is_version_1(study: Any) -> bool:
    return all(benchmark["settings"].get(VERSION, 1) == 1 for benchmark in study["fields"])
