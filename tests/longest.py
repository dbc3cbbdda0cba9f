"""Which tests take the longest: `python tests/longest.py JUNIT.xml [SECONDS]` rewrites tests/long_tests.txt.

`make test` leaves out the tests listed there, `make test-long` runs them alone, and continuous integration runs both.
The list holds whole test functions, longest first, until all others take at most SECONDS of one core (REST) together.
JUNIT.xml is written by `make test-all ARGS="-m 'not slow' --junitxml=JUNIT.xml"`.
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).with_name("long_tests.txt")
REST = 850.0  # what two idle cores run in 10 minutes, with room for slower machines
HEADER = "# The longest tests (tests/longest.py): run by `make test-long` and in continuous integration.\n"


def listed() -> frozenset[str]:
    """path::function of each."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def seconds_of(junit: Path) -> dict[str, float]:
    """path::function -> seconds of all its cases together."""
    total: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(junit).iter("testcase"):
        module = case.attrib["classname"].replace(".", "/")
        total[f"{module}.py::{case.attrib['name'].partition('[')[0]}"] += float(case.attrib["time"])
    return dict(total)


def longest(seconds: dict[str, float], rest: float) -> list[str]:
    """The fewest test functions without which all others take at most `rest`, longest first."""
    left, chosen = sum(seconds.values()), []
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        if left <= rest:
            break
        chosen.append(name)
        left -= seconds[name]
    return chosen


if __name__ == "__main__":
    found = longest(seconds_of(Path(sys.argv[1])), float(sys.argv[2]) if len(sys.argv) > 2 else REST)
    LIST.write_text(HEADER + "".join(f"{name}\n" for name in found), encoding="utf-8")
    print(f"{LIST}: {len(found)} tests")
