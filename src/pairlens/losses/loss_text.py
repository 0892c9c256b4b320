"""Text form of losses and miners in commands, files and tables: `circle:margin=0.25,gamma=64`, `circle+0.5*triplet`.

Losses of other projects are named by their module: `module:callable`, or `module:Class(name=value)` with settings.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias, get_args

from pairlens.core.records import from_plain
from pairlens.core.suggestion import suggest
from pairlens.core.untrusted import parse_json
from pairlens.losses.all_losses import Loss
from pairlens.losses.loss_import import command_name, find_third_party_loss, third_party_loss
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import parts_of, takes_pairs
from pairlens.losses.sum import SingleLoss, Sum
from pairlens.losses.third_party import StoredLoss, Wrapped, WrappedPairs, stored_form, wrap_named

# Everything that an experiment can be trained with.
AnyLoss: TypeAlias = SingleLoss | Sum

NONE = "none"
_WEIGHT = re.compile(r"\s*([0-9][0-9.]*(?:[eE][+-]?[0-9]+)?)\s*\*\s*(.*)", re.DOTALL)


def miner_from_text(text: str) -> Miner | None:
    """Return the miner that a text names, with settings after a colon; None for the text "none".

    Raises:
        ValueError: if there is no such miner or setting; the sentence names the available ones.

    >>> miner_from_text("semi_hard:margin=0.1")
    SemiHard(margin=0.1)
    """
    if text == NONE:
        return None
    return _record_from_text(text, _by_name(get_args(Miner)), "miner")


def miner_text(miner: Miner | None) -> str:
    """Return the text of a miner, as `miner_from_text` reads it."""
    return NONE if miner is None else _text_of(miner)


def loss_from_text(text: str) -> Any:
    """Return the loss of Pairlens that a text names, with settings after a colon, or a weighted sum of such losses.

    The name may be written with or without underscores and capitals.

    Raises:
        ValueError: if there is no such loss or setting; the sentence names the available ones.

    >>> loss_from_text("multi_similarity:beta=50").beta
    50.0
    >>> loss_from_text("circle + 0.5 * triplet:margin=0.2").weights
    (1.0, 0.5)
    """
    return _loss_or_sum(text, lambda term: _record_from_text(term, _losses(), "loss"))


def any_loss_from_text(text: str) -> Any:
    """Return a loss of Pairlens by its text, or the loss of another project that module:callable names, for analysis.

    Raises:
        ValueError: if the text is neither.
    """
    if not _is_third_party(text) or len(_terms(text)) > 1:
        return trainable_from_text(text)
    loss = find_third_party_loss(text)
    return wrap_named(loss, text, text) if takes_pairs(loss) else loss


def trainable_from_text(text: str, name: str = "") -> Any:
    """Return the loss that a text names, ready to be trained: what is no record of settings is wrapped.

    Args:
        text: a loss of Pairlens, `module:callable`, or a weighted sum of such losses.
        name: the name of a wrapped function; by default its text.

    Raises:
        ValueError: if the text names no loss.
    """
    return _loss_or_sum(
        text,
        lambda term: third_party_loss(term, name) if _is_third_party(term) else loss_from_text(term),
    )


def resolve_loss(loss: Any) -> Any:
    """Return a loss that was given as an object or by its name.

    Raises:
        ValueError: if there is no loss of this name.

    >>> resolve_loss("circle")
    Circle(margin=0.4, gamma=80.0)
    """
    return loss_from_text(loss) if isinstance(loss, str) else loss


def loss_text(loss: Any) -> str:
    """Return the text of a loss, as `trainable_from_text` reads it; a function that was wrapped in Python is its name only.

    >>> from pairlens.losses import Circle, Triplet
    >>> loss_text(Circle())
    'circle:margin=0.4,gamma=80.0'
    >>> loss_text(Sum((Circle(), Triplet()), (1, 0.5)))
    'circle:margin=0.4,gamma=80.0+0.5*triplet:margin=0.1,measure="distance",soft=false'
    """
    if isinstance(loss, Sum):
        return "+".join((f"{weight!r}*" if weight != 1 else "") + loss_text(part) for weight, part in loss.parts)
    if isinstance(loss, Wrapped | WrappedPairs):
        return loss.source or loss.name
    stored = stored_form(loss)
    if isinstance(stored, StoredLoss):
        settings = ", ".join(f"{name}={value!r}" for name, value in stored.fields.items())
        return f"{stored.name}({settings})"
    return _text_of(loss)


def can_be_typed(loss: Any) -> bool:
    """Return whether `trainable_from_text` makes a loss from its text; not if a function was wrapped in Python."""
    parts = (part for _, part in parts_of(loss))
    return all(part.source for part in parts if isinstance(part, Wrapped | WrappedPairs))


def loss_name(loss: Any) -> str:
    """Return the name of a loss without its settings.

    >>> from pairlens.losses import Circle, ProxyAnchor
    >>> loss_name(ProxyAnchor()), loss_name(Sum((Circle(), ProxyAnchor()), (1, 0.5)))
    ('proxy_anchor', 'circle+0.5*proxy_anchor')
    """
    if isinstance(loss, Sum):
        return "+".join((f"{weight:g}*" if weight != 1 else "") + loss_name(part) for weight, part in loss.parts)
    if isinstance(loss, Wrapped | WrappedPairs):
        return loss.name
    stored = stored_form(loss)
    return stored.name if isinstance(stored, StoredLoss) else command_name(type(loss))


def folder_words(loss: Any) -> list[Any]:
    """Return the words by which a loss is named in the folder of a run: its class and the values of its settings.

    >>> from pairlens.losses import Circle, Contrastive
    >>> folder_words(Sum((Circle(), Contrastive()), (1, 0.5)))
    ['sum', 'circle', 0.4, 80.0, 0.5, 'contrastive', 1.0]
    """
    if isinstance(loss, Sum):
        weighed = [([] if weight == 1 else [weight]) + folder_words(part) for weight, part in loss.parts]
        return ["sum", *(word for words in weighed for word in words)]
    if isinstance(loss, Wrapped | WrappedPairs):
        return [type(loss).__name__.lower(), loss.name]
    stored = stored_form(loss)
    if isinstance(stored, StoredLoss):
        return [stored.name.rpartition(":")[2].lower(), *stored.fields.values()]
    # The names of folders keep the spelling of version 0.1, so that the default folder of a run stays the same.
    return [type(loss).__name__.lower(), *_settings_of(loss).values()]


def current_spelling(word: str) -> str:
    """Return the name of the loss that a word spells, also in an older spelling; any other word is returned unchanged.

    >>> current_spelling("multisimilarity"), current_spelling("Multi-Similarity"), current_spelling("--resume")
    ('multi_similarity', 'multi_similarity', '--resume')
    """
    kind = _losses().get(_normalized(word))
    return command_name(kind) if kind is not None and not word.startswith("-") else word


def _losses() -> dict[str, type]:
    return _by_name(get_args(Loss))


def _by_name(kinds: tuple[type, ...]) -> dict[str, type]:
    return {_normalized(kind.__name__): kind for kind in kinds}


def _normalized(name: str) -> str:
    return name.replace("_", "").replace("-", "").strip().lower()


def _is_third_party(text: str) -> bool:
    # "circle:gamma=64" and "module:callable" both have a colon; the names of the losses of Pairlens come first.
    name, colon, _ = text.partition(":")
    return bool(colon) and _normalized(name) not in _losses()


def third_party_names(text: str) -> list[str]:
    """Return the losses of other projects among the terms of a text, as module:callable; nothing is imported.

    >>> third_party_names("circle+0.5*my_code:loss(margin=0.1)")
    ['my_code:loss(margin=0.1)']
    """
    losses = [_weight_and_loss(term)[1] for term in _terms(text)]
    return [loss for loss in losses if _is_third_party(loss)]


def is_loss_expression(text: str) -> bool:
    """Return whether a word of the command line is the text of a loss that is more than the name of one.

    >>> [is_loss_expression(word) for word in ("circle", "circle:gamma=64", "circle+triplet", "my_code:loss", "--name")]
    [False, True, True, True, False]
    """
    return not text.startswith("-") and (":" in text or len(_terms(text)) > 1)


def _loss_or_sum(text: str, single: Any) -> Any:
    weighed = [_weight_and_loss(term) for term in _terms(text)]
    if len(weighed) == 1 and weighed[0][0] is None:
        return single(weighed[0][1])
    if len(weighed) == 1:
        raise ValueError(f"{text} is one loss with a weight; leave the weight out, or add another loss with +")
    weights = tuple(1.0 if weight is None else weight for weight, _ in weighed)
    return Sum(tuple(single(term) for _, term in weighed), weights)


def _weight_and_loss(term: str) -> tuple[float | None, str]:
    found = _WEIGHT.fullmatch(term)
    return (float(found[1]), found[2].strip()) if found else (None, term.strip())


def _terms(text: str) -> list[str]:
    """Split a text at every + that is not within brackets, within quotation marks or in a number such as 1e+20."""
    terms, depth, quote = [""], 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "+" and not depth and not re.search(r"[0-9.][eE]$", text[max(0, position - 2) : position]):
            terms.append("")
            continue
        terms[-1] += character
    return terms


def _text_of(record: Any) -> str:
    # JSON, so that the text is read back to exactly the same numbers.
    settings = ",".join(f"{name}={json.dumps(value)}" for name, value in _settings_of(record).items())
    return command_name(type(record)) + (f":{settings}" if settings else "")


def _settings_of(record: Any) -> dict[str, Any]:
    """Return the settings of a loss or a miner by name; those that files leave out by default are left out here, too."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    later = {f.name: f.default for f in fields(record) if f.metadata.get("omit_default", False)}
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def _record_from_text(text: str, kinds: Mapping[str, type], what: str) -> Any:
    name, _, settings = text.partition(":")
    kind = kinds.get(_normalized(name))
    if kind is None:
        raise ValueError(f"there is no {what} {name}; {suggest(name, map(command_name, kinds.values()))}")
    # Split at commas, except at those within a list in brackets.
    words = [word.partition("=") for word in re.split(r",(?![^\[]*\])", settings) if word]
    plain = {key.strip(): _setting(value) for key, _, value in words}
    return from_plain(kind, plain, f"the {what} {command_name(kind)}")


def _setting(text: str) -> Any:
    # Numbers, truth values and lists are JSON; everything else is text, which needs no quotation marks.
    try:
        return parse_json(text)
    except ValueError:
        return text
