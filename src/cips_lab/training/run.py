"""From a composed configuration to a finished run folder."""

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.callbacks.stop import StopAtTotal
from cips_lab.cli import build
from cips_lab.errors import UserError
from cips_lab.interop.native import checkpoint_folders, images_of, load_generator
from cips_lab.training.gan import GAN
from cips_lab.training.loggers import close
from cips_lab.training.parallel import ReplicatedStrategy

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
INCIDENTAL = ("data.num_workers", "data.hint", "data.cache", "data.test_path")


def train(cfg: DictConfig) -> Path:
    """Train, or continue, the run that a composed ``conf/train.yaml`` describes.

    Returns:
        The run's folder.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was trained.
    """
    quiet_libraries()
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    processes = count_processes(cfg.trainer)
    check_batch(cfg.batch_size, cfg.micro_batch, processes)
    set_threads(cfg.trainer, processes)
    first_process = int(os.environ.get("LOCAL_RANK", 0)) == 0 and int(os.environ.get("SLURM_LOCALID", 0)) == 0
    data = build(cfg.data)
    if first_process:
        data.prepare_data()  # before anything is built: what is wrong with the data is told at once
    pl.seed_everything(cfg.seed, workers=False, verbose=False)
    generator, discriminator = build(cfg.generator), build(cfg.discriminator)
    gan = GAN(
        generator,
        discriminator,
        build(cfg.objective),
        batch_size=cfg.batch_size,
        micro_batch=cfg.micro_batch,
        seed=cfg.seed,
        flip=data.flip,
        compile=cfg.trainer.compile,
        tile=cfg.trainer.tile,
        generator_config=OmegaConf.to_container(cfg.generator, resolve=True),  # type: ignore[arg-type]
    )
    if cfg.init is not None:
        initialise(gan, cfg.init)
    callbacks = [build(callback) for callback in cfg.callbacks.values() if callback is not None]
    evaluation = next((callback for callback in callbacks if isinstance(callback, Evaluation)), None)
    if evaluation is not None:
        evaluation.check(data)
    checkpoints = checkpoint_folders(folder)
    settings = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    refuse_another_run(folder, settings, continuing=bool(checkpoints))
    images = images_of(checkpoints[-1]) if checkpoints else 0
    unevaluated = evaluation is not None and evaluation.is_pending(folder, images, cfg.batch_size)
    if images and images >= round(cfg.schedule.total_kimg * 1000) and not unevaluated:
        log.info("%s has its %g kimg already: raise schedule.total_kimg to train on", folder, images / 1000)
        return folder
    if first_process:
        write_folder(folder, settings)
        describe(gan, cfg, folder, processes, checkpoints)
    loggers = [build(logger, run_folder=str(folder)) for logger in cfg.logger.values() if logger is not None]
    trainer = pl.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        precision=cfg.trainer.precision,
        strategy=ReplicatedStrategy() if processes > 1 else "auto",
        logger=loggers,
        callbacks=[StopAtTotal(cfg.schedule.total_kimg), *callbacks],
        default_root_dir=folder,
        max_epochs=-1,  # the stream of images has no end; StopAtTotal ends the run
        use_distributed_sampler=False,  # the data module's order is distributed already
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(
            gan,
            datamodule=data,
            ckpt_path=checkpoints[-1] / "training.ckpt" if checkpoints else None,
            weights_only=True,
        )
    finally:
        for logger in loggers:
            close(logger)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        log.info("finished: %s", folder)
    return folder


def discard_if_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but its log: what was refused leaves no trace."""
    if folder.is_dir() and all(path.suffix == ".log" for path in folder.iterdir()):
        shutil.rmtree(folder)


def quiet_libraries() -> None:
    """Lightning's advice about matters that this program decides for itself."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training")  # the averaged generator
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")


def count_processes(trainer: DictConfig) -> int:
    """How many processes will train together, before any is started.

    Raises:
        UserError: the devices asked for are not there.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    devices = trainer.devices
    if not (devices in ("auto", -1) or (isinstance(devices, int) and devices > 0) or OmegaConf.is_list(devices)):
        raise UserError(f"trainer.devices must be a number, a list of device indices or auto, not {devices!r}")
    on_gpu = trainer.accelerator in ("gpu", "cuda") or (trainer.accelerator == "auto" and torch.cuda.is_available())
    if on_gpu:
        if not torch.cuda.is_available() and not torch.backends.mps.is_available():
            raise UserError("trainer=gpu: there is no GPU here that PyTorch can use; say trainer=cpu or trainer=auto")
        available = max(1, torch.cuda.device_count())
        count = available if devices in ("auto", -1) else len(devices) if OmegaConf.is_list(devices) else devices
        if count > available:
            raise UserError(f"trainer.devices={count}: this machine has {available} GPU(s)")
    else:
        count = devices if isinstance(devices, int) and devices > 0 else 1
    return count * trainer.num_nodes


def check_batch(batch_size: int, micro_batch: int | None, processes: int) -> None:
    """The global batch must be made of equal shares and those of equal passes."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size must be a positive number of images, not {batch_size!r}")
    if batch_size % processes:
        raise UserError(
            f"batch_size={batch_size} is the global batch and does not divide among {processes} processes: "
            f"choose a multiple of {processes}"
        )
    share = batch_size // processes
    if micro_batch is not None and (micro_batch < 1 or share % micro_batch):
        raise UserError(
            f"micro_batch={micro_batch} does not divide the {share} images of each process "
            f"(batch_size={batch_size} over {processes}): choose a divisor of {share}"
        )


def set_threads(trainer: DictConfig, processes: int) -> None:
    """Share the cores: by default every process would start a thread on each."""
    if trainer.threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = max(1, processes // trainer.num_nodes)
    torch.set_num_threads(trainer.threads or max(1, cores // here))


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
    before = flatten(OmegaConf.to_container(OmegaConf.load(path)))
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
    """config.yaml and environment.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
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
    (folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")


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
