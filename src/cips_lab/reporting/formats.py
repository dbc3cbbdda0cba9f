"""A table as text: for the console, Markdown, LaTeX, CSV."""

import csv
import io
from dataclasses import dataclass

from cips_lab.metrics.registry import higher_is_better
from cips_lab.planning.units import flops, parameters
from cips_lab.reporting.table import TREATMENT, Mark, Measure, Row, Table, number, with_spread

FLOOR_LABEL = "floor: real, held out"
HAS = {True: "+", False: "\N{MINUS SIGN}", None: ""}
SHORT = {
    "coordinate embedding": "emb.",
    "Fourier features": "Fourier",
    "residual": "resid.",
    "sine": "sine",
    "skip output": "skip",
    "modulation": "modul.",
    "narrow late layers": "narrow",
}


@dataclass(frozen=True)
class Cell:
    """What stands in a table: text, and whether it is marked."""

    text: str
    mark: Mark = ""


def heading(metric: str) -> str:
    """A metric's name with the direction that is better."""
    return f"{metric} {'↑' if higher_is_better(metric) else '↓'}"


def grid(table: Table, short: bool = False) -> tuple[list[str], list[list[Cell]]]:
    """Headings and rows, the floor last; `short` names components briefly."""
    head = ["variant", "seeds", *(SHORT.get(n, n) if short else n for n in table.components)]
    head += ["kimg"] * table.shows_kimg + [heading(n) for n in table.metrics]
    extra = [name for name, shows in _extra(table).items() if shows]
    head += extra
    rows = [_cells(table, row) for row in table.rows]
    if table.floor:
        blank = len(table.components) + 1 + table.shows_kimg
        cells = [Cell(number(table.floor[n]) if n in table.floor else "") for n in table.metrics]
        rows.append([Cell(FLOOR_LABEL), *[Cell("")] * blank, *cells, *[Cell("")] * len(extra)])
    return head, rows


def _cells(table: Table, row: Row) -> list[Cell]:
    cells = [Cell(row.variant.label), Cell(str(len(row.variant.jobs)))]
    cells += [Cell(HAS[row.variant.components[name]]) for name in table.components]
    if table.shows_kimg:
        cells.append(Cell(measure(row.kimg, "{:g}")))
    cells += [Cell(measure(row.metrics[name]), row.marks[name]) for name in table.metrics]
    costs = row.costs
    extra = {
        "params": "" if costs is None else parameters(costs.generator_parameters),
        "FLOPs/image": "" if costs is None else flops(costs.synthesis_flops),
        "s/kimg": "" if row.seconds_per_kimg is None else measure(row.seconds_per_kimg),
        "peak GB": "" if row.peak_memory_gb is None else f"{row.peak_memory_gb.mean:.3g}",
    }
    return cells + [Cell(extra[name]) for name, shows in _extra(table).items() if shows]


def _extra(table: Table) -> dict[str, bool]:
    """The columns beside the metrics -> whether any row knows them."""
    counted = any(row.costs is not None for row in table.rows)
    return {
        "params": counted,
        "FLOPs/image": counted,
        "s/kimg": any(row.seconds_per_kimg is not None for row in table.rows),
        "peak GB": any(row.peak_memory_gb is not None for row in table.rows),
    }


def measure(value: Measure, form: str | None = None) -> str:
    """``12.34 ± 0.56``; of one seed ``12.34 (± 0.56)`` where its error is known, else the value alone."""
    if form is not None:
        return form.format(value.mean)
    if value.std is None and value.se is not None:
        own, _, error = with_spread(value.mean, value.se).partition(" ± ")
        return f"{own} (± {error})"
    return with_spread(value.mean, value.std)


def conditions(table: Table) -> str:
    """What all numbers were computed with, in one line."""
    c = table.conditions
    networks = str(c["extractor"])
    if c.get("manifold_extractor") not in (None, c["extractor"]):
        networks += f" and {c['manifold_extractor']}"
    at = {"last": "the last evaluation", "best": "the best evaluation"}.get(str(c["at"]), f"{c['at']} kimg")
    size = f"{c['resolution']} x {c['resolution']}" if isinstance(c["resolution"], int) else str(c["resolution"])
    weights = f" (weights {c['weights']})" if c.get("weights") else ""
    spread = ", spread over the set," if c.get("real_choice") else ""
    return (
        f"{c['num_samples']} generated against {c['num_real']} real pictures{spread} at {size}, "
        f"{networks}{weights}; {at} of every run."
    )


