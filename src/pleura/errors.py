"""Every exception that pleura raises on purpose.

The tree::

    PleuraError                 anything pleura says about an input, a setting or a machine
    ├── InputError              one input is bad; a batch reports it and goes on
    │   ├── DicomError          a file that is not a radiograph pleura can read
    │   │   ├── NotDicomError   not DICOM at all
    │   │   ├── TruncatedError  it breaks off: copied or exported only in part
    │   │   └── LimitError      it took more time or memory than a file may, or crashed its reader
    │   ├── PictureError        a JPEG or PNG that is not a radiograph pleura can read
    │   ├── RleError            a run-length text that does not describe a mask (also a ValueError)
    │   │   ├── OutsideError    a run leaves the image
    │   │   └── ZeroRunError    a run has no pixel
    │   ├── AnnotationError     an annotation table that cannot be read as a whole
    │   │   └── OtherFormError  its run lengths are written in the other form
    │   ├── DataError           a data folder, index or prepared folder that does not fit
    │   └── BundleError         a model.h5 that is corrupt, foreign or from a later pleura
    ├── ConfigError             a setting with a wrong name, type or range
    │   └── SettingError        the same, given on the command line (also a UsageError)
    ├── UsageError              a call that makes no sense as asked
    └── OutputError             a result that could not be written (disk full, no permission)

A message names the object (path or UID, never a patient), the value found, the rule, and what to
do. Library code raises these; only ``pleura.cli`` prints them.
"""


class PleuraError(Exception):
    """Base of every error that pleura raises on purpose; its text is one clear message."""


class InputError(PleuraError):
    """One input is bad; a batch reports it and goes on with the others."""


class DicomError(InputError):
    """A file that is not a radiograph pleura can read."""


class NotDicomError(DicomError):
    """A file that is not DICOM at all."""


class TruncatedError(DicomError):
    """A file that breaks off: its data set or its pixel data is not whole."""


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


class BundleError(InputError):
    """A model.h5 that is corrupt, foreign, or written by a later pleura."""


class ConfigError(PleuraError):
    """A setting with a wrong name, type or range."""


class UsageError(PleuraError):
    """A call that makes no sense as asked."""


class SettingError(ConfigError, UsageError):
    """A setting on the command line with a wrong name, type or range."""


class OutputError(PleuraError):
    """A result that could not be written."""
