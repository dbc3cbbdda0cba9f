"""What a run last said of its state: `status.json`.

Nothing heavy is imported: a sweep reads these of all its jobs.
"""

import json
from pathlib import Path
from typing import Any

from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text
from cips_lab.processes.supervisor import tell_supervisor
from cips_lab.runs.folder import STATUS, checkpoint_folders, images_of

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"


def read_status(folder: Path) -> dict[str, Any]:
    """The content of status.json: ``state``, ``kimg``, ``error``, ``value``; empty where there is none."""
    try:
        found = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def write_status(
    folder: Path, state: str, kimg: float, *, error: str | None = None, value: float | None = None
) -> None:
    """Replace status.json as a whole.

    Args:
        folder: the run's.
        state: ``running``, ``finished`` (training and the last evaluation are done), ``failed`` or ``interrupted``. A
            run that was killed says ``running`` for ever.
        kimg: thousands of images seen; of a run that is running, those that it started from; of one that ended before
            its end, those of its newest checkpoint.
        error: why it failed.
        value: the best evaluation so far, of the metric ``callbacks.evaluation.best``; None where there is none.
    """
    content = {"state": state, "kimg": kimg, "error": error, "value": value}
    replace_text(folder / STATUS, json.dumps(content) + "\n")


def record_end(folder: Path, error: BaseException, first: bool) -> None:
    """Say why a run ended before its end: to the sweep that it is a job of, and, once it had begun, in its folder.

    Args:
        folder: the run's.
        error: an `Exception` failed; anything else (Ctrl-C, a request to stop) interrupted.
        first: whether this process is the one that writes the folder.
    """
    failed = isinstance(error, Exception)
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    if failed:
        tell_supervisor(message)
    status = read_status(folder)
    if first and status.get("state") == RUNNING:
        kept = [status["kimg"], *(images_of(checkpoint) / 1000 for checkpoint in checkpoint_folders(folder))]
        write_status(folder, FAILED if failed else INTERRUPTED, max(kept), error=message if failed else None)
