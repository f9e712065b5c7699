"""An evaluation on a Ray cluster of this machine gives the figures of this machine by itself."""

from dataclasses import replace

import pytest

from pleura.cli.app import execute
from pleura.data.records import image_keys
from pleura.errors import PleuraError, UsageError
from pleura.models.bundle import read_bundle, write_bundle
from pleura.stages.evaluate import evaluate_model
from pleura.stages.evaluate_on_ray import PreparedPlace, asked_of, worker
from tests.cli.test_addresses import put_folder


class Workers:
    """Workers in this process, which hand shards back in another order, and may die over a row."""

    def __init__(self, work, poison=()):
        self.work, self.poison, self.sizes = work, poison, []

    def __len__(self):
        return 2

    def map(self, shards, given_up):
        for shard in reversed(list(shards)):
            self.sizes.append(len(shard))
            for piece in shard:
                dies = set(piece.rows) & set(self.poison)
                yield given_up(piece) if dies else self.work([piece])


@pytest.fixture
def place(small_prepared):
    return PreparedPlace(str(small_prepared.path), None, small_prepared.fingerprint)


def test_figures_are_those_of_one_machine(tiny_model, small_prepared, place):
    bundle = read_bundle(tiny_model)
    trained = image_keys([small_prepared.train[row] for row in range(12)])
    for one in (bundle, replace(bundle, trained_on=trained)):  # the second is judged in parts
        workers, told = Workers(worker(one, "cpu", place)), []
        found = evaluate_model(
            one,
            small_prepared,
            ask=asked_of(lambda batches, workers=workers: workers),
            negatives={small_prepared.train[20].image_id: "clear"},
            on_progress=lambda *now, told=told: told.append(now),
        )
        alone = evaluate_model(
            one, small_prepared, negatives={small_prepared.train[20].image_id: "clear"}
        )
        assert found.evaluation.as_json() == alone.evaluation.as_json()
        assert repr(found.outcomes) == repr(alone.outcomes)
        assert told[-1] == (len(found.rows), len(found.rows))
        assert set(workers.sizes) == {1}  # so that both of two have something to do


def test_a_batch_over_which_workers_die_is_no_figure(tiny_model, small_prepared, place):
    bundle = read_bundle(tiny_model)
    ask = asked_of(lambda batches: Workers(worker(bundle, "cpu", place), poison=(9,)))
    first = small_prepared.train[8].image_id
    said = f"two processes that ran the network on {first} and 7 more died over it, most likely"
    with pytest.raises(PleuraError, match=said):
        evaluate_model(bundle, small_prepared, ask=ask)


def test_a_worker_opens_the_folder_that_is_meant(tiny_model, place):
    bundle = read_bundle(tiny_model)
    with pytest.raises(UsageError, match=r"^/no/such: is not seen by the machine \S+ of the clust"):
        worker(bundle, "cpu", place._replace(where="/no/such"))
    with pytest.raises(UsageError, match=r"p64: holds other images on the machine \S+ of the clus"):
        worker(bundle, "cpu", place._replace(fingerprint="another"))


def test_predictions_are_scored_here(tmp_path, capsys):
    words = ["evaluate", "--predictions", "p.csv", "--truth", "t.csv", "--on", "ray"]
    assert execute(words) == 2
    assert "--on ray: a cluster runs a model, and with --predictions none is asked; leave out" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_command_writes_what_one_machine_writes(
    tiny_model, small_prepared, tmp_path, capsys, store, monkeypatch
):
    bundle, other = read_bundle(tiny_model), tmp_path / "other.h5"
    trained = image_keys([small_prepared.train[row] for row in range(12)])
    write_bundle(replace(bundle, trained_on=trained), other)
    put_folder(store, small_prepared.path, "prepared")
    told = []
    for name, folder, how in (
        ("here", str(small_prepared.path), []),
        ("there", str(small_prepared.path), ["--on", "ray", "--cpus", "1"]),
        ("stored", "s3://films/prepared", ["--on", "ray", "--cpus", "1"]),
        ("stored-here", "s3://films/prepared", []),
    ):
        out = tmp_path / name
        command = ["evaluate", str(other), folder, "--against", str(tiny_model), "--json", *how]
        command += ["--per-image", str(out / "rows.csv"), "--report", str(out / "page.html")]
        assert execute(command) == 0, capsys.readouterr().err
        shown = capsys.readouterr()
        assert "the-secret-key" not in shown.out + shown.err
        page = (out / "page.html").read_bytes().replace(folder.encode(), b"")
        told.append((shown.out, (out / "rows.csv").read_bytes(), page))
    assert told[1] == told[2] == told[3] == told[0]
