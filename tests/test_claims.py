"""What the documents say holds: figures, tables, counts, commands, snippets, TOML, links and paths."""

import argparse
import functools
import inspect
import io
import re
import runpy
import shlex
import sys
import tomllib
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import get_args

import pytest
import torch
import tyro
from PIL import Image
from torch.distributed.run import get_args_parser

import pairlens
from pairlens.cli import legacy
from pairlens.cli import main as cli

# These names change with the packages; keep them in one block.
from pairlens.cli.collection import VERBS
from pairlens.collection import collection_model
from pairlens.comparison.study_file import read_toml
from pairlens.core.settings import flat_settings, with_settings
from pairlens.losses import Loss
from support.tiny_collections import tiny_backbone

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "pairlens"
sys.path.insert(0, str(ROOT / "docs"))
import claims  # noqa: E402
import draw  # noqa: E402

DOCUMENTS = [*claims.documents(), ROOT / "CONTRIBUTING.md"]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w./])((?:benches|tools|docs|src|tests)/[\w./-]*\w)")
MODULE = re.compile(r"(?<![\w./])([a-z_]+/[a-z_/]+\.py)\b")
OPTION = re.compile(r"(?<![\w-])--([a-z]\w*)")
# What stands for something that the reader puts in.
PLACEHOLDERS = {"LOSS": "triplet", "SEED": "0", "RUN": "runs/mine", "DATA": "data", "OUT": "out", "FILE": "photo.jpg"}
# The module of a user from which command lines take a loss.
MY_CODE = """
from dataclasses import dataclass


@dataclass(frozen=True)
class MyLoss:
    margin: float = 0.1

    def of_embeddings(self, embeddings, labels):
        return (embeddings @ embeddings.T - self.margin).square().mean()
"""
LEGACY = {"train.py": "train", "data_utils.py": "prepare", "test.py": "look_up"}
CHEAP = [["losses"], ["recipes"], ["profile"], ["audit", "circle"]]
# Written by a run on a GPU.
NOT_YET = {"benches/results/gpu.json"}
# Options of programs that are not of this repository.
FOREIGN_OPTIONS = {"standalone", "nproc_per_node", "help"}


class ParsedError(Exception):
    """A script has read its command line; nothing after that is to run."""


def read(document):
    return document.read_text(encoding="utf-8")


def blocks(*languages):
    """(document, text) of every fenced block in one of these languages."""
    return [(d, text) for d in DOCUMENTS for name, text in FENCE.findall(read(d)) if name in languages]


def snippets():
    """(document, text) of every Python block but those that have a test of their own."""
    # test_python_page.py runs the blocks of python.md one after the other, and examples/test_your_own_loop.py the scripts.
    found = blocks("python")
    return [(d, text) for d, text in found if d.name != "python.md" and not text.startswith("# examples/")]


def command_lines():
    """(document, words) of every command line in a fenced block; a block that is no command says so by its language."""
    lines = []
    for document, text in blocks("", "sh", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)]
            lines += [(document, words)] if words else []
    return lines


def stub(function, calls):
    """A function with the same signature that only notes that it was called."""
    return functools.wraps(function)(lambda *arguments, **named: calls.append(function.__name__))


def as_parameters(items):
    return [pytest.param(text, id=f"{document.name}-{i}") for i, (document, text) in enumerate(items)]


# Figures


@pytest.mark.parametrize("document", claims.documents(), ids=lambda file: file.name)
def test_every_marked_figure_and_table_is_what_results_and_code_say(document):
    text = read(document)
    now = claims.updated(text).splitlines()
    changed = [(a, b) for a, b in zip(text.splitlines(), now, strict=False) if a != b]
    assert not changed, f"run `python docs/claims.py`; the first of {len(changed)} lines:\n{changed[0]}"
    assert len(text.splitlines()) == len(now), "run `python docs/claims.py`: a table has other rows"


def test_the_tables_of_losses_are_those_of_code_and_bench():
    assert draw.updated(read(draw.PAGE)) == read(draw.PAGE), "run `make docs`"


def test_a_wrong_figure_is_seen():
    marker = "<!-- claim: step.json#/memory/peaks/micro batch/peak | /1e6:,.0f -->"
    assert claims.updated(f"1,453{marker} MB") == f"1,453{marker} MB"
    assert claims.updated(f"1,452{marker} MB") == f"1,453{marker} MB"
    count = len(get_args(Loss))
    assert claims.updated("32<!-- code: losses --> losses") == f"{count}<!-- code: losses --> losses"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about<!-- claim: step.json#/speed:d --> MB", "directly after a number"),
        ("3<!-- claim: step.json#/speed/nothing:d --> MB", "leads nowhere"),
        ("<!-- table: demo -->", "lack an end"),
    ],
)
def test_a_marker_that_holds_nothing_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        claims.updated(text)


