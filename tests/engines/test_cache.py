import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura.engines import cache as engine_cache
from pleura.engines.cache import converted, folder
from pleura.models.bundle import Exported, OperatingPoint, read_bundle

GRAPH = Exported("openvino", b"<net/>", b"\x00\x01\x02", "fp32", "a" * 64)


@pytest.fixture
def bundle(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return read_bundle(tiny_model)


@pytest.fixture
def convert():
    def count(bundle):
        count.calls += 1
        return GRAPH

    count.calls = 0
    return count


def test_a_network_is_converted_once(bundle, convert, tmp_path):
    for _ in range(3):
        assert converted(bundle, "openvino", convert) == (GRAPH, ())
    assert convert.calls == 1
    (entry,) = (tmp_path / "pleura" / "engines").iterdir()
    assert entry.suffix == ".openvino"


def test_thresholds_need_no_conversion_of_their_own(bundle, convert):
    converted(bundle, "openvino", convert)
    converted(replace(bundle, operating_point=OperatingPoint(0.1, 0.2)), "openvino", convert)
    assert convert.calls == 1


def test_whatever_the_graph_depends_on_does(bundle, convert, monkeypatch):
    converted(bundle, "openvino", convert)
    weights = {**bundle.weights, "head.bias": np.array([1], np.float32)}
    converted(replace(bundle, weights=weights), "openvino", convert)
    shifted = replace(bundle.preprocessing, mean=0.25)
    converted(replace(bundle, preprocessing=shifted), "openvino", convert)
    converted(bundle, "onnx", convert)
    assert convert.calls == 4
    monkeypatch.setattr(engine_cache, "version_of", lambda name: "another")
    converted(bundle, "openvino", convert)
    assert convert.calls == 5


def test_of_too_many_those_not_used_for_longest_go(bundle, convert, monkeypatch):
    def keep(shift):
        shifted = replace(bundle.preprocessing, mean=shift)
        before = set(folder().iterdir()) if folder().exists() else set()
        converted(replace(bundle, preprocessing=shifted), "openvino", convert)
        return set(folder().iterdir()) - before

    (first,) = keep(0.1)
    monkeypatch.setattr(engine_cache, "MOST_BYTES", 3 * first.stat().st_size)
    (second,), (third,) = keep(0.2), keep(0.3)
    for age, path in enumerate((third, first, second)):
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    keep(0.2)  # used once more, and so the newest
    (fourth,) = keep(0.4)
    assert set(folder().iterdir()) == {second, third, fourth}
    monkeypatch.setattr(engine_cache, "MOST_BYTES", 0)
    (fifth,) = keep(0.5)
    assert set(folder().iterdir()) == {fifth}


def test_every_damage_is_noticed_and_made_anew(bundle, convert, tmp_path):
    converted(bundle, "openvino", convert)
    (entry,) = (tmp_path / "pleura" / "engines").iterdir()
    whole = entry.read_bytes()
    damaged = [whole[:length] for length in (0, 10, 32, 40, len(whole) - 1)]
    damaged += [whole + b"more"]
    damaged += [
        whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        for place in range(0, len(whole), 7)
    ]
    for number, content in enumerate(damaged, start=2):
        entry.write_bytes(content)
        assert converted(bundle, "openvino", convert) == (GRAPH, ())
        assert convert.calls == number
        assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_said_and_not_needed(
    bundle, convert, tmp_path, monkeypatch
):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    found, (note,) = converted(bundle, "openvino", convert)
    assert found == GRAPH
    assert note.startswith("the converted network is not kept, and every start converts it again (")
    assert note.endswith("; set XDG_CACHE_HOME to a folder that can be written")


def test_without_a_home(bundle, convert, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    found, (note,) = converted(bundle, "openvino", convert)
    assert found == GRAPH
    assert "(Could not determine home directory.)" in note


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "pleura" / "engines"
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert folder() == Path.home() / ".cache" / "pleura" / "engines"
