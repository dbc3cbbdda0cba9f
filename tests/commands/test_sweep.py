"""`--multirun`: every job as if it were alone, finished jobs skipped, failed ones listed, whatever interrupts it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from started import Start, lines, ranks, status_of, until

from cips_lab.configuration import conf_folder, quoted
from cips_lab.launch.naming import name_of, swept_keys
from cips_lab.launch.sweep import RECORDS, is_finished, keys_of, mistake_in, summary
from cips_lab.processes.supervisor import ERROR_FILE
from cips_lab.runs import status

TINY = ["experiment=debug", "callbacks.samples=null"]
WATCHED = [*TINY, "+callbacks.ranks._target_=watching.Ranks"]
EVALUATED = [
    "schedule.evaluate_kimg=0.08",
    "metrics.num_samples=16",
    "metrics.num_real=64",
    "metrics.kid_subset_size=8",
    "metrics.kid_subsets=2",
]


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    with Start(tmp_path, cache) as started:
        yield started


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


# ---------------------------------------------------------------------------------------------- names


def test_what_is_varied_whatever_the_order() -> None:
    parser = OverridesParser.create()

    def keys(*overrides: str) -> list[str]:
        return swept_keys(parser.parse_overrides(list(overrides)))

    assert keys("seed=0,1", "model.width=8,16", "generator=a,b", "experiment=debug") == [
        "generator",
        "model.width",
        "seed",
    ]
    assert keys("generator=a,b", "seed=range(0,3)", "model.width=8,16") == ["generator", "model.width", "seed"]
    assert keys("generator=a,b", "seed=0,1", "generator=a") == ["seed"]  # the last one holds
    assert keys("objective.r1_weight=interval(0,1)", "++x=1,2") == ["x", "objective.r1_weight"]


def test_names_of_job_folders() -> None:
    groups = {"generator", "experiment"}
    assert name_of({"generator": "cips_ne", "seed": "1"}, groups) == "cips_ne-seed1"
    assert name_of({"model.width": "64", "seed": "0"}, groups) == "width64-seed0"
    assert name_of({"objective.generator_lr": "1e-3", "x.y": "-2.5"}, groups) == "generator_lr1e-3-y-2.5"
    # The last parts are the same: all of the names.
    assert name_of({"a.features": "8", "b.features": "9"}, groups) == "a.features8-b.features9"
    safe = name_of({"data.path": "'/data/x y=1,2'"}, groups)
    assert re.fullmatch(r"path_data_x_y_1_2-[0-9a-f]{8}", safe)  # nothing that an override minds


@given(
    st.lists(st.tuples(*[st.text("ab-_/ '\u00e9", min_size=1, max_size=4)] * 2), min_size=2, max_size=2, unique=True)
)
def test_other_values_have_another_folder(jobs: list[tuple[str, str]]) -> None:
    """Whatever is in them, but the quotes around them, which are Hydra's."""
    assume(len({tuple(value.strip("'") for value in values) for values in jobs}) == 2)
    for groups in (set[str](), {"x", "y"}):
        names = {name_of(dict(zip(("x", "y"), values, strict=True)), groups) for values in jobs}
        assert len(names) == 2
        assert all(name and "/" not in name and len(name.encode()) < 255 for name in names)


def test_long_values_have_names_that_file_systems_take() -> None:
    one, other = (name_of({"x": "\u00e9" * 300 + end}, set()) for end in "ab")
    assert one != other
    assert len(one.encode()) < 255


def test_sweeps_say_what_they_vary() -> None:
    found = {path.stem: keys_of(composed(f"+sweep={path.stem}")) for path in (conf_folder() / "sweep").glob("*.yaml")}
    assert found == {
        "table1": ["experiment", "generator"],
        "table3": ["generator", "seed"],
        "encodings": ["generator", "model.fourier_scale"],
        "widths": ["model.width"],
        "seeds": ["seed"],
        "objective": ["objective.discriminator_lr", "objective.generator_lr", "objective.r1_weight"],
    }


def test_a_part_of_a_sweep_trains_the_jobs_that_the_whole_would() -> None:
    assert keys_of(composed("+sweep=table3", "seed=0")) == ["generator", "seed"]
    assert keys_of(composed("+sweep=table3", "generator=siren", "seed=1", "model.width=8")) == ["generator", "seed"]


