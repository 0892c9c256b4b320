import pytest
import torch

from pairlens.losses import Margin, SoftTriple
from pairlens.model.frozen_stages import stages_of
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, Step, fit
from pairlens.training.learner import Objective
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from pairlens.training.training_step import _classification
from support.training_setup import Photos, learner


def test_it_yields_one_record_per_step_and_per_epoch():
    records = list(fit(learner(), Photos(), Objective(freeze_bn="none"), epochs=2))
    assert [type(r) for r in records] == [Step, Step, Step, Epoch] * 2
    assert [(r.epoch, r.step, r.steps, r.photos) for r in records[:3]] == [(1, 1, 3, 8), (1, 2, 3, 8), (1, 3, 3, 8)]
    assert records[-1].epoch == 2
    assert 0 <= records[-1].accuracy <= 1


def test_it_learns():
    records = [r for r in fit(learner(epochs=30), Photos(), Objective(freeze_bn="none"), 6) if isinstance(r, Epoch)]
    assert records[-1].loss < records[0].loss


def test_total_is_ranking_plus_weighted_classification():
    first = next(fit(learner(), Photos(), Objective(auxiliary=0.0, freeze_bn="none"), 1)).loss
    second = next(fit(learner(), Photos(), Objective(auxiliary=1.0, freeze_bn="none"), 1)).loss
    third = next(fit(learner(), Photos(), Objective(auxiliary=3.0, freeze_bn="none"), 1)).loss
    assert third - first == pytest.approx(3 * (second - first), rel=1e-4)


def test_without_a_head_the_accuracy_is_unknown():
    assert all(torch.isnan(torch.tensor(r.accuracy)) for r in fit(learner(classes=0), Photos(), Objective(), 1))


def test_centres_have_their_own_learning_rate_and_all_rates_decay():
    made = learner(SoftTriple(centers=2), epochs=5)
    before = made.criterion.references.vectors.detach().clone()
    rates = []
    for record in fit(made, Photos(), Objective(freeze_bn="none"), 5):
        if isinstance(record, Epoch):
            rates.append([group["lr"] for group in made.optimizer.param_groups])
    assert not torch.equal(before, made.criterion.references.vectors)
    expected = [[1e-3, 1e-3, 1e-2]] * 2 + [[1e-4, 1e-4, 1e-3]] + [[1e-5, 1e-5, 1e-4]] * 2
    assert torch.allclose(torch.tensor(rates), torch.tensor(expected))


def test_every_parameter_is_in_the_optimizer():
    made = learner(SoftTriple(centers=2))
    held = {id(p) for group in made.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for module in (made.model, made.criterion) for p in module.parameters()}


