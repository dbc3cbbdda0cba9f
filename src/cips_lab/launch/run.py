"""From a composed configuration to a finished run folder."""

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from cips_lab.callbacks.agreement import SameMoment
from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.callbacks.interruption import Interruption
from cips_lab.callbacks.stop import StopAtTotal
from cips_lab.configuration import build
from cips_lab.errors import UserError
from cips_lab.files.secrets import guard_logs, redact_arguments, redact_settings
from cips_lab.files.untrusted import read_settings
from cips_lab.files.whole import disk_full, is_full, quiet_log_when_full, replace_text
from cips_lab.interop.native import load_generator
from cips_lab.launch.resume import restoring
from cips_lab.processes.layout import Layout, check_batch, check_name, layout_of, set_float32, set_threads
from cips_lab.processes.ranks import is_first_of_all, prepare_once
from cips_lab.processes.signals import StopSignals
from cips_lab.processes.strategy import ReplicatedStrategy, WatchedLauncher
from cips_lab.processes.watch import follow_launcher
from cips_lab.runs.checkpoints import best_so_far, images_of, sound_checkpoints
from cips_lab.runs.lock import LOCK, only_run_in, will_start_others
from cips_lab.runs.status import FINISHED, RUNNING, write_overrides, write_status
from cips_lab.tracking.loggers import close
from cips_lab.training.clock import check_schedule
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard, check_precision, fit_guarded

log = logging.getLogger(__name__)

# What a run is: changing any of these under the same name would make another run of it.
IDENTITY = (
    "generator",
    "discriminator",
    "objective",
    "data",
    "resolution",
    "batch_size",
    "micro_batch",
    "seed",
    "init",
)
INCIDENTAL = ("data.name", "data.num_workers", "data.hint", "data.cache", "data.test_path", "data.unreadable")


def train(cfg: DictConfig) -> Path:
    """Train, or continue, the run that a composed ``conf/train.yaml`` describes.

    Returns:
        The run's folder.

    Raises:
        UserError: the configuration or the data cannot be used, another process trains there, or the disk is full.
        Interrupted: a signal asked the run to stop, and it can be continued.
    """
    follow_launcher()
    quiet_libraries()
    quiet_log_when_full()
    guard_logs()
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    layout = layout_of(cfg.trainer)
    try:
        with StopSignals(alone=layout.processes == 1 or will_start_others()) as signals, only_run_in(folder):
            return _train(cfg, folder, layout, signals)
    except OSError as error:
        if is_full(error):
            raise disk_full(Path(error.filename or folder)) from error
        raise


