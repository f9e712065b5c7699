"""What is kept of one input of a job."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of one input.

    There is an answer where `rle` is not None. `error` may still say that something else, such as
    an overlay, could not be written.

    Attributes:
        path: The file.
        image_id: SOP Instance UID, or the file's stem where that was asked for; empty where there
            is no answer.
        score: Image score, 0..1; None where there is no answer, as in all that follows.
        area_px: Area of the mask in the file's own pixels.
        rows: Height of the file's pixels.
        columns: Width of the file's pixels.
        seconds: Time the network spent on it.
        rle: The mask as run-length text, ``-1`` for none.
        error: What went wrong; empty where nothing did.
        guard: How far the picture is from a frontal chest radiograph; None where nobody looked.
        flags: What is doubtful about the picture, names joined by semicolons.
        notes: What is odd about the file and does not concern its pixels, in words.
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

    def as_json(self) -> dict[str, str | float | int | None]:
        """Return the fields by their names."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(Answer))
