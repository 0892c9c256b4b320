"""Exported models without PyTorch, and what is refused in an untrusted file."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pairlens.model import onnx_file
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.onnx_file import METADATA_KEY, read_onnx

SIZE, DIM = 16, 3
DESCRIPTION = {
    "fingerprint": "0123abcd",
    "precision": "float32",
    "dim": DIM,
    "image_size": SIZE,
    "stored_size": 24,
    "stored_quality": 90,
    "stored_reading": None,
    "backbone": "mean colour",
    "descriptors": "",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "version": "0.1.0",
}
# A photo is reduced to its mean colour, as a vector of length 1.
NODES = (
    helper.make_node("Cast", ["photos"], ["floats"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMean", ["floats", "axes"], ["colour"], keepdims=0),
    helper.make_node("ReduceL2", ["colour", "last"], ["length"], keepdims=1),
    helper.make_node("Div", ["colour", "length"], ["vectors"]),
)
LOAD_WITHOUT_TORCH = """
import json, sys
from pairlens.model.onnx_embedder import OnnxEmbedder
model = OnnxEmbedder.load(sys.argv[1])
vectors = model.embed([sys.argv[2]] * 3, batch_size=2)
assert "torch" not in sys.modules, "PyTorch was imported"
print(json.dumps(vectors.tolist()))
"""


def made(nodes=NODES, description=DESCRIPTION, dim=DIM, opsets=("",), change=None):
    """Return the contents of an ONNX file."""
    axes = [
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in {"axes": [1, 2], "last": [1]}.items()
    ]
    photos = helper.make_tensor_value_info("photos", TensorProto.UINT8, ["photo", "height", "width", 3])
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["photo", dim])
    graph = helper.make_graph(list(nodes), "model", [photos], [vectors], axes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(name, 18) for name in opsets], ir_version=10)
    if description is not None:
        text = description if isinstance(description, str) else json.dumps(description)
        model.metadata_props.add(key=METADATA_KEY, value=text)
    if change is not None:
        change(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(made())
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_photos_in_every_form_have_one_vector(file, photo):
    model = OnnxEmbedder.load(file)
    assert (model.dim, model.image_size, model.fingerprint()) == (DIM, SIZE, "0123abcd")
    vector = model.embed(photo)
    assert vector.shape == (DIM,)
    assert vector.dtype == np.float32
    with Image.open(photo) as picture:
        picture.load()
    forms = [photo, str(photo), photo.read_bytes(), picture, np.array(picture)]
    vectors = model.embed(forms, batch_size=2)
    assert vectors.shape == (5, DIM)
    assert np.array_equal(vectors, np.tile(vector, (5, 1)))
    assert model.embed(iter(forms)).shape == (5, DIM)
    assert model.embed([]).shape == (0, DIM)


def test_the_pixels_are_those_of_the_stored_picture(file, photo):
    model = OnnxEmbedder.load(file, threads=2)
    with Image.open(io.BytesIO(model.view.stored_form(photo))) as stored:
        assert stored.size == (24, 24)
    (pixels,) = model.view.read_pixels([photo])
    assert pixels.shape == (SIZE, SIZE, 3)
    mean = pixels.reshape(-1, 3).mean(axis=0)
    assert np.abs(model.embed(photo) - mean / np.linalg.norm(mean)).max() < 1e-6


def test_pytorch_is_not_imported(file, photo):
    command = [sys.executable, "-c", LOAD_WITHOUT_TORCH, str(file), str(photo)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout), OnnxEmbedder.load(file).embed([photo] * 3), atol=1e-6)


@pytest.mark.parametrize(
    "pixels", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_pixels_of_another_form_are_refused(file, pixels):
    with pytest.raises(ValueError, match=r"a model takes uint8 pixels \(photo, height, width, 3\), not "):
        OnnxEmbedder.load(file).embed_pixels(pixels)


def test_threads_that_wait_sleep(file):
    options = OnnxEmbedder.load(file, threads=2)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_no_pixels_have_no_vectors(file):
    assert OnnxEmbedder.load(file).embed_pixels(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, DIM)


def elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def hidden_elsewhere(model):
    """An external constant in an attribute of a node, not among the weights."""
    tensor = TensorProto(data_type=TensorProto.INT64, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../weights")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def bomb(model):
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "huge")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["unused"]))


def loop(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def function(model):
    model.functions.append(helper.make_function("own", "f", [], [], [], [helper.make_opsetid("", 18)]))


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "no description of Pairlens"),
        (b"not an ONNX file", "Error parsing message|[Pp]arse"),
        (made()[:-200], "[Pp]arsing message|[Cc]orrupt|no description"),
        (made(description=None), "no description of Pairlens in its metadata"),
        (made(description="{"), "Expecting property name"),
        (made(description="[" * 100_000), "nested too deeply"),
        (made(description=" " * 2_000_000), "2,000,000 characters"),
        (made(description={**DESCRIPTION, "dim": 1 << 40}), "dim 1099511627776 is not from 1 to"),
        (made(description={**DESCRIPTION, "image_size": 0}), "image_size 0 is not from 1 to 4096"),
        (made(description={**DESCRIPTION, "stored_quality": 101}), "stored_quality 101 is not from 1 to 100"),
        (made(description={**DESCRIPTION, "fingerprint": "../../a"}), "the fingerprint '../../a' is none"),
        (made(description={**DESCRIPTION, "backbone": "\x1b[31m"}), "must be text without control characters"),
        (made(description={**DESCRIPTION, "mean": [0.0]}), "not one number per colour"),
        (made(description={**DESCRIPTION, "unknown": 1}), "unknown"),
        (made(change=elsewhere), "its weights lie in another file"),
        (made(change=hidden_elsewhere), "its weights lie in another file"),
        (made(change=bomb), "ConstantOfShape makes more than"),
        (made(change=loop), r"a loop or a branch \(Loop\)"),
        (made(change=function), "functions or training steps"),
        (made(opsets=("", "com.microsoft")), "operators that are not ONNX's own: com.microsoft"),
        (made([helper.make_node("Gelu", ["photos"], ["vectors"], domain="evil")]), "not ONNX's own: evil"),
    ],
)
def test_a_third_party_file_is_refused_in_one_sentence(tmp_path, contents, reason):
    path = tmp_path / "model.onnx"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=reason) as refused:
        OnnxEmbedder.load(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path} is not a usable ONNX model of Pairlens (")
    assert sentence.endswith("; export it again")
    assert "\n" not in sentence
    assert len(sentence) < 600


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (made([helper.make_node("Relu", ["missing"], ["vectors"])]), "onnxruntime refuses the model"),
        (made(dim=7, description=DESCRIPTION), "one vector of 3 numbers for each|onnxruntime refuses"),
        (made([*NODES[:2], helper.make_node("Identity", ["colour"], ["vectors"])]), "not of length 1"),
    ],
)
def test_a_model_that_does_not_do_what_it_says_is_refused_and_nothing_is_printed(contents, reason, capfd):
    with pytest.raises(ValueError, match=reason):
        OnnxEmbedder.from_bytes(contents).embed_pixels(np.full((1, SIZE, SIZE, 3), 9, np.uint8))
    # Neither by the runtime itself nor by its Python package.
    assert capfd.readouterr() == ("", "")


def test_a_missing_and_a_too_large_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx does not exist; check the path"):
        read_onnx(tmp_path / "none.onnx")
    (tmp_path / "model.onnx").write_bytes(made())
    monkeypatch.setattr(onnx_file, "MAX_ONNX_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_onnx(tmp_path / "model.onnx")


def test_without_the_packages_the_sentence_says_what_to_install(monkeypatch, file):
    for name in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, name, None)
            with pytest.raises(ValueError, match=r"pip install 'pairlens\[onnx\]'"):
                OnnxEmbedder.load(file)
