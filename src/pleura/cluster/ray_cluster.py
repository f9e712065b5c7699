"""A Ray cluster: begun on this machine, or joined. Ray reports nothing and logs nothing here."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from pleura.errors import UsageError, first_line

HERE = "ray"
"""A cluster of this machine alone, for this command."""

_CONNECT_S = 10.0


@contextlib.contextmanager
def joined(where: str) -> Iterator[Any]:
    """Yield Ray's module, connected until the block ends.

    Args:
        where: ``ray``, ``auto``, or an address: ``ray://HOST:10001`` or ``HOST:6379``.

    Raises:
        UsageError: Ray is not installed, no cluster is there, or it runs other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Else workers of a cluster that is begun here give way to any other program, by 15.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Its machines' words on a worker that died go to stdout else, whatever log_to_driver says.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"`on` {where}: Ray is not installed; pip install 'pleura[ray]'"
        ) from error
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if where == HERE:
        how |= {"address": "local", "include_dashboard": False}
    else:
        how["address"] = where
        _require_reached(where)
    try:
        ray.init(**how)
    except Exception as error:  # each way to a cluster has its own
        raise UsageError(f"`on` {where}: {_why(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_reached(where: str) -> None:
    """See that somebody listens at an address: Ray itself would try for minutes, and say so."""
    host, colon, port = where.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # a word, or an address that Ray refuses
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            f"`on` {where}: nobody answers there; see the address, and that the cluster runs"
        ) from error


def _why(error: Exception) -> str:
    said = " ".join(str(error).split())
    if "ersion mismatch" in said or ("ersion" in said and "mismatch" in said.lower()):
        return (
            f"the cluster runs other versions of Ray or Python ({said[:200]}); install there and "
            "here the same"
        )
    if "grpc" in said.lower() and "install" in said.lower():
        return "Ray's client is not installed; pip install 'pleura[ray]'"
    kind = f"{type(error).__name__}: {first_line(error)}"
    return f"no cluster can be reached there ({kind}); see its address, and that it runs"
