"""How many images fit into memory at once, and what to say when they do not."""

import contextlib
import ctypes
import resource
from collections.abc import Callable, Iterator

import psutil
import torch

from pleura.errors import UsageError

MOST = 256
"""A larger batch is never looked for."""

_ROOM = 0.7  # of the free memory; the rest is for what else the machine does
_CPU_WORDS = "not enough memory"


# Of glibc's malloc.h: the names of what mallopt sets.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for what is allocated next.

    A step on a CPU allocates the same hundreds of megabytes again and again. Given back to the
    system and fetched anew, they cost a fault for each page of 4 KiB: a fifth of a step's time was
    measured. The process's peak stays as it is. Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)


def largest_batch(try_batch: Callable[[int], None], most: int, device: torch.device) -> int:
    """Return the largest power of two of images, up to `most`, with which a step fits.

    On a GPU, batches double until one runs out of memory. On a CPU that would end the process, so
    doubling ends where the growth of the last steps, continued, would fill the free memory.

    Args:
        try_batch: Makes a step with so many images.
        most: At least 1.
        device: Where it is made.

    Raises:
        UsageError: Not even one image fits.
    """
    fits, peaks = 0, [_peak_bytes()]
    batch = 1
    while batch <= min(most, MOST):
        if device.type == "cpu" and batch > 2 and not _has_room(peaks):
            break
        try:
            with memory_errors_as_usage(batch, 0, device):
                try_batch(batch)
        except UsageError:
            if fits:
                break
            raise
        fits = batch
        peaks.append(_peak_bytes())
        batch *= 2
    return fits


@contextlib.contextmanager
def memory_errors_as_usage(batch: int, size: int, device: torch.device) -> Iterator[None]:
    """Turn an error of full memory within the block into one that names the setting to lower.

    Args:
        batch: Images in a batch.
        size: Their side in pixels; 0 is not named.
        device: Where they are.

    Raises:
        UsageError: The memory was full.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not full and _CPU_WORDS not in str(error):
            raise
        what = f"{batch} images" + (f" of {size} x {size} pixels" if size else "")
        raise UsageError(
            f"train.batch is {batch}: a step with {what} does not fit into the memory of {device}; "
            "set it lower and train.accumulate higher, or train.batch=auto"
        ) from error


def _has_room(peaks: list[int]) -> bool:
    """Return whether doubling the batch once more, as much again as all so far, has room."""
    growth = 2 * (peaks[-1] - peaks[0])
    return growth <= _ROOM * int(psutil.virtual_memory().available)


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
