"""An offline run as W&B itself reads it: `wandb leet inspect` on the transaction log."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class OfflineRun:
    """The records of one offline-run-* folder."""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        self.folder = folder
        self.records: list[Record] = [json.loads(line) for line in text.splitlines()]

    def of(self, kind: str) -> list[Record]:
        """The contents of all records of a kind, in their order."""
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def run(self) -> Record:
        """Name, group, tags, ..."""
        return self.of("run")[0]

    @property
    def config(self) -> Record:
        """What the run was started with."""
        return self.run["config"]["update"]

    @property
    def history(self) -> list[Record]:
        """Rows of curves and pictures."""
        return [record["item"] for record in self.of("history")]

    @property
    def summary(self) -> Record:
        """What remains of all updates."""
        found: Record = {}
        for record in self.of("summary"):
            found |= record["update"]
        return found

    @property
    def metrics(self) -> dict[str, Record]:
        """How each curve is drawn, by its name or pattern."""
        return {record.get("name") or record["glob_name"]: record for record in self.of("metric")}

    @property
    def exit_code(self) -> int:
        """0, or what W&B shows as failed."""
        (record,) = self.of("exit")
        return int(record.get("exit_code", 0))


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Those in a folder's wandb/, oldest first."""
    return [OfflineRun(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]
