"""The house rules of docs/architecture.md, kept by reading the source."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "pairlens"
LAYERS = {
    "core": 0,
    "neighbors": 1,
    "plotting": 1,
    "losses": 1,
    "model": 1,
    "data": 1,
    "training": 2,
    "evaluation": 2,
    "experiments": 3,
    "comparison": 4,
    "analysis": 4,
    "retrieval": 4,
    "report": 5,
    "cli": 6,
}
# The public face and the entry point of `python -m pairlens`, which no package imports.
ROOT_FILES = {SOURCE / "__init__.py", SOURCE / "__main__.py"}
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 350
MOST_FUNCTION_LINES = 50


def name_of(file):
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file):
    modules = {name_of(f) for f in FILES}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pairlens"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pairlens"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def room(module):
    return module.split(".")[1]


@pytest.mark.parametrize("file", [f for f in FILES if f not in ROOT_FILES], ids=name_of)
def test_a_room_imports_only_rooms_below_it(file):
    own = room(name_of(file))
    for imported in imports_of(file):
        assert imported != "pairlens", f"{file.name} imports the package root"
        other = room(imported)
        allowed = other == own or LAYERS[other] < LAYERS[own]
        assert allowed, f"{name_of(file)} (layer {LAYERS[own]}) imports {imported} (layer {LAYERS[other]})"


def test_there_is_no_import_cycle():
    graph = {name_of(f): set(imports_of(f)) - {name_of(f)} for f in FILES}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, f"cycle: {' -> '.join([*open_, module])}"
        if module in done or module not in graph:
            return
        open_.append(module)
        for other in graph[module]:
            visit(other)
        open_.pop()
        done.add(module)

    for module in graph:
        visit(module)
    assert len(done) == len(graph)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_are_short_and_honest(file):
    text = file.read_text()
    assert "utils" not in file.name
    assert text.count("\n") <= MOST_LINES, f"{file} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            public = not node.name.startswith("_")
            assert not (public and node.args.kwarg), f"{file}: public {node.name} takes **{node.args.kwarg}"
            start = node.body[min(1, len(node.body) - 1) if ast.get_docstring(node) else 0].lineno
            assert node.end_lineno - start < MOST_FUNCTION_LINES, f"{file}: {node.name} is too long"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_public_name_has_a_docstring(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), f"{file} does not say what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"


def test_no_file_runs_code_when_it_is_opened():
    for file in FILES:
        text = file.read_text()
        assert "import pickle" not in text
        assert "weights_only=False" not in text
