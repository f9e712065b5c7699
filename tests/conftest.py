"""Fixtures that several tests share: a small cohort of phantoms, made once per session."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura import config
from pleura.data.arrays import Prepared, write_prepared
from pleura.data.index import Index, build_index
from pleura.data.sources import find_sources
from pleura.inference.prediction import Prediction
from pleura.inference.readers import Readers
from pleura.models.bundle import Bundle, read_bundle
from pleura.synthesis.phantom import write_cohort
from tests.remote.store import moto, store  # noqa: F401 - fixtures of several rooms

# The networks here are so small that threads only wait for one another. Torch reads this once, when
# it is first imported; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asks the Hugging Face hub for anything; read once, when its client is first imported.
os.environ["HF_HUB_OFFLINE"] = "1"

# Converted networks are kept here, and not in the user's own cache: one folder a session, which the
# processes that pytest-xdist starts inherit.
if "PLEURA_TESTS_CACHE" not in os.environ:
    os.environ["PLEURA_TESTS_CACHE"] = tempfile.mkdtemp(prefix="pleura-tests-")
    atexit.register(shutil.rmtree, os.environ["PLEURA_TESTS_CACHE"], ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = os.environ["PLEURA_TESTS_CACHE"]

REAL_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 36 training and 6 test phantoms of 128 x 128 pixels; only read it."""
    folder = tmp_path_factory.mktemp("cohort") / "phantoms"
    write_cohort(folder, train=36, test=6, seed=3, size=128, prevalence=0.5, workers=1)
    return folder


@pytest.fixture(scope="session")
def readers() -> Iterator[Readers]:
    """A process that reads, which tests share because starting one takes a while."""
    with Readers(workers=1) as started:
        yield started


@pytest.fixture(scope="session")
def small_index(cohort: Path) -> Index:
    """The index of the cohort."""
    return build_index(find_sources(config.Data(path=str(cohort))), workers=1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public radiographs to develop with; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real radiographs are not here (shared/data beside the repository)")
    return REAL_DATA


@pytest.fixture(scope="session")
def small_prepared(small_index: Index, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The cohort prepared at 64 x 64 pixels, as `tiny_model` wants it; only read it."""
    folder = tmp_path_factory.mktemp("prepared") / "p64"
    return write_prepared(small_index.train, small_index.test, folder, size=64, workers=1)


@pytest.fixture(scope="session")
def tiny_model(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model.h5 with a small network of random weights; it calls about half of the phantoms."""
    import torch

    from pleura.data.prepare import PREPARATION
    from pleura.engines.torch_engine import TorchEngine
    from pleura.inference.predictor import Predictor
    from pleura.models import zoo
    from pleura.models.bundle import OperatingPoint, Preprocessing, write_bundle
    from pleura.training.checkpoint import network_arrays

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = zoo.complete(config.Network(name="cnn", width=4, depth=2))
        weights = network_arrays(zoo.build(network))
    bundle = Bundle(network, weights, Preprocessing(64, PREPARATION), card="# A tiny model\n")
    files = sorted(cohort.rglob("*.dcm"))[:16]

    def predictions() -> list[Prediction]:
        predictor = Predictor(bundle, TorchEngine(bundle, precision="fp32"))
        return [predictor.predict(path) for path in files]

    # A fresh head answers the same everywhere: spread its logits to about -2 to 2.
    flat = np.concatenate([prediction.probability.ravel() for prediction in predictions()])
    logits = np.log(flat / (1 - flat))
    low, high = np.quantile(logits, [0.05, 0.999])
    scale = 4 / (high - low)
    weights["head.bias"] = ((weights["head.bias"] - (low + high) / 2) * scale).astype("f4")
    weights["head.weight"] = (weights["head.weight"] * scale).astype("f4")
    found = predictions()
    point = OperatingPoint(
        score=float(np.median([prediction.score for prediction in found])),
        mask=float(np.quantile([prediction.probability for prediction in found], 0.9)),
    )
    path = tmp_path_factory.mktemp("tiny") / "model.h5"
    write_bundle(replace(bundle, operating_point=point), path)
    return path


@pytest.fixture(scope="session")
def exported(tiny_model: Path) -> Callable[[str], Bundle]:
    """A function from an engine to the tiny model with that engine's graph in place of weights."""
    from pleura.engines.cache import converted
    from pleura.engines.convert import to_onnx, to_openvino

    bundle = read_bundle(tiny_model)

    def of(kind: str) -> Bundle:
        found = converted(bundle, kind, to_onnx if kind == "onnx" else to_openvino)
        return replace(bundle, weights={}, exported=found.exported)

    return of