def test_every_stored_result_is_quoted():
    quoted = " ".join(map(read, [*DOCUMENTS, ROOT / "docs" / "claim_tables.py", *(ROOT / "benches").glob("*.py")]))
    unused = [f.name for f in claims.RESULTS.glob("*.json") if f.name not in quoted and f.name != "gpu.json"]
    assert not unused


# TOML


@pytest.mark.parametrize("file", list((ROOT / "benches").glob("**/*.toml")), ids=lambda file: file.name)
def test_a_study_file_loads_with_every_loss(file):
    check_study(file)


@pytest.mark.parametrize("text", as_parameters(blocks("toml")))
def test_a_study_in_a_document_loads_with_every_loss(text, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(text, encoding="utf-8")
    check_study(file)


def check_study(file):
    study = read_toml(file)
    assert len([arm.make() for arm in study.arms]) > 1


def test_the_project_file_loads():
    assert tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["name"] == "pairlens"


# Python


@pytest.fixture
def workplace(tiny, tmp_path, monkeypatch):
    """A folder with the files that snippets name; `pairlens.run` trains a tiny network there."""
    monkeypatch.chdir(tmp_path)
    Path("data/cub").mkdir(parents=True)
    prepared = tiny.data.path / tiny.data.name
    for file in prepared.glob("uncropped.*"):
        Path("data/cub", file.name).write_bytes(file.read_bytes())
    for photo in ("some/photo.jpg", "query.jpg", "photo.jpg", "photos/dress/1.jpg", "photos/skirt/2.jpg"):
        Path(photo).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), "teal").save(photo)
    train = pairlens.run
    small = {name: value for name, value in flat_settings(tiny).items() if name not in ("loss", "seed", "num_epochs")}

    def run_small(experiment, *rest):
        # A function that a snippet gives as a setting is used as it is.
        functions = {name: value for name, value in flat_settings(experiment).items() if callable(value)}
        functions.pop("loss", None)
        return train(with_settings(experiment, small | functions | {"num_epochs": 1}), *rest)

    monkeypatch.setattr(pairlens, "run", run_small)
    monkeypatch.setattr(collection_model, "default_model", lambda: tiny_backbone(1))


@pytest.mark.parametrize("text", as_parameters(snippets()))
@pytest.mark.usefixtures("workplace")
def test_a_python_snippet_runs(text):
    labels = torch.arange(12) % 4
    embeddings = torch.nn.functional.normalize(torch.randn(12, 512), dim=1).requires_grad_()
    names = {
        "labels": labels,
        "embeddings": embeddings,
        "similarity": (embeddings @ embeddings.T).detach(),
        "weights": torch.rand(12),
        "their_loss": lambda e, y: (e @ e.T).logsumexp(dim=1).mean(),
    }
    exec(compile(text, "snippet", "exec"), names)


# Commands


@each_document
def test_code_is_fenced_so_that_it_is_tried(document):
    outside = FENCE.sub("", read(document))
    assert not re.search(r"\n\n    \S", outside), f"{document.name} has an indented block; put it between ``` lines"


