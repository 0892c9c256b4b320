"""The same with Lightning: python examples/with_lightning.py PHOTOS BACKBONE."""

import sys

import lightning
import timm
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import pairlens as pl


class Retrieval(lightning.LightningModule):
    """A network that embeds photos, and the loss that it learns from."""

    def __init__(self, backbone):
        super().__init__()
        self.model = timm.create_model(backbone, num_classes=128)
        # As a part of the module, so that the optimizer gets the parameters of the loss, too.
        self.criterion = pl.Criterion(pl.losses.Circle())
        self.seen = []

    def training_step(self, batch, _):
        pixels, labels = batch
        return self.criterion(self.model(pixels), labels)

    def validation_step(self, batch, _):
        pixels, labels = batch
        self.seen.append((self.model(pixels), labels))

    def on_validation_epoch_end(self):
        embeddings, labels = map(torch.cat, zip(*self.seen, strict=True))
        self.seen.clear()
        report = pl.evaluate(embeddings, labels)
        self.log("MAP@R", report["MAP@R"])
        print(report)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


transform = v2.Compose([v2.Resize((64, 64)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
train, test = (ImageFolder(f"{sys.argv[1]}/{split}", transform) for split in ("train", "test"))
batches = DataLoader(train, batch_sampler=pl.PKSampler(train.targets, classes=4, per_class=4))
# PKSampler divides the batches among processes itself. Lightning would replace it by a sampler of single photos.
trainer = lightning.Trainer(max_epochs=3, use_distributed_sampler=False, num_sanity_val_steps=0, logger=False)
trainer.fit(Retrieval(sys.argv[2]), batches, DataLoader(test, batch_size=64))
