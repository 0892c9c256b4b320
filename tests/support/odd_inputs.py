"""What people give to functions of vectors, labels and whole numbers: the forms with a plain meaning, and all others."""

import datetime
import warnings

import numpy as np
import torch

# Four vectors of two classes, and the labels of these classes.
VECTORS = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 1.0, 2.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def forms_of_vectors(vectors=VECTORS):
    """Return a matrix of whole numbers in every form that has a plain meaning."""
    array = vectors.numpy()
    read_only = array.copy()
    read_only.flags.writeable = False
    return {
        "float16": vectors.half(),
        "bfloat16": vectors.bfloat16(),
        "float64": vectors.double(),
        "float8": vectors.to(torch.float8_e4m3fn),
        "with a graph": vectors.clone().requires_grad_(),
        "a parameter": torch.nn.Parameter(vectors),
        "int8": vectors.to(torch.int8),
        "uint8": vectors.to(torch.uint8),
        "uint16": vectors.to(torch.uint16),
        "int64": vectors.long(),
        "transposed memory": vectors.T.contiguous().T,
        "array": array,
        "float64 array": array.astype(np.float64),
        "float16 array": array.astype(np.float16),
        "long double": array.astype(np.longdouble),
        "big-endian": array.astype(">f8"),
        "uint32 array": array.astype(np.uint32),
        "reversed twice": array[::-1][::-1],
        "fortran": np.asfortranarray(array),
        "read-only": read_only,
        "matrix without masked entries": np.ma.masked_array(array),
        "lists": array.tolist(),
        "tuples": tuple(map(tuple, array.tolist())),
        "list of tensors": list(vectors),
        "list of arrays": list(array),
    }


def forms_of_labels(labels=LABELS):
    """Return labels, which are 0 and 1, in every form that has a plain meaning."""
    array = labels.numpy()
    kinds = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint64, ">i4", bool)
    tensors = (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint64, torch.bool)
    return {
        **{f"{np.dtype(kind)} array": array.astype(kind) for kind in kinds},
        **{str(kind): labels.to(kind) for kind in tensors},
        "list": labels.tolist(),
        "tuple": tuple(labels.tolist()),
        "list of bools": labels.bool().tolist(),
        "list of numpy scalars": list(array),
        "list of tensors": list(labels),
    }


def forms_of_two():
    """Return the number 2 in every form that has a plain meaning."""
    return {
        "int64": np.int64(2),
        "uint8": np.uint8(2),
        "0-d array": np.array(2),
        "tensor": torch.tensor(2),
        "int8 tensor": torch.tensor(2, dtype=torch.int8),
    }


NO_NUMBERS = {
    "float": 2.0,
    "float32": np.float32(2),
    "float tensor": torch.tensor(2.0),
    "bool": True,
    "numpy bool": np.True_,
    "bool tensor": torch.tensor(True),
    "text": "2",
    "bytes": b"2",
    "list": [[2]],
    "dict": {2: 2},
    "nan": float("nan"),
    "inf": float("inf"),
    "complex": 2j,
    "negative": -1,
    "huge": 2**80,
    "too huge": -(2**80),
    "date": datetime.date(2020, 1, 2),
}


def no_vectors():
    """Return values that are no vectors."""
    with warnings.catch_warnings():
        # Both kinds of tensors warn that they are experimental or old.
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(VECTORS, 1.0, 0, torch.qint8)
        nested = torch.nested.nested_tensor([VECTORS[0], VECTORS[1, :2]])
        jagged = torch.nested.nested_tensor([VECTORS[0], VECTORS[1, :2]], layout=torch.jagged)
        compressed = VECTORS.to_sparse_csr()
    masked = np.ma.masked_array(VECTORS.numpy(), VECTORS.numpy() > 2)
    infinite, long = VECTORS.clone(), VECTORS.clone()
    infinite[1, 1], long[1, 1] = torch.inf, 1e20
    return {
        "bool": VECTORS > 1,
        "complex": VECTORS.to(torch.complex64),
        "complex array": VECTORS.numpy() * 1j,
        "complex list": [[1j, 2.0, 3.0]] * 4,
        "sparse": VECTORS.to_sparse(),
        "sparse rows": compressed,
        "quantised": quantised,
        "nested": nested,
        "jagged": jagged,
        "text": "vectors",
        "texts": [["a", "b", "c"]] * 4,
        "objects": np.array([[object()] * 3] * 4),
        "dates": np.zeros((4, 3), "M8[D]"),
        "number": 3,
        "set": {1, 2},
        "dict": {0: [1.0]},
        "function": len,
        "ragged": [[1.0, 2.0, 3.0], [1.0], [2.0], [3.0]],
        "ragged tensors": [VECTORS[0], VECTORS[1, :2], VECTORS[2], VECTORS[3]],
        "mixed": [VECTORS[0].clone().requires_grad_(), [1.0, 2.0, 3.0], VECTORS[2], VECTORS[3]],
        "too large integers": [[2**70, 0, 0]] * 4,
        "masked": masked,
        "one vector": VECTORS[0],
        "no axis": torch.tensor(1.0),
        "three axes": VECTORS[None],
        "no columns": torch.zeros(4, 0),
        "empty list": [],
        "nan": VECTORS * torch.nan,
        "infinite": infinite,
        "long": long,
        "of another number": VECTORS[:3],
        "of another dimension": VECTORS[:, :2],
    }


def no_labels():
    """Return values that are no labels of four photos."""
    return {
        "float": LABELS.float(),
        "float array": LABELS.numpy() / 1,
        "float list": [0.0, 0.0, 1.0, 1.0],
        "half": LABELS.half(),
        "complex": LABELS.to(torch.complex64),
        "text": "0011",
        "texts": ["a", "a", "b", "b"],
        "objects": np.array([object()] * 4),
        "dates": np.zeros(4, "M8[D]"),
        "nones": [None] * 4,
        "ragged": [[0], [0, 1]],
        "one-hot": torch.eye(2).long()[LABELS],
        "column": LABELS[:, None],
        "number": 3,
        "function": len,
        "dict": {0: 1},
        "sparse": LABELS.to_sparse(),
        "masked": np.ma.masked_array(LABELS.numpy(), [0, 0, 0, 1]),
        "beyond int64": np.full(4, 2**63, np.uint64),
        "large integers": [2**70] * 4,
        "too few": LABELS[:3],
        "empty": [],
        "mixed": [torch.tensor(1), 0.5, 1, 1],
    }
