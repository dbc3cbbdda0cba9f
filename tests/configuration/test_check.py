"""All mistakes of a configuration at once: what nothing reads, what is of the wrong kind, what is missing."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import cips_lab.cli  # noqa: F401 - names of runs are made by its resolvers
from cips_lab.configuration import conf_folder, primary_file
from cips_lab.configuration.advice import HABITS
from cips_lab.configuration.check import known_to_hydra, mistakes
from cips_lab.configuration.known import choices, known_options
from cips_lab.configuration.options import COMMANDS, GROUPS, SCHEDULE
from cips_lab.configuration.refused import all_mistakes


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(primary_file(command).parent), version_base="1.3"):
        return compose(command, list(overrides), return_hydra_config=True)


def found(command: str, *overrides: str) -> list[str]:
    config = composed(command, *overrides)
    with known_to_hydra(config):
        return list(mistakes(command, config))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_defaults_are_right_and_the_table_is_complete(command: str) -> None:
    config = composed(command)
    assert found(command) == []
    assert config.hydra.callbacks.check.command == command  # which looks before a folder is made
    with known_to_hydra(config):
        for option in COMMANDS[command]:
            assert OmegaConf.select(config, option, default=...) is not ..., option


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_with_every_sweep_is_right(experiment: str) -> None:
    for option in choices("sweep"):
        if option == "table1" and not experiment.endswith("_256"):
            continue  # it gives data.path to the paper's data sets
        assert found("train", f"experiment={experiment}", f"+sweep={option}") == []


@pytest.mark.parametrize(("group", "option"), [(g, o) for g in GROUPS["train"] + ("trainer",) for o in choices(g)])
def test_every_choice_is_right(group: str, option: str) -> None:
    extra = ["trainer.num_nodes=2"] if option == "multinode" else []
    assert found("train", f"{group}={option}", *extra) == []


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("trainer.max_steps", "schedule.total_kimg"),
        ("trainer.gradient_clip_val", "objective.generator_lr"),
        ("trainer.accumulate_grad_batches", "micro_batch"),
        ("trainer.fast_dev_run", "experiment=debug"),
        ("trainer.val_check_interval", "schedule.evaluate_kimg"),
        ("trainer.log_every_n_steps", "schedule.log_kimg"),
        ("trainer.strategy", "trainer.devices"),
        ("gpus", "trainer.devices"),
        ("lr", "objective.generator_lr"),
        ("trainer.device", "did you mean trainer.devices?"),
        ("total_kimg", "did you mean schedule.total_kimg?"),
        ("schedule.eval_kimg", "did you mean schedule.evaluate_kimg?"),
        ("generator.widht", "did you mean generator.width?"),
        ("objective.r1_wieght", "did you mean objective.r1_weight?"),
        ("callbacks.samples.row", "did you mean callbacks.samples.rows?"),
        ("foo", "there is no such option"),
        ("schedule.x", "there is no such option"),
        ("model.y", "there is no such option"),
        ("paths.z", "there is no such option"),
    ],
)
def test_what_nothing_reads_is_refused(key: str, told: str) -> None:
    (mistake,) = found("train", f"+{key}=3")
    assert mistake.startswith(f"{key}: there is no such option")
    assert told in mistake
    assert all_mistakes("train", [f"{key}=3"], None) == [mistake]  # which Hydra refuses to compose


def test_advice_names_what_there_is() -> None:
    known = known_options("train")
    for habit, advice in HABITS.items():
        assert habit not in known
        for word in advice.replace(";", " ").replace(",", " ").replace(":", " ").split():
            name = word.partition("=")[0]
            if "." in name.strip(".") and not name.startswith("callbacks."):
                assert name in known, (habit, name)


@pytest.mark.parametrize(
    ("command", "typed", "told"),
    [
        ("train", "seed=-1", "seed=-1: must be a whole number of at least 0"),
        ("train", "seed=1.5", "seed=1.5: must be a whole number of at least 0"),
        ("train", "seed=null", "seed=null: must be a whole number of at least 0"),
        (
            "train",
            "resolution=16.0",
            "of multiples of one, such as [128,256]; type resolution=16",
        ),
        ("train", "resolution=100", "resolution=100: must be a power of two of at least 8, such as 64"),
        ("train", "trainer.accelerator=tpu", "trainer.accelerator=tpu: must be auto, cpu, gpu, cuda or mps"),
        ("train", "trainer.devices=0", "trainer.devices=0: must be a number, a list of device indices or auto"),
        ("train", "trainer.tf32=1", "trainer.tf32=1: must be true or false"),
        ("train", "batch_size=0", "batch_size=0: must be a positive whole number of images"),
        ("train", "batch_size=many", "batch_size=many: must be a positive whole number of images"),
        ("train", "schedule.log_kimg=-1", "schedule.log_kimg=-1: must be a positive number"),
        ("train", "schedule.total_kimg=inf", "schedule.total_kimg=inf: must be a positive number"),
        ("train", "name=''", "name=: must be a folder's name: not empty, and no part of it over 255 bytes"),
        ("train", f"name={'a' * 256}", "must be a folder's name"),
        ("train", "name=..", "must be a folder's name"),
        ("train", "paths.runs=null", "paths.runs=null: must be text"),
        ("train", "generator.width=a", "generator.width=a: must be a whole number"),
        ("train", "generator.widths=wide", "generator.widths=wide: must be constant or official"),
        ("train", "data.flip=1", "data.flip=1: must be true or false"),
        ("train", "data.path=[a]", """if these characters are meant, type 'data.path="[a]"'"""),
        ("train", "objective.r1_interval=1.5", "objective.r1_interval=1.5: must be a whole number"),
        ("train", "~discriminator", "discriminator is needed; choose discriminator=projected|residual"),
        ("train", "~logger", "logger is needed; logger=none leaves it out"),
        ("train", "~seed", "seed is missing, and is needed"),
        ("train", "callbacks.metrics=3", "callbacks.metrics: needs a _target_"),
        ("train", "++guard._target_=no.such.Guard", "guard._target_=no.such.Guard: cannot be found"),
        ("plan", "plan.headroom=1.5", "plan.headroom=1.5: must be a share of at least 0 and below 1"),
        ("plan", "seed=-1", "seed=-1: must be a whole number of at least 0"),
        ("dashboard", "build=[workspaces]", "build=[workspaces]: must be a list of some of workspace, report"),
        ("evaluate", "split=val", "split=val: must be train or test"),
        ("evaluate", "resolution=0", "resolution=0: must be a positive whole number, or null"),
        ("evaluate", "metrics.num_samples=many", "metrics.num_samples=many: must be a whole number"),
        ("synthesize", "truncation=x", "truncation=x: must be a number"),
        ("synthesize", "seeds=-1", "seeds=-1: must be a number, a range like 0-15"),
        ("synthesize", "batch=0", "batch=0: must be a positive whole number"),
        ("synthesize", "tile=-1", "tile=-1: must be a positive whole number, or null"),
        ("synthesize", "columns=0", "columns=0: must be a positive whole number, or null"),
        ("synthesize", "region=[1,1,0,0]", "region=[1,1,0,0]: must be [left,top,right,bottom]"),
        (
            "synthesize",
            "resolution=[1,2,3]",
            "resolution=[1,2,3]: must be a positive number of pixels",
        ),
        ("synthesize", "device=tpu", "device=tpu: must be auto, cpu, cuda, cuda:1 or mps"),
        ("tabulate", "at=first", "at=first: must be last, best, or thousands of images"),
        ("tabulate", "samples=x", "samples=x: must be a positive whole number of generated pictures, or null"),
        ("report", "costs=no", "costs=no: must be true or false"),
    ],
)
def test_values_of_the_wrong_kind(command: str, typed: str, told: str) -> None:
    lines = found(command, typed)
    assert any(told in line for line in lines), lines


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("train", "trainer.devices=-1"),
        ("train", "trainer.devices=[0,2]"),
        ("train", "trainer.tile=null"),
        ("train", "micro_batch=4"),
        ("train", "schedule.evaluate_kimg=null"),
        ("train", "objective.generator_lr=1"),
        ("train", "objective.ema_rampup=null"),
        ("train", "callbacks.samples=null"),
        ("train", "+callbacks.mine._target_=pytorch_lightning.callbacks.LearningRateMonitor"),
        ("train", "generator.fourier=null"),
        ("synthesize", "seeds=[1,5,9]"),
        ("synthesize", "seeds=3"),
        ("synthesize", "resolution=[32,64]"),
        ("tabulate", "sweep=[a,b]"),
        ("tabulate", "at=48"),
        ("tabulate", "jobs=['a/*',3]"),
    ],
)
def test_values_that_are_right(command: str, typed: str) -> None:
    assert found(command, typed) == []


def test_all_mistakes_at_once() -> None:
    lines = all_mistakes(
        "train", ["seed=-1", "trainer.max_steps=3", "generator.widht=3", "+foo=1", "batch_size=0"], None
    )
    assert {line.partition(":")[0] for line in lines} == {
        "seed=-1",
        "trainer.max_steps",
        "generator.widht",
        "foo",
        "batch_size=0",
    }


@pytest.mark.parametrize("value", ["0", "-1", "often", "true", "inf", "nan"])
def test_schedules_that_mean_something(value: str) -> None:
    """0 would be due at every iteration."""
    lines = found("train", *(f"{option}={value}" for option in SCHEDULE))
    assert [line.partition("=")[0] for line in lines] == list(SCHEDULE)
    assert all(f"={value}: must be a positive " in line for line in lines)
    may_be_null = {option for option in SCHEDULE if SCHEDULE[option].holds(None)}
    assert may_be_null == {
        f"schedule.{name}" for name in ("sample_kimg", "evaluate_kimg", "keep_every_kimg", "keep_checkpoints")
    }


def test_networks_of_different_sizes() -> None:
    (line,) = found("train", "generator.resolution=32", "data.resolution=32")
    assert line.startswith("generator.resolution=32, view.resolution=256, data.resolution=32: must be the same")
    (line,) = found("train", "resolution=32", "discriminator.resolution=64")
    assert line.startswith("discriminator.resolution=64, view.size=32: must be the same; set them all by view.size=N")


def test_what_another_option_refers_to_is_read(tmp_path: Path) -> None:
    """A configuration of the user's own: options, a class, a variant."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nmine: {size: 32, half: 16, unused: 1}\nresolution: ${mine.size}\n"
        "callbacks:\n  own: {_target_: pytorch_lightning.callbacks.Timer, duration: {minutes: '${mine.half}'}}\n"
    )
    lines = found("train", f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert [line.partition(":")[0] for line in lines] == ["mine.unused"]


def test_the_folder_of_configurations_has_no_options_told_twice() -> None:
    """trainer=ddp, data=zip and logger=csv are gone: see `advice.GONE`."""
    assert not {"ddp", "zip", "csv"} & {path.stem for path in conf_folder().glob("*/*.yaml")}
