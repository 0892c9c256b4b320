"""The table of commands, and what is imported to answer a command."""

import inspect
import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from pairlens.cli.main import COMMANDS, find_command, main
from support.commands import run

# Libraries that take long to import and that no help text needs.
HEAVY = (
    *("scipy", "matplotlib", "timm", "sklearn", "torch._dynamo", "torchvision", "faiss", "pandas", "optuna", "ray"),
    *("openTSNE", "huggingface_hub", "jinja2"),
)
# The words that need no module of a command at all.
AT_ONCE = (["--help"], ["-h"], [], ["--version"], ["trian"], ["--verson"])
LISTS = (["losses"], ["recipes"], ["recipes", "circle_cub"])
WITHOUT_TORCH = [[name, "--help"] for name in ("index", "search", "collection", "migrate", "serve")]
HELP = [[name, "--help"] for name in COMMANDS]
# Commands that import PyTorch follow the others: one process answers all of them, because PyTorch imports slowly.
IN_TURN = [*WITHOUT_TORCH, *LISTS, *(words for words in HELP if words not in WITHOUT_TORCH), ["train", "crcle"]]
HISTORICAL = ["prepare", "train", "look_up"]
SHOW_IMPORTED = """
import json, runpy, sys

added = []
for words in json.loads(sys.argv[1]):
    before = set(sys.modules)
    sys.argv = ["pairlens", *words]
    try:
        runpy.run_module("pairlens", run_name="__main__")
    except SystemExit:
        pass
    added.append(sorted(set(sys.modules) - before))
print("imported:", json.dumps(added))
"""
SHOW_OF_LEGACY = """
import json, sys
from pairlens.cli import legacy

added = []
for name in json.loads(sys.argv[1]):
    before = set(sys.modules)
    try:
        getattr(legacy, name)(["--help"])
    except SystemExit:
        pass
    added.append(sorted(set(sys.modules) - before))
print("imported:", json.dumps(added))
"""


def imported(code, questions):
    """The modules that each question adds to those of a new process that answers all of them in turn."""
    command = [sys.executable, "-c", code, json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return [set(names) for names in json.loads(done.stdout.rpartition("imported:")[2])]


@pytest.fixture(scope="module")
def added_in_turn():
    return dict(zip(map(tuple, IN_TURN), imported(SHOW_IMPORTED, IN_TURN), strict=True))


@pytest.fixture(scope="module")
def added_by_historical():
    return dict(zip(HISTORICAL, imported(SHOW_OF_LEGACY, HISTORICAL), strict=True))


@pytest.mark.parametrize("words", AT_ONCE, ids=" ".join)
def test_the_program_answers_without_pytorch(words):
    (modules,) = imported(SHOW_IMPORTED, [words])
    assert "pairlens.cli.main" in modules
    assert modules & {*HEAVY, "torch", "numpy", "tyro", "rich", "PIL", "pyarrow"} == set()


@pytest.mark.parametrize("words", IN_TURN, ids=" ".join)
def test_a_command_imports_no_library_that_its_help_does_not_need(added_in_turn, words):
    assert added_in_turn[tuple(words)] & set(HEAVY) == set()


def test_the_commands_were_answered(added_in_turn):
    modules = set.union(*added_in_turn.values())
    assert {"tyro", "torch"} <= modules
    assert {find_command(name)[0].__module__ for name in COMMANDS} <= modules


@pytest.mark.parametrize("words", WITHOUT_TORCH, ids=" ".join)
def test_a_command_that_may_run_an_onnx_model_imports_no_pytorch_for_it(added_in_turn, words):
    assert "torch" not in added_in_turn[tuple(words)]


@pytest.mark.parametrize("name", HISTORICAL)
def test_a_historical_command_imports_no_library_that_its_help_does_not_need(added_by_historical, name):
    assert added_by_historical[name] & set(HEAVY) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_sentence_of_the_docstring(name):
    function, _ = find_command(name)
    assert function.__name__ == name
    docstring = inspect.getdoc(function) or ""
    assert COMMANDS[name].summary == " ".join(docstring.partition("\n\n")[0].split())


def test_the_help_text_names_every_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 70
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in text
        assert command.summary in " ".join(text.split())
    assert run() == 0
    assert capsys.readouterr().out == text


def test_the_version_is_that_of_the_package(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"pairlens {version('pairlens')}\n"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trian", "there is no command trian; did you mean train?"),
        ("Compare", "there is no command Compare; did you mean compare?"),
        ("xyz", f"there is no command xyz; available are {', '.join(COMMANDS)}"),
        ("--verson", "pairlens has no option --verson before the command; did you mean --version?"),
    ],
)
def test_a_misspelt_command_is_one_sentence(word, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        main([word])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"pairlens: {sentence}\n"
