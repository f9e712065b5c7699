"""An exported model as OpenVINO's pair of files, hostile until parsed: .xml, and .bin beside it.

The .xml is walked by expat, which expands nothing here: a document type or an entity is refused
where it is declared. Only plain layers of OpenVINO's own operator sets are let through, each
constant within the .bin, and the graph and the .bin must match their digests, before OpenVINO sees
either.

The metadata stand on a line of their own before the last ``</rt_info>``::

    <pleura value="{&quot;pleura_format&quot;: 1, ..." />
"""

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from pleura.errors import BundleError
from pleura.models.bundle import Bundle, Exported
from pleura.models.exported import INPUT, KEY, MAPS, SCORES, from_metadata, metadata, read_bytes
from pleura.models.fetched import content_of
from pleura.models.weights import check_finite

_END = b"\t<rt_info />\n</net>\n"
_OPEN, _CLOSE = b"\t<rt_info>\n", b"\t</rt_info>\n</net>\n"
_OPSET = re.compile(r"opset\d{1,2}")
_BITS = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8,
    "u64": 64, "u32": 32, "u16": 16, "u8": 8, "boolean": 8,
}  # fmt: skip
_FLOATS = {"f64": "<f8", "f32": "<f4", "f16": "<f2"}
_DEPTH = 16
_ELEMENTS = 2_000_000


def openvino_bytes(bundle: Bundle, exported: Exported) -> bytes:
    """Return the .xml for `bundle`; the .bin is ``exported.weights`` as it is."""
    line = f"\t\t<{KEY} value={quoteattr(metadata(bundle, exported))} />\n".encode()
    return exported.graph.removesuffix(_END) + _OPEN + line + _CLOSE


def plain_graph(xml: bytes) -> bytes:
    """Return the .xml that OpenVINO wrote without what its tools noted of the whole network."""
    return xml[: xml.rindex(b"\n\t<rt_info") + 1] + _END


def read_openvino(path: str | os.PathLike[str]) -> Bundle:
    """Return the model in an .xml that pleura wrote, and the .bin beside it.

    Raises:
        BundleError: A file is missing, truncated, corrupt, foreign, or from a later pleura.
    """
    file = Path(path)
    try:
        xml = read_bytes(file)
        weights = file.with_suffix(".bin")
        if not (weights.is_file() or content_of(weights) is not None):
            raise BundleError(f"{weights.name} is not beside it; keep both files together")
        return parse_openvino(xml, read_bytes(weights), file)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def parse_openvino(xml: bytes, weights: bytes, path: Path) -> Bundle:
    """Return the model in the content of the two files.

    Raises:
        BundleError: As for :func:`read_openvino`.
    """
    walk = _Walk(len(weights))
    walk.over(xml)
    head, mark, tail = xml.rpartition(_OPEN)
    if walk.text is None or not mark or not tail.endswith(_CLOSE) or tail.count(b"\n") != 3:
        raise BundleError(
            "is XML but not a model of pleura (no metadata named pleura at its end); models of "
            "other programs cannot be loaded"
        )
    bundle = from_metadata(walk.text, Exported("openvino", head + _END, weights), path)
    walk.check_ports(bundle.preprocessing.size)
    check_finite(
        {
            f"of {layer}": np.frombuffer(weights[place : place + size], kind)
            for layer, kind, place, size in walk.floats
        }
    )
    return bundle


@dataclass
class _Walk:
    """One pass over the elements of an .xml; what is not as pleura writes it raises."""

    weights: int
    text: str | None = None
    stack: list[str] = field(default_factory=list)
    elements: int = 0
    layer: str = ""
    parameters: list[tuple[str, str, str]] = field(default_factory=list)
    floats: list[tuple[str, str, int, int]] = field(default_factory=list)
    results: int = 0
    named: set[str] = field(default_factory=set)

    def over(self, xml: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, ValueError) as error:
            raise BundleError(
                f"cannot be read as XML, it is truncated, damaged or something else ({error}); "
                "export it again"
            ) from error

    def check_ports(self, size: int) -> None:
        if (
            self.parameters != [(INPUT, "u8", f"?,{size},{size}")]
            or self.results != 2
            or not {INPUT, MAPS, SCORES} <= self.named
        ):
            raise BundleError(
                f"takes {', '.join(' '.join(one) for one in self.parameters) or 'nothing'}; a "
                f"graph of pleura takes {INPUT} u8 ?,{size},{size} and gives {MAPS} and {SCORES}"
            )

    def _refuse(self, *_: object) -> int:
        raise BundleError("declares a document type or an entity; pleura writes none")

    def _start(self, name: str, values: dict[str, str]) -> None:
        self.stack.append(name)
        self.elements += 1
        if len(self.stack) > _DEPTH or self.elements > _ELEMENTS:
            raise BundleError("is nested deeper, or longer, than any model of pleura")
        where = "/".join(self.stack[-3:])
        if self.elements == 1 and name != "net":
            raise BundleError("is XML but not of OpenVINO")
        if where == "layers/layer" or name == "layer":
            self._layer(where, values)
        elif name == "data" and self.stack[-2] == "layer":
            self._data(values)
        elif name == "body" or name.endswith("_body"):
            raise BundleError(f"its {self.layer} holds a graph of its own; pleura writes none")
        elif name == "port" and "names" in values:
            self.named.update(values["names"].split(","))
        elif name == KEY and where == f"net/rt_info/{KEY}":
            if self.text is not None:
                raise BundleError("has metadata of pleura twice; export it again")
            self.text = values.get("value", "")

    def _end(self, _: str) -> None:
        self.stack.pop()

    def _layer(self, where: str, values: dict[str, str]) -> None:
        if where != "net/layers/layer":
            raise BundleError("holds a layer where pleura writes none")
        self.layer = f"{values.get('type')} {values.get('name')!r}"
        self.results += values.get("type") == "Result"
        if not _OPSET.fullmatch(values.get("version", "")):
            raise BundleError(
                f"its {self.layer} is of {values.get('version')!r}; pleura writes layers of "
                "OpenVINO's own operator sets alone"
            )

    def _data(self, values: dict[str, str]) -> None:
        kind = self.layer.partition(" ")[0]
        if kind == "Parameter":
            port = self.layer.partition(" ")[2].strip("'")
            self.parameters.append((port, values.get("element_type", ""), values.get("shape", "")))
        elif kind == "Const":
            self._constant(values)
        elif "offset" in values or "path" in values:
            raise BundleError(f"its {self.layer} reads from a file; only constants do")

    def _constant(self, values: dict[str, str]) -> None:
        try:
            shape = [int(side) for side in values["shape"].split(",") if side]
            offset, size = int(values["offset"]), int(values["size"])
            claimed = math.prod(shape) * _BITS[values["element_type"]] // 8
        except (KeyError, ValueError) as error:
            raise BundleError(f"its {self.layer} does not say what it holds ({error})") from error
        if min([*shape, offset, size]) < 0 or size != claimed or offset + size > self.weights:
            raise BundleError(
                f"its {self.layer} claims {claimed} bytes as {size} from {offset} on, of "
                f"{self.weights} in the .bin; the two files do not belong together or are damaged"
            )
        if values["element_type"] in _FLOATS and shape:  # a bound, a plain number, may be infinite
            self.floats.append((self.layer, _FLOATS[values["element_type"]], offset, size))
