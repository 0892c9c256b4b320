"""The names of code in a study are imported only if a person trusts their modules, and never beyond what can be a loss."""

import json
import sys

import pytest
import torch

from pairlens.cli.main import main
from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of
from pairlens.comparison.study_file import read_study, read_toml, write_study
from pairlens.core import import_rules
from pairlens.core.import_rules import ANY_MODULE, NamedIn, import_named
from pairlens.experiments.experiment import Experiment
from pairlens.losses.loss_import import find_third_party_loss
from pairlens.losses.loss_text import third_party_names
from support.experiments import changed

# Texts of losses that a hostile study may hold; {sentinel} is a file that the code would make.
STANDARD_LIBRARY = (
    "subprocess:Popen(args='touch {sentinel}',shell=True)",
    "subprocess:run(args='touch {sentinel}',shell=True)",
    "subprocess:call",
    "os:system",
    "posix:system",
    "builtins:exec",
    "builtins:eval",
    "builtins:open(file='{sentinel}',mode='w')",
    "pathlib:Path",
    "importlib:import_module",
    "ctypes:CDLL(name='{sentinel}')",
    "multiprocessing.pool:Pool",
    "logging:FileHandler(filename='{sentinel}')",
    "sqlite3:connect(database='{sentinel}')",
    "circle+0.5*subprocess:Popen(args='touch {sentinel}',shell=True)",
    "pairlens.comparison.controls:no_loss+subprocess:Popen(args='touch {sentinel}',shell=True)",
)
# What installed modules and our own hold beside losses.
BORROWED = (
    "torch:os",
    "torch.utils.cpp_extension:subprocess",
    "pairlens.comparison.controls:Tensor(data=1)",
    "pairlens.analysis.circle_variants:Path",
)
TRAPS = ("planted:loss", "planted:Loss(a=1)", "planted.inner:loss", "circle+planted:loss")


@pytest.fixture
def sentinel(tmp_path):
    file = tmp_path / "sentinel"
    yield file
    assert not file.exists()


@pytest.fixture
def hostile(tmp_path, sentinel, monkeypatch):
    """The folder of a comparison with a package `planted` that makes the sentinel when it is imported."""
    folder = tmp_path / "hostile"
    (folder / "planted").mkdir(parents=True)
    code = f"open({str(sentinel)!r}, 'w').close()\ndef loss(embeddings, labels): ...\nclass Loss: ...\n"
    for name in ("__init__", "inner"):
        (folder / "planted" / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "planted"]:
        del sys.modules[name]


def written(folder, text, sentinel, metrics=()):
    settings = changed(Experiment(), metrics=list(metrics)) if metrics else Experiment()
    loss = text.format(sentinel=sentinel)
    write_study(Study((Arm("a", loss), Arm("b", "triplet")), (Benchmark("f", settings),)), folder)
    (folder / "study.toml").write_text(
        f"losses = ['triplet', {json.dumps(loss + ' as a')}]\n"
        + (f"[settings]\nmetrics = {json.dumps(list(metrics))}\n" if metrics else ""),
        encoding="utf-8",
    )


