import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from pleura.cluster import ray_cluster
from pleura.cluster.ray_cluster import Pulse, joined
from pleura.cluster.shards import Shards, Share
from pleura.errors import DataError, LostError, PleuraError, UsageError
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
    with pytest.raises(UsageError, match=r"^each worker takes 9999 cores, and no machine of the"):
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


class DiedError(Exception):
    pass


class Pretended:
    """A Ray whose actors do in turn what they are told to: work, die, or wait for a machine."""

    exceptions = SimpleNamespace(
        RayError=DiedError,
        RayActorError=DiedError,
        **dict.fromkeys(("RayTaskError", "WorkerCrashedError", "RaySystemError"), KeyError),
        **dict.fromkeys(("OutOfMemoryError", "ObjectLostError"), KeyError),
    )

    def __init__(self, *fates):
        self.fates = list(fates)

    def remote(self, **how):
        return lambda kind: SimpleNamespace(remote=self.actor)

    def actor(self, *given):
        fate = self.fates.pop(0)

        def asked(what):
            return SimpleNamespace(
                remote=lambda *shard: (object(), fate, what, sum(map(tuple, shard), ()))
            )

        return SimpleNamespace(version=asked("version"), work=asked("work"))

    def put(self, given):
        pass

    def kill(self, actor):
        pass

    def nodes(self):
        return [{"Resources": {"CPU": 9}, "Alive": True}]

    def wait(self, references, num_returns, timeout):
        assert any(fate != "waits" for _, fate, _, _ in references)
        return [one for one in references if one[1] != "waits"][:1], []

    def get(self, reference):
        _, fate, what, shard = reference
        if fate == "dies" or fate == f"dies at {what}":
            raise DiedError
        return ("here", version("pleura")) if what == "version" else list(shard)


def pretended(*fates, actors=1):
    shards = Shards(Pretended(*fates), squares, (), Share(cpus=1, actors=actors), most=9)
    found = shards.map(cut(range(8), 2), lambda number: [(number, "given up")])
    return [number for part in found for number in part]


def test_a_worker_that_dies_as_it_is_begun_is_replaced():
    assert pretended("dies", "dies", "works") == list(range(8))
    with pytest.raises(PleuraError, match=r"^a worker of the cluster could not be begun; the log"):
        pretended(*["dies"] * 4)


def test_a_worker_for_which_there_is_no_machine_any_more_is_not_waited_for():
    found = pretended("dies at work", "works", "waits", actors=2)
    assert sorted(found) == list(range(8))


def test_no_worker_is_left():
    told = r"^the workers of the cluster died, and none could be begun 4 times; the logs of its m"
    with pytest.raises(PleuraError, match=told):
        pretended("dies at work", *["dies"] * 4)


def reached_by(port, raylet):
    """Return a Ray that is connected to a head node at a port, by a socket of this machine."""
    node = SimpleNamespace(gcs_address=f"127.0.0.1:{port}", raylet_socket_name=str(raylet))
    return SimpleNamespace(_private=SimpleNamespace(worker=SimpleNamespace(_global_node=node)))


def test_a_head_node_that_does_not_come_back(monkeypatch, tmp_path):
    now, raylet = [0.0], socket.socket(socket.AF_UNIX)
    raylet.bind(str(tmp_path / "r"))
    raylet.listen(99)
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: now[0])
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        pulse = Pulse(reached_by(port, tmp_path / "r"))
        for now[0] in (1.0, 3.0, 6.0):
            pulse.require()
    for now[0] in (90.0, 120.0):  # within the time in which it may come back
        pulse.require()
    now[0] = 123.0
    told = (
        "the head node of the cluster is gone, so nothing is heard of the cluster any more; begin "
        "it again, and give the same command again"
    )
    with pytest.raises(LostError) as raised:
        pulse.require()
    assert str(raised.value) == told
    raylet.close()
    with socket.create_server(("127.0.0.1", port)):
        now[0] = 130.0
        pulse.require()
        now[0] = 133.0
        with pytest.raises(LostError, match=r"^this machine's node of the cluster is gone, so not"):
            pulse.require()


