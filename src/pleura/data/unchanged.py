"""A radiograph that is read again: only if it still shows what was answered, measured or indexed.

A path may stand for another patient's file a moment later. Whoever draws under an old answer asks
for the picture that the answer is about.
"""

from pathlib import Path

from pleura.data.radiographs import AnyRadiograph, read_any_radiograph
from pleura.data.scan import pixel_hash
from pleura.errors import ChangedError


def read_unchanged(path: str | Path, expected: str) -> AnyRadiograph:
    """Return the radiograph in a file whose pixels have the hash that they had before.

    Args:
        path: The file.
        expected: What :func:`pleura.data.scan.pixel_hash` gave then; empty where nobody looked.

    Raises:
        ChangedError: It shows something else.
        InputError: It cannot be read any more.
    """
    radiograph = read_any_radiograph(Path(path))
    if expected and pixel_hash(radiograph.pixels) != expected:
        raise ChangedError(f"{path}: shows another picture than the one that was read before")
    return radiograph
