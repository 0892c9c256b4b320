"""Reading the words after a command with tyro; a wrong word ends with one sentence that says what was probably meant.

tyro prints its errors as boxes of text and has no public way to ask what was wrong. So its text is read here: what is
recognised becomes a sentence of Pairlens, and any other text is passed on without the box.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial, wraps
from inspect import isclass
from io import StringIO
from itertools import takewhile
from typing import Any

import tyro

from pairlens.cli.whole_numbers import ranks_registry
from pairlens.core.suggestion import closest, suggest

# How Python complains about a text that is no number, and what the sentence says instead.
NUMBER_KINDS = {
    r"invalid literal for int\(\) with base 10: (.*)": "a whole number",
    r"could not convert string to float: (.*)": "a number",
}
CONFIG = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
# So wide that tyro breaks no line, because a broken word could not be put together again.
UNBROKEN = "10000"
RULE = re.compile(r"[─-]{3,}")


def read_arguments(target: Callable[..., Any], words: Sequence[str], prog: str) -> Any:
    """Return what the words ask for: an instance of a class, or a call of a function that has its arguments.

    A word --help prints the help text and ends the process.

    Args:
        target: a class or a function whose parameters are the options.
        words: the words after the command.
        prog: the command, as it is written in front of them.

    Raises:
        ValueError: with one sentence about the word that is wrong.
    """
    messages = StringIO()
    try:
        with redirect_stderr(messages), _broad_terminal(not _asks_for_help(words)):
            return _parse(target, words, prog)
    except SystemExit as end:
        # The status is 0 after a help text.
        if not end.code:
            raise
    raise ValueError(_sentence(target, words, prog, messages.getvalue()))


def _parse(target: Callable[..., Any], words: Sequence[str], prog: str) -> Any:
    # tyro calls a function at once. Here it only gets its arguments, so that no error of the command itself is taken for
    # one of its options.
    return tyro.cli(
        target if isclass(target) else _bound(target),
        args=list(words),
        prog=prog,
        config=CONFIG,
        registry=ranks_registry(),
        use_underscores=True,
    )


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the same options that returns a call of the given one instead of making it."""
    return wraps(function)(lambda *values, **named: partial(function, *values, **named))


def _asks_for_help(words: Sequence[str]) -> bool:
    return any(word in ("-h", "--help") for word in words)


@contextmanager
def _broad_terminal(broad: bool) -> Iterator[None]:
    """Within this context, texts are laid out for a very wide terminal; shutil.get_terminal_size reads the variable."""
    columns = os.environ.get("COLUMNS")
    if broad:
        os.environ["COLUMNS"] = UNBROKEN
    try:
        yield
    finally:
        if broad:
            os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _sentence(target: Callable[..., Any], words: Sequence[str], prog: str, printed: str) -> str:
    """Return one sentence for what tyro printed about wrong words."""
    text = _first_part(printed)
    if found := re.match(r"Unrecognized (?:or misplaced )?options: +([^ ,]+)", text):
        return _about_unknown(found[1], target, words, prog, printed)
    if found := re.match(r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of (.*)\.", text):
        choices = re.findall(r"'([^']*)'", found[3])
        meant = closest(found[1], choices)
        asked = f"; did you mean {meant}?" if meant else ""
        return f"{found[2]} must be one of {', '.join(choices)}, not {found[1]!r}{asked}"
    if found := re.match(r"Missing value for argument '(.*?)'", text):
        return f"{found[1]} needs a value; {prog} --help says which"
    if found := re.match(r"Missing from .*?: (\S+) (.*?)\.? *\(required\)", text):
        return f"{prog} needs {found[1]}, {found[2]}; {prog} --help says how to write it"
    return _about_value(text, prog)


def _about_value(text: str, prog: str) -> str:
    """Return the sentence about a value of the wrong type, or with the reason that the type itself gives."""
    found = re.match(r"Error parsing (.*?): (.*)", text)
    if not found:
        return text or f"a word after {prog} is wrong; {prog} --help lists what it has"
    option, reason = found.groups()
    for pattern, kind in NUMBER_KINDS.items():
        if value := re.fullmatch(pattern, reason):
            return f"{option} must be {kind}, not {value[1]}"
    # What a record refuses when it is made is no fault of one option, and its sentence names the options itself.
    return f"{option}: {reason}" if option.startswith("-") else reason


def _about_unknown(word: str, target: Callable[..., Any], words: Sequence[str], prog: str, printed: str) -> str:
    """Return the sentence about a word that is no option and no value of a command."""
    options, choices = _known_words(target, words, prog)
    if word in choices:
        chosen = next(other for other in words if other in choices)
        return f"{prog} cannot take {word!r} beside {chosen!r}; give one of them"
    if not word.startswith("-"):
        return f"{prog} does not know {word!r}; {_suggest_or_help(word, choices, prog)}"
    name = word.partition("=")[0]
    # tyro names the losses that have an option of this name.
    owners = dict.fromkeys(re.findall(rf"in {re.escape(prog.split()[0])} (\w+) --help", printed))
    if f" {name} " in printed.partition("Perhaps you meant")[2] and owners:
        return f"{name} is an option of {', '.join(owners)}; name one of them, or see {prog} --help"
    return f"{prog} has no option {name}; {_suggest_or_help(name, options, prog)}"


def _suggest_or_help(word: str, known: Sequence[str], prog: str) -> str:
    # A command has dozens of options, too many for a sentence.
    return f"{prog} --help lists what it has" if closest(word, known) is None else suggest(word, known)


def _known_words(target: Callable[..., Any], words: Sequence[str], prog: str) -> tuple[list[str], list[str]]:
    """Return the options of a command, those of the loss among the words included, and the losses it can be given."""
    text = _help_text(target, [], prog)
    usage = re.match(r"usage: .*\{([\w,]+)\}", text)
    choices = usage[1].split(",") if usage else []
    chosen = [word for word in words if word in choices][:1]
    if chosen:
        text = _help_text(target, chosen, prog)
    # An option begins a line, after the frame of its box: │ --soft, --no_soft
    lines = re.findall(r"^\W*(?:-h, )?(--\w.*)", text, re.MULTILINE)
    return [option for line in lines for option in re.findall(r"(?:^|, )(--\w+)", line)], choices


def _help_text(target: Callable[..., Any], words: Sequence[str], prog: str) -> str:
    printed = StringIO()
    try:
        with redirect_stdout(printed), _broad_terminal(True):
            _parse(target, [*words, "--help"], prog)
    except SystemExit:
        pass
    return printed.getvalue()


def _first_part(printed: str) -> str:
    """Return the text of tyro's box below its title and down to the next rule, on one line and without the frame."""
    lines = [line.strip("│╰╯ ") for line in printed.splitlines()[1:]]
    # Where the output cannot show lines, rules are hyphens, and one more of them stands below the title.
    if lines and RULE.fullmatch(lines[0]):
        del lines[0]
    until_rule = takewhile(lambda line: not RULE.fullmatch(line), lines)
    return " ".join(" ".join(until_rule).split())
