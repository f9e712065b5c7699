"""Why a store gave nothing, or took nothing, in words."""

import errno
from collections.abc import Mapping

from pleura.remote.address import DICOMWEB
from pleura.remote.dicomweb import BROKE_OFF, TOKEN

_RIGHTS = {
    "s3": "the usual places of AWS: environment, ~/.aws, role",
    "gs": "the usual places of Google Cloud: gcloud auth application-default login, role",
    "az": "the usual places of Azure: AZURE_STORAGE_ACCOUNT_NAME and others, az login",
    **dict.fromkeys(DICOMWEB, f"~/.netrc, {TOKEN}, or user and password in the address"),
}
NONE_THERE = {404, 410}
_NO_RIGHT = {401, 403, 407}
_FOR_A_WHILE = {408, 409, 425, 429}


def reason(error: Exception, scheme: str, *, writes: bool = False) -> tuple[str, bool]:
    """Return why an object could not be had, or put, and whether that may pass."""
    status = status_of(error)
    if isinstance(error, FileNotFoundError) or status in NONE_THERE:
        if writes:
            return "there is no such bucket; make it, or name another", False
        inside = "DICOMweb service" if scheme in DICOMWEB else "bucket"
        return f"there is no such object, or no such {inside}", False
    if _lacks_rights(error) or status in _NO_RIGHT:
        where = _RIGHTS.get(scheme, "its signature, or user and password in it")
        done = "written" if writes else "read"
        return f"may not be {done}: check what gives the right to ({where})", False
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "its server did not answer in time", True
    if status is not None:
        return f"its server answered {status}", status >= 500 or status in _FOR_A_WHILE
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        return "its server refuses the request", False
    name = type(error).__name__
    if "Connect" in name:
        return "its server cannot be reached", True
    cut_off = isinstance(error, OSError) and error.strerror == BROKE_OFF
    if cut_off or "Payload" in name or "IncompleteRead" in name:
        return "broke off on the way", True
    return f"could not be {'put there' if writes else 'fetched'} ({name})", True


def _lacks_rights(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__


def status_of(error: BaseException) -> int | None:
    """Return the status of HTTP behind an exception; None where there is none."""
    status = getattr(error, "status", None)
    response = getattr(error, "response", None)
    if status is None and isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if isinstance(status, int):
        return status
    return None if error.__cause__ is None else status_of(error.__cause__)
