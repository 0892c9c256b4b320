"""Fuzz targets: every reader of untrusted files as a function of bytes, which may only raise an error in one sentence.

`tools/fuzz.py` runs at least 100,000 inputs through each target; `test_fuzz.py` runs a few, and all that ever failed.
"""

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageCms
from pyarrow import parquet
from safetensors import safe_open
from safetensors.torch import save
from scipy.io import savemat

from fuzz import collection_target
from fuzz.onnx_targets import ONNX
from fuzz.rule_targets import RULES
from fuzz.target import ALLOWED_ERRORS, Target, catalog_parts, folder, written
from fuzz.vector_targets import VECTORS
from pairlens.comparison.rank_agreement import agreement_of, read_ranked_losses
from pairlens.comparison.results import read_results
from pairlens.comparison.study import Arm, Benchmark, Study, slug
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.comparison.tuning import read_trials
from pairlens.core import images
from pairlens.core.images import decode, encode, load_image, reduce_to_square
from pairlens.core.records import from_plain, to_plain
from pairlens.core.untrusted import read_forms
from pairlens.data.catalog import Catalog
from pairlens.data.readers import read
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import Metric, Report
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, SoftTriple
from pairlens.losses.loss_import import name_and_settings
from pairlens.losses.loss_text import any_loss_from_text, loss_from_text, miner_from_text
from pairlens.losses.miners import SemiHard
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.checkpoint import VERSION
from pairlens.training.checkpoint import _checksum as check_sum
from pairlens.training.checkpoint import _read as read_checkpoint
from support.experiments import changed


def _car(data: bytes) -> None:
    read("car", written("car/cars_annos.mat", data).parent)


def _car_seeds() -> list[bytes]:
    kind = [(n, object) for n in ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")]
    rows = [(f"car_ims/{i}.jpg", 1, 1, 9, 9, i, 0) for i in (1, 2)]
    contents = {"annotations": np.array([rows], dtype=kind), "class_names": np.array(["a", "b"], dtype=object)}
    seeds = []
    for compressed in (False, True):
        buffer = io.BytesIO()
        savemat(buffer, contents, do_compression=compressed)
        seeds.append(buffer.getvalue())
    return seeds


def _split_reader(name: str, files: tuple[str, ...]) -> Callable[[bytes], None]:
    """Return a target whose bytes are several files, separated by the byte 0x1e."""

    def run(data: bytes) -> None:
        parts = data.split(b"\x1e", len(files) - 1)
        for file, part in zip(files, [*parts, *[b""] * len(files)], strict=False):
            written(f"{name}/{file}", part)
        read(name, folder(os.getpid()) / name)

    return run


CUB_FILES = ("images.txt", "classes.txt", "image_class_labels.txt", "bounding_boxes.txt")
MEANS = b"benchmark,metric,loss,mean,half_interval,seeds\n" + b"".join(
    b"birds,MAP@R,%s,%d,1.2,5\n" % (loss, mean) for loss, mean in ((b"triplet", 18), (b"circle", 20), (b"supcon", 17))
)
SOP_FILES = ("Ebay_train.txt", "Ebay_test.txt")


def _cub_seeds() -> list[bytes]:
    parts = (b"1 a/b.jpg\n2 c/d e.jpg\n", b"1 a\n101 c\n", b"1 1\n2 101\n", b"1 0 0 9 9\n2 1.5 2 3 4\n")
    return [b"\x1e".join(parts)]


def _sop_seeds() -> list[bytes]:
    head = b"image_id class_id super_class_id path\n"
    return [head + b"1 1 1 a/1_0.jpg\n2 1 1 a/1_1.jpg\n\x1e" + head + b"3 2 1 a/2_0.jpg\n"]


def _shop_seeds() -> list[bytes]:
    head = b"3\nimage_name item_id evaluation_status\n"
    return [head + b"img/a/1.jpg id_1 train\nimg/b/2.jpg id_2 query\nimg/b/3.jpg id_2 gallery\n"]


def _csv(data: bytes) -> None:
    read("csv", written("table/table.csv", data))


def _csv_seeds() -> list[bytes]:
    return [
        b"label,path,split,x_1,y_1,x_2,y_2\n1,a.jpg,train,0,0,9,9\n2,b.jpg,test,,,,\n",
        'Label; Path; split\né; x\\1.jpg; train\nNA; "2;.jpg"; test\n'.encode("utf-16"),
        b"label\tpath\tx_1\ty_1\tx_2\ty_2\na\t1.jpg\t0\t0.25\t0.5\t1\nb\t2.jpg\t\t\t\t\n",
        b'label,path,split,is_query,is_gallery\n"1",a.jpg,train,,\n2,b.jpg,validation,True,False\n2,c.jpg,validation,0,1\n',
    ]


def _coco(data: bytes) -> None:
    read("coco", written("coco/boxes.json", data))


def _coco_seeds() -> list[bytes]:
    contents = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9, "split": "train"} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "spoon"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "bbox": [0, 0.5, 9, 8], "iscrowd": 0} for i in (1, 2)
        ],
    }
    return [json.dumps(contents).encode()]


