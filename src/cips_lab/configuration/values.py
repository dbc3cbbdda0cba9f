"""How a wrong value is told: the option, the value as it is typed, what it must be, and what to type instead."""

import shlex
from typing import Any

from cips_lab.configuration.kinds import Kind, is_number
from cips_lab.configuration.quoting import quoted


def mistake(option: str, value: Any, kind: Kind) -> list[str]:
    """One line if the value is not of its kind, else none."""
    if kind.holds(value):
        return []
    return [f"{option}={shown(value)}: must be {kind.words}{remedy(option, value, kind)}"]


def shown(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{shown(entry)}' for key, entry in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def remedy(option: str, value: Any, kind: Kind) -> str:
    """What to type instead, where that can be known."""
    if is_number(value) and isinstance(value, float) and value.is_integer() and kind.holds(int(value)):
        return f"; type {option}={int(value)}"
    if kind.text and value is not None and kind.holds(shown(value)):
        return f"; if these characters are meant, type {shlex.quote(f'{option}={quoted(shown(value))}')}"
    return ""
