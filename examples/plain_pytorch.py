"""Metric learning in plain PyTorch: python examples/plain_pytorch.py PHOTOS BACKBONE."""

import sys

import timm
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import pairlens as pl

transform = v2.Compose([v2.Resize((64, 64)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
train, test = (ImageFolder(f"{sys.argv[1]}/{split}", transform) for split in ("train", "test"))
batches = DataLoader(train, batch_sampler=pl.PKSampler(train.targets, classes=4, per_class=4))
model = timm.create_model(sys.argv[2], num_classes=128)  # with pretrained=True it starts from ImageNet
criterion = pl.Criterion(pl.losses.MultiSimilarity())
optimizer = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], lr=1e-4)
for _ in range(3):
    for pixels, labels in batches:
        optimizer.zero_grad()
        criterion(model(pixels), labels).backward()
        optimizer.step()
with torch.inference_mode():
    embeddings = torch.cat([model.eval()(pixels) for pixels, _ in DataLoader(test, batch_size=64)])
print(pl.evaluate(embeddings, torch.tensor(test.targets)))
