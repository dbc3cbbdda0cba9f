"""Hydra's sweeps as files for `wandb sweep`: what an agent passes is what Hydra reads as it was meant."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from cips_lab import sweep_agent
from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.tracking import wandb_sweep
from cips_lab.tracking.wandb_sweep import build_sweep, to_yaml

SWEEPS = sorted(path.stem for path in conf_folder().glob("sweep/*.yaml"))


def composed_as_by_an_agent(sweep: dict[str, Any], values: dict[str, Any]) -> DictConfig:
    """What the command composes, with W&B's own way to write values."""
    arguments = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    command = [str(part) for part in sweep["command"]]
    assert command[:4] == ["${env}", "${interpreter}", "-m", "cips_lab.train"]
    assert command[-1] == "${args_no_hyphens}"
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("train", [*command[4:-1], *arguments["args_no_hyphens"]], return_hydra_config=True)


def test_values_of_every_kind_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    overrides = [
        "experiment=debug",
        "name=all",
        "generator=cips,stylegan2",
        "seed=range(0,3)",
        "objective.r1_weight=1e-5,10.0,2",
        "trainer.compile=true,false",
        "micro_batch=null,4",
        "init='a, b=c.pt',d.pt",
        "callbacks.samples=null,{rows:1}",
    ]
    sweep = yaml.safe_load(to_yaml(build_sweep(overrides)))
    assert sweep["method"] == "grid"
    meant = {
        "generator": ["cips", "stylegan2"],
        "seed": [0, 1, 2],
        "objective.r1_weight": [1e-5, 10.0, 2],
        "trainer.compile": [True, False],
        "micro_batch": [None, 4],
        "init": ["a, b=c.pt", "d.pt"],
    }
    assert sweep["parameters"].keys() == meant.keys() | {"callbacks.samples"}
    for place in (0, 1):
        config = composed_as_by_an_agent(sweep, {k: v["values"][place] for k, v in sweep["parameters"].items()})
        assert config.hydra.runtime.choices.generator == meant["generator"][place]
        assert config.seed == meant["seed"][place]
        assert config.objective.r1_weight == meant["objective.r1_weight"][place]
        assert config.trainer.compile is meant["trainer.compile"][place]
        assert config.micro_batch == meant["micro_batch"][place]
        assert config.init == meant["init"][place]
        assert (config.callbacks.samples is None) == (place == 0)
        assert config.name == "all/r1"
        assert "wandb" in config.logger
        assert config.hydra.mode.name == "RUN"


def test_intervals() -> None:
    sweep = build_sweep(
        [
            "experiment=debug",
            "name=search",
            "objective.r1_weight=tag(log,interval(1,100))",
            "objective.ema_rampup=interval(0,0.1)",
            "objective.r1_interval=int(interval(2,8))",
        ],
        metric="final/fid",
        method="bayes",
    )
    assert sweep["parameters"] == {
        "objective.r1_weight": {"distribution": "log_uniform_values", "min": 1.0, "max": 100.0},
        "objective.ema_rampup": {"distribution": "uniform", "min": 0.0, "max": 0.1},
        "objective.r1_interval": {"distribution": "int_uniform", "min": 2, "max": 8},
    }
    assert sweep["metric"] == {"name": "final/fid", "goal": "minimize"}
    assert build_sweep(["experiment=debug", "name=x", "objective.r1_weight=interval(1,2)"])["method"] == "random"


OPTION = """# @package _global_
objective:
  r1_weight: 7
hydra:
  mode: MULTIRUN
  sweeper:
    params: {generator: 'cips,cips_ne', seed: '0,1', batch_size: '4', micro_batch: '1,2'}
"""


def test_the_parameters_of_an_option_are_those_of_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as in conf/sweep: what it sweeps, what it fixes, and that an agent runs one job; the command line wins."""
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    shutil.copytree(conf_folder(), tmp_path / "conf")
    (tmp_path / "conf" / "sweep").mkdir(exist_ok=True)
    (tmp_path / "conf" / "sweep" / "tiny.yaml").write_text(OPTION)
    for module in (wandb_sweep, sys.modules[__name__]):
        monkeypatch.setattr(module, "conf_folder", lambda: tmp_path / "conf")
    sweep = build_sweep(["experiment=debug", "+sweep=tiny", "seed=5,6", "micro_batch=2"])
    assert sweep["name"] == "tiny"
    assert sweep["parameters"] == {"generator": {"values": ["cips", "cips_ne"]}, "seed": {"values": [5, 6]}}
    config = composed_as_by_an_agent(sweep, {"generator": "cips_ne", "seed": 6})
    assert (config.batch_size, config.micro_batch, config.seed, config.objective.r1_weight) == (4, 2, 6, 7)
    assert config.hydra.runtime.choices.generator == "cips_ne"
    assert config.hydra.mode.name == "RUN"


@pytest.mark.parametrize("option", SWEEPS)
def test_every_sweep_of_the_laboratory_is_one_of_wandb(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    sweep = yaml.safe_load(to_yaml(build_sweep([f"+sweep={option}", "experiment=debug"])))
    assert sweep["name"] == option
    values = {k: v["values"][-1] if "values" in v else v["min"] for k, v in sweep["parameters"].items()}
    config = composed_as_by_an_agent(sweep, values)
    assert config.name == f"{option}/r1"


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["experiment=debug", "name=x", "seed=1"], {}, "nothing to sweep"),
        (["experiment=debug", "seed=1,2"], {}, "name=... is missing"),
        (["experiment=debug", "name=x", "generator=cips,cips_x"], {}, "Could not find 'generator/cips_x'"),
        (["experiment=debug", "name=x", "sede=1,2"], {}, "sede"),
        (["experiment=debug", "name=x", "generator=glob(*)"], {}, "list the values"),
        (["experiment=debug", "name=x", "seed=a,["], {}, "if this is one value, type"),
        (
            ["experiment=debug", "name=x", "model.width=interval(1,2)"],
            {},
            r"width=1\.0: must be a positive whole number",
        ),
        (["experiment=debug", "name=x", "seed=1,2", "+foo=1"], {}, "foo: there is no such option"),
        (["experiment=debug", "name=x", "seed=1,2", "logger=tensorboard"], {}, "leave logger= out"),
        (["experiment=debug", "name=x", "seed=1,2"], {"method": "bayes"}, "needs --metric"),
        (
            ["experiment=debug", "name=x", "objective.r1_weight=interval(1,2)"],
            {"method": "grid"},
            "r1_weight are intervals",
        ),
        (["experiment=debug", "name=x", "seed=int(tag(log,interval(1,9)))"], {}, "list the values"),
    ],
)
def test_mistakes(overrides: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sweep(overrides, **options)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_agent.main(["experiment=debug", "seed=0,1", "--method", "random", "name=seeds"])
    assert yaml.safe_load((tmp_path / "sweep-seeds.yaml").read_text())["method"] == "random"
    assert "wandb sweep --project cips_lab sweep-seeds.yaml" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        sweep_agent.main(["experiment=debug", "name=x"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: nothing to sweep")
