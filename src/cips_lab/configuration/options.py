"""What each option of each command may be, except those of a `_target_`: their constructors say it themselves."""

from collections.abc import Mapping
from typing import Any

from cips_lab.configuration import kinds
from cips_lab.configuration.kinds import (
    ANY,
    FLAG,
    FOLDER_NAME,
    NAMES,
    NATIVE,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    TEXT,
    Kind,
    is_number,
    is_whole,
    matching,
    one_of,
    some_of,
    whole,
)

Options = Mapping[str, Kind]

# Groups whose options are those of a class, and those that hold several such by name.
BUILT = ("generator", "discriminator", "view", "objective", "augment", "data", "metrics", "guard")
COLLECTIONS = ("callbacks", "logger")

PATHS = ("data.path", "data.test_path", "data.name")  # text, of whatever class the data are

COUNT = whole(1)
DEVICE = matching(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda, cuda:1 or mps")
SHARE = Kind("a share from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)


def _are_devices(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(is_whole(index) and index >= 0 for index in value)
    return value == "auto" or (is_whole(value) and (value == -1 or value > 0))


def _is_moment(value: Any) -> bool:
    return value in ("last", "best") or (is_number(value) and value > 0)


TRAINER: Options = {
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": Kind("a number, a list of device indices or auto", _are_devices),
    "trainer.num_nodes": whole(1, "machines").or_null(),
    "trainer.precision": one_of(
        *("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true", "32", "64", "16", "bf16", 32, 64, 16)
    ),
    "trainer.tf32": FLAG,
    "trainer.mixed": one_of("both", "generator", "discriminator"),
    "trainer.compile": FLAG,
    "trainer.compile_mode": one_of("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "trainer.tile": Kind("a positive number of pixels or auto", lambda v: v == "auto" or COUNT.holds(v)).or_null("all"),
    "trainer.threads": COUNT.or_null("the cores, shared by the processes"),
    "trainer.timeout_minutes": POSITIVE,
}
SCHEDULE: Options = {
    "schedule.total_kimg": POSITIVE,
    "schedule.log_kimg": POSITIVE,
    "schedule.sample_kimg": POSITIVE.or_null("only the last"),
    "schedule.checkpoint_kimg": POSITIVE,
    "schedule.keep_checkpoints": COUNT.or_null("all"),
    "schedule.keep_every_kimg": POSITIVE.or_null("none"),
    "schedule.evaluate_kimg": POSITIVE.or_null("none"),
    "schedule.evaluate_samples": whole(1, "pictures"),
}
MODEL: Options = {
    "model.width": COUNT,
    "model.widths": one_of("constant", "official"),
    "model.z_dim": COUNT,
    "model.w_dim": COUNT,
    "model.mapping_layers": COUNT,
    "model.mapping_lr_multiplier": POSITIVE,
    "model.fourier_features": COUNT.or_null("as many as the generator is wide"),
    "model.fourier_scale": POSITIVE,
    "model.fourier_waves": one_of("sine", "pairs"),
    "model.shift": NOT_NEGATIVE.or_null("waves that no style moves"),
    "model.rotation": NOT_NEGATIVE.or_null("waves that no style rotates"),
    "model.wave_modulation": FLAG,
    "model.embedding_features": COUNT.or_null("as many as the generator is wide"),
    "model.embedding_std": NOT_NEGATIVE,
    "model.embedding_lr_multiplier": POSITIVE,
    "model.surface": one_of("plane", "cylinder"),
    "model.classes": whole(0, "classes"),
    "model.mixing_probability": SHARE,
    "model.channel_base": COUNT,
    "model.channel_max": COUNT,
    "model.discriminator_channel_base": COUNT,
    "model.discriminator_channel_max": COUNT,
    "model.discriminator_input_size": COUNT,
    "model.discriminator_features": COUNT,
}
TRAIN: Options = {
    "name": FOLDER_NAME,
    "seed": whole(0),
    **MODEL,
    "resolution": NATIVE,
    "batch_size": whole(1, "images"),
    "micro_batch": whole(1, "images").or_null("the whole share at once"),
    "data_changed": one_of("refuse", "continue"),
    "init": TEXT.or_null(),
    "sweep_name": TEXT.or_null(),
    "paths.runs": TEXT,
    "paths.cache": TEXT.or_null(),
    **SCHEDULE,
    **TRAINER,
}
PLAN: Options = {
    **TRAIN,
    "output": TEXT.or_null(),
    "plan.accelerator": TEXT,
    "plan.default_accelerator": TEXT,
    "plan.utilization": Kind("a share between 0 and 1", lambda value: is_number(value) and 0 < value <= 1),
    "plan.peak_flops": POSITIVE.or_null(),
    "plan.device_memory_gb": POSITIVE.or_null(),
    "plan.headroom": Kind("a share of at least 0 and below 1", lambda value: is_number(value) and 0 <= value < 1),
    "plan.tile": Kind("a positive number of pixels or auto", lambda value: value == "auto" or COUNT.holds(value)),
    "plan.accelerators": ANY,
}
DASHBOARD: Options = {
    **TRAIN,
    "entity": TEXT.or_null(),
    "project": TEXT,
    "build": some_of("workspace", "report"),
    "group": TEXT.or_null(),
    "compare": TEXT,
    "variants": NAMES.or_null(),
    "run": TEXT.or_null(),
    "title": TEXT.or_null(),
    "draft": FLAG,
    "dry_run": FLAG.or_null(),
    "output": TEXT.or_null(),
}
EVALUATE: Options = {
    "ckpt": TEXT.or_null(),
    "samples": TEXT.or_null(),
    "reference": TEXT.or_null("data"),
    "split": one_of("train", "test"),
    "resolution": COUNT.or_null(),
    "truncation": NUMBER,
    "patches.count": whole(2, "patches").or_null("whole pictures"),
    "patches.size": COUNT.or_null(),
    "patches.largest": COUNT.or_null("as large as each picture is"),
    "consistency": whole(1, "pictures").or_null("not measured"),
    "output": TEXT,
    "paths.cache": TEXT.or_null(),
    **TRAINER,
}
COMPARE: Options = {
    **{name: kind for name, kind in EVALUATE.items() if name != "ckpt"},
    "samples": NAMES.or_null(),
    "ckpts": NAMES.or_null(),
}
SEEDS = Kind("a number, a range like 0-15, or a list like [1,5,9]", kinds.are_seeds)
ANALYZE: Options = {
    "figure": NAMES,
    "ckpt": TEXT.or_null(),
    "ckpts": Kind("a list such as [a,b]", lambda value: value == [] or kinds.are_names(value)),
    "output": TEXT.or_null("analysis/ in the run folder"),
    "num_samples": whole(2, "pictures"),
    "seeds": SEEDS,
    "resolution": COUNT.or_null(),
    "paths.cache": TEXT.or_null(),
    **TRAINER,
}
SYNTHESIZE: Options = {
    "class": whole(0, "the number of a class").or_null("each seed's own"),
    "ckpt": TEXT.or_null(),
    "seeds": SEEDS,
    "truncation": NUMBER,
    "resolution": kinds.SIZE.or_null("the native resolution"),
    "region": kinds.REGION,
    "turn": kinds.SPAN.or_null("region"),
    "heights": kinds.SPAN,
    "blend": FLAG,
    "mix": TEXT.or_null(),
    "output": TEXT,
    "columns": COUNT.or_null("nearly square"),
    "batch": COUNT,
    "tile": COUNT.or_null(),
    "stream": FLAG.or_null(),
    "device": DEVICE,
}
AT = Kind("last, best, or thousands of images such as at=48", _is_moment)
REPORT: Options = {
    "run": TEXT.or_null(),
    "output": TEXT.or_null(),
    "metrics.names": NAMES.or_null("all"),
    "at": AT,
    "costs": FLAG,
}
TABULATE: Options = {
    "sweep": NAMES.or_null(),
    "output": TEXT.or_null(),
    "metrics.names": NAMES.or_null("all"),
    "jobs": NAMES.or_null("all"),
    "at": AT,
    "num_samples": whole(1, "generated pictures").or_null(),
    "samples": whole(1, "generated pictures").or_null(),
    "costs": FLAG,
    "plots": FLAG,
    "wandb": FLAG,
    "project": TEXT,
}
PREPARE: Options = {
    "source": TEXT.or_null(),
    "output": TEXT.or_null(),
    "format": one_of("zip", "folder", "shards").or_null("as output's name says"),
    "resolution": kinds.SIZE.or_null("as they are"),
    "crop": one_of("center", "random", "tiles", "none"),
    "span": COUNT.or_null(),
    "crops": COUNT,
    "minimum": COUNT.or_null("none"),
    "animations": one_of("first", "leave_out"),
    "every": COUNT,
    "labels": FLAG,
    "shard_size": whole(1, "pictures"),
    "workers": whole(1, "processes").or_null("all cores"),
    "seed": whole(0),
    "tolerate": FLAG,
}
CONVERT: Options = {
    "ckpt": TEXT.or_null(),
    "output": TEXT.or_null(),
    "activation": one_of("sine", "sinrelu").or_null("as the file tells"),
    "batch_size": whole(1, "images"),
    "kimg": NOT_NEGATIVE.or_null("as the optimiser's steps tell"),
    "training": TEXT.or_null(),
}
EXPLORE: Options = {
    "ckpt": TEXT.or_null(),
    "output": TEXT.or_null("a server"),
    "title": TEXT.or_null("the checkpoint's name"),
    "port": Kind("a port from 0 to 65535", lambda value: is_whole(value) and 0 <= value <= 65535),
    "device": DEVICE,
}
INVERT: Options = {
    "image": Kind("a picture, a folder, or a list such as [a.png,b.png]", kinds.are_names).or_null(),
    "ckpt": TEXT.or_null(),
    "output": TEXT,
    "overwrite": FLAG,
    "space": one_of("w", "layers", "layers_noise"),
    "class": whole(0, "the number of a class").or_null("any"),
    "resolution": kinds.SIZE.or_null("the native resolution"),
    "start": one_of("best", "mean"),
    "candidates": whole(1, "styles"),
    "steps": COUNT,
    "learning_rate": Kind("a positive number of at most 100", lambda value: is_number(value) and 0 < value <= 100),
    "ramp_up": SHARE,
    "ramp_down": SHARE,
    "perturbation": NOT_NEGATIVE,
    "pixels": NOT_NEGATIVE,
    "features": NOT_NEGATIVE,
    "drift": NOT_NEGATIVE,
    "noise_weight": NOT_NEGATIVE,
    "edits": SEEDS.or_null("none"),
    "seed": whole(0),
    "tile": COUNT.or_null(),
    "device": DEVICE,
}
COMMANDS: dict[str, Options] = {
    "train": TRAIN,
    "plan": PLAN,
    "dashboard": DASHBOARD,
    "evaluate": EVALUATE,
    "compare": COMPARE,
    "analyze": ANALYZE,
    "synthesize": SYNTHESIZE,
    "report": REPORT,
    "tabulate": TABULATE,
    "prepare": PREPARE,
    "convert": CONVERT,
    "invert": INVERT,
    "explore": EXPLORE,
}
GROUPS: dict[str, tuple[str, ...]] = {
    "evaluate": ("data", "metrics", "logger"),
    "compare": ("data", "metrics"),
    "analyze": ("data", "metrics", "logger"),
    "train": (*BUILT, *COLLECTIONS),
    "plan": (*BUILT, *COLLECTIONS),
    "dashboard": (*BUILT, *COLLECTIONS),
}
OPTIONAL_GROUPS: dict[str, tuple[str, ...]] = {"analyze": ("data",)}  # null: what a run was trained on
BUILDING = ("train", "plan", "evaluate", "compare", "analyze")  # commands that build what their groups describe


def is_text_option(command: str, option: str) -> bool:
    """Whether what is typed for an option means these very characters, a number's included."""
    name, options = option.lstrip("+"), COMMANDS[command]
    return name in PATHS if name not in options else options[name].text
