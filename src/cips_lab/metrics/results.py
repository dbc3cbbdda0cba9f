"""An evaluation in words: for the console, for loggers, as a table."""

from typing import Any

from cips_lab.metrics.constants import FLOOR, HIGHER_IS_BETTER
from cips_lab.metrics.evaluator import Results


def is_better(record: Results, key: str, best: dict[str, Any] | None) -> bool:
    """Whether an evaluation is the best so far; one of another number of samples or network cannot be compared."""
    if best is None or key not in best:
        return True
    comparable = ("num_samples", "num_real", "extractor", "manifold_extractor", "weights")
    if any(record[name] != best[name] for name in comparable):
        return False
    new, old = float(record[key]), float(best[key])
    return new > old if key in HIGHER_IS_BETTER else new < old


def shown(record: dict[str, Any]) -> list[str]:
    """The names of a record's metrics, in their order, without errors and counts."""
    distances = [name for name in record if name == "fid" or name.startswith("fd_")]
    return [*distances, *(n for n in ("kid", "isc", "precision", "recall", "density", "coverage") if n in record)]


def network_of(record: dict[str, Any], name: str) -> str:
    """The extractor that a metric was computed with."""
    of_manifolds = name in ("precision", "recall", "density", "coverage")
    return str(record["manifold_extractor" if of_manifolds else "extractor"])


def curves(record: dict[str, Any]) -> dict[str, float]:
    """For loggers: ``<extractor>-<samples>/<metric>``, so that no curve mixes networks or numbers of samples."""
    values = {"kimg": record["kimg"]}
    for name in shown(record):
        for prefix in ("", FLOOR):
            count = record.get(f"{prefix}num_samples")
            if prefix + name in record:
                values[f"{network_of(record, name)}-{count}/{prefix.replace('/', ' ')}{name}"] = record[prefix + name]
    return values


def sentence(record: dict[str, Any]) -> str:
    """One line for the console."""
    values = ", ".join(f"{name} {record[name]:.4g}" for name in shown(record))
    networks = record["extractor"]
    if record["manifold_extractor"] != networks:
        networks += f", {record['manifold_extractor']}"
    counts = f"{record['num_samples']} samples against {record['num_real']} real"
    return f"{values} ({counts}, {networks})"


def table(records: list[dict[str, Any]]) -> str:
    """Evaluations as Markdown, one table for each number of samples and network; the floor is the last row."""
    parts = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = ("num_samples", "num_real", "extractor", "manifold_extractor", "weights")
        groups.setdefault(tuple(record[name] for name in key), []).append(record)
    for group in groups.values():
        first, last = group[0], group[-1]
        names = shown(first)
        rows = [["kimg", *names]]
        rows += [[f"{r['kimg']:g}", *(f"{r[name]:.4f}" for name in names)] for r in group]
        caption = f"{first['num_samples']} samples against {first['num_real']} real pictures, {first['extractor']}"
        if first["manifold_extractor"] != first["extractor"]:
            caption += f" ({first['manifold_extractor']} for precision, recall, density and coverage)"
        if FLOOR + "num_samples" in last:
            rows.append(["floor", *(f"{last[FLOOR + n]:.4f}" if FLOOR + n in last else "" for n in names)])
            caption += f"; floor: {last[FLOOR + 'num_samples']} held-out real pictures instead of generated ones"
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
        parts.append(caption + ":\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)
