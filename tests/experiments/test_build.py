from functools import partial

import pytest
import torch

from pairlens.experiments import build as learners
from pairlens.experiments.build import make_learner
from support.experiments import changed

MISSING = {
    "Triton": "find_spec",
    "the compiler": "which",
    "the headers": "get_paths",
    "a new GPU": "get_device_capability",
}


@pytest.mark.parametrize("missing", [None, *MISSING])
def test_auto_compiles_only_if_all_requirements_are_installed(monkeypatch, tmp_path, missing):
    (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    there = {"find_spec": object(), "which": "/usr/bin/gcc", "get_paths": tmp_path, "get_device_capability": (7, 0)}
    nothing = {"find_spec": None, "which": None, "get_paths": tmp_path / "none", "get_device_capability": (6, 1)}
    found = {name: (nothing if name == MISSING.get(missing) else there)[name] for name in there}
    monkeypatch.setattr(learners, "find_spec", lambda name: found["find_spec"])
    monkeypatch.setattr(learners.shutil, "which", lambda name: found["which"])
    monkeypatch.setattr(learners.sysconfig, "get_paths", lambda: {"include": str(found["get_paths"])})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: found["get_device_capability"])
    assert learners.can_compile(torch.device("cuda", 0)) == (missing is None)
    assert not learners.can_compile(torch.device("cpu"))


def test_training_is_compiled_for_its_batch_size_though_an_evaluation_has_others(tiny, monkeypatch):
    sizes = []

    def note(graph, inputs):
        sizes.append([one for one in inputs if isinstance(one, torch.SymInt)])
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=note))
    model = make_learner(changed(tiny, compile="yes", backbone="test_resnet"), 4).model
    for photos in (8, 5):
        model.embed(torch.zeros(photos, 3, 32, 32))
    model(torch.zeros(8, 3, 32, 32))
    assert sizes == [[]] * 3