def _parquet(data: bytes) -> None:
    read("csv", written("table/table.parquet", data))


def _parquet_seeds() -> list[bytes]:
    corners = {name: [at, None] for name, at in zip(("x_1", "y_1", "x_2", "y_2"), (0.0, 0.0, 9.0, 9.0), strict=True)}
    table = pa.table({"label": [1, 2], "path": ["a.jpg", "b.jpg"], "split": ["train", "test"], **corners})
    seeds = []
    for options in ({"compression": "none"}, {"compression": "snappy", "data_page_version": "2.0"}):
        sink = io.BytesIO()
        parquet.write_table(table, sink, **options)
        seeds.append(sink.getvalue())
    return seeds


def _catalog(data: bytes) -> None:
    file = written("bars/uncropped.arrow", data)
    # The JSON states the length of the file; without the right one no other check would be reached.
    description = json.loads(catalog_parts()[1]) | {"bytes": len(data)}
    written("bars/uncropped.json", json.dumps(description).encode())
    catalog = Catalog.open(file)
    assert len(catalog.paths) == len(catalog.splits) == len(catalog)
    for i in range(min(len(catalog), 8)):
        bytes(catalog.jpeg(i))


def _description(data: bytes) -> None:
    file = written("described/uncropped.arrow", catalog_parts()[0])
    written("described/uncropped.json", data)
    Catalog.open(file)


def _embeddings(data: bytes) -> None:
    embeddings = Embeddings.load(written("gallery.safetensors", data))
    assert len(embeddings.vectors) == len(embeddings.labels) == len(embeddings.paths)


def _embeddings_seeds() -> list[bytes]:
    names = {"paths": '["a.jpg", "b.jpg"]', "class_names": '["a"]', "catalog": "0f"}
    return [save({"vectors": torch.eye(2), "labels": torch.zeros(2, dtype=torch.int64)}, names)]


def _architecture(data: bytes) -> None:
    """Read what `Embedder.load` reads before it builds a model: the settings and the shapes in the header."""
    text, _, weights = data.partition(b"\x1e")
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        from_plain(Architecture, json.loads(text.decode()), "model.json")
    read_forms(written("model.safetensors", weights))


def _architecture_seeds() -> list[bytes]:
    plain = json.dumps(to_plain(Architecture("test_resnet", "SM", 8, image_size=32))).encode()
    return [plain + b"\x1e" + save({"projections.0.weight": torch.zeros(4, 2)})]


def _model(data: bytes) -> None:
    text, _, weights = data.partition(b"\x1e")
    written("model/model.json", text)
    Embedder.load(written("model/model.safetensors", weights).parent)


def _model_seeds() -> list[bytes]:
    model = Embedder(backbone="test_resnet", descriptors="SM", dim=8, weights="none", stride="none", image_size=32)
    model.save(folder(os.getpid()))
    files = [(folder(os.getpid()) / name).read_bytes() for name in ("model.json", "model.safetensors")]
    return [b"\x1e".join(files)]


def _checkpoint(data: bytes) -> None:
    try:
        read_checkpoint(_signed(written("checkpoint.safetensors", data)))
    except (RecursionError, NotImplementedError):
        raise
    # `load_checkpoint` turns these into one sentence.
    except (RuntimeError, LookupError, TypeError, AttributeError):
        pass


