"""What is kept of one input of a job."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of one input.

    Attributes:
        path: The file.
        image_id: SOP Instance UID, or the file's stem where that was asked for; empty on error.
        score: Image score, 0..1; None on error.
        area_px: Area of the mask in the file's own pixels; None on error.
        rows: Height of the file's pixels; None on error.
        columns: Width of the file's pixels; None on error.
        seconds: Time the network spent on it; None on error.
        rle: The mask as run-length text, ``-1`` for none; None on error.
        error: Why there is no answer; empty where there is one.
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
