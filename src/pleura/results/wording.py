"""What every result says: that it is not for diagnosis, and what speaks against an answer."""

from pleura.inference.prediction import Prediction
from pleura.pictures.flags import in_words

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"


def warning(prediction: Prediction) -> str:
    """Return why the image is not assessed, or that it is flagged; "" where nothing is."""
    doubts = in_words(prediction.flags)
    if not prediction.assessed:
        return f"Not assessed: {doubts}"
    return f"Flagged, answered all the same: {doubts}" if doubts else ""


def short_warning(prediction: Prediction) -> str:
    """Return the same below a line that says that the image is not assessed."""
    if prediction.assessed:
        return warning(prediction)
    return f"Why: {in_words(prediction.flags)}"
