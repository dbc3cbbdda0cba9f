"""What each option does to a run: the one table from which it follows which runs are the same.

- A folder's run is continued by settings of the same RESULT (`launch/same_run.py`).
- A sweep trains a job again unless its RESULT, COURSE and MEASUREMENT are those of a finished one (`launch/sweep.py`).
- Jobs share a row of a table if they have the same RESULT and COURSE, whatever their seed (`reporting/variants.py`),
  and a table if their data are the same (`reporting/selection.py`).

An option that the table does not know counts as RESULT, and a test fails until it is told.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from cips_lab.runs.settings import Flat, flatten


class Effect(Enum):
    """What comes of changing an option."""

    RESULT = "other weights at every moment"
    COURSE = "what comes of it from now on: a run may go on with another value, but it is then another result"
    MEASUREMENT = "what is measured, and so which checkpoint is the best; the training is the same"
    WAY = "how it is computed: the same numbers, up to the order of float sums"
    NOTHING = "names, places, and how a run is watched"


@dataclass(frozen=True)
class Option:
    """A line of the table.

    Attributes:
        name: an option, dotted, with all that lies below it but what has a line of its own.
        effect: what changing it does.
        reason: why, where that is not plain.
    """

    name: str
    effect: Effect
    reason: str = ""


RESULT, COURSE, MEASUREMENT, WAY, NOTHING = Effect
TABLE = (
    Option("generator", RESULT),
    Option("discriminator", RESULT),
    Option("view", RESULT),
    Option("view.resolution", NOTHING, "the resolution once more"),
    Option("objective", RESULT),
    Option("augment", RESULT),
    Option("resolution", RESULT),
    Option("batch_size", RESULT),
    Option("micro_batch", RESULT, "the minibatch standard deviation sees the groups of a pass"),
    Option("seed", RESULT, "but tables take means over it, see `settings_of_variant`"),
    Option("init", RESULT, "by content, see `Inputs`"),
    Option("model", NOTHING, "sizes that the networks' own options repeat"),
    Option("data._target_", RESULT, "which pictures"),
    Option("data.path", RESULT, "by content, see `Inputs`"),
    Option("data.resolution", RESULT),
    Option("data.flip", RESULT),
    Option("data.map", RESULT),
    Option("data.span", RESULT),
    Option("data.classes_by", RESULT),
    Option("data.count", RESULT),
    Option("data.unreadable", COURSE, "another picture in the place of one that cannot be decoded"),
    Option("data.test_path", MEASUREMENT, "held-out pictures give the floor alone"),
    Option("data.name", NOTHING),
    Option("data.hint", NOTHING),
    Option("data.cache", NOTHING),
    Option("data.num_workers", WAY),
    Option("data_changed", NOTHING, "an answer to a question at the start"),
    Option("schedule.total_kimg", COURSE, "raised, it continues a run"),
    Option("schedule.evaluate_kimg", MEASUREMENT),
    Option("schedule.evaluate_samples", MEASUREMENT),
    Option("schedule.log_kimg", NOTHING),
    Option("schedule.sample_kimg", NOTHING),
    Option("schedule.checkpoint_kimg", NOTHING),
    Option("schedule.keep_checkpoints", NOTHING),
    Option("schedule.keep_every_kimg", NOTHING),
    Option("guard", COURSE, "it decides at the first loss that is not finite; the remedy then is to change it"),
    Option("guard._target_", NOTHING, "where the code lies"),
    Option("metrics", MEASUREMENT),
    Option("metrics._target_", NOTHING, "where the code lies"),
    Option("metrics.batch_size", WAY),
    Option("metrics.num_workers", WAY),
    Option("metrics.cache", NOTHING),
    Option("callbacks", NOTHING, "they watch a run"),
    Option("callbacks.evaluation.best", MEASUREMENT),
    Option("logger", NOTHING),
    Option("name", NOTHING),
    Option("sweep_name", NOTHING),
    Option("sweep", NOTHING, "what sweep_name was called once"),
    Option("paths", NOTHING),
    Option("trainer.accelerator", WAY),
    Option("trainer.devices", WAY),
    Option("trainer.num_nodes", WAY),
    Option("trainer.threads", WAY),
    Option("trainer.compile", WAY),
    Option("trainer.compile_mode", WAY),
    Option("trainer.tile", WAY),
    Option("trainer.timeout_minutes", WAY),
    Option("trainer.precision", RESULT, "rounding to 8 bits is no matter of order"),
    Option("trainer.mixed", RESULT, "likewise"),
    Option("trainer.tf32", RESULT, "rounding to 10 bits likewise"),
)
# Values of places: one place may be spelled in many ways.
PLACES = ("data.path", "data.test_path", "init", "metrics.weights", "metrics.manifold_weights")
# What runs of versions without an option did; of a part that they had not at all, where they had what holds it.
BEFORE: Flat = {
    "trainer.tf32": False,
    "trainer.mixed": "both",
    "view._target_": "cips_lab.training.views.Full",
    "view.fade_kimg": 50,
    "discriminator.told": "none",
    "discriminator.classes": 0,
    "objective.loss": "logistic",
    "augment._target_": "cips_lab.training.augment.Augment",
    "objective.r2_weight": 0.0,
    "objective.anneal_kimg": 20_000.0,
}
BEFORE_OF: dict[str, Flat] = {
    "cips_lab.networks.cips.CIPSGenerator": {
        "generator.surface": "plane",
        "generator.turns": 6,
        "generator.mixing_probability": 0.0,
        "generator.shift": None,
        "generator.rotation": None,
        "generator.wave_modulation": True,
        "generator.classes": 0,
    },
    "cips_lab.networks.stylegan2.StyleGAN2Generator": {"generator.classes": 0},
    "cips_lab.data.datamodule.AvatarsDataModule": {"data.classes_by": None, "data.count": None},
    "cips_lab.data.datamodule.BlueMarbleDataModule": {"data.map": "blue_marble", "data.span": None},
}
# Of the data, what is not the set of real pictures that a generator is compared with.
NOT_THE_SET = ("data.flip", "data.resolution", "data.classes_by")


@cache
def effect_of(option: str) -> Effect | None:
    """That of the longest line of the table that an option falls under; None if it falls under none."""
    parts = option.split(".")
    known = {line.name: line.effect for line in TABLE}
    under = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((known[name] for name in under if name in known), None)


def settings_with(settings: dict[str, Any], *effects: Effect) -> Flat:
    """The options that have one of these effects, dotted name -> value; places in full, old names as they are now."""
    found = as_today(flatten(settings))
    kept = {name: value for name, value in found.items() if (effect_of(name) or RESULT) in effects}
    return {name: place(value) if name in PLACES else value for name, value in kept.items()}


def as_today(found: Flat) -> Flat:
    """The settings of a run of any version, with what it did where it had no option yet."""
    before = dict(BEFORE)
    if "resolution" in found:
        before |= {"view.size": found["resolution"]}
    if "generator.fourier.features" in found:
        before |= {"generator.fourier.waves": "sine"}
    if "generator.embedding.features" in found:
        before |= {"generator.embedding.frames": None}
    for target in (found.get("generator._target_"), found.get("data._target_")):
        before |= BEFORE_OF.get(str(target), {})
    return before | found


def place(value: Any) -> Any:
    """A path as there is only one of: from the root of the file system on, links followed."""
    return str(Path(value).expanduser().resolve()) if isinstance(value, str) else value


def differences(there: dict[str, Any], here: dict[str, Any], *effects: Effect) -> dict[str, tuple[Any, Any]]:
    """Option -> its two values, of those with one of these effects that differ; ``absent`` where there is none.

    Args:
        there, here: resolved configurations, nested.
    """
    one, other = settings_with(there, *effects), settings_with(here, *effects)
    names = sorted(one.keys() | other.keys())
    pairs = {name: (one.get(name, "absent"), other.get(name, "absent")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def settings_of_variant(settings: dict[str, Any]) -> Flat:
    """All that makes a job's result what it is, but its seed."""
    found = settings_with(settings, RESULT, COURSE)
    found.pop("seed", None)
    return found


def settings_of_data(settings: dict[str, Any]) -> Flat:
    """What says which real pictures a run is compared with."""
    found = settings_with({"data": settings.get("data") or {}}, RESULT)
    return {name: value for name, value in found.items() if name.startswith("data.") and name not in NOT_THE_SET}
