"""Who starts the processes of a run: Lightning, torchrun, SLURM's srun, or somebody on each machine."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from started import Start, free_port, ranks, status_of, until, weights

from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.metrics.float32 import exact_float32
from cips_lab.processes import ranks as this_process
from cips_lab.processes.layout import Layout, check_name, layout_of, set_float32

TINY = ["experiment=debug", "batch_size=16", "schedule.total_kimg=0.08", "callbacks.samples=null"]
WATCHED = [*TINY, "data._target_=watching.PreparedBlueMarble", "+callbacks.ranks._target_=watching.Ranks"]
TORCHRUN = "torch.distributed.run"


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    with Start(tmp_path, cache) as started:
        yield started


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, torch.Tensor]:
    """The weights of the run on one process."""
    folder = tmp_path_factory.mktemp("alone")
    Start(folder, cache).finish(*TINY, "trainer=cpu", "name=alone")
    return weights(folder / "runs" / "alone")


def trainer(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("train", ["name=x", *overrides]).trainer


# ---------------------------------------------------------------------------------------------- who counts


def test_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert layout_of(trainer("trainer=cpu")) == Layout(1, 1, 1)
    assert layout_of(trainer("trainer=ddp_cpu", "trainer.devices=3")) == Layout(3, 1, 3)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert layout_of(trainer("trainer=cpu")) == Layout(2, 3, 6)  # torchrun's numbers, whatever the configuration's
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match="equally many"):
        layout_of(trainer("trainer=cpu"))


@pytest.mark.parametrize("tf32", [False, True])
def test_float32_is_the_same_in_products_and_convolutions(tf32: bool) -> None:
    """PyTorch's default is not: TF32 in convolutions alone."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        set_float32(tf32)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)
        with exact_float32():
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")  # as Lightning asks
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_several_machines_need_a_way_to_each_other_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    two = trainer("trainer=ddp_cpu", "trainer.num_nodes=2")
    with pytest.raises(UserError, match=r"MASTER_ADDR, MASTER_PORT not set.*torchrun"):
        layout_of(two)
    monkeypatch.setenv("MASTER_ADDR", "a")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert layout_of(two) == Layout(2, 2, 4)
    with pytest.raises(UserError, match="give the run a name"):
        check_name(2, ["experiment=debug"])
    check_name(2, ["name=x"])
    assert not this_process.is_first_of_all()
    assert this_process.is_first_here()


def test_srun_must_have_started_what_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    four = trainer("trainer=ddp_cpu", "trainer.num_nodes=2")
    assert layout_of(four).processes == 4
    with pytest.raises(UserError, match="--nodes=1 --ntasks-per-node=2"):
        layout_of(trainer("trainer=ddp_cpu"))
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert layout_of(trainer("trainer=ddp_cpu")).processes == 2


def test_the_name_of_a_slurm_job_stays_when_it_is_queued_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(this_process.LAUNCH, raising=False)
    for name, value in {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, value)
    assert this_process.launch_time() == "slurm-77"
    monkeypatch.delenv(this_process.LAUNCH)


def test_only_the_first_process_logs_to_the_run_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in this_process.RANKS:
        monkeypatch.delenv(name, raising=False)
    assert this_process.log_handlers() == ["console", "file"]
    for name in this_process.RANKS:
        monkeypatch.setenv(name, "1")
        assert this_process.log_handlers() == ["console"]
        monkeypatch.delenv(name)


@pytest.mark.parametrize("launcher", ["slurm", "local"])
def test_launchers_of_submitit_compose(launcher: str) -> None:
    overrides = ["name=x", "trainer=ddp_cpu", "trainer.num_nodes=3", f"hydra/launcher={launcher}"]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
    config.hydra.runtime.output_dir = "x"
    found: Any = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert found["_target_"].endswith("SlurmLauncher" if launcher == "slurm" else "LocalLauncher")
    if launcher == "slurm":
        assert (config.hydra.launcher.nodes, config.hydra.launcher.tasks_per_node) == (3, 2)
        assert found["max_num_timeout"] > 0
        assert found["additional_parameters"]["requeue"] is True


# ---------------------------------------------------------------------------------------------- real processes


