"""Imported by every Python that starts with this folder on its path: decoders that do harm.

What a file does to its decoder is said by its name, so that a test needs no real fault of one.
"""

import os
import re
import signal

from pleura.dicom import radiograph

_decode = radiograph._stored_values


def _harmful(data, header, overlay):
    name = header.path.name
    if "kills" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exits" in name:
        os._exit(7)
    if "hangs" in name:
        re.fullmatch("(a+)+b", "a" * 60)  # in C, where Python looks for no signal
    if "hoards" in name:
        bytearray(1 << 40)
    return _decode(data, header, overlay)


radiograph._stored_values = _harmful
