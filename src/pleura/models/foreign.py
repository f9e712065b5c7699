"""What a file is that is no model of pleura, by how it begins and what it is called.

A name beside the right one, a model of another program or a table given as a model is then called
what it is. Nothing is parsed: a few bytes are compared.
"""

import codecs
import os
import stat
from pathlib import Path

from pleura.dicom.signature import data_start

HEAD_BYTES = 2**16
HDF5 = b"\x89HDF\r\n\x1a\n"

DICOM = "a DICOM file"
PICTURE = "a picture"
ARCHIVE = "an archive"
UNKNOWN = "something that pleura does not know"

FOLDER = "a folder"
EMPTY = "an empty file"

RADIOGRAPHS = frozenset({DICOM, PICTURE, ARCHIVE})
"""What may be meant as a radiograph; whoever reads it says what is wrong with it."""

_PYTORCH = "a model of PyTorch"
_PICKLE = "a pickle, as PyTorch and scikit-learn write them"
_SAFETENSORS = "weights as safetensors"

_MAGIC = (
    (b"\x93NUMPY", "an array of numpy"),
    (b"PAR1", "a Parquet table"),
    (b"GGUF", "a model in the form GGUF"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"BM", PICTURE),
    (b"II*\x00", PICTURE),
    (b"MM\x00*", PICTURE),
    (b"\x00\x00\x00\x0cjP  ", PICTURE),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a program"),
)

_ZIPPED = (
    (b"model.weights.h5", "a model of Keras"),
    (b"config.json", "a model of Keras"),
    (b"/data.pkl", _PYTORCH),
    (b"/constants.pkl", _PYTORCH),
    (b"[Content_Types].xml", "a document of an office program"),
    (b".npy", "arrays of numpy"),
)
"""Names of members, looked for in the order in which the one excludes the other."""

_SUFFIXES = {
    ".keras": "a model of Keras",
    ".hdf5": "a model of Keras",
    ".pt": _PYTORCH,
    ".pth": _PYTORCH,
    ".ckpt": "a checkpoint of PyTorch or TensorFlow",
    ".safetensors": _SAFETENSORS,
    ".onnx": "a model in the form ONNX",
    ".pb": "a graph of TensorFlow",
    ".tflite": "a model of TensorFlow Lite",
    ".mlmodel": "a model of Core ML",
    ".engine": "a model of TensorRT",
    ".plan": "a model of TensorRT",
    ".pdparams": "a model of PaddlePaddle",
    ".params": "a model of MXNet",
    ".gguf": "a model in the form GGUF",
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".bin": "the weights of a model",
    ".npy": "an array of numpy",
    ".npz": "arrays of numpy",
    ".csv": "a table (CSV)",
    ".tsv": "a table",
    ".parquet": "a Parquet table",
    ".xlsx": "a table",
    ".json": "a JSON text",
    ".jsonl": "a JSON text",
    ".toml": "a TOML text",
    ".yaml": "a YAML text",
    ".yml": "a YAML text",
    ".xml": "an XML text",
    ".html": "an HTML page",
    ".md": "a text",
    ".txt": "a text",
    ".log": "a text",
    ".py": "a program",
    ".ipynb": "a notebook",
    ".pdf": "a PDF document",
}


def what_is(path: str | os.PathLike[str]) -> str:
    """Return what lies at `path`, in words with their article; :data:`UNKNOWN` where that is so.

    Cheap: at most 64 KiB are read, and of a regular file only.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
        if stat.S_ISDIR(mode):
            return FOLDER
        if not stat.S_ISREG(mode):
            return "a device or a pipe"
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return UNKNOWN
    return what_begins(head, os.fspath(path))


def what_begins(head: bytes, name: str) -> str:
    """Return what a file is that begins with `head` (64 KiB or all of it), as :func:`what_is`.

    Args:
        head: The first bytes.
        name: What it is called, which counts where the bytes say little.
    """
    suffix = Path(name).suffix.lower()
    if not head:
        return f"{_SUFFIXES[suffix]}, but empty" if suffix in _SUFFIXES else EMPTY
    if head.startswith(b"\x1f\x8b"):
        inner = _SUFFIXES.get(Path(name).with_suffix("").suffix.lower())
        return f"{inner}, compressed" if inner else ARCHIVE
    return _binary(head, suffix) or _SUFFIXES.get(suffix) or _text(head) or UNKNOWN


def _binary(head: bytes, suffix: str) -> str:
    """Return what the first bytes say, or nothing."""
    if head.startswith(HDF5):
        keras = any(name in head for name in (b"keras_version", b"layer_names", b"model_weights"))
        return "a model of Keras" if keras else "an HDF5 file"
    if data_start(head) is not None:
        return DICOM
    if head.startswith(b"PK\x03\x04"):
        return next((what for name, what in _ZIPPED if name in head), "") or (
            _SUFFIXES.get(suffix, ARCHIVE)
        )
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
    if head[4:8] == b"TFL3":
        return "a model of TensorFlow Lite"
    if head[8:9] == b"{" and b'"dtype"' in head:
        return _SAFETENSORS
    # onnx.proto3: the version of its form, then the program that made it.
    if len(head) > 2 and head[0] == 8 and 0 < head[1] < 32 and head[2] in (0x12, 0x1A, 0x3A):
        return "a model in the form ONNX"
    return next((what for magic, what in _MAGIC if head.startswith(magic)), "")


def _text(head: bytes) -> str:
    """Return what kind of text it is, or nothing."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # a letter may be cut off
    except UnicodeDecodeError:
        return ""
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return ""
    start = text.lstrip()[:9].lower()
    if start.startswith(("<!doctype", "<html")):
        return "an HTML page"
    if start.startswith("<"):
        return "an XML text"
    return "a JSON text" if start.startswith(("{", "[")) else "a text"
