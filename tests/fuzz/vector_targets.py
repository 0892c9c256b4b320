"""Fuzz targets of files that hold vectors: given features, the map of a collection, measurements after post-processing."""

import io

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fuzz.target import folder, written
from pairlens.collection.vector_map import VectorMap
from pairlens.data.catalog import Catalog
from pairlens.evaluation.evaluate import Metric, Report
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.post_processed import PostProcessing
from pairlens.experiments.stored_post import MeasuredPost, PostRecord
from pairlens.experiments.stored_sums import read_sums


def _features(data: bytes) -> None:
    catalog = Catalog.open(written("features/some.parquet", data))
    assert catalog.vectors.shape == (len(catalog), catalog.channels)
    assert len(catalog.paths) == len(catalog.splits) == len(catalog.labels)
    assert np.isfinite(catalog.vectors.numpy()).all()
    for i in range(min(len(catalog), 4)):
        bytes(catalog.jpeg(i))


def _features_seeds() -> list[bytes]:
    columns = {"label": ["a", "a", "b", "b"], "split": ["train"] * 2 + ["test"] * 2, "path": list("1234")}
    seeds = []
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float64(), 2)):
        for compression in ("none", "snappy"):
            sink = io.BytesIO()
            table = pa.table({**columns, "vector": pa.array([[1.0, 2.0]] * 4, kind)})
            parquet.write_table(table, sink, compression=compression)
            seeds.append(sink.getvalue())
    return seeds


def _map(data: bytes) -> None:
    mapped = VectorMap.read(data)
    assert np.isfinite(mapped(np.ones((2, len(mapped.mean)), np.float32))).all()


def _map_seeds() -> list[bytes]:
    return [VectorMap("whiten", np.zeros(3, np.float32), np.eye(3, 2, dtype=np.float32)).contents()]


def _post(data: bytes) -> None:
    record, by_class = read_sums(written("post.safetensors", data), "post", PostRecord)
    assert set(by_class.sums) == {metric.name for metric in record.report.metrics}


def _post_seeds() -> list[bytes]:
    report = Report((Metric("R@1", 0.5, 0.4, 0.6),), 4, 0, 4, 2)
    record = PostRecord(PostProcessing(("whiten",)), "00000000", "0", report)
    file = folder(0) / "post.safetensors"
    MeasuredPost(record, ClassSums({"R@1": np.array([1.0, 1.0])}, np.array([2, 2]))).save(file)
    return [file.read_bytes()]


VECTORS = (("features", _features, _features_seeds), ("map", _map, _map_seeds), ("post", _post, _post_seeds))
