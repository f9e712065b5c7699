import re
from dataclasses import replace

import numpy as np
import pytest

from pleura.errors import BundleError
from pleura.models.openvino_file import openvino_bytes, parse_openvino, read_openvino


@pytest.fixture
def bundle(exported):
    return exported("openvino")


@pytest.fixture
def path(bundle, tmp_path):
    path = tmp_path / "m.xml"
    path.write_bytes(openvino_bytes(bundle, bundle.exported))
    path.with_suffix(".bin").write_bytes(bundle.exported.weights)
    return path


def test_it_is_read_as_it_was_written(bundle, path):
    assert read_openvino(path).exported == bundle.exported


def test_nothing_says_where_it_was_made(path):
    assert b".py" not in path.read_bytes()
    assert b"/tmp" not in path.read_bytes()


def test_every_truncation_is_noticed(path):
    for part in (path, path.with_suffix(".bin")):
        content = part.read_bytes()
        for length in np.linspace(0, len(content) - 1, 40).astype(int):
            part.write_bytes(content[:length])
            with pytest.raises(BundleError, match=r"m\.xml: "):
                read_openvino(path)
        part.write_bytes(content)
    read_openvino(path)


def test_every_flipped_byte_is_noticed_or_harmless(bundle, path):
    for part, times in ((path, 150), (path.with_suffix(".bin"), 30)):
        content = part.read_bytes()
        for place in np.random.default_rng(0).integers(len(content), size=times):
            damaged = bytearray(content)
            damaged[place] ^= 0x05
            part.write_bytes(damaged)
            try:
                found = read_openvino(path)
            except BundleError:
                continue
            assert found.exported == bundle.exported
            assert found.operating_point == bundle.operating_point
        part.write_bytes(content)


def test_the_other_file_is_missing(path):
    path.with_suffix(".bin").unlink()
    with pytest.raises(BundleError, match=r"m.xml: m.bin is not beside it; keep both files"):
        read_openvino(path)


def test_the_other_file_of_another_model(path):
    weights = path.with_suffix(".bin")
    other = bytearray(weights.read_bytes())
    other[-1] ^= 1
    weights.write_bytes(other)
    with pytest.raises(BundleError, match=r"the weights in m.bin are not those it was written"):
        read_openvino(path)


def test_there_is_no_file(tmp_path):
    with pytest.raises(BundleError, match=r"no.xml: there is no such file; write it with pleura"):
        read_openvino(tmp_path / "no.xml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as XML, it is truncated, damaged or something else"),
        (b"PK\x03\x04", "cannot be read as XML, it is truncated, damaged or something else"),
        (b"<html></html>", "is XML but not of OpenVINO"),
        (b'<net name="x" version="11"></net>', "is XML but not a model of pleura"),
    ],
)
def test_something_else(path, content, message):
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"m.xml: {message}"):
        read_openvino(path)


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE net SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize("head", [LAUGHS, OUTSIDE])
def test_entities_are_refused_where_they_are_declared(path, head):
    content = path.read_bytes().replace(b'<?xml version="1.0"?>', head)
    path.write_bytes(content)
    with pytest.raises(BundleError, match="declares a document type or an entity; pleura writes"):
        read_openvino(path)


def test_depth_is_bounded(path):
    path.write_bytes(b"<net>" + b"<a>" * 10**5)
    with pytest.raises(BundleError, match="is nested deeper, or longer, than any model of pleura"):
        read_openvino(path)


def test_metadata_twice(path):
    line = re.search(rb"\t\t<pleura [^\n]*\n", path.read_bytes())[0]
    path.write_bytes(path.read_bytes().replace(line, line + line))
    with pytest.raises(BundleError, match="has metadata of pleura twice"):
        read_openvino(path)


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        (rb'version="opset1"', rb'version="extension"', "is of 'extension'; pleura writes layers"),
        (rb'size="(\d+)"', rb'size="9\1"', "claims .* of .* in the .bin; the two files do not"),
        (rb'offset="0"', rb'offset="-8"', "claims .* in the .bin; the two files do not belong"),
        (rb'offset="0"', rb'offset="99999999"', "claims .* from 99999999 on, of"),
        (rb'offset="0"', rb'place="0"', "does not say what it holds"),
        (rb'element_type="i64" shape', rb'element_type="string" shape', "does not say what it"),
        (rb'<data destination_type="f32"', rb'<data path="/etc/passwd"', "reads from a file; only"),
        (rb"<edges>", rb"<edges><layer/>", "holds a layer where pleura writes none"),
        (rb"<edges>", rb"<edges><then_body/>", "holds a graph of its own; pleura writes none"),
        (rb"<edges>", rb"<edges><body/>", "holds a graph of its own; pleura writes none"),
        (rb'shape="\?,64,64"', rb'shape="?,96,96"', r"takes pixels u8 \?,96,96; a graph of pleura"),
        (rb'names="scores', rb'names="others', "a graph of pleura takes pixels u8"),
        (rb'type="Result"', rb'type="Sink"', "a graph of pleura takes pixels u8"),
    ],
)
def test_what_pleura_never_writes(bundle, pattern, new, message, tmp_path):
    graph, count = re.subn(pattern, new, bundle.exported.graph, count=1)
    assert count == 1
    changed = openvino_bytes(bundle, replace(bundle.exported, graph=graph))
    with pytest.raises(BundleError, match=message):
        parse_openvino(changed, bundle.exported.weights, tmp_path / "m.xml")


def test_weights_that_are_not_finite_are_refused(bundle, tmp_path):
    found = re.search(rb'element_type="f32" shape="[0-9,]+" offset="(\d+)"', bundle.exported.graph)
    place, weights = int(found[1]), bundle.exported.weights
    weights = weights[:place] + np.float32(np.inf).tobytes() + weights[place + 4 :]
    changed = openvino_bytes(bundle, replace(bundle.exported, weights=weights))
    with pytest.raises(BundleError, match=r"its weights of Const '.*' are not all finite numbers"):
        parse_openvino(changed, weights, tmp_path / "m.xml")