def test_backbone_batchnorm_is_frozen_while_training():
    made = learner()
    norm = next(m for m in made.model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = norm.running_mean.clone()
    list(fit(made, Photos(), Objective(freeze_bn="statistics"), 1))
    assert torch.equal(before, norm.running_mean)


def test_bfloat16_trains():
    records = list(fit(learner(), Photos(), Objective(precision="bfloat16", freeze_bn="none"), 1))
    assert torch.isfinite(torch.tensor(records[-1].loss))


def test_photos_that_are_not_finite_give_an_error():
    with pytest.raises(ValueError, match="not finite"):
        list(fit(learner(), Photos(broken=True), Objective(), 1))


def test_a_loss_that_is_not_finite_names_epoch_step_and_photos():
    made = learner()
    made.criterion = Criterion(lambda similarity, pairs: similarity.sum() * torch.inf)
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 1 \(photos \[0, 1"):
        list(fit(made, Photos(), Objective(), 1))


def test_classification_is_smoothed_cross_entropy_at_a_temperature():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    log_p = (logits / 0.5).log_softmax(dim=1)
    expected = -(0.9 * log_p.gather(1, labels[:, None]).squeeze(1) + 0.1 * log_p.mean(dim=1)).mean()
    found = _classification(logits, labels, Objective(smoothing=0.1, temperature=0.5))
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_the_network_computes_in_the_precision_of_the_objective(precision, dtype):
    made, seen = learner(), []
    made.model.projections[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    next(fit(made, Photos(), Objective(precision=precision, freeze_bn="none"), 1))
    assert seen == [dtype]


def test_only_the_network_has_weight_decay():
    made = learner(SoftTriple(centers=2))
    optimizer = make_optimizer(
        made.model, made.criterion, OptimizerConfig(learning_rate=1, proxy_learning_rate=1, weight_decay=0.3)
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3, 0.0]


@pytest.mark.parametrize(("epochs", "expected"), [(1, [1]), (2, [1]), (3, [1, 2]), (10, [6, 8]), (20, [12, 16])])
def test_no_rate_decays_before_the_first_epoch_nor_twice_at_once(epochs, expected):
    schedule = learner(epochs=epochs).schedule
    assert sorted(schedule.milestones.elements()) == expected


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_changes_all_weights_and_resumes_from_its_state(kind):
    made = learner(SoftTriple(centers=2))
    made.optimizer = make_optimizer(
        made.model,
        made.criterion,
        OptimizerConfig(name=kind, learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0),
    )
    made.schedule = make_schedule(made.optimizer, 5)
    before = [p.detach().clone() for p in (made.model.projections[0].weight, made.criterion.references.vectors)]
    list(fit(made, Photos(), Objective(), 1))
    after = [made.model.projections[0].weight, made.criterion.references.vectors]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert type(made.optimizer).__name__.lower() == kind


def test_the_layers_after_the_backbone_can_have_a_higher_learning_rate():
    made = learner()
    optimizer = make_optimizer(
        made.model,
        made.criterion,
        OptimizerConfig(learning_rate=1.0, head_factor=5.0, proxy_learning_rate=1.0, weight_decay=0.0),
    )
    backbone, head = optimizer.param_groups
    assert (backbone["lr"], head["lr"]) == (1.0, 5.0)
    assert any(p is made.model.projections[0].weight for p in head["params"])
    assert len(backbone["params"]) + len(head["params"]) == len(list(made.model.parameters()))


@pytest.mark.parametrize("freeze_bn", ["none", "statistics", "all"])
def test_the_backbone_is_frozen_during_warm_up_only(freeze_bn):
    made = learner()
    backbone = made.model.backbone
    start = [p.detach().clone() for p in backbone.parameters()]
    head = made.model.projections[0].weight.detach().clone()
    list(fit(made, Photos(), Objective(warm_up=1, freeze_bn=freeze_bn), 1))
    assert all(torch.equal(a, b) for a, b in zip(start, backbone.parameters(), strict=True))
    assert not torch.equal(head, made.model.projections[0].weight)
    list(fit(made, Photos(), Objective(warm_up=1, freeze_bn=freeze_bn), 2))
    assert any(not torch.equal(a, b) for a, b in zip(start, backbone.parameters(), strict=True))
    norms = [p for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters(recurse=False)]
    assert all(p.requires_grad == (freeze_bn != "all") for p in norms)


def test_frozen_stages_are_never_trained_and_the_others_are():
    made = learner()
    start = {name: tensor.clone() for name, tensor in made.model.backbone.network.state_dict().items()}
    list(fit(made, Photos(), Objective(freeze_stages=2, freeze_bn="none"), 2))
    frozen = {name.rpartition(".")[0] for stage in stages_of(made.model.backbone.network)[:2] for name in stage}
    for name, tensor in made.model.backbone.network.state_dict().items():
        assert torch.equal(tensor, start[name]) == (name.rpartition(".")[0] in frozen), name


def test_elements_of_a_gradient_are_clipped():
    made = learner(SoftTriple(centers=2))
    list(fit(made, Photos(), Objective(clip_value=1e-4), 1))
    gradients = [p.grad for p in [*made.model.parameters(), *made.criterion.parameters()] if p.grad is not None]
    assert max(float(g.abs().max()) for g in gradients) <= 1e-4
    assert float(made.criterion.references.vectors.grad.abs().max()) == pytest.approx(1e-4)


@pytest.mark.parametrize("made", [learner(SoftTriple(centers=2)), learner(Margin())], ids=["proxies", "boundaries"])
def test_a_loss_parameter_that_is_not_in_the_optimizer_gives_an_error_before_the_first_step(made):
    made.optimizer = torch.optim.Adam(made.model.parameters())
    before = made.model.projections[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"the criterion learns \S+, but the optimizer does not have this parameter"):
        next(fit(made, Photos(), Objective(), 1))
    assert torch.equal(before, made.model.projections[0].weight)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_fused_or_foreach_optimizer_learns_what_the_plain_one_learns(kind):
    found = []
    for plain in (True, False):
        made = learner(SoftTriple(centers=2))
        made.optimizer = make_optimizer(
            made.model,
            made.criterion,
            OptimizerConfig(name=kind, learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.1),
        )
        for group in made.optimizer.param_groups:
            group |= {"fused": False, "foreach": False} if plain else {}
        made.schedule = make_schedule(made.optimizer, 5)
        draw = torch.Generator().manual_seed(0)
        for _ in range(3):
            for parameter in [*made.model.parameters(), *made.criterion.parameters()]:
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            made.optimizer.step()
        found.append([p.detach() for p in [*made.model.parameters(), *made.criterion.parameters()]])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_a_compiled_backbone_computes_the_same_and_keeps_its_weight_names():
    plain, compiled = learner(), learner()
    compiled.model.backbone.compile(backend="aot_eager")
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    found = [list(fit(made, Photos(), Objective(), 1))[-1] for made in (plain, compiled)]
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-4)
    assert found[0].gradient_cosine == pytest.approx(found[1].gradient_cosine, abs=1e-3)
