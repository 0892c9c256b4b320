import io

import pytest
from PIL import Image
from rich.console import Console

from pairlens.cli import demo
from pairlens.comparison.statistics import measure
from pairlens.comparison.verdicts import headline
from pairlens.data.minicars import dataset
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog
from pairlens.report.render import tie_percent
from support.experiments import changed


@pytest.fixture
def small(tiny, without_rendering, monkeypatch):
    monkeypatch.setattr(dataset, "CLASSES", 8)
    monkeypatch.setattr(dataset, "SHOTS", 4)
    monkeypatch.setattr(demo, "SMALL", changed(tiny, data_name="minicars", num_epochs=1))


def test_it_compares_two_losses_with_the_baselines_and_draws_a_sheet(small, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    demo.show_demo(tmp_path, seed=0, console=console)
    table = console.file.getvalue()
    for name in ("random backbone", "before training", "circle loss", "triplet loss", "R@8", "P@8", "MAP@R"):
        assert name in table
    assert table.count("pairlens query") == table.count("pairlens explain") == table.count("pairlens prepare") == 1
    runs = [RunFolder(tmp_path / "run-1/runs/minicars" / name / "seed0") for name in ("circle", "triplet")]
    assert [type(run.experiment().loss).__name__ for run in runs] == ["Circle", "Triplet"]
    assert runs[0].read_outcome().baselines == runs[1].read_outcome().baselines
    with Image.open(tmp_path / "run-1" / "sheet.png") as sheet:
        assert sheet.width > sheet.height
    page = (tmp_path / "run-1" / "report.html").read_text(encoding="utf-8")
    results = measure(tmp_path / "run-1").fields[0]
    assert f"Verdict: {headline(results)}." in table
    assert tie_percent(headline(results)) in page
    assert "one seed" in headline(results) or "No training" in headline(results) or "no training" in headline(results)
    assert "run-1/report.html" in table


def test_a_second_demo_leaves_the_first_alone(small, tmp_path):
    (tmp_path / "run-1").mkdir()
    demo.show_demo(tmp_path, seed=1, console=Console(file=io.StringIO()))
    assert list((tmp_path / "run-1").iterdir()) == []
    assert (tmp_path / "run-2" / "sheet.png").is_file()
    assert read_results_of(tmp_path / "run-2").losses[0].seeds == (1,)


def read_results_of(folder):
    return measure(folder).fields[0]


def test_a_damaged_minicars_is_drawn_again(small, tmp_path):
    experiment = changed(demo.SMALL, data_path=tmp_path)
    drawn = open_catalog(experiment, draw=True)
    assert (len(drawn), drawn.select("train").classes, drawn.size) == (32, 4, dataset.MINICARS_SIZE)
    drawn.file.write_bytes(drawn.file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="its JSON says"):
        open_catalog(experiment)
    assert open_catalog(experiment, draw=True).digest == drawn.digest
