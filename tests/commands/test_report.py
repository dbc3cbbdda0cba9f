"""`python -m cips_lab.report`, and the page that training writes by itself."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sweeps import make_sweep

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_training_writes_it_and_the_command_writes_it_again(run: Run, tmp_path: Path) -> None:
    result = run("train", "experiment=debug", "trainer=cpu", "name=first")
    assert result.returncode == 0, result.stderr
    page = tmp_path / "runs" / "first" / "report.html"
    by_training = page.read_text()
    assert 'class="pill finished"' in by_training
    assert len(re.findall("<img ", by_training)) == 3  # two moments, and real pictures
    assert json.loads((page.parent / "metrics.jsonl").read_text().splitlines()[-1])["kimg"] == 0.08
    assert "<b>0.08</b> of 0.08 kimg" in by_training
    page.unlink()
    again = run("report", "run=runs/first", "costs=false")
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == "runs/first/report.html"
    assert page.read_text() == by_training
    counted = run("report", "run=runs/first", "output=pages/first.html")
    assert counted.returncode == 0, counted.stderr
    assert "FLOP a kimg" in (tmp_path / "pages" / "first.html").read_text()


def test_a_sweep_and_mistakes(run: Run, tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep")
    result = run("report", "run=sweep", "costs=false", "metrics.names=[fd]", "at=2")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "sweep" / "report.html").read_text()
    assert "4 finished" in text
    assert "210.0" in text
    (tmp_path / "empty").mkdir()
    for options, message in (
        ([], "give run=FOLDER"),
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["run=empty"], "no job is here"),
        (["run=sweep", "output=page.txt"], "expected the name of an .html file"),
    ):
        refused = run("report", *options)
        assert refused.returncode == 2, refused.stdout
        assert refused.stderr.startswith("error: ")
        assert message in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_of_a_multirun_write_their_sweeps_page(run: Run, tmp_path: Path) -> None:
    options = ("experiment=debug", "trainer=cpu", "name=all", "generator=cips,cips_ne")
    result = run("train", "--multirun", *options)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "runs" / "all" / "report.html").read_text()
    assert "2 finished" in text
    assert 'href="1/report.html"' in text
    assert (tmp_path / "runs" / "all" / "0" / "report.html").exists()


def test_help_teaches(run: Run) -> None:
    result = run("report", "--help")
    assert result.returncode == 0
    assert "python -m cips_lab.report run=runs/quickstart" in result.stdout
