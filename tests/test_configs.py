"""Every file in conf/ composes, and what it describes can be built. The files are found, not listed: new ones count."""

import functools
import inspect
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cips_lab.configuration import build, conf_folder
from cips_lab.configuration.targets import target_mistakes
from cips_lab.data.base import BaseDataModule
from cips_lab.errors import UserError
from cips_lab.launch.networks import differing_settings
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.growth import doublings, grow_discriminator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.processes.layout import check_batch, count_processes
from cips_lab.training.gan import GAN
from cips_lab.training.objective import Objective

CONF = conf_folder()
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))
OPTIONS = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "tabulate")


def options(group: str) -> list[str]:
    return [option for name, option in OPTIONS if name == group]


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(overrides))


@functools.cache
def train_config(*overrides: str) -> DictConfig:
    return composed("train", "name=test", *overrides)


def groups_of(command: str) -> set[str]:
    """Groups in a primary config's defaults list."""
    defaults = OmegaConf.load(CONF / f"{command}.yaml").get("defaults", [])
    return {str(key).rpartition(" ")[2].lstrip("/") for entry in defaults if OmegaConf.is_dict(entry) for key in entry}


def groups_or_bases(command: str) -> set[str]:
    """Names in a primary config's defaults list that are configs by themselves."""
    return {str(entry) for entry in OmegaConf.load(CONF / f"{command}.yaml").get("defaults", [])}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_meta(config: DictConfig) -> Any:
    with torch.device("meta"):
        return build(config)


# ------------------------------------------------------------------ everything composes


