"""How far the Triton losses are from those of Pairlens, in Triton's interpreter; run as a script, it prints JSON.

In a process of its own, because the kernels are interpreted only if the environment says so before Triton is imported.
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pairlens.losses import Circle, MultiSimilarity, NTXent, SupCon

BENCHES = Path(__file__).resolve().parent.parent.parent / "benches"
LOSSES = {"circle": Circle(), "multi-similarity": MultiSimilarity(), "SupCon": SupCon(), "NT-Xent": NTXent()}
# Other settings are compared on one batch.
SETTINGS = {
    "circle, margin 0.25": Circle(margin=0.25, gamma=16.0),
    "multi-similarity, no tolerance": MultiSimilarity(epsilon=0.0),
    "multi-similarity, not mined": MultiSimilarity(mining=False),
    "NT-Xent, mean over pairs": NTXent(average="pair"),
}
# The labels of each batch; a tile has 16 photos.
BATCHES = {
    "no multiple of the tile": [photo * photo % 7 for photo in range(37)],
    "exactly a tile": [photo // 4 for photo in range(16)],
    "one photo more than a tile": [photo % 3 for photo in range(17)],
    "no positives": list(range(5)),
    "no negatives": [3] * 5,
    "two photos of a class": [1, 1],
    "two photos of two classes": [1, 2],
    "a photo alone in its class": [0, 0, 9],
    "one photo": [4],
    "no photo": [],
    "negative and large labels": [-(2**40), -(2**40), 2**40, 2**40, 7],
}
DIM = 20


class LargestTensor(TorchDispatchMode):
    """Remember how many bytes the largest tensor has that an operation of PyTorch returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return result


def embeddings_of(name, dtype=torch.float64, dim=DIM):
    """Random embeddings of different lengths, in which some photos are equal and one is zero where there are enough."""
    count = len(BATCHES[name])
    vectors = torch.randn(count, dim, dtype=dtype, generator=torch.Generator().manual_seed(count)) * 3
    if count > 30:
        vectors[1], vectors[2], vectors[3] = vectors[0], vectors[0], 0.0
    return vectors, torch.tensor(BATCHES[name], dtype=torch.long)


def value_and_gradient(loss, vectors, labels):
    leaf = vectors.clone().requires_grad_()
    value = loss(leaf, labels)
    (3 * value).backward()
    return value.detach(), leaf.grad


def apart(ours, triton, vectors, labels):
    """The largest difference of values, and of gradients relative to the largest."""
    value, gradient = value_and_gradient(ours, vectors, labels)
    other, other_gradient = value_and_gradient(triton, vectors, labels)
    assert other.dtype == value.dtype
    largest = float(gradient.abs().max()) if gradient.numel() else 0.0
    furthest = float((gradient - other_gradient).abs().max()) if gradient.numel() else 0.0
    return {
        "value": float(value),
        "value apart": abs(float(value - other)) / max(1.0, abs(float(value))),
        "largest gradient": largest,
        "gradient apart": furthest / (largest or 1.0),
    }


def main():
    sys.path.insert(0, str(BENCHES))
    from gpu_parts.triton_losses import Tiles, TritonLoss

    from pairlens.training.criterion import Criterion

    tiles = Tiles(rows=16, columns=16, depth=16, width=16)
    others = Tiles(rows=16, columns=32, depth=16, width=64)
    found = {}
    for name, loss in LOSSES.items():
        ours, triton = Criterion(loss), TritonLoss(loss, tiles)
        for batch in BATCHES:
            found[f"{name}: {batch}"] = apart(ours, triton, *embeddings_of(batch))
        found[f"{name}: float32"] = apart(ours, triton, *embeddings_of("exactly a tile", torch.float32))
        # Wide tiles, because the interpreter takes as long for a small tile as for a large one.
        wide = TritonLoss(loss, Tiles(rows=64, columns=64, depth=16, width=16))
        with LargestTensor() as largest:
            value_and_gradient(wide, torch.randn(60, 4), torch.arange(60) // 4)
        found[f"{name}: bytes"] = largest.bytes
    for name, loss in SETTINGS.items():
        found[name] = apart(
            Criterion(loss), TritonLoss(loss, others), *embeddings_of("no multiple of the tile", dim=33)
        )
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    main()
