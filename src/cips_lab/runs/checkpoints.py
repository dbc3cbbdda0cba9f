"""Whether a checkpoint is what was written: a manifest beside its files, and the newest checkpoint that is whole."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line
from cips_lab.files.whole import remove_folder, replace_text, sha256_of
from cips_lab.runs.folder import (
    CHECKPOINTS,
    DAMAGED,
    GENERATOR,
    MANIFEST,
    SCORES,
    TRAINING,
    best_checkpoints,
    checkpoint_folders,
)

log = logging.getLogger(__name__)


def write_manifest(folder: Path) -> None:
    """Write manifest.json: size and SHA-256 of every file that is in a checkpoint folder."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())}
    replace_text(folder / MANIFEST, json.dumps({"files": files}, indent=2) + "\n")


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, naming the file; None if it is as it was written.

    A checkpoint without a manifest, of an earlier version, is read as it would be to continue.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        return _unreadable(folder)
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{manifest} cannot be read ({first_line(error)})"
    for name, (size, digest) in files.items():
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{path} has {found} bytes of {size}"
            if sha256_of(path) != digest:
                return f"{path} has another content than was written (SHA-256)"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
    return None


def sound_checkpoints(run: Path, tell: bool = True) -> list[Path]:
    """The checkpoints of a run folder, oldest first, up to the newest that is whole.

    Args:
        run: the run folder.
        tell: whether to warn of each damaged one that is passed over.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    folders = checkpoint_folders(run)
    reasons = []
    for index in range(len(folders) - 1, -1, -1):
        reason = damage(folders[index])
        if reason is None:
            return folders[: index + 1]
        reasons.append(reason)
        if tell:
            log.warning("DAMAGED CHECKPOINT: %s. Falling back to the one before %s", reason, folders[index].name)
    if reasons:
        raise UserError(
            f"{run / CHECKPOINTS}: no checkpoint can be continued from:\n  "
            + "\n  ".join(reasons)
            + f"\nTo train from the start, choose another name or remove {run}"
        )
    return []


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that nothing takes it for one; what it is called now."""
    aside = folder.with_name(DAMAGED + folder.name)
    if aside.exists():
        remove_folder(aside)
    return folder.replace(aside)


def _unreadable(folder: Path) -> str | None:
    training, generator = folder / TRAINING, folder / GENERATOR
    try:
        torch.load(training, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        return f"{training} cannot be read ({first_line(error)})"
    try:
        with safe_open(generator, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        return f"{generator} cannot be read ({first_line(error)})"
    return None


def best_so_far(folder: Path) -> dict[str, Any] | None:
    """The evaluation that belongs to the best checkpoint, or None."""
    kept = best_checkpoints(folder)
    return json.loads((kept[-1] / SCORES).read_text(encoding="utf-8")) if kept else None
