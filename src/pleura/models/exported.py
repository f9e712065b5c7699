"""What an exported file says of itself: everything of a bundle but its weights, as one JSON text.

The same text stands in the metadata of an ONNX file and of an OpenVINO one. Both are somebody
else's until parsed: the text is read strictly, and must name the digests of the graph (the file
without the text) and of the weights beside it.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from pleura.config import parse
from pleura.errors import BundleError, ConfigError, SealError
from pleura.models import sealed_file
from pleura.models.bundle import About, Bundle, Exported
from pleura.models.sealed_file import Digest
from pleura.storage import seal

FORMAT = 3
"""Raised when a file of this version could be misread by an earlier pleura."""

KEY = "pleura"
"""The name under which a file carries the text."""

INPUT, MAPS, SCORES = "pixels", "maps", "scores"
"""The graph's only input, and its outputs in their order, as :class:`Exported` describes them."""

MAX_BYTES = 4 * 2**30
"""What a file, and any tensor of its graph for one image, may hold at most."""


@dataclass(frozen=True, slots=True)
class _Metadata:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    pleura_format: int
    kind: Literal["openvino", "onnx"]
    precision: Literal["fp32", "int8"]
    model_digest: Digest
    graph_digest: Digest
    weights_digest: Digest
    about: About


def metadata(bundle: Bundle, exported: Exported) -> str:
    """Return the text for the file that holds `exported`, ASCII on one line."""
    found = _Metadata(
        pleura_format=FORMAT,
        kind=exported.kind,
        precision=exported.precision,
        model_digest=exported.model_digest,
        graph_digest=seal.digest(exported.graph),
        weights_digest=seal.digest(exported.weights),
        about=About.of(bundle),
    )
    return seal.sealed(asdict(found))


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
    if found.graph_digest != seal.digest(exported.graph):
        raise BundleError("its network does not match its digest, it is damaged; export it again")
    if found.weights_digest != seal.digest(exported.weights):
        raise BundleError(
            f"the weights in {path.with_suffix('.bin').name} are not those it was written with; "
            "keep both files of one export together, or export it again"
        )
    graph = replace(exported, precision=found.precision, model_digest=found.model_digest)
    return found.about.bundle({}, path, graph)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file of which the size is bounded before it is read.

    Raises:
        BundleError: It is missing, too large or cannot be read.
    """
    missing = "there is no such file; write it with pleura export"
    return sealed_file.read_bytes(path, MAX_BYTES, missing)


def _parsed(text: str) -> _Metadata:
    try:
        table = seal.unsealed(text)
    except SealError as error:
        raise BundleError(f"its metadata {error}; export it again") from error
    if table.get("pleura_format") != FORMAT:
        raise BundleError(
            f"has format {str(table.get('pleura_format'))[:20]}; this pleura reads {FORMAT}: "
            "install the one that wrote it, or export it again"
        )
    try:
        return parse(_Metadata, table, "its metadata")
    except (ConfigError, RecursionError) as error:
        raise BundleError(f"damaged: {str(error)[:300]}; export it again") from error
