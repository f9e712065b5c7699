import contextlib
import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from pleura import config
from pleura.errors import ConfigError, DataError, UsageError
from pleura.inference.job import Job
from pleura.models.bundle import read_bundle
from pleura.stages import run as stage
from pleura.stages.run import demo_settings, run
from pleura.training.loop import Trainer
from tests.dicom_files import make_dicom

REUSED = "unchanged, reused"


@dataclass
class Recorder:
    """A listener that remembers what it is told."""

    told: dict[str, str] = field(default_factory=dict)
    progressed: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: list[object] = field(default_factory=list)

    def stage(self, name, state):
        assert name not in self.told, f"{name} was told twice"
        self.told[name] = state

    @contextlib.contextmanager
    def progress(self, description, unit):
        yield lambda done, total: self.progressed.__setitem__(description, (done, total))

    @contextlib.contextmanager
    def training(self):
        yield self.steps.append

    @property
    def reused(self):
        return {name for name, state in self.told.items() if state == REUSED}


def tiny(out, path="", **changes):
    """Return a run that takes seconds: a narrow network on pictures of 32 pixels."""
    settings = config.Run(
        out=str(out),
        data=config.Data(path=str(path)),
        prepare=config.Prepare(size=32, workers=1),
        network=config.Network(name="cnn", width=4, depth=2),
        train=config.Train(epochs=1, batch=8, folds=3),
    )
    return replace(settings, **changes)


