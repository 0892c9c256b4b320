import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pairlens.analysis.explain import explain_loss
from pairlens.analysis.loss_figures import draw_weight_curve, limit_weights
from pairlens.analysis.pair_weights import weight_curve
from pairlens.core.pairs import Pairs
from pairlens.losses import (
    Circle,
    Contrastive,
    NormSoftmax,
    NPair,
    NTXent,
    SimilarityContrastive,
    SNRContrastive,
    SoftTriple,
    SupCon,
    Triplet,
)
from pairlens.losses.pair_gradient import pair_gradient
from pairlens.losses.protocols import is_embedding_loss, weighs_pairs
from support.loss_cases import BATCH, PROXIES

# The weights of SNR are those of distances, which the similarities of this batch are not.
CURVES = [loss for loss in [*BATCH, *PROXIES] if weighs_pairs(loss) and not isinstance(loss, SNRContrastive)]


def test_the_gradient_of_a_pair_is_its_weight():
    similarity = torch.tensor([[1.0, 0.7, 0.6, -0.2]])
    pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    assert pair_gradient(SimilarityContrastive(0.5), similarity, pairs).tolist() == [[-1.0, -1.0, 1.0, 0.0]]
    assert similarity.grad is None


@pytest.mark.parametrize("loss", CURVES, ids=str)
def test_every_loss_of_similarities_has_a_curve(loss):
    curve = weight_curve(loss)
    assert len(curve.similarity) == len(curve.positive) == len(curve.negative)
    assert torch.isfinite(curve.positive).all()
    assert torch.isfinite(curve.negative).all()
    assert curve.positive.abs().max() + curve.negative.abs().max() > 0


def test_curves_are_those_of_the_formulas():
    similarity = weight_curve(SimilarityContrastive(0.5))
    assert torch.equal(similarity.positive, torch.ones_like(similarity.positive))
    assert torch.equal(similarity.negative, (similarity.similarity > 0.5).to(similarity.negative.dtype))
    hadsell = weight_curve(Contrastive(1.0))
    d = (2 - 2 * hadsell.similarity).sqrt()
    assert torch.allclose(hadsell.negative, ((1 - d).clamp(min=0) / d), atol=1e-9)


def test_circle_leaves_a_good_positive_alone_and_triplet_a_far_negative():
    circle = weight_curve(Circle())
    assert circle.positive[0] > 10 * circle.positive[-1]
    triplet = weight_curve(Triplet(0.1))
    assert triplet.negative[0] == 0
    assert triplet.negative[-2] > 0


def test_supcon_pushes_the_nearest_positive_away_and_ntxent_does_not():
    assert weight_curve(SupCon(0.1)).positive.min() < 0
    assert weight_curve(NTXent(0.1)).positive.min() >= 0


def test_npair_has_a_curve_over_inner_products_and_other_losses_of_embeddings_are_refused():
    assert is_embedding_loss(NPair())
    assert torch.allclose(weight_curve(NPair()).negative, weight_curve(NTXent(1.0)).negative)
    with pytest.raises(ValueError, match="function of the embeddings"):
        weight_curve(Unrelated())


class Unrelated:
    def of_embeddings(self, embeddings, labels):
        return embeddings.sum()


def test_the_same_curve_gives_the_same_picture(tmp_path):
    curve = weight_curve(Circle())
    for name in ("one.svg", "two.svg"):
        draw_weight_curve(curve, "circle", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<svg" in (tmp_path / "one.svg").read_bytes()


def test_a_pair_with_several_centres_is_a_photo_and_a_class():
    steep, shallow = weight_curve(SoftTriple()), weight_curve(NormSoftmax(temperature=1 / 20))
    # Where all centres of a class have the same similarity, they act as one proxy (but for the small margin delta).
    assert torch.allclose(weight_curve(SoftTriple(delta=0.0)).positive, shallow.positive, atol=1e-6)
    assert steep.positive[0] == pytest.approx(20, rel=1e-3)
    assert steep.positive[-1] < 0.01


def test_a_narrow_peak_does_not_set_the_scale_and_is_marked():
    similarity = np.linspace(-1, 1, 101)
    flat = np.ones(101)
    peaked = np.where(similarity > 0.99, 40.0, 1.0)
    axes = Figure().subplots()
    limit_weights(axes, similarity, [(flat, "blue"), (peaked, "red"), (peaked, "red")])
    assert axes.get_ylim()[1] < 2
    assert [text.get_text() for text in axes.texts] == ["up to 40"]
    whole = Figure().subplots()
    limit_weights(whole, similarity, [(flat, "blue"), (2 * flat, "red")])
    assert whole.get_ylim()[1] > 2
    assert not whole.texts


def test_a_panel_shows_weights_below_zero():
    axes = Figure().subplots()
    limit_weights(axes, np.array([-1.0, 1.0]), [(np.array([2.0, -1.0]), "blue")])
    low, high = axes.get_ylim()
    assert low <= -1
    assert high >= 2


def test_an_explanation_states_the_settings_of_its_loss():
    assert explain_loss(Circle(margin=0.25, gamma=32), points=5).settings == "margin 0.25, gamma 32"
