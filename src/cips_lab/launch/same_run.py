"""Whether a folder's run is the one that is asked for, and whether it is finished."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cips_lab.errors import UserError
from cips_lab.files.secrets import redact_settings
from cips_lab.runs.folder import CONFIG
from cips_lab.runs.identity import COURSE, MEASUREMENT, RESULT, differences
from cips_lab.runs.inputs import Inputs, read_inputs
from cips_lab.runs.settings import read_settings

log = logging.getLogger(__name__)

REFUSE, CONTINUE = DATA_CHANGED = ("refuse", "continue")  # values of data_changed=


def refuse_another_run(
    folder: Path, settings: dict[str, Any], continuing: bool, inputs: Inputs | None = None, changed: str = REFUSE
) -> None:
    """A folder with checkpoints is continued only by the configuration that made it, and on the same pictures.

    Args:
        folder: the run's.
        settings: resolved, without secrets.
        continuing: whether it has checkpoints.
        inputs: what is there now; None: nobody looked.
        changed: whether a run is continued on other pictures, ``refuse`` or ``continue``.

    Raises:
        UserError: it is another run.
    """
    path = folder / CONFIG
    if not continuing or not path.exists():
        return
    inputs, before, there = inputs or Inputs(), read_inputs(folder), read_settings(path)
    found = differences(redact_settings(there), settings, RESULT)
    if there.get("data") is None:  # converted from elsewhere (launch/adoption.py): its pictures are those given now
        found = {name: pair for name, pair in found.items() if name.partition(".")[0] != "data"}
    if before.init is not None and before.init == inputs.init:
        found.pop("init", None)
    if before.pictures is not None and inputs.pictures is not None:
        places = found.pop("data.path", None)
        if before.pictures != inputs.pictures:
            judge_pictures(folder, settings, moved=places is not None, changed=changed)
    elif changed == CONTINUE:
        found.pop("data.path", None)
    if found:
        raise UserError(
            f"{folder} holds a run with another configuration; choose another name, or go back to its own:\n"
            + "\n".join(f"  {name}: {there} there, {asked} asked for" for name, (there, asked) in found.items())
        )


def judge_pictures(folder: Path, settings: dict[str, Any], moved: bool, changed: str) -> None:
    """The pictures are not those that a run was trained on: refuse, or say that it goes on with these."""
    place = (settings.get("data") or {}).get("path")
    what = f"data.path={place}" if place is not None else "the data set"
    there = (
        "holds other pictures than the run's" if moved else "no longer holds the pictures that the run was trained on"
    )
    if changed != CONTINUE:
        raise UserError(
            f"{folder}: {what} {there}; give it those, choose another name, or, to train on with these, "
            "data_changed=continue"
        )
    log.warning("%s %s; the run goes on with these (data_changed=continue)", what, there)


def is_same_and_done(folder: Path, settings: dict[str, Any], pictures: Callable[[], str | None]) -> bool:
    """Whether the finished run of a folder is what is asked for, its evaluations included.

    Args:
        folder: of a finished run.
        settings: resolved, without secrets.
        pictures: looks for the identity of those that `data.path` holds now; asked where all else is the same.
    """
    found = differences(redact_settings(read_settings(folder / CONFIG)), settings, RESULT, COURSE, MEASUREMENT)
    before = read_inputs(folder).pictures
    if before is None:
        return not found
    moved = found.pop("data.path", None) is not None
    if found:
        return False
    now = pictures()
    return before == now if now is not None else not moved
