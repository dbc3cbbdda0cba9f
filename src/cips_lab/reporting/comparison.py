"""The table of `cips_lab.compare`: a row for each set of pictures, every metric with its standard error."""

from cips_lab.metrics.registry import keys_of
from cips_lab.metrics.results import Record
from cips_lab.reporting import formats
from cips_lab.reporting.formats import Cell
from cips_lab.reporting.table import Measure, marks_of

NOTE = (
    "Bold: the best value, and any that prints the same. †: not told apart from the best, for the difference is below "
    "two standard errors of that difference. (±): standard error over samples."
)


class Comparison:
    """Evaluations against the same real pictures, with the same networks.

    Args:
        records: as `evaluate` writes them; ``of`` is what each is called, and ``num_samples`` may differ.
    """

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.keys = [key for key in keys_of(records[0]) if all(key in record for record in records)]

    def _grid(self) -> tuple[list[str], list[list[Cell]]]:
        measures = {
            key: [Measure((float(record[key]),), record.get(f"{key}_se")) for record in self.records]
            for key in self.keys
        }
        marks = {key: marks_of(key, column) for key, column in measures.items()}
        rows = [
            [
                Cell(str(record["of"])),
                Cell(str(record["num_samples"])),
                *(Cell(formats.measure(measures[key][row]), marks[key][row]) for key in self.keys),
            ]
            for row, record in enumerate(self.records)
        ]
        return ["pictures", "samples", *map(formats.heading, self.keys)], rows

    def _notes(self) -> list[str]:
        first = self.records[0]
        networks = dict.fromkeys(str(first[name]) for name in ("extractor", "manifold_extractor"))
        size = first["resolution"]
        shown = f"{size} x {size}" if isinstance(size, int) else str(size)
        notes = [
            f"Against {first['num_real']} real pictures, {first['data']}, at {shown}; {' and '.join(networks)}.",
            NOTE,
        ]
        if len({record["num_samples"] for record in self.records}) > 1:
            notes.append(
                "The numbers of samples differ: Fréchet distances of fewer are larger for it, and must not be "
                "compared; metrics.num_samples takes as many of each."
            )
        return notes

    def console(self) -> str:
        """Aligned text."""
        notes = [note.replace("Bold:", "*:") for note in self._notes()]
        return "\n".join([*formats.aligned(*self._grid()), "", *notes])

    def markdown(self) -> str:
        """A GitHub table and what must be known of it."""
        return formats.bars(*self._grid()) + "\n\n" + "\n\n".join(self._notes()) + "\n"
