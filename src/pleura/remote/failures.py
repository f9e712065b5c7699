"""Why a store gave nothing, or took nothing, in words."""

import errno
import re
from collections.abc import Mapping

from pleura.remote.address import DICOMWEB
from pleura.remote.dicomweb import BROKE_OFF, TOKEN

_RIGHTS = {
    "s3": "the usual places of AWS: environment, ~/.aws, role",
    "gs": "the usual places of Google Cloud: gcloud auth application-default login, role",
    "az": "the usual places of Azure: AZURE_STORAGE_ACCOUNT_NAME and others, az login",
    **dict.fromkeys(DICOMWEB, f"~/.netrc, {TOKEN}, or user and password in the address"),
}
_SETTINGS = {
    "s3": "AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws/config",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_CONNECTION_STRING",
}
_NO_RIGHT_CODES = {"InvalidToken", "TokenRefreshRequired", "ExpiredToken"}
_CODE = re.compile("[A-Za-z.]{3,60}")
NONE_THERE = {404, 410}
_NO_RIGHT = {401, 403, 407}
_FOR_A_WHILE = {408, 409, 425, 429}


def reason(error: Exception, scheme: str, *, writes: bool = False) -> tuple[str, bool]:
    """Return why an object could not be had, or put, and whether that may pass."""
    status, code = status_of(error), code_of(error)
    if isinstance(error, FileNotFoundError) or status in NONE_THERE:
        if writes:
            return "there is no such bucket; make it, or name another", False
        inside = "DICOMweb service" if scheme in DICOMWEB else "bucket"
        return f"there is no such object, or no such {inside}", False
    said = f" ({code})" if code else ""
    where = _RIGHTS.get(scheme, "its signature, or user and password in it")
    if _lacks_rights(error) or status in _NO_RIGHT or code in _NO_RIGHT_CODES:
        done = "written" if writes else "read"
        return f"may not be {done}{said}: check what gives the right to ({where})", False
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "its server did not answer in time", True
    if status == 400 and not code and scheme == "s3":  # asked for no content, it says no more
        why = f"see its region, and that no token expired ({where})"
        return f"its server answered 400: {why}", False
    if status is not None:
        passes = status >= 500 or status in _FOR_A_WHILE or code == "RequestTimeout"
        return f"its server answered {status}{said}", passes
    return _by_kind(error, scheme) or (
        f"could not be {'put there' if writes else 'fetched'} ({type(error).__name__})",
        True,
    )


def _by_kind(error: Exception, scheme: str) -> tuple[str, bool] | None:
    """Return the same of an error without a status, of which the kind tells; None for others."""
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        return "its server refuses the request", False
    name = type(error).__name__
    if name == "ParamValidationError":
        return "is no address of a bucket and a key as its store has them", False
    if type(error) is ValueError or "Profile" in name or "Config" in name:
        settings = _SETTINGS.get(scheme, "its address")
        return f"what says how its store is reached is wrong ({name}): see {settings}", False
    cut_off = isinstance(error, OSError) and error.strerror == BROKE_OFF
    if cut_off or any(word in name for word in ("Payload", "IncompleteRead", "Disconnected")):
        return "broke off on the way", True
    return ("its server cannot be reached", True) if "Connect" in name else None


def _lacks_rights(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__


def code_of(error: BaseException) -> str:
    """Return the word by which a store of the S3 kind says what is wrong; "" where it says none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        code = str(response.get("Error", {}).get("Code", ""))
        return code if _CODE.fullmatch(code) else ""
    return "" if error.__cause__ is None else code_of(error.__cause__)


def status_of(error: BaseException) -> int | None:
    """Return the status of HTTP behind an exception; None where there is none."""
    status = getattr(error, "status", None)
    response = getattr(error, "response", None)
    if status is None and isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if isinstance(status, int):
        return status
    return None if error.__cause__ is None else status_of(error.__cause__)
