import pytest

import pairlens as pl
from pairlens.comparison.results import read_results
from support.experiments import changed

STUDY = """
losses = ["triplet", "circle:gamma=10"]
seeds = 1
[settings]
"""


@pytest.fixture
def settings(tiny):
    return changed(tiny, num_epochs=1, batch_size=6, backbone="test_resnet")


@pytest.fixture
def study(settings):
    arms = tuple(map(pl.Arm.of, ("triplet", "circle:gamma=10 as circle 10")))
    return pl.Study(arms, (pl.Benchmark("bars", settings, seeds=2),))


def test_a_study_is_run_once_and_its_results_returned_and_written(study, tmp_path, capsys):
    jobs = []
    results = pl.compare(study, tmp_path, watch=jobs.append)
    assert isinstance(results, pl.Results)
    assert [loss.name for loss in results.fields[0].losses] in (["triplet", "circle 10"], ["circle 10", "triplet"])
    assert len(jobs) == 4
    assert read_results(tmp_path) == results
    assert {"results.json", "study.json"} < {file.name for file in tmp_path.iterdir()}
    assert list(tmp_path.rglob("*.svg"))
    assert pl.compare(study, str(tmp_path), watch=jobs.append) == results
    assert len(jobs) == 4
    assert capsys.readouterr().out == ""


def test_a_study_file_names_its_folder(tmp_path, monkeypatch, settings):
    monkeypatch.chdir(tmp_path)
    options = {
        "data_path": settings.data.path.as_posix(),
        "data_name": "bars",
        "backbone": "test_resnet",
        "descriptors": "SM",
        "weights": "none",
        "stride": "none",
        "device": "cpu",
    }
    numbers = {"dim": 16, "batch_size": 6, "per_class": 3, "num_epochs": 1, "image_size": 32, "workers": 0}
    lines = [*(f'{name} = "{value}"' for name, value in options.items()), *(f"{n} = {v}" for n, v in numbers.items())]
    (tmp_path / "bars.toml").write_text(STUDY + "\n".join(lines), encoding="utf-8")
    results = pl.compare("bars.toml")
    assert read_results(tmp_path / "runs" / "bars") == results
    assert len(results.fields[0].losses) == 2


def test_what_is_no_study_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"a list is no study; give a pl.Study or the path of a TOML file"):
        pl.compare(["circle", "triplet"])
    with pytest.raises(ValueError, match="cannot be read as TOML"):
        pl.compare(tmp_path / "nowhere.toml")
