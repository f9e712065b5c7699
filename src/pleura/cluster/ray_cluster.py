"""A Ray cluster: begun on this machine, or joined. Ray reports nothing and logs nothing here."""

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pleura.errors import LostError, UsageError, first_line

HERE = "ray"
"""A cluster of this machine alone, for this command."""

_CONNECT_S = 10.0

_LOOK_S = 2.0
_BACK_S = 30.0
"""So long a head node may be away: Ray itself ends the process after a minute, in its own words."""

_END_S = 5.0

_HEAD_HERE = Path("/tmp/ray/ray_current_cluster")
"""Where Ray notes the address of the head that runs on a machine."""

_joined: dict[str, Any] = {}
"""Ray's module, while this process is connected, by where to."""

HEAD = "the head node of the cluster"


@contextlib.contextmanager
def joined(where: str) -> Iterator[Any]:
    """Yield Ray's module, connected until the block ends; within one, to the same cluster.

    Args:
        where: ``ray``, ``auto``, or an address: ``ray://HOST:10001`` or ``HOST:6379``.

    Raises:
        UsageError: Ray is not installed, no cluster is there, or it runs other versions.
    """
    if where in _joined:
        yield _joined[where]
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Else workers of a cluster that is begun here give way to any other program, by 15.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Its machines' words on a worker that died go to stdout else, whatever log_to_driver says.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if where != HERE and _has_token() and not _takes_anybody(where):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
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
    _joined[where] = ray
    leave = ray.shutdown
    try:
        yield ray
    except LostError:
        leave = partial(_leave_lost, ray)
        raise
    finally:
        del _joined[where]
        leave()


class Pulse:
    """Whether that of a cluster is there by which this process reaches it.

    Args:
        ray: Ray's module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._parts = _reached_by(ray)
        self._looked = time.monotonic()
        self._missed: dict[str, float] = {}  # since when

    def require(self) -> None:
        """See that it is there; it is looked every two seconds.

        Raises:
            LostError: It is gone, and does not come back.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for what, (answers, patience_s) in self._parts.items():
            if answers():
                self._missed.pop(what, None)
            elif now - self._missed.setdefault(what, now) > patience_s:
                raise lost(what)


def lost(what: str) -> LostError:
    """Return the sentence about a cluster that is gone."""
    return LostError(
        f"{what} is gone, so nothing is heard of the cluster any more; begin it again, and give "
        "the same command again"
    )


def _reached_by(ray: Any) -> dict[str, tuple[Callable[[], bool], float]]:
    """Return what a process needs of a cluster: how to see it, and how long to wait for it."""
    node = getattr(getattr(ray, "_private", None), "worker", None)
    node = getattr(node, "_global_node", None)
    if node is None:  # Ray's client, which says by itself when it is cut off
        return {}
    host, _, port = str(node.gcs_address).rpartition(":")

    def head() -> bool:
        return _listens(socket.AF_UNSPEC, (host.strip("[]"), int(port)))

    def own() -> bool:
        return _listens(socket.AF_UNIX, node.raylet_socket_name)

    return {HEAD: (head, _BACK_S), "this machine's node of the cluster": (own, _LOOK_S)}


def _listens(family: int, where: Any) -> bool:
    try:
        if family == socket.AF_UNIX:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(_LOOK_S)
                link.connect(where)
        else:
            socket.create_connection(where, _LOOK_S).close()
    except OSError:
        return False
    return True


def _leave_lost(ray: Any) -> None:
    """Leave a cluster that is gone, without waiting for it now or when this process ends."""
    atexit.unregister(ray.shutdown)
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(_END_S)


def _has_token() -> bool:
    """Return whether there is a token for clusters, which Ray itself shows only if it is told to.

    Ray makes one for the first cluster that is begun on a machine, and then its later ones ask.
    """
    told = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(told) or (Path.home() / ".ray" / "auth_token").is_file()


def _takes_anybody(where: str) -> bool:
    """Return whether a cluster is known to ask for no token.

    Whoever shows one to such asks its machines for it in turn, which have none, so that no worker
    could be begun. Ray's client is asked for nothing.
    """
    address = where
    if where == "auto":
        with contextlib.suppress(OSError):
            address = _HEAD_HERE.read_text(encoding="utf-8").strip()
    if ":" not in address or "://" in address:
        return False
    try:
        import grpc
    except ImportError:
        return False
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=_CONNECT_S)
        except grpc.RpcError:  # it asks for one; or is no head, which is said when it is joined
            return False
    return True


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
    return (
        f"no cluster can be reached there ({kind}); see its address, that it runs, and that "
        "RAY_AUTH_TOKEN or ~/.ray/auth_token is the token of its head, if it has one"
    )