def sentence_of(words, capsys):
    """The only line that a command prints when it refuses its input."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


WAYS = {
    "resume": ["compare", "--resume", "."],
    "file": ["compare", "study.toml"],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", [*STANDARD_LIBRARY, *BORROWED[:2], *TRAPS, "torch.nn:CosineSimilarity(dim=1)"])
def test_compare_imports_nothing_that_a_study_names(hostile, sentinel, capsys, way, text):
    written(hostile, text, sentinel)
    before = set(sys.modules)
    sentence = sentence_of(WAYS[way], capsys)
    assert "would run its code; if you trust the file" in sentence or "standard library" in sentence
    assert not {name for name in set(sys.modules) - before if name.startswith(("planted", "sqlite3", "ctypes"))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", [*STANDARD_LIBRARY, *TRAPS])
def test_trust_study_covers_neither_the_standard_library_nor_the_folder_of_the_study(
    hostile, sentinel, capsys, way, text
):
    written(hostile, text, sentinel)
    sentence = sentence_of([*WAYS[way], "--trust_study"], capsys)
    assert "standard library" in sentence or "lies beside the file" in sentence


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["planted:loss", "os:system", "numpy:mean"])
def test_a_metric_that_a_study_names_is_not_imported(hostile, sentinel, capsys, way, name):
    written(hostile, "circle", sentinel, [name])
    sentence = sentence_of(WAYS[way], capsys)
    assert "would run its code" in sentence or "standard library" in sentence


@pytest.mark.parametrize("text", [*STANDARD_LIBRARY, *BORROWED])
def test_what_cannot_be_a_loss_is_refused_before_it_is_called_also_if_it_is_typed(text, sentinel):
    (name,) = third_party_names(text.format(sentinel=sentinel))[-1:]
    with pytest.raises(ValueError, match=r"standard library|is not defined in|is not callable|cannot be found"):
        find_third_party_loss(name)


def test_a_class_whose_instances_compute_nothing_is_not_instantiated(tmp_path, monkeypatch, sentinel):
    code = f"class Plain:\n    def __init__(self): open({str(sentinel)!r}, 'w').close()\n"
    (tmp_path / "only_a_class.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="is not callable"):
        find_third_party_loss("only_a_class:Plain")


def test_a_module_named_by_a_person_is_imported_from_anywhere_and_one_of_ours_without_trust(tmp_path, monkeypatch):
    (tmp_path / "mine_beside.py").write_text("def loss(embeddings, labels): return 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    ours = "pairlens.comparison.controls:no_loss"
    write_study(Study((Arm("a", "mine_beside:loss"), Arm("b", ours)), (Benchmark("f", Experiment()),)), tmp_path)
    first, second = read_study(tmp_path, {"mine_beside"}).arms
    assert first.make().of_embeddings(None, None) == 7
    assert second.make().of_embeddings(torch.ones(1, 1), None) == 0
    with pytest.raises(ValueError, match="--trust mine_beside or --trust_study"):
        read_study(tmp_path).arms[0].make()


def test_trust_study_allows_installed_packages(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text("losses = ['triplet', 'torch.nn:CosineSimilarity(dim=1) as c']\n", encoding="utf-8")
    assert read_toml(file, {ANY_MODULE}).arms[1].make().name == "c"
    with pytest.raises(ValueError, match="would run its code"):
        experiment_of(read_toml(file).arms[1], read_toml(file).fields[0], 0)


def test_nothing_is_imported_to_find_out_where_a_module_lies(hostile, sentinel):
    for name in ("planted:loss", "planted.inner:loss"):
        with pytest.raises(ValueError, match="lies beside the file"):
            NamedIn(hostile / "study.json", (ANY_MODULE,)).check(name)


@pytest.mark.parametrize("name", ["", ".x", "a..b", "a b", "a/b", "..", "a\x00b"])
def test_what_is_no_name_of_a_module_is_not_given_to_python(name, monkeypatch):
    monkeypatch.setattr(import_rules, "import_module", lambda _name: pytest.fail("imported"))
    with pytest.raises(ImportError, match="not the name of a module"):
        import_named(f"{name}:loss", "loss")


def test_the_report_of_a_hostile_comparison_is_written_without_its_code(compared, tmp_path, sentinel, monkeypatch):
    import shutil

    from pairlens.comparison.statistics import measure
    from pairlens.comparison.study_plan import Plan
    from pairlens.report.comparison_report import _loss_of

    folder = tmp_path / "copied"
    shutil.copytree(compared, folder)
    plain = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    name = "pairlens.comparison.controls:no_loss+subprocess:Popen(args='touch {}',shell=True)"
    for run in (folder / "runs").rglob("config.json"):
        stored = json.loads(run.read_text(encoding="utf-8"))
        stored["loss"] = {"type": "Wrapped", "name": "x", "source": ""}
        run.write_text(json.dumps(stored), encoding="utf-8")
    for arm in plain["arms"]:
        arm["loss"] = name.format(sentinel)
    (folder / "study.json").write_text(json.dumps(plain), encoding="utf-8")
    plan = Plan(read_study(folder), folder)
    for result in measure(folder).fields:
        for loss in result.losses:
            # Without its code: what the report shows is the record that the run stores.
            assert _loss_of(plan, loss, ()).obstacle
