"""The same on several GPUs or processes: torchrun --nproc-per-node 2 examples/distributed.py PHOTOS BACKBONE."""

import sys

import timm
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import pairlens as pl

transform = v2.Compose([v2.Resize((64, 64)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
train, test = (ImageFolder(f"{sys.argv[1]}/{split}", transform) for split in ("train", "test"))
# Joins the processes that torchrun has started; each takes the GPU of its number, if there are any.
with pl.process_group():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Every process draws the same batch and loads its own part of it.
    batches = DataLoader(train, batch_sampler=pl.PKSampler(train.targets, classes=4, per_class=4))
    model = DistributedDataParallel(timm.create_model(sys.argv[2], num_classes=128).to(device))
    # The criterion gathers the embeddings of all processes, so each sees all pairs of the batch.
    criterion = pl.Criterion(pl.losses.ProxyAnchor(), pl.Proxies(len(train.classes), 128)).to(device)
    optimizer = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], lr=1e-4)
    for _ in range(3):
        for pixels, labels in batches:
            optimizer.zero_grad()
            criterion(model(pixels.to(device)), labels.to(device)).backward()
            optimizer.step()
    if dist.get_rank() == 0:
        with torch.inference_mode():
            network = model.module.eval()
            embeddings = torch.cat([network(pixels.to(device)) for pixels, _ in DataLoader(test, batch_size=64)])
        print(pl.evaluate(embeddings.cpu(), torch.tensor(test.targets)))
