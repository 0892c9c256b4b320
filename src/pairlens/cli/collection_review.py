"""The commands `pairlens collection duplicates | suspects`: what a person looks through to put a collection right."""

from dataclasses import asdict

from pairlens.cli.collection_options import Name, open_collection, path_words, say_json
from pairlens.cli.terminal import say


def duplicates(name: Name, near: float | None = None, json: bool = False, wait: float = 30.0) -> None:
    """Find the same photo, the same picture in another encoding, and photos that are near.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        near: cosine from which photos count as near; by default derived from the photos and printed.
        json: print the ids as JSON for programs.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        found = collection.duplicates(near)
        groups = {
            "the same photo": found.same_photo,
            "the same picture, in another encoding": found.same_picture,
            "near photos": found.near,
        }
        if json:
            say_json({**groups, "threshold": found.threshold, "reason": found.reason})
            return
        for kind, members in groups.items():
            say(f"{kind}: {len(members):,} groups")
            for ids in members:
                say("  " + "  ".join(f"{item.id} {item.path}" for item in collection.store.items(ids)))
    say(f"near is a cosine of at least {found.threshold:.4f}: {found.reason}")


def suspects(name: Name, threshold: float | None = None, json: bool = False, wait: float = 30.0) -> None:
    """List the photos whose labels their nearest photos contradict, most suspicious first.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        threshold: the score from which a photo is listed, above 0 and at most 1; by default 0.5.
        json: print them as JSON for programs.
        wait: seconds to wait for another process.
    """
    with open_collection(name, wait) as collection:
        found = collection.suspects(threshold)
        items = {item.id: item for item in collection.store.items([one.id for one in found.suspects])}
    if json:
        say_json(asdict(found))
        return
    for one in found.suspects:
        path = path_words(items[one.id]) if one.id in items else "-"
        say(f"{one.score:6.3f}  {one.id:>7}  {one.label} -> {one.suggested}  {path}")
    say(
        f"{len(found.suspects):,} of {found.labelled:,} labels are suspected (score of at least {found.threshold:g}); "
        f"{found.alone:,} photos are the only ones of their label"
    )
    if found.suspects:
        say(f"correct one with: pairlens collection relabel {name} ID --label LABEL")
