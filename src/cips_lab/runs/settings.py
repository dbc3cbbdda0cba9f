"""A run's config.yaml, the one way to read it; nothing heavy is imported."""

from pathlib import Path
from typing import Any

import yaml

from cips_lab.errors import UserError

# A resolved configuration holds nothing that only OmegaConf can read, and libyaml is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 2**20  # bytes
DEEPEST = 50  # levels

Flat = dict[str, Any]


def read_settings(path: str | Path) -> dict[str, Any]:
    """The options of a config.yaml. Nothing in it is resolved: an interpolation stays the text that it is.

    Raises:
        UserError: it cannot be read, or holds aliases, which can make gigabytes of a few lines.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST} bytes")
        text = path.read_text(encoding="utf-8")
        check(text)
        settings = yaml.load(text, Loader=LOADER)
        if not isinstance(settings, dict):
            raise ValueError("no mapping of options")
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not the configuration of a run: it cannot be read ({reason})") from None
    return {str(name): value for name, value in settings.items()}


def check(text: str) -> None:
    """Raise `ValueError` for YAML that is larger, or deeper, than it looks; without building what it describes."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds an alias (*name)")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deep")


def flatten(settings: Any, prefix: str = "") -> Flat:
    """Nested settings to ``{"data.path": value}``; an empty group is a value."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings} if prefix else {}
    return {
        key: value
        for name, nested in settings.items()
        for key, value in flatten(nested, f"{prefix}.{name}" if prefix else str(name)).items()
    }
