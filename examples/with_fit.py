"""The training loop of Pairlens with parts of your own: python examples/with_fit.py PHOTOS BACKBONE."""

import sys

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import pairlens as pl

EPOCHS = 3


class Photos:
    """Batches of (photos, labels, indices), which depend on the number of the epoch alone."""

    def __init__(self, folder):
        self.images = ImageFolder(folder, v2.Compose([v2.Resize((64, 64)), v2.PILToTensor()]))
        self.sampler = pl.PKSampler(self.images.targets, classes=4, per_class=4)

    def __len__(self):
        return len(self.sampler)

    def epoch(self, number, start=0):
        self.sampler.set_epoch(number)
        for step, chosen in enumerate(self.sampler):
            # A resumed epoch begins behind its first `start` batches.
            if step >= start:
                pixels, labels = zip(*(self.images[photo] for photo in chosen), strict=True)
                yield torch.stack(pixels), torch.tensor(labels), torch.tensor(chosen)


model = pl.Embedder(backbone=sys.argv[2], dim=128, weights="none", image_size=64)
criterion = pl.Criterion(pl.losses.Circle())
optimizer = torch.optim.NAdam([*model.parameters(), *criterion.parameters()], lr=1e-4)
learner = pl.Learner(model, criterion, optimizer, CosineAnnealingLR(optimizer, EPOCHS))
for record in pl.fit(learner, Photos(f"{sys.argv[1]}/train"), pl.Objective(clip_value=1.0), EPOCHS):
    if isinstance(record, pl.Epoch):
        print(f"epoch {record.epoch}: loss {record.loss:.3f} in {record.seconds:.1f} s")
test = ImageFolder(f"{sys.argv[1]}/test", v2.Compose([v2.Resize((64, 64)), v2.PILToTensor()]))
vectors = torch.cat([model.embed_batch(pixels) for pixels, _ in DataLoader(test, batch_size=64)])
print(pl.evaluate(vectors, torch.tensor(test.targets)))