def test_a_cluster_that_is_gone_is_not_waited_for(monkeypatch):
    class Gone(Pretended):
        def wait(self, references, num_returns, timeout):
            if references[0][2] == "version":
                return references, []
            raise ConnectionError("the client was cut off")  # as Ray's client says it

        def kill(self, actor):
            raise AssertionError

    shards = Shards(Gone("works"), squares, (), Share(cpus=1, actors=1), most=9)
    with pytest.raises(LostError, match=r"^the head node of the cluster is gone, so nothing is he"):
        list(shards.map([[1]], str))
    shards.close()
    left = []
    module = SimpleNamespace(init=lambda **how: None, shutdown=lambda: left.append(1))
    monkeypatch.setitem(sys.modules, "ray", module)
    with joined("auto") as outer, joined("auto") as inner:
        assert outer is inner is module
    with pytest.raises(LostError, match="gone"), joined("auto"):
        raise LostError("gone")
    assert left == [1, 1]


def test_a_token_that_is_there_is_shown(monkeypatch, tmp_path):
    monkeypatch.setitem(
        sys.modules, "ray", SimpleNamespace(init=lambda **how: None, shutdown=lambda: None)
    )
    monkeypatch.setattr(ray_cluster.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(ray_cluster, "_HEAD_HERE", tmp_path / "none")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for made in (False, True):
        monkeypatch.setenv("RAY_AUTH_MODE", "")
        monkeypatch.delenv("RAY_AUTH_MODE")
        if made:
            (tmp_path / ".ray").mkdir()
            (tmp_path / ".ray" / "auth_token").write_text("0")
        with joined("auto"):
            assert os.environ.get("RAY_AUTH_MODE") == ("token" if made else None)


@pytest.mark.parametrize("where", ["auto", "127.0.0.1:9"])
def test_no_token_is_shown_to_a_head_that_asks_for_none(monkeypatch, tmp_path, where):
    """Else it begins no worker, as its machines cannot show one in turn."""
    asked = []

    class Channel:
        def __init__(self, address, options):
            asked.append(address)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def unary_unary(self, name):
            def ask(request, timeout):
                if asks:
                    raise PermissionError(name)

            return ask

    here = tmp_path / "head"
    here.write_text("127.0.0.1:9\n")
    monkeypatch.setattr(ray_cluster, "_HEAD_HERE", here)
    grpc = SimpleNamespace(insecure_channel=Channel, RpcError=PermissionError)
    monkeypatch.setitem(sys.modules, "grpc", grpc)
    for asks in (True, False):
        assert ray_cluster._takes_anybody(where) is not asks
    assert asked == ["127.0.0.1:9"] * 2
    monkeypatch.setitem(sys.modules, "grpc", None)
    for unknown in (where, "ray://127.0.0.1:9"):
        assert not ray_cluster._takes_anybody(unknown)


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


_LOSES = """
import os, signal
from ray.cluster_utils import Cluster
from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Shards, Share
from tests.cluster.work import cut, patient

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
found = []
with joined(cluster.address) as ray:
    shards = Shards(ray, patient, (0.2,), Share(cpus=1), most=9)
    actors = len(shards)
    for part in shards.map(cut(range(40), 2), lambda number: [(number, "given up")]):
        found += part
        if len(found) == 8:
            os.kill(other.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    shards.close()
cluster.shutdown()
print(actors, sorted(found) == [(number, number**2) for number in range(40)])
"""


@slow
def test_a_machine_that_dies_costs_what_it_had_in_hand():
    """A head that asks for no token, too, whether there is one here or not."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _LOSES], env=environment, capture_output=True, text=True, timeout=300
    )
    last = done.stdout.splitlines()[-1:]  # what a cluster of the same process says comes before
    assert last == ["2 True"], done.stderr[-2000:]
