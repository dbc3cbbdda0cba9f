"""From a source to a set: the command's work, which goes on where an earlier command was ended."""

import csv
import hashlib
import io
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cips_lab.data.labels import Classes
from cips_lab.data.sources import ImageSource
from cips_lab.errors import UserError
from cips_lab.files.names import escape, printable
from cips_lab.files.whole import replace_text
from cips_lab.preparing.crew import make_all
from cips_lab.preparing.journal import Done, Journal, chunks
from cips_lab.preparing.outputs import OUTPUTS, Entry, Output, check_free
from cips_lab.preparing.recipe import Recipe

log = logging.getLogger(__name__)

CHUNK = 16  # pictures: what a kill can cost each process, and what goes from one to the first at once
MANIFEST, REJECTED = "manifest.json", "rejected.csv"
VERSION = 1  # of what is made of the same pictures by the same recipe


@dataclass(frozen=True)
class Preparation:
    """One set to be made.

    Attributes:
        source: the pictures.
        place: the set's file or folder.
        kind: of set, of `OUTPUTS`.
        recipe: what is made of each picture.
        workers: processes; the result does not depend on them.
        shard_size: pictures a shard.
        labels: whether classes are kept.
    """

    source: ImageSource
    place: Path
    kind: str
    recipe: Recipe
    workers: int
    shard_size: int = 1000
    labels: bool = True

    @property
    def partial(self) -> Path:
        """The folder of what is not whole yet, beside the set; hidden, so that no source reads it as pictures."""
        return self.place.with_name(f".{self.place.name}.partial")

    def run(self) -> "Summary":
        """Make the set, or what is missing of it.

        Raises:
            UserError: it cannot be made: something lies there already, or no picture of the source can be used.
        """
        classes = self.source.classes() if self.labels else None
        if not (self.partial / "work.json").exists():
            check_free(self.place, self.kind)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        work = self._work()
        journal = Journal(self.partial, work)
        output = OUTPUTS[self.kind](self.place, self.partial, self.shard_size)
        if journal.done.published is None:
            self._fill(output, journal, classes)
            done = journal.done
            if not done.entries:
                first = done.rejected[0]
                raise UserError(
                    f"source={self.source.location}: not one of its {done.looked_at:,} pictures can be used; the "
                    f"first, {printable(first.name)}: {first.reason}"
                )
            journal.note_whole(output.close(done.entries, dataset_json(done.entries)))
        names = journal.done.published
        assert names is not None
        summary = self._summary(journal.done, classes, work["pictures"])
        for path, text in ((summary.rejected_list, rejected_csv(journal.done)), (summary.manifest, summary.text)):
            replace_text(path, text)
        summary.written.extend(output.publish(names))
        journal.remove()
        return summary

    def _work(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "source": self.source.location,
            "pictures": self.source.fingerprint(),
            "recipe": self.recipe.as_dict(),
            "output": str(self.place),
            "kind": self.kind,
            "shard_size": self.shard_size,
            "labels": self.labels,
        }

    def _fill(self, output: Output, journal: Journal, classes: Classes | None) -> None:
        count, begun = len(self.source), journal.done.looked_at
        output.go_to(journal.done.position, len(journal.done.entries))
        if begun:
            log.info("going on after %s of %s pictures", f"{begun:,}", f"{count:,}")
        work = make_all(self.source, self.recipe, chunks(begun, count, CHUNK), self.workers)
        # disable=None: no bar in a log file.
        with tqdm(total=count, initial=begun, desc="preparing", unit=" pictures", disable=None) as bar:
            for indices, chunk in work:
                entries = [
                    output.add(name, content, None if classes is None else int(classes.of[number]))
                    for number, name, content in chunk.pictures
                ]
                journal.note(indices[-1] + 1, entries, chunk.rejected, output.sync())
                bar.update(len(indices))
                if chunk.rejected:
                    bar.set_postfix(rejected=len(journal.done.rejected))

    def _summary(self, done: Done, classes: Classes | None, pictures: str) -> "Summary":
        kinds = Counter(rejected.kind for rejected in done.rejected)
        manifest, listing = beside(self.place)
        numbers = {
            "output": self.place.name,
            "kind": self.kind,
            "pictures": len(done.entries),
            "looked_at": done.looked_at,
            "unreadable": kinds["unreadable"],
            "left_out": kinds["left out"],
            "content": content_hash(done.entries),
            "source": {"location": self.source.location, "pictures": pictures},
            "recipe": self.recipe.as_dict(),
            "classes": None if classes is None else list(map(printable, classes.names)),
            "rejected": listing.name,
        }
        return Summary(numbers, manifest, listing, [])


@dataclass(frozen=True)
class Summary:
    """What was made."""

    numbers: dict[str, Any]
    manifest: Path
    rejected_list: Path
    written: list[Path]

    @property
    def unreadable(self) -> int:
        """Pictures that are damaged, and not in the set."""
        return int(self.numbers["unreadable"])

    @property
    def text(self) -> str:
        """The manifest."""
        return json.dumps(self.numbers, indent=2) + "\n"

    def __str__(self) -> str:
        counts = self.numbers
        lines = [f"{counts['pictures']:,} pictures of {counts['looked_at']:,} prepared: {self.written[0]}"]
        if len(self.written) > 1:
            lines[0] += f" to {self.written[-1].name}"
        for key, words in (("unreadable", "cannot be read"), ("left_out", "left out by the recipe")):
            if counts[key]:
                lines.append(f"{counts[key]:,} {words}: {self.rejected_list}")
        return "\n".join([*lines, f"manifest: {self.manifest}"])


def dataset_json(entries: list[Entry]) -> bytes:
    """StyleGAN's list of classes: ``{"labels": [["00000/img00000000.png", 3], ...]}``, or null for none."""
    labels = None if any(entry.label is None for entry in entries) else [[entry.name, entry.label] for entry in entries]
    return json.dumps({"labels": labels}).encode()


def content_hash(entries: list[Entry]) -> str:
    """Hexadecimal digits of names, sizes and checksums: what `ZipSource.fingerprint` says of the set as a zip.

    Metrics keep their features of real pictures under it.
    """
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.name):
        digest.update(f"{entry.name}\0{entry.size}\0{entry.checksum}\0".encode())
    return digest.hexdigest()


def rejected_csv(done: Done) -> str:
    """The pictures that are not in a set: file, kind, reason; a header alone where there are none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "kind", "reason"))
    writer.writerows((escape(name), kind, " ".join(reason.split())) for name, kind, reason in done.rejected)
    return text.getvalue()


def beside(place: Path) -> tuple[Path, Path]:
    """The manifest and the list of rejected pictures of a set: named after it where another set's lie there."""
    manifest, listing = place.with_name(MANIFEST), place.with_name(REJECTED)
    try:
        whose = json.loads(manifest.read_text(encoding="utf-8"))["output"]
    except FileNotFoundError:
        whose = place.name if not listing.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        whose = None
    if whose == place.name:
        return manifest, listing
    return place.with_name(f"{place.name}.{MANIFEST}"), place.with_name(f"{place.name}.{REJECTED}")
