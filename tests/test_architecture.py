"""The rules of docs/architecture.md, checked on the source text: layers, cycles, sizes, names, docstrings, encodings."""

import ast
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pairlens"
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
    "collection": 4,
    "export": 4,
    "serving": 5,
    "report": 5,
    "cli": 6,
}
# The public face and the entry point of `python -m pairlens`, which no package imports.
ROOT_FILES = {SOURCE / "__init__.py", SOURCE / "__main__.py", SOURCE / "_module_path.py"}
FILES = sorted(SOURCE.rglob("*.py"))
# Python puts the folder of a script first on its module path, and pytest puts tests/ there.
SCRIPT_FOLDERS = (ROOT, *(ROOT / name for name in ("benches", "tools", "docs", "tests")))
SCRIPT_FILES = sorted([*ROOT.glob("*.py"), *(f for folder in SCRIPT_FOLDERS[1:] for f in folder.rglob("*.py"))])
MAX_LINES = 350
MAX_FUNCTION_LINES = 50
# Only losses/protocols.py asks a loss for these attributes, or whether it is one of these protocols.
LOSS_ATTRIBUTES = {
    "references",
    "centers",
    "weigh",
    "initial",
    "of_embeddings",
    "penalty",
    "parts",
    "obstacle",
    "space",
}
LOSS_PROTOCOLS = {
    "PairLoss",
    "ClosedFormLoss",
    "CenterLoss",
    "PenalizedCenterLoss",
    "LearnedLoss",
    "EmbeddingLoss",
    "CombinedLoss",
    "UncomputableLoss",
}


@cache
def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def module_name(file):
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def pairlens_imports(file):
    modules = {module_name(f) for f in FILES}
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pairlens"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pairlens"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def top_level_imports(file):
    """The first parts of the names of all modules that a file imports."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def package(module):
    return module.split(".")[1]


@pytest.mark.parametrize("file", [f for f in FILES if f not in ROOT_FILES], ids=module_name)
def test_a_package_imports_only_packages_of_lower_layers(file):
    own = package(module_name(file))
    for imported in pairlens_imports(file):
        assert imported != "pairlens", f"{file.name} imports the package root"
        other = package(imported)
        allowed = other == own or LAYERS[other] < LAYERS[own]
        assert allowed, f"{module_name(file)} (layer {LAYERS[own]}) imports {imported} (layer {LAYERS[other]})"


def test_there_is_no_import_cycle():
    graph = {module_name(f): set(pairlens_imports(f)) - {module_name(f)} for f in FILES}
    done, path = set(), []

    def visit(module):
        assert module not in path, f"cycle: {' -> '.join([*path, module])}"
        if module in done or module not in graph:
            return
        path.append(module)
        for other in graph[module]:
            visit(other)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)
    assert len(done) == len(graph)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_files_and_functions_are_short(file):
    text = file.read_text(encoding="utf-8")
    assert "utils" not in file.name
    assert text.count("\n") <= MAX_LINES, f"{file} has {text.count(chr(10))} lines"
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            public = not node.name.startswith("_")
            assert not (public and node.args.kwarg), f"{file}: public {node.name} takes **{node.args.kwarg}"
            start = node.body[min(1, len(node.body) - 1) if ast.get_docstring(node) else 0].lineno
            assert node.end_lineno - start < MAX_FUNCTION_LINES, f"{file}: {node.name} is too long"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_every_public_name_has_a_docstring(file):
    tree = parse(file)
    assert ast.get_docstring(tree), f"{file} does not say what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"


def test_no_file_runs_code_when_it_is_opened():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "import pickle" not in text
        assert "weights_only=False" not in text


def test_no_function_seeds_the_random_numbers_of_its_caller():
    """A run seeds them for itself; everything else draws from generators of its own, or within `own_random_numbers`."""
    seeding = {"torch.manual_seed", "torch.random.manual_seed", "torch.seed", "np.random.seed", "random.seed"}
    allowed = {SOURCE / "core" / "random_numbers.py", SOURCE / "training" / "random_state.py"}
    for file in set(FILES) - allowed:
        calls = [node for node in ast.walk(parse(file)) if isinstance(node, ast.Call)]
        assert not {ast.unparse(call.func) for call in calls} & seeding, f"{file} seeds the generators of the process"


def public_names(file):
    """The public functions, classes and type aliases that a file defines."""
    for node in parse(file).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            name = node.target.id
        else:
            continue
        if not name.startswith("_"):
            yield name


def test_no_public_name_is_defined_twice():
    """Except in `cli`, whose commands are named like what they run, and `data/readers`, which all have a `read`."""
    where = defaultdict(list)
    for file in FILES:
        folders = file.relative_to(SOURCE).parts[:-1]
        if folders[:1] != ("cli",) and folders[:2] != ("data", "readers"):
            for name in public_names(file):
                where[name].append(module_name(file))
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def test_no_module_shadows_the_standard_library():
    """Packages import absolutely, so a module may be called `statistics` as long as its package does not import that.

    Beside a script no module may have such a name at all, because Python looks there first.
    """
    standard = sys.stdlib_module_names
    for folder in {file.parent for file in FILES}:
        names = {file.stem for file in folder.glob("*.py")} & standard
        for file in folder.glob("*.py"):
            shadowed = names & set(top_level_imports(file))
            assert not shadowed, f"{file} imports {shadowed}, but {folder} has a module of that name; rename it"
    for folder in SCRIPT_FOLDERS:
        names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
        assert not names & standard, f"{folder} has {names & standard}, which shadow the standard library; rename them"


# Functions of the standard library that open a text file or a pipe if they are told to, by their last name.
TEXT_KEYWORDS = ("text", "universal_newlines")
SUBPROCESS_CALLS = ("run", "Popen", "check_output", "check_call", "call", "getoutput", "getstatusoutput")
TEMPORARY_FILES = ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile")


def text_access_without_encoding(tree):
    """The lines of calls that read or write a text file or a pipe in the encoding of the machine."""
    in_with = [item.context_expr for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items]
    for call in ast.walk(tree):
        has_encoding = isinstance(call, ast.Call) and any(keyword.arg == "encoding" for keyword in call.keywords)
        if isinstance(call, ast.Call) and not has_encoding and opens_text(call, call in in_with):
            yield call.lineno


def opens_text(call, in_with):  # noqa: C901 (one case per function of the standard library)
    """Whether a call without an encoding opens a text file or a pipe of texts."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    # Of `module.function`, the module; of a call in a call, such as `Path(f).open`, None.
    owner = (
        call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else None
    )
    match call.func:
        case ast.Attribute(attr="read_text"):
            return not call.args
        case ast.Attribute(attr="write_text"):
            return len(call.args) == 1
        case ast.Attribute(attr="fdopen"):
            return all(map(is_text_mode, modes + call.args[1:2]))
        case ast.Attribute(attr="open") if owner in ("gzip", "bz2", "lzma"):
            # These are binary unless the mode says text.
            return any(isinstance(m, ast.Constant) and "t" in str(m.value) for m in modes + call.args[1:2])
        case ast.Attribute(attr="open") if owner in ("io", "codecs"):
            return all(map(is_text_mode, modes + call.args[1:2]))
        case ast.Attribute(attr="open"):
            # Path.open takes the mode first; what takes another argument first (Image.open, os.open, Catalog.open) is no
            # text file. Without a mode, it is a file only in a `with` statement: a recorder can be opened, too.
            modes += call.args[:1]
            return all(map(is_text_mode, modes)) and bool(modes or in_with)
        case ast.Name(id="open"):
            return all(map(is_text_mode, modes + call.args[1:2]))
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in TEMPORARY_FILES:
            return any(map(is_text_mode, modes + call.args[:1]))
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in SUBPROCESS_CALLS:
            return any(k.arg in TEXT_KEYWORDS and getattr(k.value, "value", True) for k in call.keywords)
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in ("TextIOWrapper", "input", "FileInput"):
            return name != "input" or owner == "fileinput"
    return False


