"""Runs in Weights & Biases: real offline runs, read back with W&B's own reader."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from pytorch_lightning.demos.boring_classes import BoringModel
from safetensors.torch import load_file
from wandb.wandb_agent import Agent
from wandb_log import OfflineRun, offline_runs

from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.files.secrets import redact_arguments, redact_settings
from cips_lab.tracking import wandb_run
from cips_lab.tracking.dashboard import as_json, workspace
from cips_lab.tracking.wandb_curves import curves_of
from cips_lab.tracking.wandb_run import (
    RunLogger,
    identity_of,
    start,
    summary_of,
    sweep_of,
    wandb_logger,
)
from cips_lab.tracking.wandb_sweep import build_sweep, to_yaml
from forked import Python

KEY = "5ec4e7" * 6 + "0123"  # an API key in the environment of the run: 40 characters, nowhere to be found in it
SMALL = ("metrics.num_samples=30", "metrics.kid_subset_size=15", "metrics.num_real=60")
TRAINING = (
    "experiment=debug",
    "data=folder",
    "data.path=pictures",
    "data.num_workers=0",
    "trainer=cpu",
    "logger.wandb.artifacts=best",
    "logger.wandb.tags=[mine]",
    "schedule.evaluate_kimg=0.04",
    "schedule.evaluate_samples=20",
    *SMALL,
)
FD = "fd_efficientnet_lite0"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Offline, with a key and nobody's settings; in tmp_path. What an agent sets is taken back."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")  # so that monkeypatch knows of it
        monkeypatch.delenv(name)
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": KEY,
        "HF_TOKEN": KEY,
        "HOME": str(tmp_path / "home"),
        "CIPS_LAB_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train_as_an_agent_does(sweep: dict[str, Any], run_id: str, values: dict[str, Any]) -> int:
    """W&B's own agent starts the process, as if the server had told it to; its exit status."""
    agent = Agent(api=None, queue=None, sweep_id="sw33p")
    agent._sweep_command = list(sweep["command"])
    arguments = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"type": "run", "run_id": run_id, "program": sweep["program"], "args": arguments})
    return int(agent._run_processes[run_id].wait())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_of_a_sweep_agent_and_its_evaluation(
    python: Python, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a sweep's file to training, and on to an evaluation: all that W&B would be sent, and no secret."""
    make_pictures(environment / "pictures")
    sweep = yaml.safe_load(to_yaml(build_sweep([*TRAINING, "generator=cips,cips_ne", "seed=3,4", "name=table"])))
    assert sweep["parameters"] == {"generator": {"values": ["cips", "cips_ne"]}, "seed": {"values": [3, 4]}}
    monkeypatch.setenv("WANDB_SWEEP_ID", "sw33p")
    assert train_as_an_agent_does(sweep, "abc123", {"generator": "cips_ne", "seed": 4}) == 0
    monkeypatch.delenv("WANDB_SWEEP_ID")
    folder = environment / "runs" / "table" / "abc123"
    (run,) = offline_runs(folder)
    check_names(run)
    check_config(run)
    check_curves(run)
    check_summary(run, folder)
    check_artifacts(run, folder)
    check_dashboard_shows_only_what_is_logged(run, folder)
    assert run.exit_code == 0
    evaluation = evaluate(python, folder)
    for path in [*folder.rglob("*"), *evaluation.folder.rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def make_pictures(folder: Path) -> None:
    """60 pictures 16 x 16: Blue Marble would first be cut into tiles."""
    folder.mkdir()
    for number, noise in enumerate(np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(noise).save(folder / f"{number}.png")


def check_names(run: OfflineRun) -> None:
    assert run.run["run_id"] == "abc123"
    assert run.run["display_name"] == "abc123"
    assert run.run["run_group"] == "table"
    assert run.run["job_type"] == "train"
    assert sorted(run.run["tags"]) == sorted(["debug", "cips_ne", "folder", "16px", "mine"])
    assert run.run["notes"].startswith("python -m cips_lab.train experiment=debug ")
    assert run.run["notes"].endswith("generator=cips_ne seed=4")


def check_config(run: OfflineRun) -> None:
    config = run.config
    assert config["variant"] == "cips_ne"
    assert config["seed"] == 4
    assert config["choices"]["data"] == "folder"
    assert config["schedule"]["evaluate_samples"] == 20
    assert config["model"]["width"] == 16
    assert config["environment"]["packages"]["torch"]
    assert config["data"]["resolution"] == config["resolution"] == 16


def check_curves(run: OfflineRun) -> None:
    assert run.metrics["kimg"]["options"]["hidden"]
    assert run.metrics["*"]["step_metric"] == "kimg"
    logged = {name.split(".")[0] for row in run.history for name in row if not name.startswith("_")} - {"kimg"}
    assert {f"efficientnet_lite0-20/{FD}", "loss/generator", "logits/real", "samples/generated"} <= logged
    for name in logged:
        assert run.metrics[name]["step_metric"] == "kimg", name
    assert run.metrics[f"efficientnet_lite0-20/{FD}"]["summary"] == {"min": True, "last": True}
    assert run.metrics["efficientnet_lite0-30/recall"]["summary"] == {"max": True, "last": True}
    assert "trainer/global_step" not in run.metrics
    steps = [row["_step"] for row in run.history]
    assert steps == sorted(set(steps)) == [0, 16, 32, 40, 48, 64, 80]
    assert all(row["_step"] == round(row["kimg"] * 1000) for row in run.history)
    pictures = {name: [r["_step"] for r in run.history if f"{name}.path" in r] for name in SAMPLES}
    assert pictures == {"samples/generated": [40, 80], "samples/real": [0]}
    for row in run.history:
        for name in SAMPLES:
            if f"{name}.path" in row:
                assert (run.folder / "files" / row[f"{name}.path"]).stat().st_size == row[f"{name}.size"]


SAMPLES = ("samples/generated", "samples/real")


def check_summary(run: OfflineRun, folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    during, last = [line for line in lines if "extractor" in line]
    best = min((during, last), key=lambda r: r["kimg"])  # another number of samples is never better
    for prefix, record in (("final", last), ("best", best)):
        for name in (FD, "kid", "precision", "num_samples", "extractor", "kimg"):
            assert run.summary[f"{prefix}/{name}"] == record[name]
    curve = run.summary[f"efficientnet_lite0-20/{FD}"]
    assert curve == {"min": during[FD], "last": during[FD]}


def check_artifacts(run: OfflineRun, folder: Path) -> None:
    artifacts = run.of("artifact")
    assert [a["type"] for a in artifacts] == ["reference-statistics", "model", "model"]
    statistics, best, last = artifacts
    (entry,) = statistics["manifest"]["contents"]
    assert Path(entry["ref"].removeprefix("file://")).is_file()
    assert json.loads(statistics["metadata"])["count"] == 60
    assert best["name"] == last["name"] == "abc123-abc123"
    assert set(best["aliases"]) == {"best", "latest", "kimg-00000.040"}
    assert set(last["aliases"]) == {"latest", "kimg-00000.080"}
    assert json.loads(best["metadata"])["num_samples"] == 20
    for artifact, checkpoint in ((best, "best-kimg-00000.040"), (last, "kimg-00000.080")):
        files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
        assert files.keys() == {"generator.safetensors", "config.yaml"}
        assert all(path.is_relative_to(folder) for path in files.values()), "what is synced later lies in the run"
        kept = load_file(files["generator.safetensors"])
        own = load_file(folder / "checkpoints" / checkpoint / "generator.safetensors")
        assert all((kept[name] == own[name]).all() for name in own)


def check_dashboard_shows_only_what_is_logged(run: OfflineRun, folder: Path) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("dashboard", ["name=x", f"run={folder}"])
    sections = as_json(workspace(cfg, "me", curves_of(cfg)))["spec"]["section"]["panelBankConfig"]["sections"]
    panels = [panel["config"] for section in sections for panel in section["panels"]]
    shown = {name for panel in panels for name in (*panel.get("metrics", []), *panel.get("mediaKeys", []))}
    shown = {name for name in shown if not name.startswith(("summary_metrics.", "gradient_norm/"))}
    missing = shown - run.metrics.keys()
    assert all("/floor " in name for name in missing), missing  # there are no held-out pictures here
    assert f"efficientnet_lite0-20/{FD}" in shown
    assert {"efficientnet_lite0-20", "efficientnet_lite0-30", "Overview", "Samples"} <= {s["name"] for s in sections}


def evaluate(python: Python, folder: Path) -> OfflineRun:
    """An evaluation as a run of its own, tied to the training by the name and content of its generator."""
    command = ["-m", "cips_lab.evaluate", f"ckpt={folder}", "trainer=cpu", "data.path=pictures"]
    options = ["metrics=efficientnet_lite0", *SMALL, "logger=wandb", "logger.wandb.artifacts=best", "output=e/m.json"]
    done = python(*command, *options)
    assert done.returncode == 0, done.stderr
    (trained,), (evaluated,) = offline_runs(folder), offline_runs(Path("e"))
    assert evaluated.run["job_type"] == "evaluate"
    assert evaluated.config["seed"] == 4
    assert evaluated.config["evaluation"]["split"] == "train"
    written = json.loads(Path("e/m.json").read_text())
    assert evaluated.summary[f"final/{FD}"] == written[FD] == trained.summary[f"final/{FD}"]
    assert [row["kimg"] for row in evaluated.history] == [0.08]
    statistics, model, metrics = evaluated.of("artifact")
    assert (statistics["name"], statistics["digest"]) == tuple(trained.of("artifact")[0][k] for k in ("name", "digest"))
    assert (model["name"], model["digest"]) == tuple(trained.of("artifact")[2][k] for k in ("name", "digest"))
    assert metrics["type"] == "evaluation"
    assert evaluated.exit_code == 0
    return evaluated


# ------------------------------------------------------------------ parts, in this process


@pytest.fixture
def logger(environment: Path) -> Iterator[RunLogger]:
    made = start(
        environment,
        project="p",
        entity=None,
        name="n",
        group=None,
        tags=["a", "a"],
        job_type="train",
        config={},
        identity="id1",
        artifacts="auto",
    )
    yield made
    made.close()


def test_a_run_that_fails_is_recorded_as_failed(logger: RunLogger, environment: Path) -> None:
    class Stumbles(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            raise RuntimeError("stumbled")

    trainer = pl.Trainer(
        logger=logger,
        callbacks=[Stumbles()],
        max_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(RuntimeError, match="stumbled"):
        trainer.fit(BoringModel())
    logger.close()
    (run,) = offline_runs(environment)
    assert run.exit_code == 1
    assert run.run["tags"] == ["a"]


def test_rows_that_repeat_the_past_are_ignored(logger: RunLogger, environment: Path) -> None:
    """What a continued run logs again: W&B keeps the first."""
    for kimg, value in ((0.1, 1.0), (0.2, 2.0), (0.1, 3.0), (0.3, 4.0)):
        logger.log_metrics({"kimg": kimg, "loss/generator": value}, step=round(kimg * 1000))
    logger.finalize("success")
    logger.close()
    (run,) = offline_runs(environment)
    assert [(row["_step"], row["loss/generator"]) for row in run.history] == [(100, 1.0), (200, 2.0), (300, 4.0)]
    assert run.exit_code == 0


def test_other_processes_log_nothing(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_run.rank_zero_only, "rank", 1)
    made = wandb_logger(str(environment), "p")
    made.log_metrics({"kimg": 1.0}, step=1)
    made.close()
    assert not (environment / "wandb").exists()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("inception-50000/fid", "min,last"),
        ("efficientnet_lite0-20/fd_efficientnet_lite0", "min,last"),
        ("inception-50000/kid", "min,last"),
        ("vgg16-50000/precision", "max,last"),
        ("inception-50000/floor fid", None),
        ("loss/generator", None),
        ("memory/peak_gb", "max"),
        ("time/sec_per_kimg", "mean,last"),
        ("kidney", None),
    ],
)
def test_what_the_summary_keeps(name: str, kept: str | None) -> None:
    assert summary_of(name) == kept


def test_secrets_are_hidden() -> None:
    settings = {
        "data": {"path": "https://me:hunter2@host/x.zip", "hf_token": "abc", "api_key": None, "tokens": 5},
        "parts": [{"password": "hunter2"}],
        "key": "kept",
    }
    assert redact_settings(settings) == {
        "data": {"path": "https://***@host/x.zip", "hf_token": "***", "api_key": None, "tokens": 5},
        "parts": [{"password": "***"}],
        "key": "kept",
    }
    arguments = ["data.token=abc", "data.path=s3://a:b@c/d=e", "seed=1"]
    assert redact_arguments(arguments) == ["data.token=***", "data.path=s3://***@c/d=e", "seed=1"]


def test_a_hidden_argument_is_not_in_the_record_of_the_command_line(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B writes sys.argv down by itself."""
    monkeypatch.setattr(sys, "argv", ["train", "data.token=hunter2", "seed=1"])
    made = wandb_logger(str(environment), "p")
    made.finalize("success")
    made.close()
    (run,) = offline_runs(environment)
    assert run.run["notes"] == "train 'data.token=***' seed=1"
    for path in environment.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_the_group_is_the_folder_below_the_runs(tmp_path: Path) -> None:
    settings = {"paths": {"runs": str(tmp_path)}}
    assert sweep_of(tmp_path / "table" / "0", settings) == "table"
    assert sweep_of(tmp_path / "a" / "b" / "0", settings) == "a/b"
    assert sweep_of(tmp_path / "single", settings) is None
    assert sweep_of(tmp_path.parent / "elsewhere" / "0", settings) is None


def test_a_run_keeps_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity_of(tmp_path)
    assert identity_of(tmp_path) == first
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    assert identity_of(tmp_path) == first
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert identity_of(tmp_path) == "other"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"artifacts": "some"}, "logger.wandb.artifacts=some: choose from auto"),
        ({"tags": ["x" * 65]}, "has not 1 to 64 characters"),
    ],
)
def test_bad_options(environment: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        wandb_logger(str(environment), "p", **options)


# ------------------------------------------------------------------ whole runs


def train(python: Python, *overrides: str) -> None:
    command = ["-m", "cips_lab.train", "experiment=debug", "logger=wandb", "name=x", *overrides]
    done = python(*command)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_offline_run_that_is_continued_is_two_parts_of_one_run(python: Python, environment: Path) -> None:
    train(python, "trainer=cpu", "schedule.total_kimg=0.04", "logger.wandb.artifacts=all")
    train(python, "trainer=cpu", "schedule.keep_checkpoints=1", "logger.wandb.artifacts=all")
    first, second = offline_runs(environment / "runs" / "x")
    assert first.run["run_id"] == second.run["run_id"]
    assert [row["_step"] for row in first.history] == [0, 16, 32, 40]
    assert [row["_step"] for row in second.history] == [48, 64, 80]
    assert first.run.get("run_group") is None
    models = [a for part in (first, second) for a in part.of("artifact")]
    moments = [{"latest", f"kimg-{moment}"} for moment in ("00000.040", "00000.040", "00000.080")]
    assert [set(model["aliases"]) for model in models] == moments
    # The second part records the checkpoint that it starts from again, for the first may have been killed before it
    # did. (Not the same content here: the configuration changed.)
    assert len({model["digest"] for model in models}) == 3
    weights = [{e["path"]: e["digest"] for e in m["manifest"]["contents"]}["generator.safetensors"] for m in models]
    assert weights[0] == weights[1] != weights[2]
    # The first checkpoint is gone; what syncing would upload of it is not.
    assert [p.name for p in (environment / "runs/x/checkpoints").iterdir()] == ["kimg-00000.080"]
    for artifact in models:
        assert all(Path(entry["local_path"]).is_file() for entry in artifact["manifest"]["contents"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_make_one_run(python: Python, environment: Path) -> None:
    train(python, "trainer=ddp_cpu", "trainer.devices=2")
    (run,) = offline_runs(environment / "runs" / "x")
    assert [row["_step"] for row in run.history] == [0, 16, 32, 40, 48, 64, 80]
    assert run.exit_code == 0
    assert run.of("artifact") == []  # auto: none offline
