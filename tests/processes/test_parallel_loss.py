"""A process that is lost takes the others with it: soon, with a message, and none is left behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cips_lab.errors import UserError
from cips_lab.processes import watch as watching
from cips_lab.processes.strategy import ReplicatedStrategy

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes of Linux")
ENDS_WITHIN = 60.0  # seconds
REMEDY = "The same command continues the run from its last checkpoint."


class Session:
    """A command and all processes that come from it, which its environment marks."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / "output.txt"
        self.mark = f"CIPS_LAB_TEST={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", name: value} | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def members(self) -> dict[int, list[str]]:
        """Living processes: id -> environment when it began."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_text().split("\0")  # a zombie has none
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile, or is another user's
            if self.mark in environment:
                found[int(path.name)] = environment
        return found

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Seconds until the condition held; fails if that takes too long."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, (
                f"{what} not within {seconds:g} s: {list(self.members())}\n{self.text}"
            )
            time.sleep(0.1)
        return time.monotonic() - began

    def wait_for_end(self) -> None:
        """Of every process."""
        self.wait(lambda: self.process.poll() is not None and not self.members(), ENDS_WITHIN, "the end of all")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """start(command, **environment) -> Session; what is left of it is killed at the end of the test."""
    sessions: list[Session] = []

    def begin(command: list[str], **environment: str) -> Session:
        sessions.append(Session(command, tmp_path / "session", **environment))
        return sessions[-1]

    yield begin
    for session in sessions:
        for pid in session.members():
            os.kill(pid, signal.SIGKILL)
        session.process.wait()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


OVERRIDES = [
    "experiment=debug",
    "trainer=ddp_cpu",
    "trainer.devices=2",
    "trainer.threads=1",
    "data.num_workers=1",
    "callbacks.progress=null",
    "callbacks.samples=null",
    "name=run",
    "schedule.total_kimg=1000",
    "schedule.evaluate_kimg=null",
]


def is_training(session: Session) -> bool:
    assert session.process.poll() is None, session.text
    path = session.output.parent / "runs" / "run" / "metrics.jsonl"
    return path.exists() and path.read_text().count("\n") >= 2


def ranks(session: Session) -> dict[int, int]:
    """Rank -> process id, of the training processes."""
    members = session.members()
    local = {
        pid: int(line.partition("=")[2])
        for pid, environment in members.items()
        for line in environment
        if line.startswith("LOCAL_RANK=")
    }
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in local}
    # A loader's process has its environment from a rank.
    return {0: session.process.pid} | {rank: pid for pid, rank in local.items() if parents[pid] not in local}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_rank_takes_the_other_with_it(start: Callable[..., Session], cache: str, victim: int) -> None:
    session = start([sys.executable, "-m", "cips_lab.train", *OVERRIDES], CIPS_LAB_CACHE=cache)
    session.wait(lambda: is_training(session), 200, "training")
    pids = ranks(session)
    assert sorted(pids) == [0, 1]
    assert len(session.members()) >= 4, "each rank has a loading process"
    os.kill(pids[victim], signal.SIGKILL)
    session.wait_for_end()
    how = "is gone" if victim == 0 else "was ended by SIGKILL"
    message = f"error: the process of rank {victim} (pid {pids[victim]}) {how}, so this run ends.\n{REMEDY}\n"
    assert session.text.count(message) == 1, session.text
    assert "Traceback" not in session.text
    assert session.process.returncode == (-signal.SIGKILL if victim == 0 else 1)
    logs = "".join(path.read_text() for path in (session.output.parent / "runs" / "run").glob("*.log"))
    if victim != 0:  # the log is written by rank 0 alone
        assert message.removeprefix("error: ") in logs, "the log file says it, too"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_rank_that_does_not_answer_is_given_up(start: Callable[..., Session], cache: str) -> None:
    """A stopped process keeps its connections: nothing but the time-out tells."""
    command = [sys.executable, "-m", "cips_lab.train", *OVERRIDES, "trainer.timeout_minutes=0.25"]
    session = start(command, CIPS_LAB_CACHE=cache)
    session.wait(lambda: is_training(session), 200, "training")
    os.kill(ranks(session)[1], signal.SIGSTOP)
    session.wait_for_end()
    assert session.process.returncode == 1
    assert "it did not answer in time: " in session.text
    assert "Traceback" not in session.text
    assert REMEDY in session.text


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", ["rank 1", "torchrun"])
def test_under_torchrun(start: Callable[..., Session], cache: str, victim: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "cips_lab.train"]
    session = start([sys.executable, *launcher, *OVERRIDES], CIPS_LAB_CACHE=cache)
    session.wait(lambda: is_training(session), 200, "training")
    pids = ranks(session)
    os.kill(pids[1] if victim == "rank 1" else session.process.pid, signal.SIGKILL)
    session.wait_for_end()
    assert session.process.returncode not in (0, None)
    if victim == "rank 1":  # torchrun names it, and ends the other before that one has found out
        assert f"Signal 9 (SIGKILL) received by PID {pids[1]}" in session.text
    else:
        assert f"error: torchrun (pid {session.process.pid}) is gone, so this run ends.\n{REMEDY}" in session.text


# ------------------------------------------------------------------ where the main thread hangs, as under NCCL

HANGING_LAUNCHER = """
import os, subprocess, sys, time
from cips_lab.processes import watch as watching
watching.GRACE = 2.0
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with watching.watch_children([child, sleeper]):
    time.sleep(1000)
