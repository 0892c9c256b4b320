"""The same with the Trainer of Hugging Face: python examples/with_trainer.py PHOTOS BACKBONE."""

import sys

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from transformers import Trainer, TrainingArguments

import pairlens as pl


class Retrieval(nn.Module):
    """A network that embeds photos and returns its loss, as the Trainer expects it."""

    def __init__(self, backbone):
        super().__init__()
        self.model = timm.create_model(backbone, num_classes=128)
        self.criterion = pl.Criterion(pl.losses.Circle())

    def forward(self, pixels, labels):
        embeddings = self.model(pixels)
        return {"loss": self.criterion(embeddings, labels), "embeddings": embeddings}


class RetrievalTrainer(Trainer):
    """A Trainer whose batches hold several photos of each class."""

    def get_train_dataloader(self):
        sampler = pl.PKSampler(self.train_dataset.targets, classes=4, per_class=4)
        return DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)


def collate(rows):
    pixels, labels = zip(*rows, strict=True)
    return {"pixels": torch.stack(pixels), "labels": torch.tensor(labels)}


def compute_metrics(prediction):
    """Both arguments are NumPy arrays, which `evaluate` takes as they are."""
    report = pl.evaluate(prediction.predictions, prediction.label_ids)
    return {metric.name: metric.value for metric in report.metrics}


transform = v2.Compose([v2.Resize((64, 64)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
train, test = (ImageFolder(f"{sys.argv[1]}/{split}", transform) for split in ("train", "test"))
arguments = TrainingArguments(
    sys.argv[3] if len(sys.argv) > 3 else "trained",
    num_train_epochs=3,
    learning_rate=1e-4,
    per_device_eval_batch_size=64,
    label_names=["labels"],
    # Otherwise the Trainer drops what `forward` of a wrapped model does not name.
    remove_unused_columns=False,
    report_to="none",
    save_strategy="no",
)
trainer = RetrievalTrainer(
    Retrieval(sys.argv[2]), arguments, collate, train, eval_dataset=test, compute_metrics=compute_metrics
)
trainer.train()
print(trainer.evaluate())
