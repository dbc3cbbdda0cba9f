"""Commands where the locale knows ASCII or Latin letters alone (cron, ssh): files are UTF-8, and read as such again."""

from pathlib import Path

import pytest
from places import SMALL, as_user

EVALUATED = (
    *("schedule.evaluate_kimg=0.016", "schedule.evaluate_samples=20", "metrics.num_samples=30"),
    *("metrics.kid_subset_size=15", "metrics.num_real=60"),
)

LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
    "Latin": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "iso-8859-1"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_a_run_is_continued_tabulated_and_reported(tmp_path: Path, locale: str) -> None:
    environment = LOCALES[locale]
    commands = [
        ("train", *SMALL, *EVALUATED, "name=Prüfung"),
        ("train", *SMALL, *EVALUATED, "name=Prüfung", "schedule.total_kimg=0.032"),
        ("tabulate", "sweep=runs", "output=table", "plots=false"),
        ("report", "run=runs", "output=page.html"),
    ]
    for command in commands:
        done = as_user(tmp_path, *command, environment=environment)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if "schedule.total_kimg=0.032" in command:
            assert "continuing from" in done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"name: {folder.name}" in (folder / "config.yaml").read_text(encoding="utf-8")
    for name in ("table/table.md", "table/table.json", "page.html"):
        assert (tmp_path / name).read_text(encoding="utf-8")
