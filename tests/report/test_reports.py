"""`pairlens report`: what must be on the page of a run and of a comparison, and the words of its verdict."""

import re
import shutil
from dataclasses import replace

import pytest

from pairlens.analysis.training_gain import Gain, gain_headline, gain_words, paired_gain, unpaired_gain
from pairlens.comparison.statistics import measure
from pairlens.comparison.verdicts import headline, verdict
from pairlens.experiments.run_folder import RunFolder
from pairlens.report import sections
from pairlens.report.comparison_report import rounded
from pairlens.report.page import MOST_BYTES
from support.commands import run
from support.report_headings import COMPARISON_SECTIONS, RUN_SECTIONS


@pytest.fixture(scope="module")
def pages(reports):
    return {name: file.read_text(encoding="utf-8") for name, file in reports.items()}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(sections, "PLANE_POINTS", 9)


def words_of(page):
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.S)
    for code, sign in (("&#39;", "'"), ("&#34;", '"'), ("&gt;", ">"), ("&lt;", "<"), ("&amp;", "&")):
        text = text.replace(code, sign)
    return " ".join(text.split())


def headings(page):
    return [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<h[23] id=\"s[^>]*>(.*?)</h", page)]


def test_a_run_has_every_section_figure_and_table(pages, compared):
    page, place = pages["run"], RunFolder(compared / "runs/bars/circle-10/seed0")
    assert headings(page) == RUN_SECTIONS
    assert page.count("<img") == 4
    assert page.count("<svg") == 4
    words, outcome = words_of(page), place.read_outcome()
    for metric in outcome.report.metrics:
        assert f"{metric.name} " in words
        assert f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]" in words
    for row in outcome.rows:
        assert f"{100 * row.report['MAP@R']:.2f}" in words
    assert page.index("<img") < page.index("<nav"), "the page opens with the map"
    for text in (
        "effective_rank",
        "Audit of circle",
        "circle:margin=0.4,gamma=10",
        "--feature_dim",
        "torch",
        "faiss-cpu",
    ):
        assert text in words
    assert "pairlens train circle --gamma 10" in words
    assert '"feature_dim": 16' in words


def test_a_comparison_has_every_section_figure_and_table(pages, compared):
    page, (field,) = pages["comparison"], measure(compared).fields
    words = words_of(page)
    assert [h for h in headings(page) if ":" not in h] == COMPARISON_SECTIONS
    assert page.count("<img") == 4
    assert page.count("<svg") == 4 + 2 - (len(field.losses[0].curve) < 2) + 1
    assert headline(field) in words
    assert verdict(field) in words
    for loss in field.losses:
        assert rounded(loss.loss) in words
        assert f"Audit of {loss.name}" in words
        assert f"{100 * loss.metric('MAP@R').over_seeds.mean:.1f} ±" in words
    for d in field.differences:
        assert f"{d.first} − {d.second} {100 * d.over_seeds.mean:+.1f}" in words
    assert f"pairlens compare --resume {compared}" in words
    assert 'losses = ["triplet", "circle:gamma=10 as circle 10"]' in words


def test_a_page_is_small_and_asks_for_nothing(pages):
    for page in pages.values():
        assert len(page.encode()) < MOST_BYTES
        assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
        assert "<script" not in page
        assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in page
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids))


def test_the_verdict_of_a_run():
    gain = Gain("MAP@R", 0.1, 0.3, 0.15, 0.25, True)
    assert (
        gain_headline(gain, "circle", 4) == "Training with circle lifts MAP@R on 4 unseen classes from 10.0 % to 30.0 %"
    )
    assert "cannot be told" in gain_headline(replace(gain, low=-0.01), "circle", 4)
    assert "does not beat the backbone as it came" in gain_headline(replace(gain, after=0.1), "circle", 4)
    said = gain_words(gain, 7)
    assert "+20.0 points, 95 % interval +15.0 to +25.0, paired" in said
    assert "one run, of seed 7: it says nothing of the chance" in said
    assert "cannot be made again" in gain_words(replace(gain, paired=False), 7)


def test_the_gain_is_paired_with_the_very_model_that_was_untrained(compared):
    place = RunFolder(compared / "runs/bars/circle-10/seed0")
    experiment, outcome = place.experiment(), place.read_outcome()
    gain = paired_gain(place, experiment, "MAP@R")
    assert gain is not None
    assert (gain.before, gain.after) == (outcome.untrained["MAP@R"], outcome.report["MAP@R"])
    assert gain.low <= gain.after - gain.before <= gain.high
    wide = unpaired_gain(outcome, "MAP@R")
    assert wide.low <= gain.low + 1e-9
    assert wide.high >= gain.high - 1e-9
    assert paired_gain(place, replace(experiment, seed=5), "MAP@R") is None
    assert paired_gain(place, replace(experiment, weights="nowhere.pth"), "MAP@R") is None


def test_without_its_photos_a_report_says_what_is_left_out(compared, tmp_path, capsys):
    folder = tmp_path / "moved"
    shutil.copytree(compared / "runs/bars/triplet/seed0", folder)
    assert run("report", folder, "--data_path", tmp_path / "nowhere") == 0
    said = capsys.readouterr().out
    assert "--data_path" in said
    assert f"report: {folder / 'report.html'}" in said
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What needs the photos is left out" in page
    assert "<img" not in page
    assert "Audit of triplet" in page


@pytest.mark.parametrize("words", [["nowhere"], [".", "--out", "x.html"]])
def test_a_folder_of_neither_kind_is_one_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("report", *words) == 2
    err = capsys.readouterr().err
    assert "neither the folder of a run nor of a comparison" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
