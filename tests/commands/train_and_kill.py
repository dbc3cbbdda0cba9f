"""A program for tests: trains by the command, again and again, in processes that it really kills.

Importing everything takes seconds, so one process does it once and forks for every attempt: a fork is a process of its
own, with its own files and signals, and SIGKILL ends it as it ends any.

    python train_and_kill.py PLAN.json

The plan: `overrides` of the command; `first`: total_kimg of a run that shows how long a start takes; `kills`: a list of
{"start": share of a start}, {"training": share of half a second after its second line}, {"save": share of a hundredth
of a second after its third save began}, or {"place": the name of a function below}.
Prints one JSON line: how each attempt ended and what it left, and how the last, undisturbed one ended.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cips_lab.launch.run  # noqa: F401 - all that takes long to import
from cips_lab.callbacks import metrics
from cips_lab.files import whole
from cips_lab.launch import beginning
from cips_lab.train import main


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def between_writing_and_rename() -> None:
    """The third checkpoint is written and flushed, and does not get its name."""
    at_third_rename(lambda rename: die())


def between_rename_and_pruning() -> None:
    """The third checkpoint has its name, and what it makes superfluous is still there."""

    def renamed(rename: Callable[[], Any]) -> None:
        rename()
        die()

    at_third_rename(renamed)


def at_third_rename(action: Callable[[Callable[[], Any]], None]) -> None:
    original, seen = Path.replace, []

    def replace(self: Path, target: Any) -> Path:
        if self.name.startswith(".partial-kimg-"):
            seen.append(self)
            if len(seen) == 3:
                action(lambda: original(self, target))
        return original(self, target)

    Path.replace = replace  # type: ignore[method-assign]


def in_a_line() -> None:
    """Half of the third line of metrics.jsonl is on disk."""
    original, seen = whole.append_line, []

    def append_line(path: Path, line: str) -> None:
        seen.append(line)
        if len(seen) == 3:
            with path.open("a") as file:
                file.write(line[: len(line) // 2])
                file.flush()
                die()
        original(path, line)

    metrics.append_line = append_line


def in_the_configuration() -> None:
    """config.yaml is being written again by a run that continues."""
    original = beginning.replace_text

    def replace_text(path: Path, text: str) -> None:
        if path.name == "config.yaml" and path.exists():
            with whole.replacing(path) as partial:
                partial.write_text(text[: len(text) // 2])
                die()
        original(path, text)

    beginning.replace_text = replace_text


KILLERS = (between_writing_and_rename, between_rename_and_pruning, in_a_line, in_the_configuration)
PLACES = {function.__name__: function for function in KILLERS}


def wait_for(child: int, moment: Callable[[], Any], times: int) -> None:
    """Until something has changed that many times, or the process has ended."""
    last = moment()
    while times and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        now = moment()
        if now not in (last, None):
            times, last = times - 1, now


def wait_before_kill(child: int, folder: Path, kind: str, share: float, start: float) -> None:
    """For a random moment of the start, of training, or within a save."""
    if kind == "start":
        time.sleep(share * start)
    elif kind == "training":
        lines = folder / "metrics.jsonl"
        wait_for(child, lambda: lines.stat().st_size if lines.exists() else None, 2)
        time.sleep(0.5 * share)
    else:
        saves = folder / "checkpoints"
        wait_for(child, lambda: next((p.name for p in saves.glob(".partial-kimg-*")), None), 3)
        time.sleep(0.01 * share)


def attempt(overrides: list[str], name: str, kill: dict[str, Any] | None = None, start: float = 0) -> dict[str, Any]:
    """Train in a forked process, and kill it or let it kill itself, as the plan says. How it ended."""
    began = time.monotonic()
    folder = Path("runs") / name
    child = os.fork()
    if child == 0:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if kill is not None and "place" in kill:
            PLACES[kill["place"]]()
        sys.argv = ["train", *overrides, f"name={name}"]
        status = 1
        try:
            main()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(status)
    if kill is not None and "place" not in kill:
        ((kind, share),) = kill.items()
        wait_before_kill(child, folder, kind, share, start)
        os.kill(child, signal.SIGKILL)  # not reaped yet: if it ended by itself, this hits nobody else
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    kept = sorted(path.name for path in (folder / "checkpoints").glob("*"))
    return {"status": status, "seconds": time.monotonic() - began, "left": kept}


def run() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    overrides = plan["overrides"]
    whole = attempt(overrides, "whole")
    start = attempt([*overrides, f"schedule.total_kimg={plan['first']}"], "short")["seconds"]
    killed = [attempt(overrides, "killed", kill, start) for kill in plan["kills"]]
    last = attempt(overrides, "killed")
    print(json.dumps({"whole": whole, "start": start, "killed": killed, "last": last}))


if __name__ == "__main__":
    run()
