"""Whether a folder's run is the one that is asked for."""

from pathlib import Path
from typing import Any

from cips_lab.errors import UserError
from cips_lab.files.secrets import redact_settings
from cips_lab.files.untrusted import read_settings
from cips_lab.runs.folder import CONFIG

# What a run is: changing any of these under the same name would make another run of it.
IDENTITY = (
    "generator",
    "discriminator",
    "objective",
    "data",
    "resolution",
    "batch_size",
    "micro_batch",
    "seed",
    "init",
)
INCIDENTAL = ("data.name", "data.num_workers", "data.hint", "data.cache", "data.test_path", "data.unreadable")


def refuse_another_run(folder: Path, settings: dict[str, Any], continuing: bool) -> None:
    """A folder with checkpoints is continued only by the configuration that made it."""
    path = folder / CONFIG
    if not continuing or not path.exists():
        return
    before = flatten(redact_settings(read_settings(path)))
    now = flatten(settings)
    changed = [
        f"  {key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} asked for"
        for key in sorted(before.keys() | now.keys())
        if key.split(".")[0] in IDENTITY and key not in INCIDENTAL and before.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{folder} holds a run with another configuration; choose another name, or go back to its own:\n"
            + "\n".join(changed)
        )


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings to ``{"data.path": value}``."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        key: value
        for name, nested in settings.items()
        for key, value in flatten(nested, f"{prefix}.{name}" if prefix else str(name)).items()
    }
