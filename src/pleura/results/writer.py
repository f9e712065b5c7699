"""A prediction as DICOM files beside the tables of a job."""

import contextlib
import datetime
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.choices import ResultKind
from pleura.inference.prediction import Prediction
from pleura.inference.row import Wrote
from pleura.inference.tables import Provenance
from pleura.inference.writers import PerFile
from pleura.results.writing import write_results
from pleura.storage.atomic import atomic_path
from pleura.storage.own_file import require_own_file

if TYPE_CHECKING:
    from pleura.dicom.radiograph import Opened

FOLDER = "dicom"
"""Where the files of a job lie, below its folder."""

FOLDER_DEIDENTIFIED = "dicom-deidentified"
"""Where those without the patient lie: never beside the others."""

_KEY_FILE = ".deidentify.key"


@dataclass(frozen=True, slots=True)
class DicomResults(PerFile):
    """``dicom/<id>.<kind>.dcm``: segmentation, map, report, presentation state and picture.

    Attributes:
        kinds: Which of them, see :data:`pleura.choices.ResultKind`.
        made_with: The model, and the thresholds in use.
        moment: When the job was begun, in local time.
        key: With a key, of 16 bytes or more, the files are de-identified.
    """

    kinds: tuple[ResultKind, ...]
    made_with: Provenance
    moment: datetime.datetime
    key: bytes | None = None

    @property
    def name(self) -> str:
        """What is written, and under which key; the moment makes no other job of it."""
        of_key = "" if self.key is None else hashlib.sha256(self.key).hexdigest()[:16]
        return f"dicom {' '.join(sorted(self.kinds))} {of_key}"

    @property
    def refers(self) -> bool:
        """That all of it refers to a radiograph by its SOP Instance UID."""
        return True

    def write(self, opened: "Opened", prediction: Prediction, out: Path) -> Wrote:
        """Write the files of one answer; return what of the source was not valid."""
        folder = out / (FOLDER if self.key is None else FOLDER_DEIDENTIFIED)
        written = write_results(
            opened,
            prediction,
            self.made_with,
            folder,
            self.kinds,
            moment=self.moment,
            deidentify_key=self.key,
        )
        return Wrote(notes="; ".join(written.notes))


def job_key(out: Path) -> bytes:
    """Return the secret of a job in the folder `out`: the one it was begun with, or a new one.

    It is kept beside the journal, readable by its owner alone, so that a job that was cut off goes
    on under the same key, until :func:`forget_key`.

    Raises:
        OutputError: It cannot be kept, or there is a pipe or a device in its place.
    """
    path = out / _KEY_FILE
    require_own_file(path)
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    key = secrets.token_bytes(32)
    with atomic_path(path) as partial:
        partial.touch(mode=0o600)
        partial.write_bytes(key)
    return key


def forget_key(out: Path) -> None:
    """Remove the secret of a job that is done: nobody can tell from then on who is who."""
    (out / _KEY_FILE).unlink(missing_ok=True)