def test_values_survive_hydras_grammar() -> None:
    for text in ("plain", "a b", 'quote " in it', "back\\slash", "x=1,y=[2]", "tail\\"):
        (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
        assert str(override.value()) == text


# ---------------------------------------------------------------------------------------------- decisions


def test_what_counts_as_finished(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"seed": 0, "trainer": {"devices": 1}, "schedule": {"total_kimg": 1}, "name": "x"})
    assert not is_finished(tmp_path, cfg)
    status.write_status(tmp_path, status.FINISHED, 1.0)
    assert not is_finished(tmp_path, cfg)  # of what?
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    assert is_finished(tmp_path, cfg)
    assert is_finished(tmp_path, OmegaConf.merge(cfg, {"trainer": {"devices": 2}, "name": "y"}))
    assert not is_finished(tmp_path, OmegaConf.merge(cfg, {"schedule": {"total_kimg": 2}}))
    assert not is_finished(tmp_path, OmegaConf.merge(cfg, {"metrics": {"num_samples": 9}}))
    for state in (status.RUNNING, status.FAILED, status.INTERRUPTED):
        status.write_status(tmp_path, state, 0.5)
        assert not is_finished(tmp_path, cfg)


def test_how_a_run_says_that_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.delenv(ERROR_FILE, raising=False)
    status.record_end(run, ValueError("x"), first=True)
    assert not run.exists()  # it had not begun: what was there stays as it was
    status.write_status(run, status.RUNNING, 0.5)
    status.record_end(run, ValueError("x"), first=False)
    assert status.read_status(run)["state"] == "running"
    status.record_end(run, ValueError("x"), first=True)
    assert status.read_status(run) == {"state": "failed", "kimg": 0.5, "error": "ValueError: x", "value": None}
    status.write_status(run, status.RUNNING, 0.5)
    (run / "checkpoints" / "kimg-00012.800").mkdir(parents=True)
    status.record_end(run, KeyboardInterrupt(), first=True)
    assert status.read_status(run) == {"state": "interrupted", "kimg": 12.8, "error": None, "value": None}
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "error"))
    status.record_end(run, ValueError("first"), first=False)
    status.record_end(run, ValueError("second"), first=True)
    assert (tmp_path / "error").read_text() == "ValueError: first"


def test_a_search_without_evaluations_is_refused() -> None:
    mistake = mistake_in(composed("name=x", "experiment=debug", "+sweep=objective"))
    assert mistake is not None
    assert "schedule.evaluate_kimg=200 must be at most schedule.total_kimg=0.08" in mistake
    assert mistake_in(composed("name=x", "experiment=quickstart", "+sweep=objective")) is None
    assert mistake_in(composed("name=x", "experiment=debug", "+sweep=table3")) is None


def test_the_summary_names_what_failed() -> None:
    found = {
        "a": {"state": "finished"},
        "b": {"state": "skipped"},
        "c": {"state": "failed", "error": "RuntimeError: no"},
    }
    text = summary("runs/x", found)
    assert "3 jobs, 1 trained now, 1 finished before, 1 failed" in text
    assert "c: RuntimeError: no" in text
    assert "python -m cips_lab.tabulate sweep=runs/x" in text


def test_sweeps_under_torchrun_are_refused(start: Start, tmp_path: Path) -> None:
    several = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    output = start.finish("--multirun", *TINY, "name=x", "seed=0,1", status=2, **several)
    assert "error: --multirun under torchrun or srun" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_values_that_differ_in_special_characters_alone_are_two_jobs(start: Start, tmp_path: Path) -> None:
    sweep = ["--multirun", *TINY, "callbacks.report=null", "trainer=cpu", "schedule.total_kimg=0.008", "name=x"]
    named = ["data=folder", "data.name='p/q','p_q'", f"data.path={tmp_path / 'pictures'}"]
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / "one.png")
    assert "2 jobs, 2 trained now, 0 finished before, 0 failed" in start.finish(*sweep, *named)
    folders = sorted(path.parent.name for path in (tmp_path / "runs" / "x").glob("*/config.yaml"))
    assert [re.sub("-[0-9a-f]{8}$", "-HASH", name) for name in folders] == ["namep_q", "namep_q-HASH"]
    assert "2 jobs, 0 trained now, 2 finished before, 0 failed" in start.finish(*sweep, *named)


# ---------------------------------------------------------------------------------------------- several ranks