def remarks(table: Table) -> list[str]:
    """The lines below a table."""
    explained = {
        "FLOPs/image": "the generator's forward pass on one image, a multiply-add counted as two.",
        "s/kimg": "the median of a run, training alone.",
        "peak GB": "of one process, 10^9 bytes.",
    }
    shows = _extra(table)
    return [
        conditions(table),
        TREATMENT,
        " ".join(f"{name}: {meaning}" for name, meaning in explained.items() if shows[name]),
        *table.notes,
        *(f"Left out: job {name} ({why})." for name, why in table.left_out.items()),
    ]


def aligned(head: list[str], rows: list[list[Cell]]) -> list[str]:
    """Lines of text; the best of a column has an asterisk, what is tied with it a dagger."""
    sign = {"best": "*", "tied": "†", "": ""}
    texts = [head, *([cell.text + sign[cell.mark] for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(head))]
    lines = []
    for line in texts:
        cells = [
            line[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def console(table: Table) -> str:
    """Aligned text and its remarks."""
    notes = [note.replace("Bold:", "*:") for note in remarks(table)]
    return "\n".join([*aligned(*grid(table, short=True)), "", *notes])


def bars(head: list[str], rows: list[list[Cell]]) -> str:
    """A GitHub table."""
    align = ["---", *["---:"] * (len(head) - 1)]

    def cell(c: Cell) -> str:
        text = c.text.replace("|", "\\|")
        return {"best": f"**{text}**", "tied": f"{text} †", "": text}[c.mark]

    lines = [head, align, *([cell(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(table: Table) -> str:
    """A GitHub table and its remarks."""
    return bars(*grid(table)) + "\n\n" + "\n\n".join(remarks(table)) + "\n"


def latex(table: Table) -> str:
    """A booktabs table; `\\usepackage{booktabs}`."""
    head, rows = grid(table, short=True)

    def cell(c: Cell) -> str:
        text = escape(c.text)
        return {"best": rf"\textbf{{{text}}}", "tied": rf"{text}$^\dagger$", "": text}[c.mark]

    body = [" & ".join(cell(c) for c in row) + r" \\" for row in rows]
    if table.floor:
        body.insert(len(body) - 1, r"\midrule")
    notes = [f"% {line}" for line in remarks(table)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *notes,
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(escape(name) for name in head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "+": "$+$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"$^\dagger$",
}


def escape(text: str) -> str:
    """Text that LaTeX sets as it reads."""
    return "".join(LATEX.get(character, character) for character in text)


def comma_separated(table: Table) -> str:
    """A line for every variant with plain numbers; means, deviations and errors of one seed in columns of their own."""
    head = ["variant", "seeds", "n", "kimg", *table.components]
    for name in table.metrics:
        head += [name, f"{name}_std", f"{name}_se", f"{name}_mark"]
    head += ["parameters", "flops_per_image", "training_flops_per_image", "sec_per_kimg", "peak_memory_gb", "jobs"]
    file = io.StringIO()
    writer = csv.DictWriter(file, head, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        jobs = row.variant.jobs
        line: dict[str, object] = {
            "variant": row.variant.label,
            "seeds": " ".join(str(job.seed) for job in jobs),
            "n": len(jobs),
            "kimg": row.kimg.mean,
            "jobs": " ".join(job.name for job in jobs),
        }
        line |= {name: {True: 1, False: 0, None: ""}[row.variant.components[name]] for name in table.components}
        for name, value in row.metrics.items():
            line |= {name: value.mean, f"{name}_std": value.std, f"{name}_se": value.se}
            line[f"{name}_mark"] = row.marks[name]
        if row.costs is not None:
            line["parameters"] = row.costs.generator_parameters
            line["flops_per_image"] = row.costs.synthesis_flops
            line["training_flops_per_image"] = row.costs.training_flops
        line["sec_per_kimg"] = None if row.seconds_per_kimg is None else row.seconds_per_kimg.mean
        line["peak_memory_gb"] = None if row.peak_memory_gb is None else row.peak_memory_gb.mean
        writer.writerow(line)
    if table.floor:
        writer.writerow({"variant": FLOOR_LABEL, **table.floor})
    return file.getvalue()
