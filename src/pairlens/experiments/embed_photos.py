"""Embedding photos of a run with a model, from the stored or given features where its backbone is frozen."""

from collections.abc import Sequence

from pairlens.core.distributed import world_size
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.recorder import Watch
from pairlens.experiments.run_folder import OpenRun
from pairlens.model.embedder import Embedder


def embed_photos(
    opened: OpenRun, model: Embedder, photos: Sequence[Catalog], progress: Watch | None = None
) -> list[Embeddings]:
    """Return the embeddings of parts of the data set of a run.

    Args:
        opened: the run.
        model: its kept model, or that before training.
        photos: the parts.
        progress: wraps the batches to show progress.
    """
    experiment = opened.experiment
    # Several processes share the photos, but not the features.
    if experiment.objective.freeze == "backbone" and world_size() == 1:
        frozen = FrozenBackbone(experiment, model, opened.splits.train, progress)
        return [frozen.embed(part) for part in photos]
    return [embed(model, part, workers=experiment.batches.workers, watch=progress) for part in photos]
