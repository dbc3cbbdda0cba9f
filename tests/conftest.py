"""What tests of all folders share."""

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest

import home
from forked import Python
from longest import listed

home.move_in()

hypothesis.settings.register_profile("cips_lab", deadline=None)  # no test is timed: machines are busy
hypothesis.settings.load_profile("cips_lab")

# The suite finds the signals of a terminal, also where it was started in the background (`make test &`).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so POSIX shells start what they do not wait for
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Of the one server that forks processes which call a function (start_method="forkserver").
multiprocessing.set_forkserver_preload(["cips_lab.launch.run", "cips_lab.metrics.evaluator"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of tests/long_tests.txt are marked `long`."""
    names = listed()
    for item in items:
        if item.nodeid.partition("[")[0] in names:
            item.add_marker("long")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason to skip, which says what is missing."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(r.longrepr[2].removeprefix("Skipped: ") for r in reports if isinstance(r.longrepr, tuple))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"skipped {count} test(s): {reason}", yellow=True)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """Runs commands and scripts, each a process of its own, without waiting for its imports; see `forked`."""
    server = Python(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()
