"""No code opens, makes or removes a file but through `core.files`, and none reads one but through `core.untrusted`."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pairlens"
# The modules that do it for all others.
WRITER, READER = "core/files.py", "core/untrusted.py"
# Methods and functions that write to a path, whatever object they belong to.
WRITING = {
    *(
        "write_text",
        "write_bytes",
        "touch",
        "mkdir",
        "makedirs",
        "rename",
        "renames",
        "symlink_to",
        "hardlink_to",
        "symlink",
    ),
    *(
        "link",
        "mkfifo",
        "mknod",
        "save_file",
        "savemat",
        "savetxt",
        "savez",
        "tofile",
        "to_csv",
        "to_parquet",
        "OSFile",
    ),
    *(
        "rmtree",
        "move",
        "copyfile",
        "copy2",
        "copytree",
        "write_table",
        "write_feather",
        "FileLock",
        "truncate",
        "chmod",
    ),
}
# Methods called `save` and `savefig` that write to what they get: their argument must be an open file or our own method.
SAVING = {"save", "savefig"}
OWN_SAVING = {
    "test.items.save", "test.queries.save", "self.learner.model.save", "values.save", "model.network.save",
    "measured.save", "save",
    "style.save",
}  # fmt: skip
# What opens a file by its path in a library; its first argument must be `regular_file(...)`.
LIBRARY_READERS = {
    "safe_open", "load_file", "torch.load", "loadmat", "pa.memory_map", "parquet.read_schema", "parquet.ParquetFile",
    "Image.open", "csv.read_csv",
}  # fmt: skip
READING = {"read_text", "read_bytes", "open_file", "fromfile", "loadtxt", "read_csv", "input_stream"}
# The null device, which is no file, and what a package or the interpreter brings.
ALLOWED = {
    ("cli/launch.py", "os.open"), ("cli/launch.py", "Path(os.devnull).open"),
    ("report/render.py", "folder.joinpath('page.html').read_text"),
    ("report/render.py", "folder.joinpath('page.css').read_text"),
    ("model/backbone.py", "zipfile.ZipFile"), ("model/backbone.py", "zipfile.is_zipfile"),
    # The null device; a path that `Catalog.open` has checked, and a table in memory.
    ("cli/output.py", "Path(os.devnull).open"),
    ("data/catalog_file.py", "file.open"), ("data/catalog_file.py", "pa.memory_map"),
    ("data/catalog_file.py", "writer.write_table"),
    # Our own method, without a path.
    ("experiments/run.py", "recorder.open"), ("experiments/stored_post.py", "run_folder.open"),
    # The files of killed writers, and the pictures of an earlier query: `unlink` removes a link, not what it leads to.
    ("data/catalog_writer.py", "leftover.unlink"), ("retrieval/match_pictures.py", "old.unlink"),
    ("data/prepare.py", "options.failures_file.unlink"), ("collection/result_pictures.py", "old.unlink"),
    ("cli/search.py", "old.unlink"),
    # Figures of a comparison that it has no more.
    ("comparison/figures.py", "file.unlink"), ("comparison/agreement_figure.py", "file.unlink"),
    # An empty folder of a copy that failed.
    ("collection/snapshot.py", "folder.rmdir"),
    # Our own methods: other paths in a database, a table into an open file, and a model into a temporary folder.
    ("collection/ingest.py", "known.move"), ("collection/known_changes.py", "store.move"),
    ("collection/vector_table.py", "writer.write_table"),
    # A photo that somebody has searched with, in a temporary folder of the server; what the system says of this process.
    ("serving/query_photos.py", "file.unlink"), ("serving/metrics.py", "Path('/proc/self/statm').read_bytes"),
    # The folder of these photos that a killed server has left.
    ("serving/query_folder.py", "rmtree"),
}  # fmt: skip


def open_files(tree):
    """The names that are bound to an open file or to memory."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                if isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func) == "atomic_write":
                    yield ast.unparse(item.optional_vars)
        is_call = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if is_call and ast.unparse(node.value.func) in ("BytesIO", "io.BytesIO"):
            yield ast.unparse(node.targets[0])


def is_forbidden(call, known):
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    first = call.args[0] if call.args else None
    if name in LIBRARY_READERS:
        in_memory = isinstance(first, ast.Call) and ast.unparse(first.func) in ("io.BytesIO", "BytesIO", "PictureBytes")
        return "regular_file(" not in ast.unparse(first) and not in_memory
    if last in SAVING:
        return name not in OWN_SAVING and ast.unparse(first) not in known
    if last in READING or last == "write_text":
        # The functions of these names that `core.untrusted` and `core.files` have are not methods.
        return "." in name
    if last == "replace" and name != "os.replace":
        return len(call.args) == 1 and not call.keywords
    if last == "open":
        return name in ("open", "io.open", "os.open") or first is None or isinstance(first, ast.Constant)
    return (
        last in WRITING or last in ("unlink", "rmdir", "removedirs") or name in ("os.remove", "os.replace", "os.mkdir")
    )


def found(text, file=""):
    tree = ast.parse(text)
    known = set(open_files(tree))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [ast.unparse(call.func) for call in calls if is_forbidden(call, known)]
    return [name for name in names if (file, name) not in ALLOWED]


def test_all_files_are_opened_in_two_modules():
    files = {file.relative_to(SOURCE).as_posix(): file for file in SOURCE.rglob("*.py")}
    wrong = {
        name: calls
        for name, file in files.items()
        if name not in (WRITER, READER) and (calls := found(file.read_text(encoding="utf-8"), name))
    }
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "open(f, 'w')", "open(f)", "f.open('w')", "f.open()", "f.write_text(t)", "f.write_bytes(b)", "f.mkdir()",
        "f.touch()",
        "figure.savefig(f)", "figure.savefig(folder / 'a.png')", "image.save(f)", "image.save(f, quality=9)",
        "np.savetxt(f, a)",
        "save_file(t, f)", "torch.save(x, f)", "part.replace(file)", "os.replace(a, b)", "f.rename(g)", "shutil.rmtree(f)",
        "f.unlink()", "pa.OSFile(str(f), 'wb')", "f.symlink_to(g)", "os.open(f, flags)", "f.read_text()", "f.read_bytes()",
        "safe_open(f)", "load_file(f)", "torch.load(f, weights_only=True)", "Image.open(f)", "pa.memory_map(str(f))",
    ],
)  # fmt: skip
def test_the_search_finds_each_way_to_open_a_file(line):
    assert found(line)


@pytest.mark.parametrize(
    "line",
    [
        "write_text(f, t)", "text.replace('a', 'b')", "replace(record, a=1)", "Catalog.open(file)",
        "safe_open(regular_file(f))",
        "buffer = BytesIO()\nimage.save(buffer)", "with atomic_write(f) as part:\n    figure.savefig(part)", "read_text(f)",
        "Image.open(io.BytesIO(b))",
    ],
)  # fmt: skip
def test_the_search_allows_what_writes_to_no_path(line):
    assert not found(line)


def test_csv_is_written_in_one_place():
    """There, cells that a spreadsheet would run are escaped."""
    writers = [
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.writer", "csv.DictWriter")
    ]
    assert writers == ["core/table.py"]
