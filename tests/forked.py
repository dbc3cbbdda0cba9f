"""Programs as processes of their own, without the seconds in which each imports torch.

A server imports what the commands import, and forks a child for each program: with its own arguments, environment,
working folder, output and exit status, ended by the interpreter as always. What depends on how an interpreter starts
(what it imports, how it decodes, its allocator) and what is watched or killed while it runs is a `subprocess` instead.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any


class Python:
    """python("-m", "cips_lab.train", ..., cwd=folder) -> the finished process, as of `subprocess.run`."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: for what the programs print.
        """
        self.folder = folder
        self.link, theirs = socket.socketpair()
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.answers = self.link.makefile()

    def close(self) -> None:
        """The server ends with its link."""
        self.answers.close()
        self.link.close()
        self.server.wait()

    def __call__(
        self, *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 280
    ) -> subprocess.CompletedProcess[str]:
        printed = [self.folder / name for name in ("stdout", "stderr")]
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "printed": [str(path) for path in printed],
        }
        self.link.sendall(json.dumps(request).encode() + b"\n")
        child = json.loads(self.answers.readline())
        late = threading.Timer(timeout, _kill, [child])
        late.start()
        try:
            status = json.loads(self.answers.readline())
        finally:  # also where the test's own time is over
            if late.is_alive():
                late.cancel()
            else:
                status = None
            _kill(child)
        output, errors = (path.read_text(errors="replace") for path in printed)
        if status is None:
            raise subprocess.TimeoutExpired(request["arguments"], timeout, output, errors)
        return subprocess.CompletedProcess(request["arguments"], status, output, errors)


def _kill(child: int) -> None:
    """And all that it started: it began a session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


# ------------------------------------------------------------------ the server


def import_what_commands_import() -> None:
    """All of cips_lab but the commands, which are `__main__` where they run."""
    import cips_lab

    for module in pkgutil.walk_packages(cips_lab.__path__, "cips_lab."):
        top = module.name.count(".") == 1 and not module.ispkg
        if not top or module.name in ("cips_lab.cli", "cips_lab.configuration", "cips_lab.errors"):
            importlib.import_module(module.name)
    # Its folder of pictures on their way is removed at the end of any process that inherits this: the server's alone.
    from wandb.sdk.data_types import _private

    atexit.unregister(_private.MEDIA_TMP.cleanup)


def serve(link: socket.socket) -> dict[str, Any] | None:
    """Answer each request with its process and exit status; in a child, return the request."""
    requests = link.makefile()
    while line := requests.readline():
        threads = list(Path("/proc/self/task").glob("*"))  # none on a Mac
        assert len(threads) <= 1, "a fork of a process with several threads may hang: an import started one"
        child = os.fork()
        if child == 0:
            requests.close()
            link.close()
            return json.loads(line)
        link.sendall(f"{child}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        link.sendall(f"{status}\n".encode())
    return None


def become(request: dict[str, Any]) -> None:
    """The process that the request describes."""
    os.setsid()
    # Temporary folders that imports made (W&B's) are the server's to remove: all children have them.
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.detach()
    for descriptor, path in zip((1, 2), request["printed"], strict=True):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
    option, *rest = request["arguments"]
    if option == "-m":
        sys.path.insert(0, request["cwd"])
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(option).parent))
        sys.argv = [option, *rest]
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # this folder's
    import_what_commands_import()
    gc.freeze()  # a child does not look through, and so copy, what it shares
    asked = serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        become(asked)
