"""Workers of a real Ray cluster on this machine: answers to the bit, deaths, errors, and who ends
what.
"""

from __future__ import annotations

import gc
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Ray listens on every interface: nobody else may talk to it, and its secret stays out of the home
# folder.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
ray = pytest.importorskip("ray", reason="pip install 'bbtvp[ray]'")

from ray.cluster_utils import Cluster  # noqa: E402

from bbtvp.core.errors import BbtvpError, ModelError, UsageError  # noqa: E402
from bbtvp.core.rng import stream  # noqa: E402
from bbtvp.models import (  # noqa: E402
    Budget,
    Model,
    QueryFailed,
    Reply,
    Request,
    Shown,
    load_model,
)
from bbtvp.runs.folder import BUNDLE  # noqa: E402
from bbtvp.runs.records import FILE  # noqa: E402
from bbtvp.search import optimize  # noqa: E402
from tests.adapters.failing_models import DEADLY  # noqa: E402
from tests.support import LABELS, ROOT, Eye  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

STORE = 80 * 2**20
"""Bytes of an object store: about the least that Ray takes."""

Loader = Callable[..., Model]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that registers `frail/…` in whatever process has it on its path."""
    info = tmp_path_factory.mktemp("site") / "frail-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: frail\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bbtvp.models]\neye = tests.support:eye\nfrail = tests.adapters.failing_models:frail\n"
    )
    return info.parent


@pytest.fixture(scope="module")
def cluster(site: Path) -> Iterator[Cluster]:
    """A node with two CPUs, which may get company; its workers find the tests and `frail/…`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", _path(site))
        quick = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        node = {
            "num_cpus": 2,
            "object_store_memory": STORE,
            "include_dashboard": False,
            "_system_config": quick,
        }
        found = Cluster(initialize_head=True, head_node_args=node)
        yield found
        ray.shutdown()
        found.shutdown()


def _path(site: Path) -> str:
    """PYTHONPATH for a process that knows the tests and `frail/…`."""
    return os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Loader]:
    """`ray/<name>` on the cluster; its workers are gone when the test is over."""
    yield lambda name, **options: load_model(f"ray/{name}", address=cluster.address, **options)
    assert ray.is_initialized()  # nothing here may end a Ray that it did not start
    gc.collect()
    _until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources().get("CPU"))


