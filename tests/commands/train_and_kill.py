"""A program for tests: trains by the command, again and again, in processes that it really kills.

Importing everything takes seconds, so one process does it once and forks for every attempt: a fork is a process of its
own, with its own files and signals, and SIGKILL ends it as it ends any.

    python train_and_kill.py PLAN.json

The plan: `overrides` of the command; `kills`: a list of {"after": share of a start-up} or {"place": name of a place}.
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

import cips_lab.training.run  # noqa: F401 - all that takes long to import
from cips_lab import storage
from cips_lab.callbacks import metrics
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
    original, seen = storage.append_line, []

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
    original = Path.write_text

    def write_text(self: Path, text: str, *rest: Any) -> int:
        if "config.yaml" in self.name:
            original(self, text[: len(text) // 2])
            die()
        return original(self, text, *rest)

    Path.write_text = write_text  # type: ignore[method-assign, assignment]


PLACES = {
    f.__name__: f for f in (between_writing_and_rename, between_rename_and_pruning, in_a_line, in_the_configuration)
}


def attempt(overrides: list[str], place: str | None, after: float | None) -> dict[str, Any]:
    """Train in a forked process; kill it `after` seconds, or let it kill itself at a place. How it ended."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if place is not None:
            PLACES[place]()
        sys.argv = ["train", *overrides]
        status = 1
        try:
            main()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # not reaped yet: if it ended by itself, this hits nobody else
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    folder = Path("runs") / next(o.removeprefix("name=") for o in overrides if o.startswith("name="))
    kept = sorted(path.name for path in (folder / "checkpoints").glob("*"))
    return {"status": status, "seconds": time.monotonic() - began, "left": kept}


def run() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    overrides = plan["overrides"]
    whole = attempt([*overrides, "name=whole"], None, None)
    short = attempt([*overrides, "name=short", f"schedule.total_kimg={plan['first']}"], None, None)
    start = short["seconds"]  # to be ready, and for one iteration
    killed = []
    for kill in plan["kills"]:
        after = kill["after"] * start if "after" in kill else None
        killed.append(attempt([*overrides, "name=killed"], kill.get("place"), after))
    last = attempt([*overrides, "name=killed"], None, None)
    print(json.dumps({"whole": whole, "start": start, "killed": killed, "last": last}))


if __name__ == "__main__":
    run()
