"""What an exported file says of itself: everything of a bundle but its weights, as one JSON text.

The same text stands in the metadata of an ONNX file and of an OpenVINO one. Both are somebody
else's until parsed: the text is read strictly, and must name the digests of the graph (the file
without the text) and of the weights beside it.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pleura.config import Network, parse
from pleura.errors import BundleError, ConfigError
from pleura.models.bundle import (
    Bundle,
    Calibration,
    Exported,
    OperatingPoint,
    PointName,
    Preprocessing,
    current_versions,
)

FORMAT = 1
"""Raised when a file of this version could be misread by an earlier pleura."""

KEY = "pleura"
"""The name under which a file carries the text."""

INPUT, MAPS, SCORES = "pixels", "maps", "scores"
"""The graph's only input, and its outputs in their order, as :class:`Exported` describes them."""

MAX_BYTES = 4 * 2**30
"""What a file, and any tensor of its graph for one image, may hold at most."""

_MAX_TEXT = 2**24

_SEAL = "digest"
"""The last entry of the text: a digest of the rest."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class _Metadata:
    pleura_format: int
    kind: Literal["openvino", "onnx"]
    precision: Literal["fp32", "int8"]
    model_digest: Digest
    graph_digest: Digest
    weights_digest: Digest
    network: Network
    preprocessing: Preprocessing
    operating_point: OperatingPoint
    presets: dict[PointName, OperatingPoint]
    calibration: Calibration
    evaluation: dict[str, Any]
    training: dict[str, Any]
    trained_on: list[Annotated[int, Field(ge=0, lt=2**64)]]
    history: dict[str, list[float]]
    card: str
    versions: dict[str, str]


def metadata(bundle: Bundle, exported: Exported) -> str:
    """Return the text for the file that holds `exported`, ASCII on one line."""
    found = _Metadata(
        pleura_format=FORMAT,
        kind=exported.kind,
        precision=exported.precision,
        model_digest=exported.model_digest,
        graph_digest=_sha256(exported.graph),
        weights_digest=_sha256(exported.weights),
        network=bundle.network,
        preprocessing=bundle.preprocessing,
        operating_point=bundle.operating_point,
        presets=dict(bundle.presets),
        calibration=bundle.calibration,
        evaluation=dict(bundle.evaluation),
        training=dict(bundle.training),
        trained_on=bundle.trained_on.tolist(),
        history=dict(bundle.history),
        card=bundle.card,
        versions=dict(bundle.versions) or current_versions(),
    )
    table = asdict(found)
    return json.dumps({**table, _SEAL: _sha256(json.dumps(table).encode())})


def from_metadata(text: str, exported: Exported, path: Path) -> Bundle:
    """Return the bundle that `text` describes, with `exported` in place of weights.

    Args:
        text: What the file says of itself.
        exported: The graph and weights as they were read; their precision and origin are the
            text's to say.
        path: The file.

    Raises:
        BundleError: The text is not what :func:`metadata` writes, or graph or weights are not those
            it was written for.
    """
    found = _parsed(text)
    if found.kind != exported.kind:
        raise BundleError(f"calls itself a file for {found.kind}, but is one for {exported.kind}")
    if found.graph_digest != _sha256(exported.graph):
        raise BundleError("its network does not match its digest, it is damaged; export it again")
    if found.weights_digest != _sha256(exported.weights):
        raise BundleError(
            f"the weights in {path.with_suffix('.bin').name} are not those it was written with; "
            "keep both files of one export together, or export it again"
        )
    return Bundle(
        network=found.network,
        weights={},
        preprocessing=found.preprocessing,
        operating_point=found.operating_point,
        presets=found.presets,
        calibration=found.calibration,
        evaluation=found.evaluation,
        training=found.training,
        trained_on=np.array(found.trained_on, np.uint64),
        history=found.history,
        card=found.card,
        versions=found.versions,
        path=path,
        exported=replace(exported, precision=found.precision, model_digest=found.model_digest),
    )


def read_bytes(path: Path) -> bytes:
    """Return the content of a file of which the size is bounded before it is read.

    Raises:
        BundleError: It is missing, too large or cannot be read.
    """
    try:
        if not path.is_file():
            raise BundleError("there is no such file; write it with pleura export")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BundleError(f"has {size} bytes; no model of pleura has more than {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})") from error


def _parsed(text: str) -> _Metadata:
    if len(text) > _MAX_TEXT:
        raise BundleError(f"its metadata has {len(text)} characters; more than {_MAX_TEXT} is odd")
    try:
        table = json.loads(text)
        if not isinstance(table, dict):
            raise BundleError("its metadata is not a JSON object; it is damaged, export it again")
        written = table.get("pleura_format")
        if isinstance(written, int) and written > FORMAT:
            raise BundleError(
                f"has format {written}, of a later pleura; this one reads up to {FORMAT}: install "
                "the later one, or export it again"
            )
        seal = table.pop(_SEAL, None)
        found = parse(_Metadata, table, "its metadata")
        if seal != _sha256(json.dumps(table).encode()):
            raise BundleError("its metadata does not match its digest, it is damaged; export it")
        return found
    except (ConfigError, ValueError, RecursionError, OverflowError) as error:
        raise BundleError(f"damaged metadata: {str(error).splitlines()[0][:300]}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
