"""`pairlens report`: what must be on the page of a run and of a comparison, and the words of its verdict."""

import re
import shutil
from dataclasses import replace

import pytest

from pairlens.analysis.statistic_meanings import SHAPE_MEANINGS
from pairlens.comparison.run_study import run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.verdicts import headline, verdict
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.third_party import wrap
from pairlens.report.page import Paragraph
from pairlens.report.render import MAX_BYTES
from pairlens.report.result_table import result_tables
from pairlens.report.sections import losses_section, points, rounded
from pairlens.report.write import write_report
from support.commands import run
from support.experiments import changed
from support.report_headings import COMPARISON_SECTIONS, RUN_SECTIONS


class Uncopied:
    """A loss from outside that cannot be copied."""

    def __call__(self, embeddings, labels):
        return embeddings.sum()

    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle '_thread.lock' object")


@pytest.fixture(scope="module")
def pages(reports):
    return {name: file.read_text(encoding="utf-8") for name, file in reports.items()}


def words_of(page):
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.S)
    for code, sign in (("&#39;", "'"), ("&#34;", '"'), ("&gt;", ">"), ("&lt;", "<"), ("&amp;", "&")):
        text = text.replace(code, sign)
    return " ".join(text.split())


def headings(page):
    return [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<h[23] id=\"s[^>]*>(.*?)</h", page)]


def test_a_run_has_every_section_figure_and_table(pages, compared):
    page = pages["run"]
    run_folder = RunFolder(compared / "runs/bars/circle-10/seed0")
    assert headings(page) == RUN_SECTIONS
    assert page.count('class="drawing"') == 4
    assert page.count('class="sheet"') == 1
    assert page.count('<div class="photo-row">') >= 8
    words = words_of(page)
    outcome = run_folder.read_outcome()
    for metric in outcome.report.metrics:
        assert f"{metric.name} " in words
        assert f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]" in words
    for row in outcome.rows:
        assert f"{100 * row.report['MAP@R']:.2f}" in words
    assert page.index("before training") < page.index("<nav") < page.index("<img"), "the page begins with the results"
    for text in (
        "effective rank",
        f"{SHAPE_MEANINGS['effective_rank'].sentence} Higher is better.",
        "Audit of circle",
        "circle:margin=0.4,gamma=10",
        f"{outcome.epoch} (the last)",
        "--dim",
        "torch",
        "faiss-cpu",
    ):
        assert text in words
    assert "pairlens train circle --gamma 10" in words
    assert '"dim": 16' in words


def test_a_comparison_has_every_section_figure_and_table(pages, compared):
    page, (field,) = pages["comparison"], measure(compared).fields
    words = words_of(page)
    assert [heading.partition(":")[0] for heading in headings(page)] == COMPARISON_SECTIONS
    assert page.count('class="drawing"') == 3 + 1 + 1 + 1
    assert page.count('class="sheet"') == 1
    assert page.index('class="drawing"') < page.index("Losses on bars") < page.index("<nav")
    assert headline(field) in words
    assert verdict(field) in words
    for loss in field.losses:
        assert rounded(loss.loss) in words
        assert f"Audit of {loss.name}" in words
        assert f"{100 * loss.metric('MAP@R').over_seeds.mean:.1f} ±" in words
    for d in field.differences:
        assert f"{d.first} − {d.second} {points(d.over_seeds.mean)}" in words
    assert f"pairlens compare --resume {compared}" in words
    assert 'losses = ["triplet", "circle:gamma=10 as circle 10"]' in words


@pytest.mark.usefixtures("without_rendering")
def test_every_benchmark_has_its_own_part(tiny, tmp_path, without_rendering):
    settings = changed(tiny, num_epochs=0, backbone="test_resnet")
    benchmarks = [Benchmark(name, changed(settings, data_name=name), 1) for name in ("bars", "shop")]
    list(run_study(Study((Arm("triplet", "triplet"), Arm("circle", "circle")), tuple(benchmarks)), tmp_path))
    file, missing = write_report(tmp_path)
    assert missing == ""
    page = file.read_text(encoding="utf-8")
    titles = headings(page)
    assert page.count("The losses have the same settings as in bars, where they are described.") == 1
    assert titles.index("bars") < titles.index("shop")
    assert [title.partition(":")[0] for title in titles].count("Typical queries") == 2
    assert titles.count("Losses compared") == 2
    assert titles.count("Versions") == 1


def test_the_baselines_have_every_metric(compared):
    (field,) = measure(compared).fields
    outcomes = [RunFolder(compared / run).read_outcome() for run in field.losses[0].runs]
    tables = result_tables(field)
    names = ["random backbone", "before training"]
    assert [row[0] for row in tables.short.rows[-2:]] == names
    for number, row in enumerate(tables.short.rows[-2:]):
        for metric in ("R@1", "MAP@R"):
            mean = sum(outcome.baselines[number][1][metric] for outcome in outcomes) / len(outcomes)
            assert row[list(tables.short.header).index(metric)].startswith(f"{100 * mean:.1f} ±")
    (complete,) = tables.complete
    assert complete.header == ("measurement", *(loss.name for loss in field.losses), *names)
    assert {"R-Precision", "mean s_p", "mean s_n"} < {row[0] for row in complete.rows}


def test_a_loss_that_cannot_be_audited_costs_no_page(tmp_path):
    section = losses_section([("mine", wrap(Uncopied()))], tmp_path)
    (text,) = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    assert text.startswith("mine is not audited here: Uncopied cannot be copied (cannot pickle '_thread.lock' object)")


def test_many_losses_have_a_row_each(compared):
    (field,) = measure(compared).fields
    first = field.losses[0]
    many = replace(field, losses=tuple(replace(first, name=f"loss {n}") for n in range(9)), differences=())
    retrieval, others = result_tables(many).complete
    assert len(retrieval.rows) == len(others.rows) == 11
    assert {"R@1", "R-Precision", "MAP@R"} < set(retrieval.header)
    assert {"P@1", "mean s_p", "seconds"} < set(others.header)


def test_a_page_is_small_and_asks_for_nothing(pages):
    for page in pages.values():
        assert len(page.encode()) < MAX_BYTES
        assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
        assert "<script" not in page
        assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in page
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("without_rendering")
def test_without_its_photos_a_report_says_what_is_left_out(compared, tmp_path, capsys):
    folder = tmp_path / "moved"
    shutil.copytree(compared / "runs/bars/triplet/seed0", folder)
    assert run("report", folder, "--data_path", tmp_path / "nowhere") == 0
    printed = capsys.readouterr().out
    assert "--data_path" in printed
    assert f"report: {folder / 'report.html'}" in printed
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The parts that need the photos are left out" in page
    assert '<div class="photo-row">' not in page
    assert "Audit of triplet" in page


@pytest.mark.parametrize("words", [["nowhere"], [".", "--out", "x.html"]])
def test_a_folder_of_neither_kind_is_one_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("report", *words) == 2
    err = capsys.readouterr().err
    assert "neither the folder of a run nor of a comparison" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
