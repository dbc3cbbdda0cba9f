"""What a source holds, and what lies there and is not taken: in the log at the start, and in the run's folder."""

import json
import logging
from pathlib import Path

from cips_lab.data.sources.base import ImageSource, files_left_out
from cips_lab.files.names import printable
from cips_lab.files.whole import replace_text

log = logging.getLogger(__name__)

INVENTORY = "pictures.json"


def tell_of(source: ImageSource, what: str = "pictures") -> None:
    """Say how many pictures there are, and how many files of which kinds are none."""
    others = files_left_out(source.left_out)
    log.info("%s: %s in %s%s", what, f"{len(source):,}", source.location, f"; {others}" if others else "")


def write_inventory(folder: Path, train: ImageSource, test: ImageSource | None) -> None:
    """The same as JSON in a run's folder: ``{"train": {"location": ..., "count": 9, "left_out": {".txt": 3}}}``."""
    sources = {"train": train} | ({} if test is None else {"test": test})
    content = {
        name: {
            "location": source.location,
            "count": len(source),
            "left_out": {printable(kind): count for kind, count in sorted(source.left_out.items())},
        }
        for name, source in sources.items()
    }
    replace_text(folder / INVENTORY, json.dumps(content, indent=2) + "\n")


def read_inventory(folder: Path) -> dict[str, str]:
    """What a run's report says of its pictures: ``{"pictures": "1,000; 3 files left out: 3 .txt"}``.

    Empty where the run recorded nothing, as runs of earlier versions, and those of built-in pictures.
    """
    try:
        content = json.loads((folder / INVENTORY).read_text(encoding="utf-8"))
        found = {}
        for key, what in (("train", "pictures"), ("test", "held-out pictures")):
            if key in content:
                others = files_left_out({str(k): int(n) for k, n in content[key]["left_out"].items()})
                found[what] = f"{int(content[key]['count']):,}" + (f"; {others}" if others else "")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # a page is made of what can be read
        return {}
