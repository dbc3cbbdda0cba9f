"""What is read of a run folder, whole, unfinished or damaged."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from sweeps import composed, make_run, make_sweep

from cips_lab.errors import UserError
from cips_lab.runs.folder import is_run
from cips_lab.runs.records import read_job, read_lines, read_sweeps


def test_a_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one", seed=3, total=4)
    job = read_job(folder)
    assert (job.name, job.seed, job.kimg, job.total_kimg, job.state) == ("test", 3, 4, 4, "finished")
    assert [r["kimg"] for r in job.evaluations] == [1, 2, 3, 4]
    assert len(job.training) == 8
    assert job.seconds_per_kimg == 10  # the median: the first interval, ten times as long, does not count
    assert job.peak_memory_gb == pytest.approx(1.08)
    assert job.experiment is None
    assert job.environment == {}


@pytest.mark.parametrize("place", ["overrides.yaml", ".hydra/overrides.yaml"])
def test_the_command_line_names_the_experiment(tmp_path: Path, place: str) -> None:
    folder = make_run(tmp_path / "one")
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("- +sweep=table3\n- experiment=quickstart\n- seed=1\n")
    assert read_job(folder).experiment == "quickstart"
    path.write_text("no: list\n")
    assert read_job(folder).overrides == ()


@pytest.mark.parametrize(
    ("reached", "said", "state"),
    [
        (4, None, "finished"),
        (4, "finished", "finished"),
        (4, "running", "finished"),  # killed after its last evaluation, or writing its last page
        (4, "failed", "failed"),
        (2, None, "unfinished"),
        (2, "running", "running"),
        (2, "failed", "failed"),
        (2, "interrupted", "interrupted"),
        (3.5, None, "unfinished"),
        (0, None, "unfinished"),
    ],
)
def test_states(tmp_path: Path, reached: float, said: str | None, state: str) -> None:
    folder = make_run(tmp_path / "one", reached=reached)
    if said is not None:
        (folder / "status.json").write_text(json.dumps({"state": said}))
    assert read_job(folder).state == state


def test_a_run_that_lacks_its_last_evaluation_is_unfinished(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")  # all 4 kimg were trained
    assert read_job(folder).kimg == 4
    assert read_job(folder).state == "unfinished"


def test_without_evaluations_training_lines_decide(tmp_path: Path) -> None:
    """Trials shorter than schedule.evaluate_kimg, and runs without an evaluation callback, are not evaluated."""
    trial = make_run(tmp_path / "trial", total=2, every=8)
    assert read_job(trial).evaluations == []
    assert read_job(trial).state == "finished"
    without = make_run(tmp_path / "without", "callbacks.evaluation=null", total=2, every=1, reached=1)
    assert read_job(without).state == "finished"  # a line comes every kimg at most
    coarse = make_run(tmp_path / "coarse", "callbacks.evaluation=null", "schedule.log_kimg=0.5", total=2, reached=1)
    assert read_job(coarse).state == "unfinished"


def test_a_configuration_is_read_as_omegaconf_writes_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one", "objective.generator_lr=1e-7", "paths.cache='1e-3: x'")
    expected = OmegaConf.create(composed("objective.generator_lr=1e-7", "paths.cache='1e-3: x'"))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(expected))
    config = read_job(folder).config
    assert config == OmegaConf.to_container(expected)
    assert config["objective"]["generator_lr"] == 1e-7


def test_damaged_files(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"no": "kimg"}\n{"kimg": 4.5, "loss/gen')  # killed while writing
    (folder / "status.json").write_text('{"state": "fin')
    (folder / "environment.json").write_text("[]")
    job = read_job(folder)
    assert job.kimg == 4
    assert (job.status, job.environment) == ({}, {})
    assert read_lines(tmp_path / "nothing.jsonl") == []


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "cannot be read"), ("a: 1", "no schedule.total_kimg"), ("", "not")]
)
def test_configurations_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert is_run(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        read_job(tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(UserError, match="no run is here"):
        read_job(tmp_path / "nowhere")


def test_a_sweep_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    for number in range(4, 11):
        make_run(sweep / str(number))
    make_run(sweep / "nested" / "deeper")
    logged = sweep / "0" / "wandb" / "run-1" / "files"
    logged.mkdir(parents=True)
    (logged / "config.yaml").write_text("wandb_version: 1\n")  # W&B's own; no job
    names = [job.name for job in read_sweeps([sweep])]
    assert names == [*map(str, range(11)), "nested/deeper"]
    other = make_sweep(tmp_path / "other")
    assert [job.name for job in read_sweeps([other, sweep])][:5] == [
        "other/0",
        "other/1",
        "other/2",
        "other/3",
        "sweep/0",
    ]


def test_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_sweeps([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no job is here"):
        read_sweeps([tmp_path])
