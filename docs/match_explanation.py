r"""The picture of why two photos match in the README: `python docs/match_explanation.py PHOTOS --run RUN`.

PHOTOS holds one folder per class. The query is the photo that is named, or the first photo of the last folder; the other
photo is the one that the model finds nearest to it among all others. Without a run the model is the backbone as it comes.
Writes docs/images/match_explanation.png. The committed picture is of ten species of CUB-200-2010 (about 30 photos each), the
query the first photo of the eighth species, which the run has not been trained on:

    pairlens prepare --data_name folder --source cub200_2010_ten
    pairlens train circle --data_name folder --backbone efficientnet_lite0 --descriptors SG --dim 512 \
        --num_epochs 6 --name birds
    python docs/match_explanation.py cub200_2010_ten --run runs/birds \
        --query 008.Rhinoceros_Auklet/Rhinoceros_Auklet_0001_2673620250.jpg
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from pairlens.cli.console import say
from pairlens.collection.explanation_figure import draw_explanation
from pairlens.collection.match_explanation import explain_match
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.photo_input import PhotoInput
from pairlens.model.plain_backbone import PlainBackbone

DOCS = Path(__file__).resolve().parent
BACKBONE, IMAGE_SIZE, BATCH = "efficientnet_lite0", 224, 32


@dataclass(frozen=True)
class Options:
    """What to draw.

    Attributes:
        photos: a folder with one folder of JPEG files per class.
        run: the folder of a finished run, whose model is used; the backbone as it comes if there is none.
        query: the first photo, by its path below `photos`; the first photo of the last folder if there is none.
        picture: the file to write.
    """

    photos: tyro.conf.Positional[Path]
    run: Path | None = None
    query: Path | None = None
    picture: Path = DOCS / "images" / "match_explanation.png"


def open_model(run: Path | None) -> Embedder | PlainBackbone:
    """Return the model of a run, or the backbone as it comes."""
    if run is not None:
        return Embedder.load(run)
    return PlainBackbone(Backbone(BACKBONE, "imagenet", "none", IMAGE_SIZE), BACKBONE, IMAGE_SIZE)


def nearest(model: Embedder | PlainBackbone, query: Path, others: list[Path]) -> Path:
    """Return the photo whose embedding has the largest cosine similarity with that of the query."""
    shape = model.architecture
    view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality, shape.stored_reading)
    batches = [others[start : start + BATCH] for start in range(0, len(others), BATCH)]
    vectors = torch.cat([model.embed_batch(view.read(batch)) for batch in batches])
    return others[int((vectors @ model.embed_batch(view.read([query]))[0]).argmax())]


def main(options: Options) -> None:
    """Write the picture."""
    photos = sorted(options.photos.glob("*/*.jpg"))
    if not photos:
        raise ValueError(f"{options.photos} holds no folders of .jpg files; give a folder with one folder per class")
    first_of_last = next(photo for photo in photos if photo.parent == photos[-1].parent)
    query = first_of_last if options.query is None else options.photos / options.query
    model = open_model(options.run)
    match = nearest(model, query, [photo for photo in photos if photo != query])
    explanation = explain_match(model, query, match)
    picture = draw_explanation(explanation, (query.parent.name, match.parent.name))
    picture.save(options.picture, optimize=True)
    say(f"{options.picture}: {query} and {match}, {options.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(tyro.cli(Options))
