"""report.html while a run goes on: when it is written, what it says, and that no mistake in it stops a run."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from sweeps import composed, make_run
from tiny import build_gan, fit

from cips_lab.callbacks import report as module
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.callbacks.report import Report, sweep_of
from cips_lab.callbacks.samples import SampleGrids

ITERATIONS = 8


def train(folder: Path, *callbacks: pl.Callback, configured: bool = True) -> None:
    """Eight iterations, 0.064 kimg, in a run folder with a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    if configured:
        (folder / "config.yaml").write_text(
            json.dumps(composed("schedule.total_kimg=0.064", "schedule.evaluate_kimg=1"))
        )
    fit(build_gan(), folder, ITERATIONS, *callbacks)


class Watch(pl.Callback):
    """The states that the page said, iteration by iteration."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.seen.append(said(Path(trainer.default_root_dir)))


def said(folder: Path) -> str | None:
    path = folder / "report.html"
    if not path.exists():
        return None
    found = re.search(r'class="pill (\w+)"', path.read_text())
    assert found is not None
    return found[1]


def test_it_is_written_on_the_way_and_at_the_end(tmp_path: Path) -> None:
    watch = Watch()
    train(
        tmp_path, MetricsLog(every_kimg=0.016), Report(sample_kimg=0.032, evaluate_kimg=None, total_kimg=0.064), watch
    )
    assert watch.seen == [None, None, None, *["running"] * 5]
    assert said(tmp_path) == "finished"
    text = (tmp_path / "report.html").read_text()
    assert "<b>0.064</b> of 0.064 kimg" in text  # with what the other callbacks wrote in the same iteration
    assert '"title": "Losses"' in text


def test_each_page_links_to_an_explorer_that_is_there(tmp_path: Path) -> None:
    linked: list[bool] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            page = tmp_path / "report.html"
            linked.append(page.exists() and 'href="explorer.html"' in page.read_text())
            if len(linked) == 5:  # after the first page
                (tmp_path / "explorer.html").touch()

    train(tmp_path, Report(sample_kimg=0.016, evaluate_kimg=None, total_kimg=0.064), Look())
    assert linked == [False] * 5 + [True] * 3
    assert 'href="explorer.html"' in (tmp_path / "report.html").read_text()
    assert said(tmp_path) == "finished"


def test_evaluations_count_only_where_the_run_has_any() -> None:
    assert Report(sample_kimg=None, evaluate_kimg=12, total_kimg=48).evaluate_kimg == 12
    assert Report(sample_kimg=None, evaluate_kimg=12, total_kimg=4).evaluate_kimg is None


def test_a_run_that_ends_before_its_end_is_unfinished(tmp_path: Path) -> None:
    train(tmp_path, Report(sample_kimg=None, evaluate_kimg=None, total_kimg=1))
    assert said(tmp_path) == "unfinished"


@pytest.mark.parametrize(("error", "state"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_fails_says_so(tmp_path: Path, error: type[BaseException], state: str) -> None:
    class Failing(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            raise error

    with pytest.raises((ValueError, KeyboardInterrupt, SystemExit)):
        train(tmp_path, Failing(), Report(sample_kimg=None, evaluate_kimg=None, total_kimg=1))
    assert said(tmp_path) == state


def test_a_mistake_in_it_is_logged_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("a mistake in the report")

    monkeypatch.setattr(module, "write_run_page", broken)
    watch = Watch()
    with caplog.at_level(logging.ERROR):
        train(tmp_path, Report(sample_kimg=0.032, evaluate_kimg=None, total_kimg=0.064), watch)
    assert len(watch.seen) == 8  # it went to its end
    records = [record for record in caplog.records if record.exc_info]
    assert len(records) == 2  # on the way, and at the end
    assert "could not be written; training goes on" in records[0].getMessage()
    assert "ZeroDivisionError: a mistake in the report" in caplog.text  # with its traceback


def test_a_broken_picture_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "kimg-00000.008.png").write_bytes(b"cut short")
    train(tmp_path, SampleGrids(every_kimg=1, rows=1, columns=1), Report(0.064, None, 0.064))
    assert "UnidentifiedImageError" in caplog.text
    assert not (tmp_path / "report.html").exists()


def test_its_time_is_not_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped: list[float] = []
    monkeypatch.setattr(MetricsLog, "skip", lambda self, seconds: skipped.append(seconds))
    monkeypatch.setattr(module, "write_run_page", lambda *args, **kwargs: __import__("time").sleep(0.2))
    train(tmp_path, MetricsLog(every_kimg=0.016), Report(0.032, None, 0.064))
    assert len(skipped) >= 1
    assert all(seconds >= 0.2 for seconds in skipped)


def test_a_trainer_of_another_program_gets_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, Report(0.032, None, 0.064), configured=False)
    assert not (tmp_path / "report.html").exists()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_job_writes_its_sweeps_page(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    make_run(tmp_path / "0")
    train(tmp_path / "1", MetricsLog(every_kimg=0.016), Report(None, None, 0.064))
    assert sweep_of(tmp_path / "1") == tmp_path.resolve()
    text = (tmp_path / "report.html").read_text()
    assert "2 jobs" in re.sub(r"</?b>", "", text)
    assert 'href="1/report.html"' in text
    assert sweep_of(tmp_path.parent) is None