def is_text_mode(node):
    """Whether an argument is the mode of a text file, such as "w"."""
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and 0 < len(value) <= 3 and set(value) <= set("rwaxt+")


@pytest.mark.parametrize("file", [*FILES, *SCRIPT_FILES], ids=lambda file: str(file.relative_to(ROOT)))
def test_text_files_are_opened_with_an_encoding(file):
    lines = list(text_access_without_encoding(parse(file)))
    assert not lines, f'{file}, lines {lines}: add encoding="utf-8"'


def test_the_rule_of_encodings_sees_what_it_should():
    wrong = [
        "f.read_text()",
        "f.write_text(x)",
        'f.open("w")',
        "with f.open() as x: pass",
        "open(f)",
        'open(f, mode="a")',
        "os.fdopen(handle)",
        'os.fdopen(handle, "w")',
        "csv.reader(open(f))",
        "csv.writer(f.open('w', newline=''))",
        "with Path(f).open(newline='') as x: pass",
        'io.open(f, "r")',
        'gzip.open(f, "rt")',
        "io.TextIOWrapper(raw)",
        'NamedTemporaryFile("w")',
        "subprocess.run(words, text=True)",
        "subprocess.Popen(words, universal_newlines=True)",
        "subprocess.check_output(words, text=flag)",
        "fileinput.input(files)",
    ]
    right = [
        "f.read_bytes()",
        'f.open("rb")',
        "Image.open(f)",
        "recorder.open()",
        "Catalog.open(f)",
        'open(f, "wb")',
        "os.open(f, flags)",
        'os.fdopen(handle, "wb")',
        'gzip.open(f, "rb")',
        "gzip.open(f)",
        "NamedTemporaryFile()",
        "subprocess.run(words)",
        "subprocess.run(words, capture_output=True)",
        "subprocess.run(words, text=False)",
        'subprocess.run(words, encoding="utf-8")',
        "input()",
        "training.run(words)",
    ]
    right += ['f.read_text(encoding="utf-8")', 'open(f, "w", encoding="utf-8")', 'f.write_text(x, encoding="utf-8")']
    assert all(list(text_access_without_encoding(ast.parse(line))) for line in wrong)
    assert not any(list(text_access_without_encoding(ast.parse(line))) for line in right)


@pytest.mark.parametrize("file", [f for f in FILES if f != SOURCE / "losses" / "protocols.py"], ids=module_name)
def test_only_the_protocols_ask_what_a_loss_is(file):
    for call in ast.walk(parse(file)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) < 2:
            continue
        question = call.args[1]
        if call.func.id in ("hasattr", "getattr"):
            assert not (isinstance(question, ast.Constant) and question.value in LOSS_ATTRIBUTES), ast.unparse(call)
        if call.func.id == "isinstance":
            kinds = {node.id for node in ast.walk(question) if isinstance(node, ast.Name)}
            assert not kinds & LOSS_PROTOCOLS, f"{file}: {ast.unparse(call)}; ask a function of losses/protocols.py"