def _until(so: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def questions(count: int, *, side: int = 16, **parts: Any) -> list[Request]:
    rng = stream(0, "ray", count)
    return [
        Request(rng.integers(0, 256, (side, side, 3), np.uint8), f"question {i}?", **parts)
        for i in range(count)
    ]


def various(count: int) -> list[Request]:
    """Requests that do not fit into one batch: sizes, questions, labels or none."""
    rng = stream(0, "various")
    found = []
    for i in range(count):
        height, width = ((56, 56), (224, 224), (40, 90))[i % 3]
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        labels = (("one", "two"), ("yes", "no", "a red square"), None)[i % 7 % 3]
        found.append(
            Request(image, ("which digit?", "what is it?")[i % 2], labels, max_tokens=3 + i % 2)
        )
    return found


# -- the same answers ------------------------------------------------------------------------------
def test_answers_come_in_order_from_all_workers(load: Loader) -> None:
    model = load("frail/candid", workers=2)
    asked = questions(40)
    seen = set()
    for _ in range(20):  # the second worker joins when it is ready
        replies = model.query(asked)
        assert all(isinstance(reply, Reply) for reply in replies)
        words = [str(reply.text).split(" ", 1) for reply in replies if isinstance(reply, Reply)]
        assert [text for _, text in words] == [request.text for request in asked]
        seen |= {pid for pid, _ in words}
        time.sleep(0.5 if len(seen) < 2 else 0)
    assert len(seen) == 2
    assert model.query([]) == []


def test_a_model_that_does_not_batch(load: Loader, cluster: Cluster) -> None:
    """It goes by its own name, and gets contiguous parts."""
    model = load("eye/near", workers=2)
    assert (model.spec, model.identity, model.capabilities) == (
        "eye/near",
        "eye/near",
        Eye().capabilities,
    )
    for count in (1, 3, 50):
        asked = questions(count, labels=LABELS)
        assert model.query(asked) == Eye("eye/near").query(asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava", "instructblip", "idefics3"])
def test_answers_are_those_of_one_process_to_the_bit(name: str, load: Loader) -> None:
    local = load_model(f"zoo/{name}", batch=8)
    many = load(f"zoo/{name}", workers=2, batch=8)
    assert (many.spec, many.identity, many.capabilities) == (
        local.spec,
        local.identity,
        local.capabilities,
    )
    asked = various(120)
    assert many.query(asked) == local.query(asked)
    assert many.query(asked[::-1]) == local.query(asked[::-1])


def test_requests_of_several_images_are_answered_as_in_one_process(load: Loader) -> None:
    model = load("zoo/llava", workers=2)
    alone = load_model("zoo/llava")
    first, *asked = questions(5, labels=LABELS)
    example = Shown(first.image, "Answer: rows")
    asked = [replace(each, context=(example,)) for each in asked]
    model.probe_images(2, Budget())
    assert model.capabilities.images == 2
    assert model.query(asked) == alone.query(asked)


def test_batches_are_decided_without_pixels_and_stay_whole() -> None:
    from bbtvp.adapters.ray_worker import BatchingModel, RequestOutline

    model = load_model("zoo/llava", batch=4)
    asked = various(50)
    assert isinstance(model, BatchingModel)
    batches = model.batches(asked)
    assert sorted(i for batch in batches for i in batch) == list(range(50))
    assert model.batches([RequestOutline.of(request).blank() for request in asked]) == batches
    assert all(
        model.batches([asked[i] for i in batch]) == [list(range(len(batch)))] for batch in batches
    )


@pytest.mark.slow
def test_a_run_goes_on_with_workers_and_alone(load: Loader, tmp_path: Path) -> None:
    """Begun alone, it is continued by workers, and the reverse: nothing is asked twice, and all
    files are the same.
    """
    many = load("zoo/llava", workers=2)
    alone = load_model("zoo/llava")
    whole = tmp_path / "whole"
    run = optimize("zoo/digits-low-contrast", alone, budget=300, out=whole)
    journal = (whole / FILE).read_bytes()
    for model in (many, alone):
        out = tmp_path / type(model).__name__
        out.mkdir()
        (out / FILE).write_bytes(journal[: len(journal) // 2])
        again = optimize("zoo/digits-low-contrast", model, budget=300, out=out)
        assert again.queries == run.queries
        assert (out / FILE).read_bytes() == journal
        assert (out / BUNDLE).read_bytes() == (whole / BUNDLE).read_bytes()


# -- deaths ----------------------------------------------------------------------------------------
def test_a_worker_killed_in_the_middle_of_a_call(load: Loader, tmp_path: Path) -> None:
    """Its batch is sent again, another worker is started, and each query counts once."""
    model = load("frail/held", workers=1, folder=str(tmp_path))
    asked = questions(12, labels=LABELS)

    def kill() -> None:
        _until((tmp_path / "pid").exists)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    replies = model.query(asked)
    killer.join()
    assert replies == Eye().query(asked)
    assert all(reply.usage.attempts == 1 for reply in replies)


def test_what_kills_every_worker_fails_alone(load: Loader) -> None:
    model = load("frail/deadly", workers=2)
    asked = questions(20, labels=LABELS)
    asked[9] = Request(asked[9].image, DEADLY, LABELS)
    outcomes = model.query(asked)
    failed = {i for i, outcome in enumerate(outcomes) if isinstance(outcome, QueryFailed)}
    assert failed == {8, 9, 10, 11}  # one batch: who of them kills cannot be known
    assert outcomes[9] == outcomes[8]
    assert "lost with its worker" in outcomes[9].reason  # type: ignore[union-attr]
    assert [o for i, o in enumerate(outcomes) if i not in failed] == [
        o for i, o in enumerate(Eye().query(asked)) if i not in failed
    ]
    assert model.query(asked[:4]) == Eye().query(asked[:4])


def test_where_no_worker_stays_alive(load: Loader) -> None:
    with pytest.raises(ModelError, match="no worker stays alive"):
        load("frail/stillborn", workers=1)


@pytest.mark.slow
def test_a_node_that_joins_and_is_killed_in_the_middle_of_a_generation(
    load: Loader, cluster: Cluster, tmp_path: Path
) -> None:
    alone = optimize("zoo/digits-low-contrast", "zoo/llava", budget=400, out=tmp_path / "alone")
    model = load("frail/doomed", workers=3, folder=str(tmp_path), inner="zoo/llava")
    node = cluster.add_node(
        num_cpus=1, object_store_memory=STORE
    )  # here the third worker finds room

    def all_there() -> bool:
        model.query(questions(96, side=56))
        return (tmp_path / node.node_id).exists()

    _until(all_there)
    (tmp_path / "doomed.part").write_text(node.node_id)
    (tmp_path / "doomed.part").rename(tmp_path / "doomed")

    def kill() -> None:
        _until((tmp_path / "at work").exists)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    run = optimize("zoo/digits-low-contrast", model, budget=400, out=tmp_path / "many")
    killer.join()
    assert (tmp_path / "at work").read_text() == node.node_id
    assert run.queries == alone.queries
    assert run.failed == 0
    for name in (FILE, BUNDLE):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


# -- errors ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("ray/eye/near", {"workers": 0}, "workers must be a whole number, at least 1, got 0"),
        ("ray/eye/near", {"threads": "two"}, "threads must be a whole number"),
        ("ray/eye/near", {"cpus": -1}, "cpus must be a number"),
        ("ray/eye/near", {"gpus": "1.5"}, "gpus must be a number from 0 to 1, or a whole one"),
        ("ray/eye/near", {"patience": "long"}, "patience must be a number"),
        ("ray/ray/eye/near", {}, "once is enough; use ray/eye/near"),
    ],
)
def test_a_bad_option_is_refused_before_anything_starts(
    spec: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        load_model(spec, **options)


@pytest.mark.parametrize(
    ("name", "options", "kind", "says"),
    [
        ("frail/vendor", {}, UsageError, "an endpoint needs no workers: use frail/vendor"),
        ("frail/missing", {}, ModelError, "there are no such weights; name others"),
        ("eye/near", {"colour": "red"}, UsageError, "cannot take colour=red"),
        ("eys/near", {}, UsageError, "unknown model provider 'eys'; did you mean eye"),
        (
            "eye/near",
            {"gpus": 1, "patience": 1},
            ModelError,
            "no room for a worker in 1 s: it takes 1 cpus and 1 gpus",
        ),
        ("eye/near", {"device": "cuda", "patience": 1}, ModelError, "it takes 1 cpus and 1 gpus"),
    ],
)
def test_a_model_that_cannot_be_loaded(
    name: str, options: dict[str, Any], kind: type[BbtvpError], says: str, load: Loader
) -> None:
    with pytest.raises(kind, match=re.escape(says)) as caught:
        load(name, workers=1, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_no_ray_at_the_address(address: str) -> None:
    call = f'load_model("ray/eye/near", address={address!r})'
    code = f"""
from bbtvp.core.errors import ModelError
from bbtvp.models import load_model
try:
    {call}
except ModelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"no Ray at {address} (")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_an_error_of_the_model_comes_back_as_it_was(load: Loader) -> None:
    with pytest.raises(ModelError, match=r"^the weights are gone; fetch them again$"):
        load("frail/refusing", workers=1).query(questions(8))


def test_a_bug_of_the_model_shows_and_the_model_can_be_asked_again(load: Loader) -> None:
    model = load("frail/buggy", workers=1)
    asked = questions(8, labels=LABELS)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        model.query([Request(asked[0].image, DEADLY, LABELS)])
    assert model.query(asked) == Eye().query(asked)


def test_workers_that_disagree(load: Loader) -> None:
    def ask() -> None:
        model = load("frail/two-faced", workers=2)
        while True:  # the second worker joins when it is ready
            model.query(questions(8, labels=LABELS))

    with pytest.raises(ModelError, match="hold different models"):
        ask()


def test_a_folder_is_found_from_where_the_driver_is(
    load: Loader, untrained: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(untrained("llava"), tmp_path / "mine")
    assert load("hf/./mine", workers=1).spec == "hf/./mine"
    with pytest.raises(ModelError, match=r"\./yours holds no config\.json"):
        load("hf/./yours", workers=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "threads"), [({}, "1"), ({"cpus": 2}, "2"), ({"cpus": 2, "threads": 1}, "1")]
)
def test_threads_of_a_worker(options: dict[str, Any], threads: str, load: Loader) -> None:
    (reply,) = load("frail/threads", workers=1, **options).query(questions(1))
    assert isinstance(reply, Reply)
    assert reply.text == threads


def test_without_the_extra() -> None:
    code = """
import sys
sys.modules["ray"] = None  # an import of it raises
from bbtvp.cli import main
sys.argv = ["bbtvp", "optimize", "--task", "zoo/shapes-dark", "--model", "ray/zoo/llava"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'ray' cannot be loaded: it needs Ray: pip install 'bbtvp[ray]'" in done.stderr
    assert done.stderr.count("\n") == 1


# -- who ends what ---------------------------------------------------------------------------------
OWN = """
import signal, sys
import numpy as np
from bbtvp.models import Request, load_model
from tests.support import LABELS

def interrupt(signum, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupt)  # as the command line does
model = load_model("ray/frail/slow", workers=2)
image = np.zeros((224, 224, 3), np.uint8)
asked = [Request(image, str(i), LABELS) for i in range(4000)]
model.query(asked[:32])
try:
    print("ready", flush=True)
    model.query(asked)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT to all", "SIGTERM"])
def test_an_interrupt_ends_all_that_was_started(how: str, site: Path) -> None:
    """Ctrl-C reaches the whole process group, workers too. Nothing is left, and nothing was said
    but by the program.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", OWN],
        env=os.environ | {"PYTHONPATH": _path(site)},
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        children = _children(process.pid)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            os.killpg(process.pid, signal.SIGINT)
        rest, noise = process.communicate(timeout=120)
    assert (process.returncode, said, rest, noise) == (130, "ready\n", "", "")
    assert len(children) > 4
    _until(lambda: not any(Path(f"/proc/{pid}/stat").exists() for pid in children), 30)


def _children(pid: int) -> set[int]:
    """All processes that descend from this one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = set[int]()
    more = {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        found |= more
    return found