def _signed(file: Path) -> Path:
    """Write the check sum of the contents into the file, because an attacker would write it too."""
    with safe_open(file, framework="pt") as stored:
        names = {key: text for key, text in (stored.metadata() or {}).items() if key != "sum"}
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    file.write_bytes(save(tensors, {**names, "sum": check_sum(names, tensors)}))
    return file


def _checkpoint_seeds() -> list[bytes]:
    tree = {"epoch": 1, "model": {"w": "tensor:/model/w"}, "optimizer": {"state": {"#0": {"step": [1.5]}}}}
    return [save({"/model/w": torch.zeros(2)}, {"tree": json.dumps(tree), "record": "null", "version": VERSION})]


def _experiment(data: bytes) -> None:
    experiment = RunFolder(written("run/config.json", data).parent).experiment()
    assert "/" not in experiment.default_name
    assert from_plain(Experiment, json.loads(json.dumps(to_plain(experiment)))) is not None


def _experiment_seeds() -> list[bytes]:
    proxies = changed(Experiment(), loss=SoftTriple(), miner=None, recalls=(1, 10))
    mined = changed(Experiment(), loss=Circle(gamma=10), miner=SemiHard(), references="memory")
    return [json.dumps(to_plain(experiment)).encode() for experiment in (Experiment(), proxies, mined)]


def _outcome(data: bytes) -> None:
    outcome = RunFolder(written("run/outcome.json", data).parent).read_outcome()
    assert outcome.report is not None
    assert outcome.untrained is not None
    assert outcome.selection


def _outcome_seeds() -> list[bytes]:
    report = Report((Metric("R@1", 0.5, 0.4, 0.6), Metric("MAP@R", 0.3, 0.2, 0.4)), 4, 0, 4, 2)
    rows = tuple(EpochRow(i, None, 0.5, report, 0.5, None, 1.0) for i in (0, 1))
    return [json.dumps(to_plain(Outcome("last", 1, rows))).encode()]


def _study(data: bytes) -> None:
    written("study/study.json", data)
    study = read_study(folder(os.getpid()) / "study")
    for name in (*(arm.name for arm in study.arms), *(field.name for field in study.fields)):
        assert not {"/", "\\"} & set(slug(name))
        assert slug(name) not in ("", ".", "..")


def _study_seeds() -> list[bytes]:
    arms = (Arm("triplet", "triplet"), Arm("mine", "module:function(a=1)"))
    return [json.dumps(to_plain(Study(arms, (Benchmark("bars", Experiment(), 3),)))).encode()]


def _toml(data: bytes) -> None:
    read_toml(written("study.toml", data))


def _toml_seeds() -> list[bytes]:
    losses = b'losses = ["triplet", "circle:gamma=64 as circle"]\nseeds = 2\n[settings]\nfeature_dim = 8\n'
    return [losses + b'miner = "semi_hard:margin=0.1"\n[[fields]]\ndata_name = "bars"\nname = "b"\n']


def _trials(data: bytes) -> None:
    for trial in read_trials(written("tuning/trials.json", data).parent):
        assert isinstance(trial.value, float | int)


def _trials_seeds() -> list[bytes]:
    return [json.dumps({"trials": [{"number": 0, "params": {"margin": 0.1}, "folds": [0.5], "value": 0.5}]}).encode()]


def _results_seeds() -> list[bytes]:
    stored = Path(__file__).parent.parent / "data_version_0_1" / "comparison" / "results.json"
    return [stored.read_bytes(), b'{"type": "Results", "fields": []}']


def _results(data: bytes) -> None:
    folder = written("results/results.json", data).parent
    read_results(folder)
    for ranked in read_ranked_losses(folder):
        agreement_of(ranked, ranked)


def _means(data: bytes) -> None:
    # The agreement with itself, so that every number that was read is also used.
    for ranked in read_ranked_losses(written("means/old.csv", data)):
        agreement_of(ranked, ranked)


