"""What is kept of one input of a job."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pleura.inference.prediction import Called, Prediction


class Wrote(NamedTuple):
    """What writers say of one file.

    Attributes:
        trouble: Why something could not be written; "" mostly.
        notes: What the reader of the answer should know; "" mostly.
        areas: Pixels of the mask at each threshold that a worklist offers, where one is written.
    """

    trouble: str = ""
    notes: str = ""
    areas: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one input.

    There is an answer where `rle` is not None, and none where the radiograph was not assessed.
    `error` may say that something else, such as an overlay, could not be written.

    Attributes:
        path: The file.
        image_id: SOP Instance UID, or the file's stem where that was asked for; empty where there
            was not read.
        score: Image score, 0..1; None where there is no answer.
        area_px: Area of the mask in the file's own pixels; None likewise.
        rows: Height of the file's pixels; None where it was not read.
        columns: Width of the file's pixels; None likewise.
        seconds: Time the network spent on it; None likewise.
        rle: The mask as run-length text, ``-1`` for none; None where there is no answer.
        error: What went wrong; empty where nothing did.
        guard: How far the picture is from a frontal chest radiograph; None where nobody looked.
        flags: What speaks against an answer, names of :mod:`pleura.pictures.flags` and semicolons.
        notes: What is odd about the file that was read nonetheless, in words.
        fingerprint: Of the file's bytes that were answered; empty where it was not read.
        assessed: False where it was read, but is flagged, so that no answer counts.
        areas: As in :class:`Wrote`; None where no worklist was written.
        uid: SOP Instance UID where `image_id` is the file's stem; empty elsewhere.
    """

    path: str
    image_id: str = ""
    score: float | None = None
    area_px: int | None = None
    rows: int | None = None
    columns: int | None = None
    seconds: float | None = None
    rle: str | None = None
    error: str = ""
    guard: float | None = None
    flags: str = ""
    notes: str = ""
    fingerprint: str = ""
    assessed: bool = True
    areas: tuple[int, ...] | None = None
    uid: str = ""

    @classmethod
    def of(cls, path: str, prediction: "Prediction", **more: Any) -> "Row":
        """Return what is kept of a prediction: no score, area or mask where it is not assessed.

        Args:
            path: The file.
            prediction: What was said of it.
            more: Other fields, or in place of the prediction's own.
        """
        counts = prediction.assessed
        row = cls(
            path,
            prediction.image_id,
            score=prediction.score if counts else None,
            area_px=prediction.area_px if counts else None,
            rows=prediction.frame.rows,
            columns=prediction.frame.columns,
            seconds=prediction.seconds,
            rle=prediction.rle if counts else None,
            guard=prediction.guard,
            flags=";".join(prediction.flags),
            notes=prediction.notes,
            assessed=counts,
        )
        return replace(row, **more)

    @property
    def called(self) -> "Called | None":
        """What the radiograph is called; None where the file was not read."""
        if not self.assessed:
            return "not assessed"
        if self.rle is None:
            return None
        return "negative" if self.rle == "-1" else "positive"

    @property
    def submitted(self) -> str | None:
        """What stands in a submission, which wants a row for each image and has no third word."""
        return self.rle if self.assessed else "-1"

    def as_json(self) -> dict[str, str | float | int | None]:
        """Return what it is called, and the fields by their names."""
        found = {"path": self.path, "image_id": self.image_id, "called": self.called}
        return found | {name: getattr(self, name) for name in _TOLD}


_KEPT = {"assessed", "areas", "fingerprint", "uid"}  # of no use to whoever reads a row
_TOLD = tuple(field.name for field in fields(Row) if field.name not in _KEPT)
