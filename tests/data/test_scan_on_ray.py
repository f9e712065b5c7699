"""A scan on a Ray cluster of this machine gives what this machine gives by itself."""

import pytest

from pleura.cli.app import execute
from pleura.cluster.shards import Cluster, Share
from pleura.data import scan_on_ray
from pleura.data.scan import Failure, scan_files
from pleura.data.scan_on_ray import ToRead, worker
from pleura.errors import UsageError
from tests.cli.test_addresses import files_of, findings, put_folder


def test_a_worker_reads_its_shard():
    read = worker(lambda names: [name.upper() for name in names])
    assert read([ToRead("a", ()), ToRead("b", ())]) == [("a", "A"), ("b", "B")]


def test_a_file_over_which_workers_die_has_its_reason(monkeypatch, tmp_path):
    def read_on(cluster, names, read):
        yield from ((name, None) for name in names)

    monkeypatch.setattr(scan_on_ray, "read_on", read_on)
    (found,) = scan_files([tmp_path / "a.dcm"], cluster=Cluster("ray"))
    assert isinstance(found, Failure)
    assert found.reason == (
        f"{tmp_path}/a.dcm: two processes that read it died over it, most likely for memory; "
        "export it again, or leave it out"
    )


def test_where_no_cluster_is(tmp_path):
    with pytest.raises(UsageError, match=r"^`on` 127.0.0.1:1: nobody answers there; see the addr"):
        scan_files([tmp_path / "a.dcm"], cluster=Cluster("127.0.0.1:1", Share(1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "file"),
    [("audit", ""), ("prepare", ""), ("gallery", "sheet.png"), ("folds", "folds.csv")],
)
def test_the_results_are_those_of_one_machine(
    verb, file, cohort, tmp_path, store, capsys, monkeypatch
):
    monkeypatch.setattr(scan_on_ray, "SHARD", 9)
    put_folder(store, cohort, "set")
    store.put({"set/torn.dcm": next(cohort.rglob("*.dcm")).read_bytes()[:-100]})
    command = [verb, "s3://films/set", *(["--size", "64"] if verb == "prepare" else [])]
    for name, how in (("here", ["--workers", "1"]), ("there", ["--on", "ray", "--cpus", "1"])):
        assert execute([*command, "--out", str(tmp_path / name / file), *how]) == 3
    if verb == "audit":
        assert findings(tmp_path / "there") == findings(tmp_path / "here")
    assert files_of(tmp_path / "there", "findings.json") == (
        files_of(tmp_path / "here", "findings.json")
    )
    shown = capsys.readouterr()
    assert "the-secret-key" not in shown.out + shown.err
