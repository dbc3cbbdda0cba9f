"""A metrics.csv that a continued run goes on in: Lightning's logger deletes the file that is there."""

import csv
from pathlib import Path

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class ContinuedCSVLogger(CSVLogger):
    """RUN/csv/metrics.csv.

    Args:
        run_folder: RUN.
        images_seen: where the run goes on; rows beyond it are dropped, for the run will make them again.
    """

    def __init__(self, run_folder: str, images_seen: int) -> None:
        super().__init__(save_dir=run_folder, name="csv", version="")
        self._images_seen = images_seen

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """Lightning's writer, which knows the rows that are there; only rank 0 has one."""
        if self._experiment is None:
            folder = Path(self.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuedWriter(folder, self._images_seen)
        return self._experiment  # type: ignore[return-value]


class _ContinuedWriter(ExperimentWriter):
    def __init__(self, folder: Path, images_seen: int) -> None:
        self._columns = drop_rows_after(folder / self.NAME_METRICS_FILE, images_seen)
        super().__init__(log_dir=str(folder))
        self.metrics_keys = self._columns

    def _check_log_dir_exists(self) -> None:
        """Lightning's deletes what is there."""


def drop_rows_after(path: Path, images_seen: int) -> list[str]:
    """Keep the rows of a metrics.csv up to a moment; one that was cut short by a crash goes too.

    Returns:
        The file's columns; none where there is no file.
    """
    if not path.exists():
        return []
    text = path.read_text()
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= images_seen]
    columns = list(reader.fieldnames or [])
    if not columns:  # killed before the first row
        path.unlink()
        return []
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
    return columns
