import numpy as np
import pytest

from pairlens.comparison.agreement_figure import draw_rank_agreement
from pairlens.comparison.rank_agreement import COLUMNS, RankedLosses, agreement_of, agreements_of, read_ranked_losses
from pairlens.comparison.results import Results, write_results
from support.naive import study_findings as naive
from support.study_results import benchmark_result

NAMES = [f"loss {n}" for n in range(6)]
FIRST, SECOND = (np.random.default_rng(seed).normal(0.3, 0.05, size=(6, 4)) for seed in (0, 1))


def ranked(name, values, **more):
    return RankedLosses.of(benchmark_result(name, dict(zip(NAMES, values.tolist(), strict=False)) | more))


def test_the_common_losses_are_compared_by_their_means():
    one, other = ranked("birds", FIRST, none=[0.1] * 4), ranked("cars", SECOND[:5], none=[0.1] * 4)
    found = agreement_of(one, other)
    means = FIRST[:5].mean(axis=1).tolist(), SECOND[:5].mean(axis=1).tolist()
    assert set(found.losses) == set(NAMES[:5])
    assert [found.spearman.value, found.kendall.value] == pytest.approx([naive.spearman(*means), naive.kendall(*means)])
    assert found.spearman.low < found.spearman.value < found.spearman.high
    assert one.means[found.losses[0]] == max(one.means[name] for name in found.losses)


def test_the_limit_is_that_of_the_variation_over_seeds():
    spread = np.arange(6.0)[:, None] + np.array([-0.3, 0.3])
    found = agreement_of(ranked("a", spread), ranked("b", spread))
    # The means have the variance 3.5, their standard error is 0.3.
    assert found.limit == pytest.approx(1 - 0.09 / 3.5)
    assert agreement_of(ranked("a", spread[:, :1]), ranked("b", spread)).limit is None


def test_fewer_than_three_common_losses_or_equal_means_have_no_agreement():
    assert agreement_of(ranked("a", FIRST[:2]), ranked("b", SECOND)) is None
    assert agreement_of(ranked("a", np.ones((6, 2))), ranked("b", SECOND)) is None
    assert agreement_of(ranked("a", FIRST[:4]), ranked("b", SECOND)).spearman.low is None


def test_every_two_benchmarks_are_compared():
    found = agreements_of([ranked(name, FIRST) for name in "abc"])
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_another_study_is_read_from_its_folder_its_results_or_a_table(tmp_path):
    write_results(Results((benchmark_result("birds", dict(zip(NAMES, FIRST.tolist(), strict=True))),)), tmp_path)
    (of_folder,) = read_ranked_losses(tmp_path)
    (of_file,) = read_ranked_losses(tmp_path / "results.json")
    assert of_folder == of_file == ranked("birds", FIRST)
    table = tmp_path / "old.csv"
    halves = {name: 3.182446 * error for name, error in of_folder.errors.items()}
    lines = [f"birds,MAP@R,{name},{mean},{halves[name]},4" for name, mean in of_folder.means.items()]
    table.write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    (of_table,) = read_ranked_losses(table)
    assert of_table.means == of_folder.means
    assert of_table.errors == pytest.approx(of_folder.errors, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("loss,mean\n", "its columns must be benchmark"),
        (",".join(COLUMNS) + "\nbirds,MAP@R,a,nan,,5\n", "line 2: nan is not a finite number"),
        (",".join(COLUMNS) + "\nbirds,MAP@R,a,much,,5\n", "line 2: could not convert"),
        (",".join(COLUMNS) + "\nbirds,MAP@R,a\n", "line 2: it has not six cells"),
        (",".join(COLUMNS) + "\nbirds,MAP@R,a,1,2,1\n", "two seeds or more"),
        ('"', "unexpected end of data"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, text, problem):
    (tmp_path / "old.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        read_ranked_losses(tmp_path / "old.csv")


def test_the_figure_has_a_line_for_each_common_loss(tmp_path):
    several = [ranked("birds", FIRST), ranked("a benchmark with a long name", SECOND)]
    picture = draw_rank_agreement(several, tmp_path / "ranks.svg")
    text = picture.file.read_text(encoding="utf-8")
    assert all(text.count(f">{name}<") == 1 for name in NAMES)
    best = max(several[0].means, key=several[0].means.get)
    assert f"birds: {best}" in picture.alt
    assert draw_rank_agreement(several[:1], tmp_path / "x.svg") is None
    assert not (tmp_path / "x.svg").exists()
