"""What is done of a set and what is not, so that the same command goes on after any end, SIGKILL's too."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cips_lab.errors import UserError
from cips_lab.files.whole import remove_folder, replace_text
from cips_lab.preparing.outputs import Entry, Position

WORK = "work.json"
JOURNAL = "journal.jsonl"


START = Position(0, 0)


class Rejected(NamedTuple):
    """A picture of the source that is not in the set."""

    name: str
    kind: str  # unreadable | left out, by the recipe
    reason: str


@dataclass
class Done:
    """What a journal says.

    Attributes:
        entries: the set's pictures, in their order.
        rejected: the source's pictures that are not in it.
        looked_at: pictures of the source, good and bad.
        position: where the set ends so far.
        published: the names of a set that is whole; None: it is not.
    """

    entries: list[Entry] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    looked_at: int = 0
    position: Position = START
    published: list[str] | None = None


class Journal:
    """The record of a set's making, a line a chunk of the source's pictures.

    Args:
        folder: where the set's parts are; made if need be.
        work: all that the result depends on. What an earlier command left there goes on only if its own was the same.

    Raises:
        UserError: it was not, or the folder holds something else.
    """

    def __init__(self, folder: Path, work: dict[str, Any]) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        if (folder / WORK).is_file():
            self._compare(work)
        elif folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder}: not made by this command; delete it, or choose another output")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            replace_text(folder / WORK, json.dumps(work, indent=2) + "\n")
        self.done = Done()
        self._read()

    def _compare(self, work: dict[str, Any]) -> None:
        before = json.loads((self.folder / WORK).read_text(encoding="utf-8"))
        for name, value in json.loads(json.dumps(work)).items():
            if before.get(name) != value:
                raise UserError(
                    f"{self.folder} holds the beginning of another set ({name}: {before.get(name)} there, {value} "
                    "asked for); give the same command to go on with it, or delete that folder"
                )

    def _read(self) -> None:
        """Whole lines; a last one that was being written when the process ended is cut off."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        done = self.done
        if "published" in line:
            done.published = line["published"]
            return
        done.entries += [Entry(*entry) for entry in line["entries"]]
        done.rejected += [Rejected(*rejected) for rejected in line["rejected"]]
        done.looked_at, done.position = line["looked_at"], Position(*line["position"])

    def note(self, looked_at: int, entries: list[Entry], rejected: list[Rejected], position: Position) -> None:
        """Write down a chunk, whose pictures are in the set already."""
        self._append({"looked_at": looked_at, "position": position, "entries": entries, "rejected": rejected})

    def note_whole(self, names: list[str]) -> None:
        """Write down that the set is whole and has only to be given its name."""
        self._append({"published": names})

    def _append(self, line: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
        self._take(line)

    def remove(self) -> None:
        """Delete the folder: the set is where it belongs."""
        remove_folder(self.folder)


def chunks(first: int, count: int, size: int) -> Iterator[range]:
    """The numbers from `first` to `count`, `size` at a time."""
    for start in range(first, count, size):
        yield range(start, min(start + size, count))
