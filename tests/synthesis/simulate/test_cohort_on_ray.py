"""Radiographs that a cluster simulates are those of one machine, whatever order they come in."""

from dataclasses import replace

import pytest

from pleura.cli.app import execute
from pleura.cluster import ray_cluster
from pleura.cluster.shards import Cluster
from pleura.data import scan_on_ray
from pleura.errors import PleuraError, UsageError
from pleura.processes.workers import chunks
from pleura.synthesis.simulate import cohort
from tests.cli.test_addresses import files_of, put_folder
from tests.synthesis.simulate.test_cohort import made, radiographs, write  # noqa: F401 - fixtures

HERE = Cluster("here")


@pytest.fixture
def here(monkeypatch):
    """A cluster that is this process; over what it lists it dies, or has too little at hand."""
    dies, lacks = [], []

    def read_on(cluster, names, read, needs=None, shard=2):
        for some in reversed(list(chunks(names, shard))):
            said = read(some)
            for name, one in zip(some, said, strict=True):
                yield name, None if name in dies else "" if name in lacks else one

    monkeypatch.setattr(scan_on_ray, "read_on", read_on)
    monkeypatch.setitem(ray_cluster._joined, HERE.where, None)
    return dies, lacks


def test_a_cluster_draws_what_one_machine_does(here, made, radiographs, tmp_path):  # noqa: F811
    here[1].append("3")
    there = write(radiographs, tmp_path / "there", cluster=HERE)
    assert files_of(there.out) == files_of(made.out)
    assert there.kinds == made.kinds
    assert sorted(path.name for path in there.out.iterdir()) == (
        sorted(path.name for path in made.out.iterdir())
    )


def test_radiographs_over_which_workers_die(here, radiographs, tmp_path):  # noqa: F811
    here[0].append("3")
    out = tmp_path / "out"
    with pytest.raises(PleuraError, match=r"two processes that drew radiograph 3 died over it, mo"):
        write(radiographs, out, cluster=HERE)
    here[0][:] = [str(radiographs / "radiograph0.png")]
    other = write(radiographs, tmp_path / "other", cluster=HERE)
    (path, reason), _ = other.sources.refused
    assert path.endswith("radiograph0.png")
    assert (
        reason
        == f"{path}: two processes that read it died over it, most likely for memory; "
        + ("leave it out")
    )


def test_what_was_drawn_is_not_drawn_again(made, radiographs, tmp_path, monkeypatch):  # noqa: F811
    drawn, draw = [], cohort._drawn_here

    def noted(how, workers, numbers):
        for number, text in zip(numbers, draw(how, workers, numbers), strict=True):
            drawn.append(number)
            yield text

    def until_the_fourth(done, total):
        if len(drawn) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "_drawn_here", noted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(radiographs, out, on_progress=until_the_fourth)
    assert write(radiographs, out).kinds == made.kinds
    assert drawn == ["0", "1", "2", "3", "4", "5"]
    assert files_of(out) == files_of(made.out)
    assert not list(out.glob(".*sqlite*"))


def test_a_folder_that_a_machine_does_not_see(tmp_path):
    how = cohort.Drawing((), (), tmp_path, tmp_path / "no" / "films", 0, 256, 0.5)
    with pytest.raises(
        UsageError, match=r"/no: is not seen by the machine \S+ of the cluster; nam"
    ):
        cohort._drawn_there(replace(how), 1, ["0"])


@pytest.mark.slow
def test_the_command_writes_what_one_machine_writes(
    radiographs,  # noqa: F811
    tmp_path,
    store,
    capsys,
):
    put_folder(store, radiographs, "set")
    written = []
    for name, place, how in (
        ("here", str(radiographs), []),
        ("stored", "s3://films/set", []),
        ("there", "s3://films/set", ["--on", "ray", "--cpus", "1"]),
    ):
        out = tmp_path / name
        command = ["simulate", place, "--labels", f"{place}/labels.csv", "--count", "5", *how]
        command += ["--size", "256", "--workers", "1", "--originals", "--out", str(out)]
        assert execute(command) == 0, capsys.readouterr().err
        shown = capsys.readouterr()
        assert "the-secret-key" not in shown.out + shown.err
        written.append(files_of(out))
    assert written[1] == written[2] == written[0]
