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


@pytest.mark.slow
def test_a_run_is_continued_tabulated_and_reported(tmp_path: Path) -> None:
    name = "name=Prüfung"
    done = [
        as_user(tmp_path, *command, environment=LOCALES[locale])
        for locale, *command in (
            ("C", "train", *SMALL, *EVALUATED, name),
            ("Latin", "train", *SMALL, *EVALUATED, name, "schedule.total_kimg=0.032"),
            ("C", "tabulate", "sweep=runs", "output=table", "plots=false"),
            ("Latin", "report", "run=runs", "output=page.html"),
        )
    ]
    for one in done:
        assert one.returncode == 0, (one.args, one.stdout, one.stderr)
    assert "continuing from" in done[1].stdout + done[1].stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"name: {folder.name}" in (folder / "config.yaml").read_text(encoding="utf-8")
    for file in ("table/table.md", "table/table.json", "page.html"):
        assert (tmp_path / file).read_text(encoding="utf-8")
    assert folder.name in (tmp_path / "page.html").read_text(encoding="utf-8")
