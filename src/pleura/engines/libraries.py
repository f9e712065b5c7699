"""The libraries of the engines, imported so that none of them reports its use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from pleura.errors import UsageError

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """Return the package openvino, imported without the one that reports its use."""
    with without_telemetry():
        import openvino
    module: ModuleType = openvino
    return module


@cache
def openvino_core() -> Any:
    """Return OpenVINO's core: one for the whole process, which lives as long.

    Each core's plugin for the CPU gives the thread a stack for signal handlers, and puts back the
    one before when it goes. Where an older core goes first, a younger one puts back what is freed,
    and the next signal, a Ctrl-C or the end of a child, ends the process without a word.
    """
    return import_openvino().Core()


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import nothing of ``openvino_telemetry`` inside; openvino and nncf do without it.

    Both look for it once, when they are first imported, and take a stand-in that does nothing where
    it is not installed. Here it is as if it were not.
    """
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:  # of whoever imported it before us
            sys.modules[_TELEMETRY] = before


def import_onnxruntime() -> ModuleType:
    """Return the package onnxruntime, told to report nothing.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "`engine` onnx needs the package onnxruntime; pip install 'pleura[onnx]'"
        ) from error
    onnxruntime.disable_telemetry_events()  # its builds for Windows have some
    module: ModuleType = onnxruntime
    return module
