"""An evaluation in words: for the console, for loggers, as a table."""

from typing import Any

from cips_lab.metrics.constants import FLOOR
from cips_lab.metrics.registry import higher_is_better, keys_of, network_of_key

Record = dict[str, Any]
# What an evaluation was computed with: numbers that differ in any of these must not be compared. `real_choice` is there
# where real pictures were spread over a larger set; without it they are all, or the first.
COMPARABLE = ("num_samples", "num_real", "real_choice", "extractor", "manifold_extractor", "weights")


def is_better(record: Record, key: str, best: Record | None) -> bool:
    """Whether an evaluation is the best so far; one of another number of samples or network cannot be compared."""
    if best is None or key not in best:
        return True
    if any(record.get(name) != best.get(name) for name in COMPARABLE):
        return False
    new, old = float(record[key]), float(best[key])
    return new > old if higher_is_better(key) else new < old


def curves(record: Record) -> dict[str, float]:
    """For loggers: ``<extractor>-<samples>/<metric>``, so that no curve mixes networks or numbers of samples."""
    values = {"kimg": record["kimg"]}
    for key in keys_of(record):
        network = network_of_key(record, key)
        values[f"{network}-{record['num_samples']}/{key}"] = record[key]
        if FLOOR + key in record:
            values[f"{network}-{record[FLOOR + 'num_samples']}/floor {key}"] = record[FLOOR + key]
    return values


def sentence(record: Record) -> str:
    """One line for the console."""
    values = ", ".join(f"{name} {record[name]:.4g}" for name in keys_of(record))
    networks = record["extractor"]
    if record["manifold_extractor"] != networks:
        networks += f", {record['manifold_extractor']}"
    counts = f"{record['num_samples']} samples against {record['num_real']} real"
    return f"{values} ({counts}, {networks})"


def table(records: list[Record]) -> str:
    """Evaluations as Markdown, one table for each number of samples and network; the floor is the last row."""
    parts = []
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record.get(name) for name in COMPARABLE), []).append(record)
    for group in groups.values():
        first, last = group[0], group[-1]
        names = keys_of({key: value for record in group for key, value in record.items()})
        rows = [["kimg", *names]]
        rows += [[f"{r['kimg']:g}", *(f"{r[name]:.4f}" if name in r else "" for name in names)] for r in group]
        caption = f"{first['num_samples']} samples against {first['num_real']} real pictures, {first['extractor']}"
        if first["manifold_extractor"] != first["extractor"]:
            others = [name for name in names if network_of_key(first, name) != first["extractor"]]
            caption += f" ({first['manifold_extractor']} for {listed(others)})" if others else ""
        if FLOOR + "num_samples" in last:
            rows.append(["floor", *(f"{last[FLOOR + n]:.4f}" if FLOOR + n in last else "" for n in names)])
            caption += f"; floor: {last[FLOOR + 'num_samples']} held-out real pictures instead of generated ones"
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
        parts.append(caption + ":\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
