"""Commands under a user for whom permissions hold, also where the suite is run by root, for whom they do not."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OVERRIDING = "-dac_override,-dac_read_search"  # capabilities of root
AS_A_USER = ["setpriv", f"--bounding-set={OVERRIDING}", f"--inh-caps={OVERRIDING}"] if os.getuid() == 0 else []
SMALL = ["experiment=debug", "trainer=cpu", "schedule.total_kimg=0.016", "data.num_workers=0"]


def as_user(
    folder: Path, command: str, *overrides: str, environment: Mapping[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; a variable of its environment that is None is not there."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {})
    return subprocess.run(
        [*AS_A_USER, sys.executable, "-m", f"cips_lab.{command}", *overrides],
        cwd=folder,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",  # of a locale that the test chose
        timeout=280,
    )
