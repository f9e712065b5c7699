"""pleura finds pneumothorax (air in the pleural space) in frontal chest radiographs.

The names the field knows are here, and each is imported only when it is used::

    import pleura

    predictor = pleura.load()
    prediction = predictor.predict("radiograph.dcm")
    prediction.called, prediction.score, prediction.mask, prediction.rle

Not a medical device: for research and education, not for diagnosis.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pleura.data.radiographs import read_radiograph
    from pleura.dicom.radiograph import Radiograph
    from pleura.errors import PleuraError
    from pleura.formats.annotation_table import read_annotations
    from pleura.formats.rle import mask2rle, rle2mask
    from pleura.inference.prediction import Prediction
    from pleura.inference.predictor import Predictor, load
    from pleura.metrics import dice_coeff
    from pleura.training.dataset import Dataset

__all__ = [
    "Dataset",
    "PleuraError",
    "Prediction",
    "Predictor",
    "Radiograph",
    "dice_coeff",
    "load",
    "mask2rle",
    "read_annotations",
    "read_radiograph",
    "rle2mask",
]

_HOMES = {
    "Dataset": "pleura.training.dataset",
    "PleuraError": "pleura.errors",
    "Prediction": "pleura.inference.prediction",
    "Predictor": "pleura.inference.predictor",
    "Radiograph": "pleura.dicom.radiograph",
    "dice_coeff": "pleura.metrics",
    "load": "pleura.inference.predictor",
    "mask2rle": "pleura.formats.rle",
    "read_annotations": "pleura.formats.annotation_table",
    "read_radiograph": "pleura.data.radiographs",
    "rle2mask": "pleura.formats.rle",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from pleura.models.bundle import version_of

        return version_of("pleura")
    if name not in _HOMES:
        raise AttributeError(f"module 'pleura' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
