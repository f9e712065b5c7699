import os
import subprocess
import sys
import time

import pytest

from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Shards, Share
from pleura.errors import DataError, PleuraError, UsageError
from tests.cluster.work import cut, squares, unmakeable

slow = pytest.mark.slow
# Ray's own; what it does is not tested here.
quiet = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def ray():
    import warnings

    with warnings.catch_warnings(action="ignore"), joined("ray") as found:
        yield found


def worked(ray, numbers, size, actors=2, **how):
    given = tuple(how.get(name, default) for name, default in _DEFAULTS.items())
    shards = Shards(ray, squares, given, Share(cpus=1, actors=actors), most=9)
    try:
        found = list(shards.map(cut(numbers, size), lambda number: [(number, "given up")]))
        return [pair for part in found for pair in part]
    finally:
        shards.close()


_DEFAULTS = {"poison": (), "once": "", "fails": (), "breaks": ()}


@slow
@quiet
def test_each_item_is_worked_on_once_whoever_dies(ray, tmp_path, capfd):
    found = worked(ray, range(11), 2, poison=(3,), once=str(tmp_path / "once"))
    expected = {number: number**2 for number in range(11)} | {3: "given up"}
    assert len(found) == 11
    assert dict(found) == expected
    assert (tmp_path / "once").exists()
    time.sleep(2)  # Ray tells of deaths by a thread of its own
    assert capfd.readouterr() == ("", "")  # stdout is for results


@slow
@quiet
def test_little_is_on_the_way_however_much_there_is(ray):
    asked = 0

    def numbers():
        nonlocal asked
        for number in range(10**9):
            asked = number
            yield number

    shards = Shards(ray, squares, (), Share(cpus=1, actors=1), most=9)
    results = shards.map(cut(numbers(), 10), lambda number: [])
    assert [next(results)[0] for _ in range(3)] == [(0, 0), (10, 100), (20, 400)]
    assert asked < 50
    shards.close()


@slow
@quiet
def test_what_is_raised_there_is_raised_here(ray):
    with pytest.raises(DataError, match=r"^number 7: is not to be squared$"):
        worked(ray, range(9), 3, actors=1, fails=(7,))
    with pytest.raises(PleuraError) as raised:
        worked(ray, range(9), 3, actors=1, breaks=(2,))
    told = "a worker of the cluster failed (ZeroDivisionError); the log of its machine shows where"
    assert str(raised.value) == told
    with pytest.raises(DataError, match=r"^there is nothing to begin with$"):
        next(Shards(ray, unmakeable, (), Share(cpus=1, actors=1), most=9).map([[1]], str))
    with pytest.raises(UsageError, match=r"^no machine of the cluster has 9999 cores, which a wor"):
        Shards(ray, squares, (), Share(cpus=9999), most=9)
    with pytest.raises(
        UsageError,
        match=r"takes 1 cores and 9 GPUs, and no machine of the cluster has as many; low",
    ):
        Shards(ray, squares, (), Share(gpus=9), most=9)


@slow
@quiet
def test_another_pleura_is_refused(ray, monkeypatch):
    monkeypatch.setattr("pleura.cluster.shards.version", lambda name: "0.0.7")
    told = r"^the machine \S+ of the cluster has pleura 0\.1\.0, and this is 0\.0\.7; install the s"
    with pytest.raises(UsageError, match=told):
        Shards(ray, squares, (), Share(cpus=1, actors=1), most=9)


def test_without_ray_it_says_how_to_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"^`on` auto: Ray is not installed; pip install 'pleura"),
        joined("auto"),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Version mismatch: The cluster was started with: Ray: 2.1 Python: 3.9", "other versions"),
        ("Ray Client requires grpcio; please install it: grpc", "Ray's client is not installed"),
        ("Could not find any running Ray instance.", "no cluster can be reached there (Conn"),
    ],
)
def test_a_cluster_that_cannot_be_joined(monkeypatch, text, said):
    class Module:
        @staticmethod
        def init(**how):
            raise ConnectionError(text)

    monkeypatch.setitem(sys.modules, "ray", Module)
    with pytest.raises(UsageError) as raised, joined("auto"):
        pass
    assert str(raised.value).startswith("`on` auto: ")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "where", ["127.0.0.1:9", "ray://127.0.0.1:9", "[::1]:9", "127.0.0.1:99999"]
)
def test_an_address_where_nobody_answers(monkeypatch, where):
    monkeypatch.setitem(sys.modules, "ray", object())
    with pytest.raises(UsageError) as raised, joined(where):
        pass
    told = f"`on` {where}: nobody answers there; see the address, and that the cluster runs"
    assert str(raised.value) == told


_ASKS = """
from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Shards, Share
from tests.cluster.work import threads

with joined("ray") as ray:
    shards = Shards(ray, threads, (), Share(cpus=1, actors=1), most=1)
    print(*shards.map([[1]], None))
    shards.close()
"""


@slow
def test_an_actor_runs_networks_on_the_cores_that_it_was_given():
    fixed = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in fixed}
    asked = subprocess.run(
        [sys.executable, "-c", _ASKS], env=environment, capture_output=True, text=True, check=True
    )
    assert asked.stdout.split() == ["1"]
