"""The explorer's page in Weights & Biases: real offline runs, and what is said where there is no page."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, REQUIRED, Browser
from hydra import compose, initialize_config_dir
from PIL import Image
from sweeps import make_run
from variants import build, composed
from wandb_log import offline_runs

from cips_lab.configuration import conf_folder
from cips_lab.explorer.export import export
from cips_lab.interop.native import save_generator
from cips_lab.tracking import wandb_explorer
from cips_lab.tracking.dashboard import as_json, workspace
from cips_lab.tracking.wandb_curves import curves_of
from cips_lab.tracking.wandb_explorer import log_explorer
from cips_lab.tracking.wandb_run import wandb_logger
from forked import Python

KEY = "samples/explorer"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings, in a folder of one's own."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_MODE": "offline", "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CIPS_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def train(python: Python, generator: str) -> Path:
    """A run by the command, offline; its folder."""
    Path("pictures").mkdir()
    for number, noise in enumerate(np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(noise).save(f"pictures/{number}.png")
    options = ("data=folder", "data.path=pictures", "data.num_workers=0", "schedule.evaluate_kimg=null")
    asked = ("logger=wandb", "logger.wandb.explorer=true", f"generator={generator}", f"name={generator}")
    done = python("-m", "cips_lab.train", "experiment=debug", "trainer=cpu", *options, *asked)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return Path("runs") / generator


def test_the_page_is_media_of_the_run(python: Python, tmp_path: Path) -> None:
    folder = train(python, "cips")
    (run,) = offline_runs(folder)
    (row,) = [row for row in run.history if f"{KEY}.path" in row]
    assert (row["_step"], row["kimg"], row[f"{KEY}._type"]) == (80, 0.08, "html-file")
    assert run.metrics[KEY]["step_metric"] == "kimg"
    assert run.exit_code == 0
    page = run.folder / "files" / row[f"{KEY}.path"]
    assert row[f"{KEY}.size"] == page.stat().st_size
    export(str(folder), tmp_path / "explorer.html")  # of the newest checkpoint, under the run's name
    assert page.read_bytes() == (tmp_path / "explorer.html").read_bytes()
    assert list((page.parents[2]).rglob("*.html")) == [page]


def test_a_convolutional_generator_ends_with_a_sentence(python: Python) -> None:
    folder = train(python, "stylegan2")
    (run,) = offline_runs(folder)
    assert [row for row in run.history if f"{KEY}.path" in row] == []
    assert run.exit_code == 0
    told = [line for line in (folder / "train.log").read_text().splitlines() if "logger.wandb.explorer" in line]
    assert len(told) == 1
    assert "no page in W&B: a convolutional generator has pictures of one size only" in told[0]


# ------------------------------------------------------------------ parts, in this process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's, with a checkpoint."""
    run = make_run(tmp_path / "runs" / "one")
    (run / "checkpoints" / "kimg-00004.000").mkdir(parents=True)
    save_generator(build("cips"), run / "checkpoints" / "kimg-00004.000" / "generator.safetensors", composed("cips"), 4)
    return run


def logged(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[list[dict[str, Any]], list[logging.LogRecord]]:
    """The rows with a page of an offline run in which it is logged, and what is said in the log."""
    logger = wandb_logger(str(folder), "p", explorer=True)
    with caplog.at_level(logging.INFO, "cips_lab"):
        log_explorer(logger, folder, 4000)
    logger.finalize("success")
    logger.close()
    (run,) = offline_runs(folder)
    own = [record for record in caplog.records if record.name.startswith("cips_lab")]
    return [row for row in run.history if f"{KEY}.path" in row], own


def test_it_is_off_unless_asked_for(folder: Path) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        assert compose("train", ["name=x"]).logger.wandb.explorer is False
    made = wandb_logger(str(folder), "p")
    made.close()
    assert made.explorer is False


def test_a_page_is_named_after_its_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (row,), said = logged(folder, caplog)
    assert row["_step"] == 4000
    assert said == []
    (page,) = folder.rglob("samples/explorer_*.html")
    assert "<h1>one</h1>" in page.read_text()


def test_what_is_too_large_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(str(folder), folder / "explorer.html")
    monkeypatch.setattr(wandb_explorer, "LARGEST", 10_000)
    rows, (record,) = logged(folder, caplog)
    assert rows == []
    said = record.getMessage()
    assert "0.01 MB are the most" in said
    assert f"python -m cips_lab.explore ckpt={folder}" in said
    assert record.exc_info is None


def test_a_mistake_in_it_does_not_fail_a_run(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> None:
        raise ZeroDivisionError("a mistake in the page")

    monkeypatch.setattr(wandb_explorer, "build_page", broken)
    rows, (record,) = logged(folder, caplog)
    assert rows == []
    assert record.exc_info is not None
    assert "ZeroDivisionError: a mistake in the page" in caplog.text


def test_without_a_checkpoint_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, (record,) = logged(make_run(tmp_path / "begun"), caplog)
    assert rows == []
    assert "no checkpoint in this folder" in record.getMessage()


def test_nothing_is_made_where_wandb_is_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(wandb_explorer, "page_of", lambda run: pytest.fail("a page for nobody"))
    logger = wandb_logger(str(folder), "p", explorer=True)
    log_explorer(logger, folder, 4000)
    logger.close()


@pytest.mark.parametrize(("overrides", "shown"), [((), False), (("logger.wandb.explorer=true",), True)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*")
def test_the_dashboard_has_a_panel_for_it(tmp_path: Path, overrides: tuple[str, ...], shown: bool) -> None:
    """Of a configuration, and of a run: there where it is logged."""
    run = make_run(tmp_path / "run", *overrides)
    for asked in (overrides, (f"run={run}",)):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("dashboard", ["name=x", "experiment=quickstart", *asked])
        made = as_json(workspace(cfg, "me", curves_of(cfg)))
        sections = made["spec"]["section"]["panelBankConfig"]["sections"]
        panels = {
            section["name"]: [panel["config"].get("mediaKeys") for panel in section["panels"]] for section in sections
        }
        assert panels.get("Explorer") == ([[KEY]] if shown else None)


@pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium")
@pytest.mark.timeout(280)
def test_the_page_draws_within_another(folder: Path, tmp_path: Path) -> None:
    """As W&B shows media: in a frame that may run scripts, and knows neither an address nor anything kept."""
    export(str(folder), tmp_path / "explorer.html")
    outer = tmp_path / "outer.html"
    outer.write_text('<iframe src="explorer.html" sandbox="allow-scripts" width="800" height="300"></iframe>')
    with Browser() as browser:
        browser.open(outer)
        frame = browser.page.frames[1]
        frame.wait_for_load_state()
        frame.evaluate("(async () => { await explorer.ready; })()")
        frame.evaluate("(async () => { explorer.state.set({ seed: 5 }); await explorer.settled(); })()")
        assert frame.evaluate("explorer.stats.computed") > 0
        frame.wait_for_timeout(400)  # in which the address is written
        assert browser.complaints == []
