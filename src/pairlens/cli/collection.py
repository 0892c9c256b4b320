"""The commands `pairlens collection VERB`: what is done to a collection besides indexing and searching."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pairlens.cli.collection_migration import migrate
from pairlens.cli.collection_options import Name, items_table, open_collection, parse_ids, say_json
from pairlens.cli.collection_review import duplicates, suspects
from pairlens.cli.terminal import open_console, say
from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import knows_training
from pairlens.collection.filters import parse_filter
from pairlens.collection.location import exists
from pairlens.collection.search import plain_item
from pairlens.core.suggestion import suggest

FAULTY = 1


def info(name: Name, json: bool = False, wait: float = 30.0) -> None:
    """Show what a collection holds: photos, labels, metadata, models, size, and whether it is calibrated.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        json: print it as JSON for programs.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        about = collection.info()
    if json:
        say_json(about)
        return
    for key, value in about.items():
        # Photos that the collection keeps itself have an empty root.
        shown = ", ".join(f"{k or 'kept here'} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        say(f"{key.replace('_', ' '):>18}  {shown}")


def check(name: Name, wait: float = 30.0) -> None:
    """Prove a collection against itself and repair what is derived; ends with exit status 1 if something is damaged.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        faults = collection.check()
        count = len(collection)
    for fault in faults:
        say(f"{'repaired' if fault.repaired else 'damaged '}  {fault.what}")
    if any(not fault.repaired for fault in faults):
        raise SystemExit(FAULTY)
    say(f"{name}: {count:,} photos, all of them as they should be")


def list_items(
    name: Name,
    where: tuple[str, ...] = (),
    after: int = 0,
    limit: int = 50,
    json: bool = False,
    wait: float = 30.0,
) -> None:
    """List photos with their ids, labels, paths and metadata.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        where: filters such as label=dress,skirt price=3..10 path=cat/.
        after: list only photos with a larger id.
        limit: how many photos to list.
        json: print them as JSON for programs.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        filters = parse_filter(where)
        items = collection.photos(filters, after=after, limit=limit)
        count = collection.count(filters)
    if json:
        say_json([plain_item(item) for item in items])
        return
    open_console().print(items_table(items))
    say(f"{len(items):,} of {count:,} photos" + (f"; more with --after {items[-1].id}" if len(items) == limit else ""))


def remove(
    name: Name,
    ids: tyro.conf.Positional[tuple[str, ...]] = (),
    where: tuple[str, ...] = (),
    yes: bool = False,
    wait: float = 30.0,
) -> None:
    """Remove photos from a collection; their files stay where they are.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        ids: of the photos.
        where: filters in place of ids; all photos that they let through are removed.
        yes: remove what a filter lets through; without it, only their number is printed.
        wait: seconds to wait for another process.
    """
    if bool(ids) == bool(where):
        raise ValueError("remove needs either ids or --where, as in pairlens collection remove NAME 3 4")
    with open_collection(name, wait) as collection:
        if where and not yes:
            say(f"{collection.count(parse_filter(where)):,} photos would be removed; give --yes to remove them")
            return
        removed = collection.remove(parse_ids(ids)) if ids else collection.remove(where=parse_filter(where))
        say(f"removed {removed:,} photos; {name} has {len(collection):,}")


def relabel(
    name: Name,
    ids: tyro.conf.Positional[tuple[str, ...]] = (),
    label: str | None = None,
    wait: float = 30.0,
) -> None:
    """Set the label of photos.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        ids: of the photos.
        label: the new label; without it, the label is removed.
        wait: seconds to wait for another process.
    """
    if not ids:
        raise ValueError("relabel needs ids, as in pairlens collection relabel NAME 3 4 --label dress")
    with open_collection(name, wait) as collection:
        say(
            f"{collection.relabel(parse_ids(ids), label):,} photos have {f'the label {label}' if label else 'no label'} now"
        )


def reindex(name: Name, wait: float = 30.0) -> None:
    """Rewrite the database without what was removed, and build its indexes from scratch.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        before = collection.store.size()
        collection.reindex()
        say(f"{name}: {before / 1e6:,.1f} MB before, {collection.store.size() / 1e6:,.1f} MB now")


def calibrate(
    name: Name,
    rates: tuple[float, ...] = (0.05, 0.01, 0.001),
    run: Path | None = None,
    seed: int = 0,
    wait: float = 30.0,
) -> None:
    """Learn from labels how probable a match is, and when to answer "no match" at a stated false accept rate.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        rates: false accept rates for queries of classes that the collection does not hold.
        run: a run of the collection's model; its held-out classes are used in place of the labels of the collection.
        seed: of the divisions of the classes.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        calibration = collection.calibrate(rates, run=run, seed=seed)
        is_known = run is not None or knows_training(collection.store, calibration.fingerprint)
    size = calibration.size
    say(f"calibrated on {size.photos:,} photos of {size.classes:,} classes, {size.strange_queries:,} strange queries")
    for one in calibration.thresholds:
        say(
            f"false accept rate {one.rate:g}: measured {one.measured:.4f}, between {one.low:.4f} and {one.high:.4f} for new "
            f"classes (95 %); {100 * one.true_accepts:.1f} % of the true queries are accepted"
        )
    for missing in calibration.unsupported:
        say(f"false accept rate {missing.rate:g}: not supported, {missing.reason}")
    say(f"expected calibration error of the probability: {calibration.expected_calibration_error:.3f}")
    if not is_known:
        say(
            "Note: it is not known on which classes the model was trained; if labels of the collection are among them, the "
            "true false accept rates are higher."
        )


def snapshot(name: Name, to: tyro.conf.Positional[Path], wait: float = 30.0) -> None:
    """Write a consistent copy of a collection into a new folder, while others may go on writing.

    Args:
        name: the folder of the collection.
        to: the new folder.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        collection.snapshot(to)
    say(f"{to} is a copy of {name}")


def export(name: Name, file: tyro.conf.Positional[Path], wait: float = 30.0) -> None:
    """Write a Parquet table of ids, paths, labels, metadata and vectors, which any vector database can take.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        file: the table, with the suffix .parquet.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        say(f"{file}: {collection.export_vectors(file):,} photos")


def import_table(
    name: Name,
    file: tyro.conf.Positional[Path],
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    wait: float = 30.0,
) -> None:
    """Add vectors that were computed elsewhere, or exported: a Parquet table with the columns path and vector.

    The collection is made if there is none; without a model it is searched by ids and vectors.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        file: the table.
        model: what the model that computed the vectors is called; "none" if it has no name.
        wait: seconds to wait for another process.
    """
    location = name if "://" in name else Path(name)
    made = not exists(location)
    opened = Collection.create(location, "none", wait=wait) if made else Collection.open(location, wait=wait)
    with opened as collection:
        added = collection.import_vectors(file, None if model == "none" else model)
        say(f"{name}: {added:,} photos added, {len(collection):,} in all")


VERBS: dict[str, Callable[..., None]] = {
    "info": info,
    "check": check,
    "list": list_items,
    "remove": remove,
    "relabel": relabel,
    "duplicates": duplicates,
    "suspects": suspects,
    "reindex": reindex,
    "calibrate": calibrate,
    "migrate": migrate,
    "snapshot": snapshot,
    "export": export,
    "import": import_table,
}


def collection() -> None:
    """Show, check, list, remove, relabel, calibrate, migrate, copy, export or import the photos of a collection."""
    say("usage: pairlens collection VERB NAME [OPTIONS]\n\nverbs:")
    for verb, function in VERBS.items():
        say(f"  {verb:<12}{(function.__doc__ or '').splitlines()[0]}")
    say("\npairlens collection VERB --help lists the options of a verb.")


def find_collection_command(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """Return the function of the verb that the first word names, and the words that are left for its options."""
    if not words or words[0] in ("-h", "--help"):
        return collection, []
    verb, *rest = words
    if verb not in VERBS:
        raise ValueError(f"pairlens collection has no verb {verb}; {suggest(verb, VERBS)}")
    return VERBS[verb], rest
