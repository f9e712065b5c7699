import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from pleura.models.foreign import UNKNOWN, what_begins, what_is


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return content.getvalue()


def hdf5(**attributes):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs.update(attributes)
    return content.getvalue()


def numpy(value):
    content = io.BytesIO()
    np.save(content, value)
    return content.getvalue()


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.h5", hdf5(keras_version="2.1"), "a model of Keras"),
        ("x.h5", hdf5(other=1), "an HDF5 file"),
        ("x", zipped("metadata.json", "config.json", "model.weights.h5"), "a model of Keras"),
        ("x.keras", zipped("other"), "a model of Keras"),
        ("x", zipped("x/data.pkl", "x/version"), "a model of PyTorch"),
        ("x.bin", zipped("[Content_Types].xml"), "a document of an office program"),
        ("x", zipped("arr_0.npy"), "arrays of numpy"),
        ("x.zip", zipped("radiograph.dcm"), "an archive"),
        ("x.pt", pickle.dumps([1]), "a pickle, as PyTorch and scikit-learn write them"),
        ("x.pth", b"\x00\x01garbage", "a model of PyTorch"),
        ("x.pt", b"", "a model of PyTorch, but empty"),
        ("x", b"\x08\x0a\x12\x07pytorch", "a model in the form ONNX"),
        ("x", len(HEADER).to_bytes(8, "little") + HEADER, "weights as safetensors"),
        ("x", b"\x1c\x00\x00\x00TFL3", "a model of TensorFlow Lite"),
        ("x.npy", numpy([1]), "an array of numpy"),
        ("history.csv", b"epoch,loss\n1,2\n", "a table (CSV)"),
        ("history.csv.gz", b"\x1f\x8b\x08", "a table (CSV), compressed"),
        ("x.dcm.gz", b"\x1f\x8b\x08", "an archive"),
        ("x", b"<!DOCTYPE html><html>", "an HTML page"),
        ("x", b'<?xml version="1.0"?><net/>', "an XML text"),
        ("x", b'{"a": 1}', "a JSON text"),
        ("x", b"\xef\xbb\xbfa text", "a text"),
        ("x", ("ü" * 40_000).encode()[:65_536], "a text"),
        ("x", b"\x89PNG\r\n\x1a\n", "a picture"),
        ("x", bytes(128) + b"DICM", "a DICOM file"),
        ("x", b"", "an empty file"),
        ("x", b"\x01\x02\x03", "something that pleura does not know"),
        ("x", b"\x08", "something that pleura does not know"),
    ],
)
def test_a_file_is_called_what_it_is(tmp_path, name, content, what):
    path = tmp_path / name
    path.write_bytes(content)
    assert what_is(path) == what
    assert what_begins(content, name) == what


def test_what_is_no_file(tmp_path):
    assert what_is(tmp_path) == "a folder"
    assert what_is("/dev/zero") == "a device or a pipe"
    assert what_is(tmp_path / "none") == UNKNOWN
    assert what_is("a\0b") == UNKNOWN