def _train(cfg: DictConfig, folder: Path, layout: Layout, signals: StopSignals) -> Path:
    processes = layout.processes
    check_batch(cfg.batch_size, cfg.micro_batch, processes)
    check_schedule(cfg.schedule)
    guard: Guard = build(cfg.guard)
    check_precision(guard, cfg.trainer.precision)
    check_name(layout.num_nodes, list(HydraConfig.get().overrides.task))
    set_threads(cfg.trainer, processes)
    set_float32(cfg.trainer.tf32)
    data = build(cfg.data)
    prepare_once(data.prepare_data)  # before anything is built: what is wrong with the data is told at once
    gan = build_gan(cfg, guard, flip=data.flip)
    callbacks = [build(callback) for callback in cfg.callbacks.values() if callback is not None]
    evaluation = next((callback for callback in callbacks if isinstance(callback, Evaluation)), None)
    if evaluation is not None:
        evaluation.check(data)
    checkpoints = sound_checkpoints(folder, tell=is_first_of_all())
    settings = redact_settings(OmegaConf.to_container(cfg, resolve=True))
    refuse_another_run(folder, settings, continuing=bool(checkpoints))
    images = images_of(checkpoints[-1]) if checkpoints else 0
    unevaluated = evaluation is not None and evaluation.is_pending(folder, images, cfg.batch_size)
    if images and images >= round(cfg.schedule.total_kimg * 1000) and not unevaluated:
        log.info("%s has its %g kimg already: raise schedule.total_kimg to train on", folder, images / 1000)
        if is_first_of_all():  # it may have been killed before it could say so
            write_status(folder, FINISHED, images / 1000, value=best_value(evaluation, folder))
        return folder
    if is_first_of_all():
        write_folder(folder, settings)
        write_status(folder, RUNNING, images / 1000, value=best_value(evaluation, folder))
        describe(gan, cfg, folder, processes, checkpoints)
    chosen = OmegaConf.create(settings["logger"])  # resolved, and without secrets
    place = {"run_folder": str(folder), "images_seen": images}
    loggers = [build(logger, **place) for logger in chosen.values() if logger is not None]
    interruption = next((callback for callback in callbacks if isinstance(callback, Interruption)), None)
    if interruption is not None:
        interruption.signals = signals
        callbacks.sort(key=lambda callback: callback is interruption)  # the last one, in whatever order they came
    trainer = build_trainer(cfg, folder, layout, loggers, callbacks)
    try:
        signals.begin_training(launching=processes > 1 and will_start_others())
        fit_guarded(
            lambda start: restoring(partial(resume, trainer, gan, data), gan, start),
            gan,
            guard,
            lambda: newest_checkpoint(folder),
            checkpoints[-1] / "training.ckpt" if checkpoints else None,
        )
    except SystemExit:  # what Lightning makes of a second Ctrl-C
        if trainer.interrupted and signals.at_once:
            raise KeyboardInterrupt from None
        raise
    finally:
        if isinstance(trainer.strategy.launcher, WatchedLauncher):
            trainer.strategy.launcher.end_watch()
        for logger in loggers:
            close(logger)
    if interruption is not None:
        interruption.conclude(trainer)
    if trainer.is_global_zero:
        write_status(folder, FINISHED, gan.images_seen / 1000, value=best_value(evaluation, folder))
        log.info("finished: %s", folder)
    return folder


def build_gan(cfg: DictConfig, guard: Guard, flip: bool) -> GAN:
    """Both networks as they begin, from `seed` or from `init`."""
    pl.seed_everything(cfg.seed, workers=False, verbose=False)
    generator, discriminator = build(cfg.generator), build(cfg.discriminator)
    gan = GAN(
        generator,
        discriminator,
        build(cfg.objective),
        batch_size=cfg.batch_size,
        micro_batch=cfg.micro_batch,
        seed=cfg.seed,
        flip=flip,
        compile=cfg.trainer.compile,
        tile=cfg.trainer.tile,
        guard=guard,
        generator_config=OmegaConf.to_container(cfg.generator, resolve=True),  # type: ignore[arg-type]
    )
    if cfg.init is not None:
        initialise(gan, cfg.init)
    return gan


