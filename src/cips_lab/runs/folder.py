"""A run folder: what its files are called, and how a moment is written in their names.

Nothing else in the program knows these names. (What a data module notes of its pictures there it names itself, for
data know nothing of runs.)
"""

from pathlib import Path

CONFIG = "config.yaml"  # the resolved configuration
CHOICES = "choices.yaml"  # which option of each of Hydra's groups it was composed of
OVERRIDES = "overrides.yaml"  # what the command line, or the sweep, changed
INPUTS = "inputs.json"  # the pictures and weights that it began with, by their content
ENVIRONMENT = "environment.json"  # packages, machine, commit
STATUS = "status.json"  # what the run last said of itself
METRICS = "metrics.jsonl"  # losses and evaluations, a line each
EVALUATIONS = "evaluations.md"  # the latter as a table
REPORT = "report.html"
EXPLORER = "explorer.html"  # the generator to walk in, where `cips_lab.explore` was told to leave it here
LOCK = ".lock"
HOLDER = ".lock.json"  # who holds it, for the message; the lock itself is the kernel's

CHECKPOINTS = "checkpoints"  # a folder each, see `kimg_label`, with:
TRAINING = "training.ckpt"  # everything to continue
GENERATOR = "generator.safetensors"  # to use
DISCRIMINATOR = "discriminator.safetensors"  # beside a generator that left its run, see interop/discriminators.py
MANIFEST = "manifest.json"  # sizes and hashes of the others
SCORES = "metrics.json"  # in the best one: its evaluation
BEST = "best-"  # before the moment, of the best one
DAMAGED = "damaged-"  # before all, of one that was set aside

SAMPLES = "samples"  # a grid each, `kimg_label`.png, and
REAL = "real.png"

ANALYSIS = "analysis"  # figures of `cips_lab.analyze`, and their page
GUARD = "guard"  # what was saved of losses that are not finite
WANDB, CSV, TENSORBOARD = "wandb", "csv", "tensorboard"  # the loggers' own

MOMENT = "kimg-"


def kimg_label(images_seen: int) -> str:
    """Fixed-width, sortable and free of '=': ``kimg-00012.800``."""
    return f"{MOMENT}{images_seen / 1000:09.3f}"


def kimg_of(name: str) -> float | None:
    """Thousands of images in a name that `kimg_label` made, such as ``best-kimg-00012.800``; None of other names."""
    label = name.removeprefix(BEST)
    try:
        return float(label.removeprefix(MOMENT)) if label.startswith(MOMENT) else None
    except ValueError:
        return None


def images_of(checkpoint: Path) -> int:
    """Images seen by a checkpoint folder.

    Raises:
        ValueError: it is none.
    """
    kimg = kimg_of(checkpoint.name)
    if kimg is None:
        raise ValueError(f"{checkpoint}: the name of no checkpoint")
    return round(kimg * 1000)


def checkpoint_folders(run: str | Path) -> list[Path]:
    """The whole checkpoints of a run folder, oldest first."""
    found = (Path(run) / CHECKPOINTS).glob(f"{MOMENT}*")
    return sorted((path for path in found if path.is_dir() and kimg_of(path.name) is not None), key=images_of)


def best_checkpoints(run: Path) -> list[Path]:
    """Its best one; more than one only if the run was killed between writing one and removing another."""
    return sorted((run / CHECKPOINTS).glob(f"{BEST}{MOMENT}*"))


def sample_grids(run: Path) -> dict[float, Path]:
    """Thousands of images -> the grid of samples made then, oldest first."""
    found = ((kimg_of(path.stem), path) for path in sorted((run / SAMPLES).glob(f"{MOMENT}*.png")))
    return {kimg: path for kimg, path in found if kimg is not None}


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / CONFIG).is_file()


def run_above(file: Path) -> Path | None:
    """The run folder that a file lies in, at any depth; None of others."""
    return next((folder for folder in file.resolve().parents if is_run(folder)), None)
