"""The table of commands, and what is imported to answer a command."""

import inspect
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
HELP = [[name, "--help"] for name in COMMANDS]
SHOW_IMPORTED = """
import runpy, sys
try:
    runpy.run_module("pairlens", run_name="__main__")
except SystemExit:
    pass
print("imported:", *sys.modules)
"""
SHOW_OF_LEGACY = """
import sys
from pairlens.cli import legacy
try:
    getattr(legacy, sys.argv[1])(["--help"])
except SystemExit:
    pass
print("imported:", *sys.modules)
"""


def imported(code, words):
    """The modules that a new process has imported at its end, of which `words` are the arguments."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, encoding="utf-8", check=True)
    return set(done.stdout.rpartition("imported:")[2].split())


@pytest.mark.parametrize("words", AT_ONCE, ids=" ".join)
def test_the_program_answers_without_pytorch(words):
    modules = imported(SHOW_IMPORTED, words)
    assert "pairlens.cli.main" in modules
    assert modules & {*HEAVY, "torch", "numpy", "tyro", "rich", "PIL", "pyarrow"} == set()


@pytest.mark.parametrize("words", [*LISTS, *HELP, ["train", "crcle"]], ids=" ".join)
def test_a_command_imports_no_library_that_its_help_does_not_need(words):
    modules = imported(SHOW_IMPORTED, words)
    assert "tyro" in modules
    assert modules & set(HEAVY) == set()


@pytest.mark.parametrize("name", ["index", "search", "collection", "migrate", "serve"])
def test_a_command_that_may_run_an_onnx_model_imports_no_pytorch_for_it(name):
    assert "torch" not in imported(SHOW_IMPORTED, [name, "--help"])


@pytest.mark.parametrize("name", ["prepare", "train", "look_up"])
def test_a_historical_command_imports_no_library_that_its_help_does_not_need(name):
    assert imported(SHOW_OF_LEGACY, [name]) & set(HEAVY) == set()


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