def build_trainer(
    cfg: DictConfig, folder: Path, layout: Layout, loggers: list[Logger], callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Lightning's Trainer, without what this program does itself: the end, the order of the data, checkpoints, bars."""
    return pl.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=layout.devices,
        num_nodes=layout.num_nodes,
        precision=cfg.trainer.precision,
        strategy=ReplicatedStrategy(cfg.trainer.timeout_minutes) if layout.processes > 1 else "auto",
        logger=loggers,
        callbacks=[SameMoment(), StopAtTotal(cfg.schedule.total_kimg), *callbacks],
        default_root_dir=folder,
        max_epochs=-1,  # the stream of images has no end; StopAtTotal ends the run
        use_distributed_sampler=False,  # the data module's order is distributed already
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def resume(trainer: pl.Trainer, gan: GAN, data: pl.LightningDataModule, start: Path | None) -> None:
    """Lightning's `fit` from a checkpoint's file, or from the beginning."""
    trainer.fit(gan, datamodule=data, ckpt_path=start, weights_only=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The file from which a run goes on, or None at its beginning."""
    checkpoints = sound_checkpoints(folder)
    return checkpoints[-1] / "training.ckpt" if checkpoints else None


def best_value(evaluation: Evaluation | None, folder: Path) -> float | None:
    """The metric of a run's best evaluation so far; None where nothing was evaluated."""
    record = best_so_far(folder)
    if evaluation is None or evaluation.best is None or record is None:
        return None
    key = evaluation.evaluator.distance_key if evaluation.best == "fd" else evaluation.best
    return float(record[key]) if key in record else None


def discard_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but its log: what was refused leaves no trace."""
    if folder.is_dir() and all(path.suffix == ".log" or path.name == LOCK for path in folder.iterdir()):
        shutil.rmtree(folder)


def quiet_libraries() -> None:
    """Lightning's advice about matters that this program decides for itself."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training")  # the averaged generator
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")


def initialise(gan: GAN, source: str) -> None:
    """Start from another generator's weights (`init=`)."""
    other = load_generator(source)
    ours, theirs = gan.generator.state_dict(), other.state_dict()
    for name in sorted(ours.keys() | theirs.keys()):
        a, b = (list(state[name].shape) if name in state else "none" for state in (ours, theirs))
        if a != b:
            raise UserError(f"init={source} is another generator: {name} is {b} there and {a} in this configuration")
    gan.generator.load_state_dict(theirs)


def refuse_another_run(folder: Path, settings: dict[str, Any], continuing: bool) -> None:
    """A folder with checkpoints is continued only by the configuration that made it."""
    path = folder / "config.yaml"
    if not continuing or not path.exists():
        return
    before = flatten(redact_settings(read_settings(path)))
    now = flatten(settings)
    changed = [
        f"  {key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} asked for"
        for key in sorted(before.keys() | now.keys())
        if key.split(".")[0] in IDENTITY and key not in INCIDENTAL and before.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{folder} holds a run with another configuration; choose another name, or go back to its own:\n"
            + "\n".join(changed)
        )


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings to ``{"data.path": value}``."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        key: value
        for name, nested in settings.items()
        for key, value in flatten(nested, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def write_folder(folder: Path, settings: dict[str, Any]) -> None:
    """config.yaml, overrides.yaml and environment.json."""
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith("sweep_name=")]
    write_overrides(folder, redact_arguments(overrides))
    replace_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(settings)))
    packages = ("cips-lab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "wandb")
    environment = {
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "commit": commit(),
    }
    replace_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def commit() -> str | None:
    """The git commit of the source tree, if it is one."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def describe(gan: GAN, cfg: DictConfig, folder: Path, processes: int, checkpoints: list[Path]) -> None:
    """Say what is about to happen."""

    def millions(network: torch.nn.Module) -> str:
        return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"

    log.info("run folder: %s", folder)
    log.info(
        "generator %s (%s), discriminator %s, %d x %d pixels, batch %d on %d process(es), %s, %s",
        HydraConfig.get().runtime.choices["generator"],
        millions(gan.generator),
        millions(gan.discriminator),
        cfg.resolution,
        cfg.resolution,
        cfg.batch_size,
        processes,
        cfg.trainer.precision,
        f"{torch.get_num_threads()} threads" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
    )
    if checkpoints:
        log.info("continuing from %s", checkpoints[-1].name)
    problem = split_groups(cfg.batch_size, cfg.micro_batch, processes, cfg.discriminator.get("group_size", 1))
    if problem:
        log.warning(problem)


def split_groups(batch_size: int, micro_batch: int | None, processes: int, group_size: int) -> str | None:
    """What to say where passes are too small for whole groups of the minibatch standard deviation; else None."""
    samples = micro_batch or batch_size // processes
    if samples == batch_size or group_size <= 1 or samples % group_size == 0:
        return None
    return (
        f"passes of {samples} images do not hold whole groups of the minibatch standard deviation "
        f"(discriminator.group_size={group_size}): this run differs from one on another number of processes; "
        f"with passes of a multiple of {group_size} it would not"
    )