def check_ranks(folder: Path, jobs: int) -> dict[str, dict]:
    """Both ranks of every job have the same weights and settings; by job."""
    found = {run.name: ranks(run) for run in folder.iterdir() if (run / "ranks").is_dir()}
    assert len(found) == jobs
    for name, seen in found.items():
        assert sorted(seen) == [0, 1], name
        assert seen[0] == seen[1], name  # a digest of the weights among it
        assert (seen[0]["world"], seen[0]["share"]) == (2, 4), name
    assert len({seen[0]["weights"] for seen in found.values()}) == jobs  # no job trained another's values
    return {name: seen[0] for name, seen in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_job_of_a_sweep_on_two_ranks(start: Start, tmp_path: Path) -> None:
    overrides = [*WATCHED, "trainer=ddp_cpu", "schedule.total_kimg=0.016", "logger=wandb", "name=fixed"]
    start.finish("--multirun", *overrides, "generator=cips,cips_ne", "seed=0,1")
    seen = check_ranks(tmp_path / "runs" / "fixed", 4)
    assert {name: (job["embedding"], job["seed"]) for name, job in seen.items()} == {
        "cips-seed0": (True, 0),
        "cips-seed1": (True, 1),
        "cips_ne-seed0": (False, 0),
        "cips_ne-seed1": (False, 1),
    }
    for name in seen:
        run = tmp_path / "runs" / "fixed" / name
        (file,) = run.glob("wandb/offline-run-*/*.wandb")
        kept = records(file)
        assert next(record["run"]["run_group"] for record in kept if record["type"] == "run") == "fixed"
        assert [record["exit"].get("exit_code", 0) for record in kept if record["type"] == "exit"] == [0]  # finished
        assert OmegaConf.load(run / "config.yaml").sweep_name == "fixed"
        assert f"generator={name.partition('-')[0]}" in OmegaConf.load(run / "overrides.yaml")
    assert not (tmp_path / "runs" / "fixed" / RECORDS).exists()


def records(file: Path) -> list[dict[str, Any]]:
    """An offline run as W&B itself reads it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_job_of_a_random_search_on_two_ranks(start: Start, tmp_path: Path) -> None:
    """Values that no rank could guess: each job's ranks must have got its own."""
    start.finish(
        "--multirun",
        *WATCHED,
        *EVALUATED,
        "trainer=ddp_cpu",
        "name=random",
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=random",  # without a seed
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
        "objective.r1_weight=interval(0.1,20.0)",
    )
    folder = tmp_path / "runs" / "random"
    seen = check_ranks(folder, 4)
    assert len({job["r1_weight"] for job in seen.values()}) == 4
    values = {}
    for name, job in seen.items():
        assert name == f"r1_weight{job['r1_weight']}"
        values[name] = status_of(folder / name)["value"]
        assert values[name] == lines(folder / name)[-1]["fd_efficientnet_lite0"]
    best = OmegaConf.load(folder / "optimization_results.yaml")
    assert best.best_value == min(values.values())  # what the command returned for each job
    assert values[f"r1_weight{best.best_params['objective.r1_weight']}"] == best.best_value


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_is_continued_by_the_same_command(start: Start, tmp_path: Path) -> None:
    sweep = ["--multirun", "+sweep=objective", *TINY, *EVALUATED, "trainer=cpu"]  # its name is its own
    assert "2 jobs, 2 trained now" in start.finish(*sweep, "hydra.sweeper.n_trials=2")
    output = start.finish(*sweep, "hydra.sweeper.n_trials=3")
    assert "3 jobs, 1 trained now, 2 finished before, 0 failed" in output
    folder = tmp_path / "runs" / "objective-debug"
    values = [status_of(job)["value"] for job in folder.iterdir() if job.is_dir()]
    assert len(values) == 3
    assert OmegaConf.load(folder / "optimization_results.yaml").best_value == min(values)


# ---------------------------------------------------------------------------------------------- failures


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_job_that_fails_does_not_stop_the_others(start: Start, tmp_path: Path, launcher: str) -> None:
    jobs = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    sweep = ["--multirun", *TINY, *jobs, "trainer=cpu", "name=x", "seed=0,1,2"]
    failing = "+callbacks.failing={_target_:watching.Failing,seed:%d,how:%s}"
    folder = tmp_path / "runs" / "x"
    output = start.finish(*sweep, failing % (0, "raise"), "model.width=16", status=1)
    assert "3 jobs, 2 trained now, 0 finished before, 1 failed" in output
    assert "seed0: RuntimeError: as the test wants it" in output.split("sweep runs/x")[1]
    assert status_of(folder / "seed0")["state"] == "failed"
    assert [status_of(folder / f"seed{i}")["state"] for i in (1, 2)] == ["finished", "finished"]
    assert "as the test wants it" in (folder / "report.html").read_text()
    # Killed, as the system does when memory runs out; and the rest is skipped where nothing has changed.
    output = start.finish(*sweep, failing % (0, "kill"), "model.width=16", status=1)
    assert "seed0: it was killed by SIGKILL" in output
    output = start.finish(*sweep, failing % (0, "raise"), "model.width=8", status=1)
    summary_of_it = output.split("sweep runs/x")[1]  # another configuration is refused in folders that hold a run
    assert summary_of_it.count("holds a run with another configuration") == 2
    assert [status_of(folder / f"seed{i}")["state"] for i in (1, 2)] == ["finished", "finished"]


# ---------------------------------------------------------------------------------------------- interruptions


SWEEP = [
    "--multirun",
    *TINY,
    *EVALUATED,
    "trainer=cpu",
    "generator=cips,cips_base,cips_ne,cips_no_fourier",
    "seed=0,1",
    "schedule.checkpoint_kimg=0.016",
    "schedule.log_kimg=0.016",
]


def in_the_middle(run: Path) -> Callable[[], bool]:
    """A run has a checkpoint, and is not finished."""
    return lambda: any(run.glob("checkpoints/kimg-*")) and status_of(run)["state"] == "running"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_killed_twice_ends_as_one_that_was_not(start: Start, tmp_path: Path) -> None:
    start.finish(*SWEEP, "name=whole")
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    slowly = "+callbacks.slowly={_target_:watching.Slowly,seconds:0.3}"
    for name in ("cips-seed1", "cips_ne-seed0"):
        sweep = start(*SWEEP, "name=killed", slowly)
        until(in_the_middle(killed / name), f"{name} has a checkpoint", sweep)
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
        until(is_left(killed / name), f"{name} has ended with its sweep")
    output = start.finish(*SWEEP, "name=killed", slowly)
    assert "8 jobs, 4 trained now, 4 finished before, 0 failed" in output
    jobs = sorted(path.name for path in whole.iterdir() if path.is_dir())
    assert len(jobs) == 8
    for job in jobs:
        assert lines(killed / job) == lines(whole / job), job
        assert status_of(killed / job) == status_of(whole / job), job
    tables = tabulated(start, whole), tabulated(start, killed)
    assert len(tables[0]["rows"]) == 4
    assert tables[0] == tables[1]
    resumed = (killed / "cips-seed1" / "train.log").read_text() + (killed / "cips_ne-seed0" / "train.log").read_text()
    assert resumed.count("continuing from") == 2
    assert "8 jobs, 0 trained now, 8 finished before" in start.finish(*SWEEP, "name=killed", slowly)


def tabulated(start: Start, sweep: Path) -> dict[str, Any]:
    """The table of a sweep, but for what depends on the machine's load."""
    command = [sys.executable, "-m", "cips_lab.tabulate", f"sweep={sweep}", "plots=false", "costs=false"]
    subprocess.run(command, env=start.environment, check=True, capture_output=True, timeout=300)
    table = json.loads((sweep / "table.json").read_text())
    for row in table["rows"]:
        assert row.pop("seconds_per_kimg")["mean"] > 0
        assert row.pop("peak_memory_gb")["mean"] > 0
    return table


def is_left(run: Path) -> Callable[[], bool]:
    """No process trains there."""
    return lambda: not processes_in(run)


def processes_in(run: Path) -> list[int]:
    """Processes whose command names a run's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"hydra.run.dir={quoted(str(run))}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_jobs_end_with_their_sweep(start: Start, tmp_path: Path, launcher: str) -> None:
    """SIGKILL leaves nobody who could tell them; joblib's workers would go on."""
    jobs = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    slowly = "+callbacks.slowly={_target_:watching.Slowly,seconds:1}"
    arguments = [*TINY, *jobs, "trainer=ddp_cpu", "name=x", "seed=0,1", "schedule.checkpoint_kimg=0.008"]
    sweep = start("--multirun", *arguments, slowly, "schedule.total_kimg=80")
    folder = tmp_path / "runs" / "x"
    running = [folder / f"seed{i}" for i in ((0, 1) if launcher == "joblib" else (0,))]
    for run in running:
        until(in_the_middle(run), f"{run.name} has a checkpoint", sweep)
    assert all(processes_in(run) for run in running)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    for run in running:
        until(is_left(run), f"{run.name} has ended")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_sweep_that_is_asked_to_stop_ends_to_be_continued(start: Start, tmp_path: Path) -> None:
    slowly = "+callbacks.slowly={_target_:watching.Slowly,seconds:1}"
    sweep = start("--multirun", *TINY, "trainer=cpu", "name=x", "seed=0,1", "schedule.checkpoint_kimg=0.008", slowly)
    until(in_the_middle(tmp_path / "runs" / "x" / "seed0"), "seed0 has a checkpoint", sweep)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(400) == 75, start.logs[0].read_text()
    assert not (tmp_path / "runs" / "x" / "seed1").exists()
    output = start.finish("--multirun", *TINY, "trainer=cpu", "name=x", "seed=0,1", "schedule.checkpoint_kimg=0.008")
    assert "2 jobs, 2 trained now" in output
    assert "continuing from" in output
