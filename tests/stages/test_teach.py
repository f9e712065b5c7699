import numpy as np
import pytest

from pleura.data.arrays import open_prepared
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import DataError
from pleura.models.bundle import read_bundle
from pleura.stages.teach import teach


def test_what_a_model_says_is_what_a_student_is_taught(tiny_model, small_prepared, tmp_path):
    bundle = read_bundle(tiny_model)
    taught = teach(bundle, small_prepared, tmp_path / "taught", weight=0.5)
    said = TorchEngine(bundle).probabilities(np.asarray(small_prepared.x_train[:9]))
    assert np.abs(taught.y_train[:9] / 255 - said.maps).max() < 0.01
    assert [r.label for r in taught.train[:9]] == pytest.approx(said.scores.tolist(), abs=1e-3)
    assert open_prepared(tmp_path / "taught").soft


def test_a_folder_of_another_size(tiny_model, small_index, tmp_path):
    from pleura.data.arrays import write_prepared

    other = write_prepared(small_index.train[:2], (), tmp_path / "p", size=32, workers=1)
    with pytest.raises(DataError, match="is prepared at 32 pixels, the model wants 64; prepare it"):
        teach(read_bundle(tiny_model), other, tmp_path / "t")
