"""UIDs that follow from what they stand for, so that the same inputs give the same files.

Source: DICOM PS3.5 section 9 and annex B.2 (a UUID under the root 2.25).
"""

import hashlib
import hmac
import json
import re
import uuid

_VALID = re.compile(r"(?=.{1,64}$)[0-2](\.(0|[1-9][0-9]*))+")
_NAMESPACE = uuid.UUID("f0a7b9c1-6d1e-5b0c-9f4a-2c7d3e8b5a60")
STANDARD_ROOT = "1.2.840.10008."
"""Below it lies what the standard itself names: classes, transfer syntaxes, coding schemes."""


def is_valid_uid(uid: str) -> bool:
    """Return whether a text is a UID as the standard writes it."""
    return _VALID.fullmatch(uid) is not None


def derive_uid(*parts: str) -> str:
    """Return the UID that stands for `parts`: the same for the same, another for others."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


def hidden_uid(uid: str, key: bytes) -> str:
    """Return the UID that stands for `uid` in de-identified files.

    Without the key nobody can tell which it was, not even by trying all UIDs of a hospital.
    """
    digest = hmac.new(key, b"uid:" + uid.encode(), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