"""

HANGING_CHILD = """
import os, subprocess, sys, time
from cips_lab.processes import watch as watching
watching.GRACE = 2.0
if watching.LAUNCHER in os.environ:
    watching.follow_launcher()
    print("following", flush=True)
else:
    subprocess.Popen([sys.executable, __file__], env=os.environ | {watching.LAUNCHER: str(os.getpid())})
time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("end", "words", "status"),
    [("os.kill(os.getpid(), 9)", "was ended by SIGKILL", 1), ("sys.exit(2)", "ended with status 2; its own", 2)],
)
def test_a_launcher_that_hangs_ends_for_a_lost_child(
    start: Callable[..., Session], end: str, words: str, status: int
) -> None:
    session = start([sys.executable, "-c", HANGING_LAUNCHER, f"import os, sys; {end}"])
    session.wait_for_end()
    assert session.process.returncode == status
    assert f"{words}" in session.text
    assert "error: the process of rank 1 (pid " in session.text
    assert REMEDY in session.text


def test_a_child_that_hangs_ends_with_its_launcher(start: Callable[..., Session], tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(HANGING_CHILD)
    session = start([sys.executable, str(script)])
    session.wait(lambda: "following" in session.text, 60, "a child")
    os.kill(session.process.pid, signal.SIGKILL)
    session.wait_for_end()
    assert f"error: the process of rank 0 (pid {session.process.pid}) is gone, so this run ends." in session.text


def test_a_launcher_that_was_gone_before(start: Callable[..., Session], tmp_path: Path) -> None:
    """Killed while its child was still importing."""
    script = tmp_path / "child.py"
    script.write_text(HANGING_CHILD)
    session = start([sys.executable, str(script)], **{watching.LAUNCHER: "999999"})
    session.wait_for_end()
    assert session.process.returncode == 1
    assert "(pid 999999) is gone" in session.text


# ------------------------------------------------------------------ failures that are explained, and those that are not


def sleeping_child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])


def test_a_broken_connection_is_explained_by_the_child_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    gone, other = sleeping_child(), sleeping_child()
    gone.kill()
    watch = watching.watch_children([gone, other])
    with pytest.raises(SystemExit) as end, watch:
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:4711")
    assert not watch._over.is_set(), "a process that does not end in time is ended"
    watch._over.set()  # but not the one that tests
    assert end.value.code == 1
    assert other.wait(10) == -signal.SIGKILL
    assert capsys.readouterr().err.count(f"rank 1 (pid {gone.pid}) was ended by SIGKILL") == 1


def test_a_broken_connection_of_unknown_cause_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.3)
    watch = watching.Watch(lambda: None)
    with pytest.raises(SystemExit), watch:
        raise RuntimeError("[third_party/gloo] Timed out waiting 600000ms for recv operation to complete")
    watch._over.set()
    told = capsys.readouterr().err
    assert "did not answer in time: [third_party/gloo] Timed out waiting 600000ms" in told
    assert REMEDY in told


def test_other_failures_pass_and_leave_no_child(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.3)
    child = sleeping_child()
    with pytest.raises(UserError, match=r"picture\.png"), watching.watch_children([child]):
        raise UserError("picture.png cannot be read")
    assert child.wait(10) == -signal.SIGKILL
    assert capsys.readouterr().err == ""


def test_children_that_end_well_are_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    with watching.watch_children([child]):
        assert child.wait(60) == 0
        time.sleep(3 * watching.PERIOD)
    assert capsys.readouterr().err == ""


def test_the_rank_of_a_child_on_a_later_node() -> None:
    child = sleeping_child()
    child.kill()
    child.wait()
    loss = watching.watch_children([child], first_rank=9)._find()  # type: ignore[misc]
    assert loss is not None
    assert "rank 9" in loss.message


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("Connection closed by peer"), False),
        (RuntimeError("Connection closed by peer [127.0.0.1]:1"), True),
        (watching.dist.DistBackendError("NCCL communicator was aborted"), True),
        (watching.dist.DistNetworkError("failed to recv, got 0 bytes"), True),
    ],
)
def test_what_a_lost_connection_looks_like(error: Exception, lost: bool) -> None:
    assert watching.is_lost_connection(error) == lost


@pytest.mark.parametrize("minutes", [0, -1.0])
def test_the_time_out_must_be_positive(minutes: float) -> None:
    with pytest.raises(UserError, match=r"trainer\.timeout_minutes"):
        ReplicatedStrategy(minutes)