def test_the_folder_is_found() -> None:
    assert "train" in COMMANDS
    assert ("generator", "cips") in OPTIONS
    assert {
        "cips",
        "cips_base",
        "cips_ne",
        "cips_no_fourier",
        "cips_residual",
        "cips_sine",
        "siren",
        "stylegan2",
    } <= set(options("generator"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    named = "name" in OmegaConf.load(CONF / f"{command}.yaml") or "train" in groups_or_bases(command)
    config = composed(command, *(["name=test"] if named else []))
    assert OmegaConf.to_container(config, resolve=True)


def test_tabulate_composes_with_an_option_called_like_a_group() -> None:
    with initialize_config_dir(str(CONF / "tabulate"), version_base="1.3"):
        assert compose("tabulate", ["sweep=[a,b]"]).sweep == ["a", "b"]


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_has_a_stand_in_for_its_pictures(experiment: str) -> None:
    config = composed("train", f"experiment={experiment}", "data=stand_in", "name=test")
    data = build(config.data)
    assert data.stand_in
    assert data.side == config.resolution


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    command = next((name for name in ("train", *COMMANDS) if group in groups_of(name)), "train")
    choice = f"{group}={option}" if group in groups_of(command) else f"+{group}={option}"
    config = composed(command, choice, *(["name=test"] if command == "train" else []))
    resolved = OmegaConf.to_container(config, resolve=True)
    assert resolved
    for target in targets(resolved):
        assert callable(get_object(target)), target  # a typing mistake shows here, not when it is chosen


def targets(config: Any) -> list[str]:
    """All values of `_target_`, at any depth."""
    if isinstance(config, dict):
        own = [config["_target_"]] if "_target_" in config else []
        return own + [target for value in config.values() for target in targets(value)]
    return [target for value in config for target in targets(value)] if isinstance(config, list) else []


# ------------------------------------------------------------------ what they describe can be built


@pytest.mark.parametrize("option", options("generator"))
def test_generators(option: str) -> None:
    config = train_config(f"generator={option}")
    generator = on_meta(config.generator)
    assert isinstance(generator, (CIPSGenerator, StyleGAN2Generator))
    assert (generator.resolution, generator.z_dim, generator.w_dim) == (256, 512, 512)
    # Nothing is hidden: every option of the class is in the file.
    assert set(config.generator) - {"_target_"} == set(inspect.signature(type(generator).__init__).parameters) - {
        "self"
    }


def test_what_makes_the_variants() -> None:
    """Table 3's columns: what each file changes, and nothing else."""

    def differences(a: str, b: str) -> dict[str, Any]:
        one, other = (OmegaConf.to_container(train_config(f"generator={n}").generator, resolve=True) for n in (a, b))
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        assert one.keys() == other.keys()
        return {str(key): other[key] for key in one if one[key] != other[key]}

    assert differences("cips", "cips_base") == {"output": "last"}
    assert differences("cips_base", "cips_ne") == {"embedding": None}
    assert differences("cips_base", "cips_no_fourier") == {"fourier": None}
    assert differences("cips_base", "cips_residual") == {"blocks": "residual"}
    assert differences("cips_base", "cips_sine") == {"activation": "sine"}
    siren = differences("cips_base", "siren")
    assert (siren.keys(), siren["embedding"], siren["activation"]) == (
        {"fourier", "embedding", "activation"},
        None,
        "siren",
    )
    assert siren["fourier"]["initialization"] == "siren"


def test_parameter_counts() -> None:
    def count(*overrides: str) -> int:
        return parameters(on_meta(train_config(*overrides).generator))

    assert abs(count("generator=cips") - 45.9e6) < 0.05e6
    assert count("generator=cips", "generator.widths=official", "generator.noise=true") == 44_317_092
    assert count("generator=cips") - count("generator=cips_base") == 6 * (3 * 512 + 3 + 512 * 512 + 512)  # 6 to-RGBs
    assert count("generator=cips_base") - count("generator=cips_ne") == 512 * (256**2 + 512 + 512 + 1)


@pytest.mark.parametrize("option", options("discriminator"))
def test_discriminators(option: str) -> None:
    config = train_config(f"discriminator={option}")
    discriminator = on_meta(config.discriminator)
    assert discriminator.resolution == 256
    made_by = get_object(config.discriminator._target_)
    assert set(config.discriminator) - {"_target_"} == set(inspect.signature(made_by).parameters)
    logits = {"residual": 1, "projected": 4, "vision_aided": 5}[option]
    assert discriminator(torch.empty(4, 3, 256, 256, device="meta")).shape == (4, logits)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_takes_every_discriminator(experiment: str) -> None:
    """Their channels are those of the model, so that no experiment names an option that another one has not."""
    for option in options("discriminator"):
        config = train_config(f"experiment={experiment}", f"discriminator={option}")
        assert not target_mistakes(config.discriminator), option


@pytest.mark.parametrize("option", options("objective"))
def test_objectives(option: str) -> None:
    config = train_config(f"objective={option}").objective
    objective = build(config)
    assert isinstance(objective, Objective)
    assert set(config) - {"_target_"} == set(inspect.signature(Objective).parameters)
    assert objective.generator_optimizer(nn.Linear(2, 2)).param_groups[0]["lr"] > 0


def test_the_default_objective_is_the_classs() -> None:
    default = build(train_config("objective=nonsaturating").objective)
    assert default == Objective(betas=default.betas)
    assert tuple(default.betas) == Objective().betas
    official = build(train_config("objective=official").objective)
    assert official.ema_decay(32, 0) == pytest.approx(0.5 ** (32 / 10_000))


@pytest.mark.parametrize("option", options("data"))
def test_data(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIPS_LAB_CACHE", str(tmp_path))
    config = train_config(f"data={option}").data
    module = build(config)
    assert isinstance(module, BaseDataModule)
    assert module.resolution == 256
    assert module.name
    assert isinstance(module.flip, bool)
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is needed
    if "path" in config:
        with pytest.raises(UserError, match=r"data\.path"):
            module.prepare_data()


@pytest.mark.parametrize("option", options("callbacks"))
def test_callbacks(option: str) -> None:
    config = train_config(f"callbacks={option}").callbacks
    for name, callback in config.items():
        if callback is not None:
            assert isinstance(build(callback), pl.Callback), name


@pytest.mark.parametrize("option", options("logger"))
def test_loggers(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = train_config(f"logger={option}").logger
    for name, logger in config.items():
        built = build(logger, run_folder=str(tmp_path))
        assert isinstance(built, pl.loggers.Logger), name
        assert Path(str(built.save_dir)).is_relative_to(tmp_path), name
        if isinstance(built, pl.loggers.WandbLogger):
            built.experiment.finish()
    assert len(config) == {"none": 0, "all": 2}.get(option, 1)


@pytest.mark.parametrize("option", options("trainer"))
def test_trainers(option: str) -> None:
    config = train_config(f"trainer={option}").trainer
    assert set(config) == set(train_config("trainer=auto").trainer)
    if option == "multinode":
        with pytest.raises(UserError, match="must be the number of machines"):
            count_processes(config)
    elif option == "gpu" and not torch.cuda.is_available():
        with pytest.raises(UserError, match="trainer=cpu"):
            count_processes(config)
    elif not torch.cuda.is_available():
        assert count_processes(config) == {"ddp_cpu": 2}.get(option, 1)


# ------------------------------------------------------------------ experiments


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_can_be_built(experiment: str) -> None:
    """All that a run is made of, but for its pictures."""
    config = train_config(f"experiment={experiment}")
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    assert settings["name"] == "test"
    assert build(config.data).resolution == config.resolution
    with torch.device("meta"):
        gan = GAN(
            build(config.generator),
            build(config.discriminator),
            build(config.objective),
            batch_size=config.batch_size,
            micro_batch=config.micro_batch,
            view=build(config.view),
        )
    assert gan.generator.resolution == config.resolution
    assert gan.discriminator.resolution == gan.view.size
    for callback in config.callbacks.values():
        assert callback is None or build(callback)
    check_batch(config.batch_size, config.micro_batch, 1)
    schedule = config.schedule
    assert 0 < schedule.log_kimg <= schedule.sample_kimg <= schedule.total_kimg
    assert 0 < schedule.checkpoint_kimg <= schedule.total_kimg


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_says_what_it_is(experiment: str) -> None:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert text[0] == "# @package _global_"
    assert text[1].startswith("# ")


@pytest.mark.parametrize("variant", [name for name in options("generator") if name != "stylegan2"])
def test_the_debug_experiment_trains_any_variant(variant: str) -> None:
    config = train_config("experiment=debug", f"generator={variant}")
    alone = train_config(f"generator={variant}")
    generator = on_meta(config.generator)
    assert generator.first.linear.weight.shape[0] == 16
    # The experiment sets sizes; what makes the variant is untouched.
    for key in ("output", "blocks", "activation", "modulation", "noise"):
        assert config.generator[key] == alone.generator[key]
    for key in ("fourier", "embedding"):
        assert (config.generator[key] is None) == (alone.generator[key] is None)


def test_the_papers_model() -> None:
    """The released recipe: batch 32, R1 10 every 16, EMA 0.5 ** (32 / 10000), 45.9 M parameters."""
    config = train_config("experiment=ffhq_256")
    assert (config.resolution, config.batch_size) == (256, 32)
    generator = on_meta(config.generator)
    assert isinstance(generator, CIPSGenerator)
    assert abs(parameters(generator) - 45.9e6) < 0.05e6
    objective = build(config.objective)
    assert (objective.r1_weight, objective.r1_interval) == (10.0, 16)
    assert objective.ema_decay(32, 0) == pytest.approx(0.5 ** (32 / 10_000))
    optimizer = objective.generator_optimizer(nn.Linear(2, 2)).param_groups[0]
    assert optimizer["lr"] == pytest.approx(0.0016)
    assert optimizer["betas"] == pytest.approx((0.0, 0.99**0.8))
    assert config.data.flip is True
    assert len(generator.mapping.layers) == 8


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_takes_every_variant(experiment: str) -> None:
    """A variant is what its file says in every experiment: what is null stays null."""
    for variant in options("generator"):
        config = train_config(f"experiment={experiment}", f"generator={variant}")
        generator = on_meta(config.generator)
        if variant == "stylegan2":
            assert isinstance(generator, StyleGAN2Generator)
            continue
        assert (generator.encoding.embedding is None) == (variant in ("cips_ne", "siren")), variant
        assert (generator.encoding.fourier is None) == (variant == "cips_no_fourier"), variant
        assert generator.width == config.model.width


def test_faces_grow_to_1024_by_one_option() -> None:
    """What `init=` of a run of ffhq_256 needs: a generator that is alike but for the resolution, and can grow."""
    small = train_config("experiment=ffhq_256", "generator.widths=official")
    large = train_config("experiment=ffhq_1024", "init=runs/small")
    settings = [OmegaConf.to_container(cfg.generator, resolve=True) for cfg in (small, large)]
    assert differing_settings(*settings, "resolution") == ""  # type: ignore[arg-type]
    generators = [on_meta(cfg.generator) for cfg in (small, large)]
    assert doublings(*(generator.size for generator in generators)) == 2
    assert set(generators[0].to_rgb) == {str(i) for i in range(len(generators[0].blocks))}
    discriminator = on_meta(large.discriminator)
    with torch.device("meta"):
        assert grow_discriminator(on_meta(small.discriminator).state_dict(), discriminator)
    assert discriminator.new_blocks == 2
