"""Every exception that pleura raises on purpose.

The tree::

    PleuraError                 anything pleura says about an input, a setting or a machine
    ├── InputError              one input is bad; a batch reports it and goes on
    │   ├── DicomError          a file that is not a radiograph pleura can read
    │   │   ├── NotDicomError   not DICOM at all
    │   │   ├── OtherObjectError    DICOM of another kind: a segmentation, a report, a document
    │   │   │   └── OwnResultError  a result that pleura wrote itself
    │   │   ├── TruncatedError  it breaks off: copied or exported only in part
    │   │   ├── DamagedError    it does not break off, but is broken inside
    │   │   ├── MislabelledError    it holds something else than its header says
    │   │   ├── ChangedError    it holds other bytes than it did when it was read before
    │   │   └── LimitError      it took more time or memory than a file may, or crashed its reader
    │   ├── PictureError        a JPEG or PNG that is not a radiograph pleura can read
    │   ├── RleError            a run-length text that does not describe a mask (also a ValueError)
    │   │   ├── OutsideError    a run leaves the image
    │   │   └── ZeroRunError    a run has no pixel
    │   ├── AnnotationError     an annotation table that cannot be read as a whole
    │   │   └── OtherFormError  its run lengths are written in the other form
    │   ├── DataError           a data folder, index or prepared folder that does not fit
    │   ├── ArchiveError        a ZIP or tar file, or a file in one, that cannot be read
    │   ├── AddressError        what lies at an address that could not be had, or is not what it was
    │   ├── AnswerError         a network gives no number for a radiograph
    │   ├── SealError           what pleura wrote was changed since
    │   └── BundleError         a model.h5 that is corrupt, foreign or from a later pleura
    ├── ConfigError             a setting with a wrong name, type or range
    │   └── SettingError        the same, given on the command line (also a UsageError)
    ├── UsageError              a call that makes no sense as asked
    ├── LostError                a cluster is gone while it worked
    ├── DivergedError           a training of which the loss is no number any more
    └── OutputError             a result that could not be written (disk full, no permission)

A message names the object (path or UID, never a patient), the value found, the rule, and what to
do. Library code raises these; only ``pleura.cli`` prints them.
"""

from pleura.printable import printable

_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "cannot allocate memory",
    "can't allocate memory",
    "insufficient memory",
    "failed to map segment from shared object",
)


class PleuraError(Exception):
    """Base of every error that pleura raises on purpose; its text is one clear message."""


class InputError(PleuraError):
    """One input is bad; a batch reports it and goes on with the others."""


class DicomError(InputError):
    """A file that is not a radiograph pleura can read."""


class NotDicomError(DicomError):
    """A file that is not DICOM at all."""


class OtherObjectError(DicomError):
    """A DICOM file whose kind says that it is no radiograph: a segmentation, a report."""


class OwnResultError(OtherObjectError):
    """A DICOM file that pleura wrote as a result; results are never inputs."""


class TruncatedError(DicomError):
    """A file that breaks off: its data set or its pixel data is not whole."""


class DamagedError(DicomError):
    """A file that does not break off, but is broken inside."""


class MislabelledError(DicomError):
    """A file that holds something else than its header says."""


class ChangedError(DicomError):
    """A file that holds other bytes than it did when it was read before."""


class LimitError(DicomError):
    """A file that took more time or memory than one may, or crashed the process that read it."""


class PictureError(InputError):
    """A JPEG or PNG file that is not a radiograph pleura can read."""


class RleError(InputError, ValueError):
    """A run-length text that does not describe a mask of the given size."""


class OutsideError(RleError):
    """A run-length text of which a run leaves the image."""


class ZeroRunError(RleError):
    """A run-length text with a run of length 0."""


class AnnotationError(InputError):
    """An annotation table that cannot be read as a whole."""


class OtherFormError(AnnotationError):
    """An annotation table whose run lengths are written in the other form than was asked for."""


class DataError(InputError):
    """A data folder, an index or a prepared folder that does not fit what was asked."""


class ArchiveError(InputError, OSError):
    """A ZIP or tar file, or a file in one, that cannot be read; who opens it says which.

    It is an OSError too: whoever opens a file is ready for one, and names the file and this reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


class AddressError(InputError):
    """What lies at an address, such as ``s3://bucket/key``, and could not be had."""


class AnswerError(InputError):
    """A network that gives no finite number for a radiograph, which is then not answered."""


class SealError(InputError):
    """A file or text that pleura wrote and that was changed since; who opens it says which."""


class BundleError(InputError):
    """A model.h5 that is corrupt, foreign, or written by a later pleura."""


class ConfigError(PleuraError):
    """A setting with a wrong name, type or range."""


class UsageError(PleuraError):
    """A call that makes no sense as asked."""


class LostError(PleuraError):
    """A cluster is gone while it worked."""


class DivergedError(PleuraError):
    """A training of which the loss or the weights are no numbers any more."""


class SettingError(ConfigError, UsageError):
    """A setting on the command line with a wrong name, type or range."""


class OutputError(PleuraError):
    """A result that could not be written."""


def is_about_memory(error: BaseException) -> bool:
    """Return whether an exception of somebody else says that the memory is full.

    Compiled libraries say it in words of their own, also where they cannot be loaded for it.
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _MEMORY_WORDS)


def first_line(error: BaseException) -> str:
    """Return the beginning of what an exception of somebody else says, in printable letters."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return printable(line[:200].rstrip(". "))