def _naming(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for parse in (loss_from_text, miner_from_text, Arm.of, _settings):
        with contextlib.suppress(*ALLOWED_ERRORS):
            parse(text)
    # With a colon the text names a module that the user wants to import; random modules must not be imported here.
    if ":" not in text:
        any_loss_from_text(text)


def _settings(text: str) -> None:
    name_and_settings(text.partition(":")[2] or text, text)


def _naming_seeds() -> list[bytes]:
    texts = ("circle:margin=0.25,gamma=64", "multi_similarity", "semi_hard:margin=0.1", "a.b:C(m=0.4, k=[1, 'x'])")
    return [text.encode() for text in texts]


def _picture(data: bytes) -> None:
    # A picture of 100 million pixels takes seconds, and a coverage-guided search would spend its time on such pictures.
    with mock.patch.object(images, "PIXEL_LIMIT", 4_000_000):
        small = reduce_to_square(data, 8)
        # Only for JPEG: where a TIFF is cut short, Pillow leaves its pixels uninitialised, so two reads may differ.
        if data.startswith(b"\xff\xd8"):
            assert small == encode(load_image(data), 8)


def _picture_seeds() -> list[bytes]:
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 10, 3), dtype=np.uint8))
    seeds = []
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "PCX", "TGA", "SGI", "JPEG2000", "QOI", "DIB"):
        buffer = io.BytesIO()
        colour.save(buffer, kind)
        seeds.append(buffer.getvalue())
    for kind, image in (("PNG", colour.convert("P")), ("TIFF", Image.fromarray(np.full((5, 5), 0.5, np.float32)))):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        seeds.append(buffer.getvalue())
    return [*seeds, *_photo_seeds(colour)]


def _photo_seeds(colour: Image.Image) -> list[bytes]:
    """Pictures with what cameras add: a turn, a profile, more than 8 bits, scans; and one without its end marker."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = Image.fromarray(np.arange(120, dtype=np.uint16).reshape(12, 10) * 30)
    seeds = []
    for kind, image, options in (
        ("JPEG", colour, {"exif": exif, "icc_profile": profile}),
        ("JPEG", colour, {"progressive": True}),
        ("PNG", colour, {"exif": exif, "icc_profile": profile}),
        ("WEBP", colour, {"exif": exif}),
        ("TIFF", colour, {"tiffinfo": {0x0112: 6}}),
        ("PNG", deep, {}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        seeds.append(buffer.getvalue())
    return [*seeds, seeds[1][:-2]]


def _jpeg(data: bytes) -> None:
    assert decode([data], 8).shape == (1, 3, 8, 8)


TARGETS = {
    name: Target(run, seeds)
    for name, run, seeds in (
        ("car", _car, _car_seeds),
        ("cub", _split_reader("cub", CUB_FILES), _cub_seeds),
        ("sop", _split_reader("sop", SOP_FILES), _sop_seeds),
        ("isc", _split_reader("isc", ("Eval/list_eval_partition.txt",)), _shop_seeds),
        ("csv", _csv, _csv_seeds),
        ("coco", _coco, _coco_seeds),
        ("parquet", _parquet, _parquet_seeds),
        ("catalog", _catalog, lambda: [catalog_parts()[0]]),
        ("description", _description, lambda: [catalog_parts()[1]]),
        ("embeddings", _embeddings, _embeddings_seeds),
        ("architecture", _architecture, _architecture_seeds),
        ("model", _model, _model_seeds),
        ("checkpoint", _checkpoint, _checkpoint_seeds),
        ("experiment", _experiment, _experiment_seeds),
        ("outcome", _outcome, _outcome_seeds),
        ("study", _study, _study_seeds),
        ("toml", _toml, _toml_seeds),
        ("trials", _trials, _trials_seeds),
        ("results", _results, _results_seeds),
        ("means", _means, lambda: [MEANS]),
        ("naming", _naming, _naming_seeds),
        ("picture", _picture, _picture_seeds),
        *RULES,
        ("collection", collection_target.run, collection_target.seeds),
        *VECTORS,
        ("jpeg", _jpeg, lambda: [encode(Image.new("RGB", (9, 9), "red"), 8)]),
    )
} | ONNX