@pytest.fixture
def my_code(tmp_path, monkeypatch):
    """A package with a loss of the user, as command lines name it."""
    (tmp_path / "my_code").mkdir()
    (tmp_path / "my_code" / "losses.py").write_text(MY_CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("my_code", "my_code.losses"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("words", as_parameters(command_lines()))
@pytest.mark.usefixtures("my_code")
def test_a_command_line_parses(words, monkeypatch):
    program, *rest = words
    match program:
        case "pairlens":
            parse_pairlens(rest, monkeypatch)
        case "torchrun":
            asked = get_args_parser().parse_args(rest)
            assert asked.module
            assert asked.training_script == "pairlens"
            parse_pairlens(asked.training_script_args, monkeypatch)
        case "python" | ".venv/bin/python":
            parse_python(rest, monkeypatch)
        case "make":
            assert re.search(rf"^{rest[0]}:", read(ROOT / "Makefile"), re.MULTILINE), f"no target {rest[0]}"
        case _ if re.fullmatch(r"tools/\w+\.sh", program):
            unknown = [w for w in rest if w.startswith("--") and w not in read(ROOT / program)]
            assert not unknown, f"{program} has no {unknown}"
        case "pip":
            check_install(rest)
        case _:
            pytest.fail(f"{program} is no program that this test knows; mark blocks that are no commands as ```text")


def parse_pairlens(words, monkeypatch):
    calls, find = [], cli.find_command

    def find_stub(*name_and_words):
        command, options = find(*name_and_words)
        return stub(command, calls), options

    monkeypatch.setattr(cli, "find_command", find_stub)
    with suppress(SystemExit):
        cli.main(words)
    assert calls or {"--help", "--version"} & set(words), f"pairlens {shlex.join(words)} is refused"


def parse_python(words, monkeypatch):
    script, *rest = words
    if script == "-m":
        assert rest[0] == "pairlens"
        parse_pairlens(rest[1:], monkeypatch)
    elif script in LEGACY:
        parse_legacy(LEGACY[script], rest, monkeypatch)
    else:
        parse_script(ROOT / script, rest, monkeypatch)


def parse_legacy(name, words, monkeypatch):
    assert (ROOT / "train.py").is_file()
    if name == "train":
        legacy.parse_training(words)
        return
    calls = []
    target = {"prepare": "_prepare_all", "look_up": "_look_up"}[name]
    monkeypatch.setattr(legacy, target, stub(getattr(legacy, target), calls))
    getattr(legacy, name)(words)
    assert calls


def parse_script(file, words, monkeypatch):
    """Start a script of the repository and stop it when it has read its command line."""
    parse, parse_argparse = tyro.cli, argparse.ArgumentParser.parse_args

    def by_tyro(target, *arguments, **named):
        parse(stub(target, []) if inspect.isfunction(target) else target, *arguments, **named)
        raise ParsedError

    def by_argparse(self, *arguments, **named):
        parse_argparse(self, *arguments, **named)
        raise ParsedError

    source = read(file)
    if "tyro.cli" not in source and "ArgumentParser" not in source:
        asked = set(map(int, re.findall(r"sys\.argv\[(\d+)\]", source)))
        assert asked == set(range(1, len(words) + 1)), f"{file.name} takes {len(asked)} arguments"
        return
    monkeypatch.setattr(tyro, "cli", by_tyro)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", by_argparse)
    monkeypatch.setattr(sys, "argv", [str(file), *words])
    monkeypatch.syspath_prepend(str(file.parent))
    with pytest.raises(ParsedError):
        runpy.run_path(str(file), run_name="__main__")


def check_install(words):
    extras = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
    asked = re.findall(r"\[([\w,]+)\]", " ".join(words))
    assert all(extra in extras for group in asked for extra in group.split(","))


@pytest.mark.parametrize("words", CHEAP, ids=" ".join)
def test_a_cheap_command_runs(words, capfd):
    cli.main(words)
    assert len(capfd.readouterr().out) > 50


@functools.cache
def known_options():
    """Every option of every command, historical ones and those of the scripts included."""
    scripts = (file for folder in ("benches", "tools") for file in (ROOT / folder).glob("**/*"))
    texts = [read(file) for file in scripts if file.suffix in (".py", ".sh")]
    names = set(re.findall(r"^    (\w+): .*=", "\n".join(texts), re.MULTILINE))
    names |= {option for text in texts for option in re.findall(r"--(\w+)", text)}
    calls = [["train", kind] for kind in ("circle", "margin", "softtriple", "multisimilarity")]
    calls += [[name] for name in cli.COMMANDS if name not in ("train", "collection")]
    calls += [["collection", verb] for verb in VERBS]
    for words in calls:
        with redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        names |= {name.replace("-", "_") for name in re.findall(r"--([a-z][\w-]*)", shown.getvalue())}
    return names | {name.removeprefix("no_") for name in names} | FOREIGN_OPTIONS


@each_document
def test_every_option_that_a_document_names_exists(document):
    named = {option for span in SPAN.findall(read(document)) for option in OPTION.findall(span)}
    assert named <= known_options(), named - known_options()


@each_document
def test_every_command_that_a_document_names_exists(document):
    named = set(re.findall(r"`pairlens ([a-z]+)", read(document)))
    assert named <= set(cli.COMMANDS), named - set(cli.COMMANDS)


# Files


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@each_document
def test_every_link_and_image_leads_somewhere(document):
    for link in LINK.findall(read(document)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), f"{document.name} links to {link}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", read(file), re.MULTILINE)
            assert anchor in map(slug, headings), f"{document.name} links to {link}; {file.name} has no such heading"


@each_document
def test_every_path_that_a_document_names_exists(document):
    text = read(document)
    for name in set(PATH.findall(text)) - NOT_YET:
        if not re.search(r"\b[A-Z]{3,}\b", Path(name).name):
            assert (ROOT / name).exists() or (document.parent / name).exists(), f"{document.name} names {name}"
    for name in MODULE.findall(text):
        assert (ROOT / name).exists() or (SOURCE / name).exists(), f"{document.name} names {name}"


def test_the_architecture_names_every_package_and_only_modules_that_exist():
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| (.*) \|$", read(ROOT / "docs" / "architecture.md"), re.MULTILINE)
    assert {package for _, package, _ in rows} == {file.parent.name for file in SOURCE.glob("*/__init__.py")}
    for _, package, contents in rows:
        for name in re.findall(r"`([a-z_0-9]+)`", contents):
            there = SOURCE / package
            assert (there / f"{name}.py").is_file() or (there / name).is_dir(), f"{package} has no {name}"