def check_four(start: Start, run: Path, alone: dict[str, torch.Tensor], preparing: set[str]) -> None:
    """Four processes made what one makes, and one of them wrote it."""
    seen = ranks(run)
    assert [seen[rank]["share"] for rank in range(4)] == [4, 4, 4, 4]  # of a batch of 16
    assert len({seen[rank]["weights"] for rank in range(4)}) == 1
    assert {path.name for path in (start.folder / "watched").iterdir()} == preparing
    together = weights(run)
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
    assert status_of(run)["state"] == "finished"
    log = (run / "train.log").read_text()
    assert log.count("run folder:") == 1
    assert log.count("finished:") == 1
    assert not list(run.glob("train_ddp_process*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_on_two_machines(start: Start, tmp_path: Path, alone: dict[str, torch.Tensor]) -> None:
    """Two agents with two processes each; without a name, of which all four must think of the same."""
    port = free_port()
    options = ("--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}")
    agents = [start(*WATCHED, "trainer=cpu", program=(TORCHRUN, *options, "--rdzv-id=test")) for _ in range(2)]
    for agent, log in zip(agents, start.logs, strict=True):
        assert agent.wait(400) == 0, log.read_text()
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("debug-20")
    check_four(start, run, alone, {"0", "2"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_srun_on_two_machines(start: Start, tmp_path: Path, alone: dict[str, torch.Tensor]) -> None:
    """The variables that srun sets, for two machines with two tasks each."""
    job = {
        "SLURM_JOB_ID": "1234",
        "SLURM_JOB_NAME": "cips",
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    tasks = [
        start(
            *WATCHED,
            "trainer=ddp_cpu",
            "trainer.num_nodes=2",
            **job,
            SLURM_PROCID=str(rank),
            SLURM_LOCALID=str(rank % 2),
            SLURM_NODEID=str(rank // 2),
        )
        for rank in range(4)
    ]
    for task, log in zip(tasks, start.logs, strict=True):
        assert task.wait(400) == 0, log.read_text()
    check_four(start, tmp_path / "runs" / "debug-slurm-1234", alone, {"0", "2"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_command_on_two_machines(start: Start, tmp_path: Path, alone: dict[str, torch.Tensor]) -> None:
    """Lightning starts the second process of each."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    arguments = [*WATCHED, "trainer=ddp_cpu", "trainer.num_nodes=2", "name=together"]
    machines = [start(*arguments, NODE_RANK=str(node), **meeting) for node in range(2)]
    for machine, log in zip(machines, start.logs, strict=True):
        assert machine.wait(400) == 0, log.read_text()
    run = tmp_path / "runs" / "together"
    check_four(start, run, alone, {"0.0", "1.0"})

    # Continued by machines that do not share the run folder: the second would begin anew.
    meeting["MASTER_PORT"] = free_port()
    arguments.append("schedule.total_kimg=0.16")
    machines = [
        start(*arguments, f"paths.runs={runs}", NODE_RANK=str(node), **meeting)
        for node, runs in enumerate(("runs", "elsewhere"))
    ]
    assert [machine.wait(400) == 0 for machine in machines] == [False, False]
    assert "some processes continue at kimg 0.08, others at 0" in start.logs[2].read_text()
    assert "must be a folder that all machines share" in start.logs[2].read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_data_that_cannot_be_prepared_end_all_processes(start: Start, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    process = start("data.path=empty", "resolution=16", "trainer=cpu", program=(TORCHRUN, "--nproc-per-node=2"))
    assert process.wait(400) != 0
    log = start.logs[0].read_text()
    assert "error: data.path=empty: no picture" in log
    assert "error: the data could not be prepared: the first process of this machine says why" in log
    assert not list(tmp_path.glob("runs/*/status.json"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_submitit_requeues_a_job_that_is_told_to_go(start: Start, tmp_path: Path) -> None:
    """submitit's local executor: its signal comes amid training, the job is started again and continues to its end."""
    sweep = start(
        "--multirun",
        *TINY,
        "trainer=cpu",
        "name=queue",
        "seed=3",
        "hydra/launcher=local",
        "schedule.checkpoint_kimg=0.016",
        "schedule.total_kimg=0.16",
        "+callbacks.slowly={_target_:watching.Slowly,seconds:0.5}",
    )
    folder = tmp_path / "runs" / "queue"
    job = folder / "job0"
    until(lambda: len(list(job.glob("checkpoints/kimg-*"))) >= 2, "there are checkpoints", sweep)
    controller = next(int(path.name) for path in (folder / ".submitit").iterdir() if path.name.isdigit())
    (task,) = children_of(controller)
    os.kill(task, signal.SIGUSR2)
    assert sweep.wait(400) == 0, start.logs[0].read_text()
    output = "".join(path.read_text() for path in (folder / ".submitit").rglob("*log.*"))
    assert "Requeued job" in output
    assert "continuing from kimg-" in output
    assert status_of(job)["state"] == "finished"
    assert status_of(job)["kimg"] == 0.16
    start.finish(*TINY, "trainer=cpu", "name=whole", "seed=3", "schedule.total_kimg=0.16")
    expected, found = weights(tmp_path / "runs" / "whole"), weights(job)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def children_of(parent: int) -> list[int]:
    """Process ids."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
