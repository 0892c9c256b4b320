"""An evaluation that several processes share, in a module that the processes can import."""

from pathlib import Path

import torch
from torch import distributed

from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.metric_definitions import MetricDefinition


def embedded():
    """Vectors and labels: 200 classes of three photos and one class of 25 photos."""
    labels = torch.repeat_interleave(torch.arange(201), torch.tensor([3] * 200 + [25]))
    return torch.randn(625, 6, generator=torch.Generator().manual_seed(0)), labels


METRICS = ("map_at_k", "mrr", "opis", MetricDefinition("found", lambda r: r.correct.float().mean(dim=1), "all"))


def sharded_report(rank, world, folder):
    """Write the report of one process of several to a file."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    report = evaluate(*embedded(), recalls=(1, 4), metrics=METRICS, sharded=True)
    (Path(folder) / f"{rank}.txt").write_text(repr(report), encoding="utf-8")
    distributed.destroy_process_group()