def done(settings):
    listener = Recorder()
    return run(settings, listener), listener


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run on phantoms of its own: its settings, result and listener."""
    phantoms = config.Phantoms(train=20, test=5, seed=4, size=64, prevalence=0.5)
    settings = tiny(tmp_path_factory.mktemp("whole") / "out", phantom=phantoms)
    return settings, *done(settings)


def test_everything_is_written(whole):
    settings, result, _ = whole
    out = Path(settings.out)
    for name in [
        "phantoms/train-rle.csv",
        "audit/indices.parquet",
        "audit/masks.parquet",
        "audit/findings.json",
        "prepared/manifest.json",
        "prepared/X_train.npy",
        "model/model.h5",
        "model/history.csv",
        "model/curves.png",
        "model/run.json",
        "evaluation/evaluation.json",
        "evaluation/evaluation.html",
        "predictions/submission.csv",
        "predictions/predictions.csv",
        "predictions/test.json",
        "predictions/evaluation.html",
        "predictions/worklist.html",
    ]:
        assert (out / name).is_file(), name
    assert len(list((out / "predictions" / "overlays").iterdir())) == 5
    assert all(Path(path).exists() for path in result.files.values())


def test_the_result_is_what_the_files_say(whole):
    settings, result, _ = whole
    out = Path(settings.out)
    assert result.counts == json.loads((out / "audit" / "findings.json").read_text())["counts"]
    assert result.validation == json.loads((out / "evaluation" / "evaluation.json").read_text())
    assert result.test == json.loads((out / "predictions" / "test.json").read_text())
    assert result.test["images"] == 5
    assert result.failures == ()
    assert result.seconds > 0
    trained = json.loads((out / "model" / "run.json").read_text())
    assert result.validation["images"] == trained["validation_images"]


def test_the_listener_is_told_of_each_stage(whole):
    _, _, listener = whole
    stages = ["phantom", "audit", "prepare", "train", "evaluate", "predict"]
    assert list(listener.told) == [*stages, "engine"]
    assert listener.told["engine"].startswith("converting the model for openvino, which takes")
    assert listener.reused == set()
    assert all(now == total for now, total in listener.progressed.values())
    assert set(listener.progressed) == {
        "drawing",
        "reading",
        "preparing",
        "evaluating",
        "predicting",
    }
    assert listener.steps[-1].finished is not None


def test_the_same_run_again_reuses_all_of_it(whole):
    settings, result, _ = whole
    again, listener = done(settings)
    assert listener.reused >= {"phantom", "audit", "train", "evaluate", "predict"}
    assert listener.progressed == {}
    assert listener.steps == []
    assert replace(again, seconds=result.seconds) == result


@pytest.fixture(scope="module")
def finished(cohort, tmp_path_factory):
    """A finished run on the cohort, which the tests below change step by step, each from anew."""
    settings = tiny(tmp_path_factory.mktemp("finished") / "out", cohort)
    done(settings)
    return settings


def test_without_truth_there_are_no_test_figures(finished):
    result, listener = done(finished)
    assert result.test is None
    assert "report" not in result.files
    assert {"audit", "train", "evaluate", "predict"} <= listener.reused


def test_other_train_settings_redo_training_and_what_follows(finished):
    other = replace(finished, train=replace(finished.train, seed=finished.train.seed + 1))
    _, listener = done(other)
    assert listener.reused == {"audit"}
    assert "preparing" not in listener.progressed, "the arrays are reused"
    assert {"train", "evaluate", "predict"} <= listener.told.keys()
    record = json.loads((Path(finished.out) / "model" / "run.json").read_text())
    assert record["identity"]["train.seed"] == other.train.seed
    previous = json.loads((Path(finished.out) / "model.previous" / "run.json").read_text())
    assert previous["identity"]["train.seed"] == finished.train.seed
    _, listener = done(other)
    assert {"train", "evaluate", "predict"} <= listener.reused


@pytest.mark.slow
def test_another_size_redoes_preparing_and_what_follows(finished):
    _, listener = done(replace(finished, prepare=config.Prepare(size=64, workers=1)))
    assert listener.reused == {"audit"}
    assert "preparing" in listener.progressed
    assert read_bundle(Path(finished.out) / "model" / "model.h5").preprocessing.size == 64


@pytest.mark.slow
def test_other_prediction_settings_redo_only_that(finished):
    done(finished)
    _, listener = done(replace(finished, predict=config.Predict(id="stem", overlays=False)))
    assert listener.reused == {"audit", "train", "evaluate"}


def test_a_result_that_was_removed_or_changed_is_made_again(finished):
    done(finished)
    out = Path(finished.out)
    (out / "predictions" / "submission.csv").unlink()
    indices = out / "audit" / "indices.parquet"
    content = indices.read_bytes()
    indices.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    _, listener = done(finished)
    assert listener.reused == {"train", "evaluate"}
    assert (out / "predictions" / "submission.csv").exists()
    assert indices.read_bytes() == content


def test_a_damaged_stamp_only_costs_time(finished):
    done(finished)
    (Path(finished.out) / ".stamps" / "audit.json").write_text('{"digest": "x"')
    (Path(finished.out) / ".stamps" / "evaluate.json").write_text("[]")
    _, listener = done(finished)
    assert listener.reused == {"train", "predict"}


@pytest.fixture
def small(tmp_path):
    """A data folder of twelve tiny radiographs, one torn, and a torn test file."""
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    rows = ["ImageId,EncodedPixels"]
    for part, count in (("train", 12), ("test", 2)):
        (data / part).mkdir(parents=True)
        for number in range(count):
            uid = f"1.2.{part == 'test':d}.{number}"
            pixels = rng.integers(256, size=(40, 40), dtype=np.uint8)
            (data / part / f"{number}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=uid))
            if part == "train":
                rows.append(f"{uid},{'-1' if number % 2 else '400 60'}")
        torn = data / part / "torn.dcm"
        torn.write_bytes((data / part / "0.dcm").read_bytes()[:900])
    (data / "train-rle.csv").write_text("\n".join(rows) + "\n")
    return data


@pytest.mark.slow
def test_a_changed_file_redoes_the_audit_and_what_depends_on_it(small, tmp_path):
    settings = tiny(tmp_path / "out", small)
    done(settings)
    changed = make_dicom(np.full((40, 40), 9, np.uint8), SOPInstanceUID="1.2.0.3")
    (small / "train" / "3.dcm").write_bytes(changed)
    _, listener = done(settings)
    assert listener.reused == set()
    extra = small / "test" / "new.dcm"
    extra.write_bytes(make_dicom(np.full((40, 40), 7, np.uint8), SOPInstanceUID="1.2.1.7"))
    _, listener = done(settings)
    assert listener.told["predict"] == "4 files"


@pytest.mark.slow
def test_files_that_change_sides_redo_the_audit(small, tmp_path):
    train, test = str(small / "train"), str(small / "test")
    settings = tiny(tmp_path / "out", small)
    done(settings)
    sides = config.Data(path=str(small), images=train, test_images=test)
    _, listener = done(replace(settings, data=sides))
    assert "audit" in listener.reused, "the same sides, only named"
    both = replace(sides, images=str(small / "train"), test_images=str(small / "train"))
    _, listener = done(replace(settings, data=both))
    assert "audit" not in listener.reused


@pytest.mark.slow
def test_training_images_are_not_scored_as_test_images(small, tmp_path):
    settings = tiny(tmp_path / "out", small)
    table = next(small.glob("*.csv"))
    settings = replace(
        settings,
        data=replace(settings.data, test_annotations=str(table)),
        predict=config.Predict(inputs=[str(small / "train")]),
    )
    with pytest.raises(DataError, match="those that are also training images left out"):
        done(settings)


def test_failures_are_listed(small, tmp_path):
    result, _ = done(tiny(tmp_path / "out", small))
    assert result.counts["unreadable"] == 2
    failed = {path for path, _ in result.failures}
    assert failed == {str(small / "train" / "torn.dcm"), str(small / "test" / "torn.dcm")}
    assert all(reason for _, reason in result.failures)
    again, listener = done(tiny(tmp_path / "out", small))
    assert again.failures == result.failures, "a reused stage tells of its failures too"
    radiographs = [str(small / "test" / f"{number}.dcm") for number in range(2)]
    assert [path for path, _ in result.not_assessed] == radiographs, "noise is no radiograph"
    assert all("other-picture" in flags for _, flags in result.not_assessed)
    assert again.not_assessed == result.not_assessed
    assert {"audit", "predict"} <= listener.reused


@pytest.mark.slow
def test_named_inputs_instead_of_the_test_images(small, tmp_path):
    inputs = [str(small / "train" / "1.dcm"), str(small / "test" / "0.dcm")]
    result, listener = done(tiny(tmp_path / "out", small, predict=config.Predict(inputs=inputs)))
    assert listener.told["predict"] == "2 files"
    assert len(Path(result.files["submission"]).read_text(encoding="utf-8").splitlines()) == 3


def test_a_run_file_asks_for_all_that_the_command_does(small, tmp_path):
    how = config.Predict(
        dicom=["sc", "sr"],
        deidentify=True,
        heatmaps=True,
        overlays=False,
        worklist=False,
        engine="torch",
        precision="fp32",
        tta=True,
        answer_flagged=True,
        workers=1,
        max_seconds=50.0,
    )
    settings = tiny(tmp_path / "out", small, predict=how)
    done(settings)
    folder = tmp_path / "out" / "predictions"
    with (folder / "predictions.csv").open(newline="") as stream:
        answered = [row["error"] for row in csv.DictReader(stream)]
    assert answered.count("") == 2  # the third is torn
    assert len(list((folder / "heatmaps").iterdir())) == 2
    results = sorted(path.name for path in (folder / "dicom-deidentified").rglob("*.dcm"))
    assert len(results) == 4
    assert not (folder / "overlays").exists()
    assert not (folder / "worklist.html").exists()
    assert not list(folder.glob(".*key"))


def test_without_test_images_predicting_is_left_out(small, tmp_path):
    data = config.Data(images=str(small / "train"), annotations=str(small / "train-rle.csv"))
    result, listener = done(tiny(tmp_path / "out", data=data))
    assert listener.told["predict"] == "no test images and no inputs, left out"
    assert "submission" not in result.files
    assert result.test is None


@pytest.mark.slow
def test_the_truth_of_the_test_images_in_absolute_form(small, tmp_path):
    absolute = tmp_path / "absolute.csv"
    lines = (small / "train-rle.csv").read_text().replace("400 60", "401 60")
    absolute.write_text(lines)
    truth = tmp_path / "truth.csv"
    truth.write_text("ImageId,EncodedPixels\n1.2.1.0,1401 60 1480 60\n1.2.1.1,-1\n")
    data = config.Data(
        path=str(small), annotations=str(absolute), test_annotations=str(truth), rle="absolute"
    )
    settings = tiny(tmp_path / "out", data=data)
    predict = replace(settings.predict, answer_flagged=True)  # the radiographs are noise
    result, _ = done(replace(settings, predict=predict))
    assert result.test["positives"] == 1
    assert "report" in result.files


# ------------------------------------------------------------------ folders of somebody else


@pytest.mark.parametrize("name", ["phantoms", "model"])
def test_a_folder_with_foreign_files_is_refused_and_left_untouched(small, tmp_path, name):
    out = tmp_path / "out"
    (out / name / "deep").mkdir(parents=True)
    (out / name / "deep" / "mine.txt").write_text("precious")
    phantoms = config.Phantoms(train=12, test=2, size=64) if name == "phantoms" else None
    settings = tiny(out, small, phantom=phantoms)
    for _ in range(2):
        message = rf"{name}: holds files that this run did not make; set out to another folder"
        with pytest.raises(UsageError, match=message):
            done(settings)
        assert (out / name / "deep" / "mine.txt").read_text() == "precious"
        assert [path.name for path in (out / name).iterdir()] == ["deep"]


@pytest.mark.slow
def test_other_phantoms_replace_the_ones_of_the_run_before(tmp_path):
    phantoms = config.Phantoms(train=8, test=1, size=64)
    settings = tiny(tmp_path / "out", phantom=phantoms)
    done(settings)
    before = {path.name for path in (tmp_path / "out" / "phantoms").rglob("*.dcm")}
    _, listener = done(replace(settings, phantom=replace(phantoms, seed=1, train=9)))
    after = {path.name for path in (tmp_path / "out" / "phantoms").rglob("*.dcm")}
    assert not before & after
    assert listener.reused == set()


# ------------------------------------------------------------------ cut off and continued


@pytest.mark.slow
def test_an_interrupted_training_is_continued(small, tmp_path, monkeypatch):
    settings = tiny(tmp_path / "out", small, train=config.Train(epochs=3, batch=4, folds=3))
    epochs, real = [], Trainer._epoch

    def interrupted(self, epoch, *others):
        epochs.append(epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(self, epoch, *others)

    monkeypatch.setattr(Trainer, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(settings)
    _, listener = done(settings)
    assert epochs == [0, 1, 1, 2], "the finished epoch is not trained again"
    assert listener.reused == {"audit"}
    unbroken, _ = done(replace(settings, out=str(tmp_path / "unbroken")))
    model = read_bundle(tmp_path / "out" / "model" / "model.h5")
    assert model.digest == read_bundle(tmp_path / "unbroken" / "model" / "model.h5").digest
    assert unbroken.validation["mean_dice"] >= 0


@pytest.mark.slow
def test_an_interrupted_training_of_other_settings_is_begun_anew(small, tmp_path, monkeypatch):
    settings = tiny(tmp_path / "out", small, train=config.Train(epochs=3, batch=4, folds=3))
    real = Trainer._epoch

    def interrupted(self, epoch, *others):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(self, epoch, *others)

    monkeypatch.setattr(Trainer, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(settings)
    monkeypatch.undo()
    done(replace(settings, train=replace(settings.train, seed=3, epochs=1)))
    record = json.loads((tmp_path / "out" / "model" / "run.json").read_text())
    assert record["identity"]["train.seed"] == 3
    assert not (tmp_path / "out" / "model" / "checkpoint.h5").exists()


@pytest.mark.slow
def test_interrupted_phantoms_are_drawn_anew(tmp_path, monkeypatch):
    settings = tiny(tmp_path / "out", phantom=config.Phantoms(train=8, test=0, size=64))
    real = stage.write_cohort

    def interrupted(folder, **options):
        (folder / "half").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "write_cohort", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(settings)
    monkeypatch.setattr(stage, "write_cohort", real)
    done(settings)
    assert not (tmp_path / "out" / "phantoms" / "half").exists()
    assert (tmp_path / "out" / "phantoms" / "train-rle.csv").is_file()


def test_an_interrupted_prediction_is_continued(small, tmp_path, monkeypatch):
    settings = tiny(tmp_path / "out", small)

    real = Job.answer_stamped

    def interrupted(self, stamped):
        yield next(real(self, stamped))
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "answer_stamped", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(settings)
    monkeypatch.undo()
    _, listener = done(settings)
    assert listener.reused == {"audit", "train", "evaluate"}
    assert listener.progressed["predicting"] == (3, 3)


@pytest.mark.slow
def test_trainings_of_two_precisions_in_one_process(small, tmp_path):
    for precision in ("fp32", "bf16", "fp32"):
        train = config.Train(epochs=1, batch=8, folds=3, precision=precision)
        settings = tiny(tmp_path / "out", small, train=train)
        done(settings)
        model = read_bundle(tmp_path / "out" / "model" / "model.h5")
        assert model.training["precision"] == precision


# ------------------------------------------------------------------ settings


def test_no_data(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        done(tiny(tmp_path / "out", tmp_path / "nowhere"))


def test_the_demo_comes_with_the_package():
    settings = demo_settings("somewhere", ["train.epochs=2"])
    assert settings.out == "somewhere"
    assert settings.train.epochs == 2
    assert settings.phantom is not None
    with pytest.raises(ConfigError, match=r"unknown key train.epoch; did you mean train.epochs\?"):
        demo_settings("somewhere", ["train.epoch=2"])


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[2].glob("runs/*.toml")))
def test_each_run_of_the_repository_loads(file):
    settings = config.load_run(file)
    assert settings.out.startswith("results/")


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(Path(__file__).parents[2].glob("runs/*.toml")))
def test_each_run_of_the_repository_makes_two_steps(file, small_prepared, tmp_path):
    settings = config.load_run(file)
    few = replace(settings.train, batch=4, folds=3, fold=0, progressive_sizes=[])

    def two(step):
        if step.step == 2:
            raise KeyboardInterrupt

    trainer = Trainer(small_prepared, tmp_path / "m", settings.network, few)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(on_step=two)


def test_masks_that_are_read_otherwise_are_audited_again(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)
        (data / f"{number}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
    (data / "train-rle.csv").write_text(
        "ImageId,EncodedPixels,reader\n1.2.0,0 9,A\n1.2.0,1 9,B\n1.2.1,-1,A\n"
    )
    (tmp_path / "labels.csv").write_text("image,pneumothorax\n1.2.1,0\n")
    settings = tiny(tmp_path / "out", data)

    def audited(**changes):
        listener = Recorder()
        stage._Job(replace(settings, data=replace(settings.data, **changes)), listener).audit()
        return listener.told["audit"] != REUSED

    labels = config.Labels(table=str(tmp_path / "labels.csv"))
    assert audited()
    assert not audited()
    assert audited(readers="majority")
    assert not audited(readers="majority")
    assert audited(labels=labels)
    (tmp_path / "labels.csv").write_text("image,pneumothorax\n1.2.1,1\n")
    assert audited(labels=labels)
    assert not audited(labels=labels, test_annotations="elsewhere.csv")
