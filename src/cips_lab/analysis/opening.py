"""From a composed ``conf/analyze.yaml`` to a study: generators, what they are called, and real pictures."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cips_lab.analysis.study import Study
from cips_lab.analysis.subject import Subject
from cips_lab.configuration import build
from cips_lab.data.base import BaseDataModule
from cips_lab.errors import UserError
from cips_lab.interop.native import generator_file, load_with_config
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.networks.size import size_name
from cips_lab.render.finite import check_weights
from cips_lab.render.scene import parse_seeds
from cips_lab.reporting.generators import generator_name
from cips_lab.runs.folder import kimg_of, run_above
from cips_lab.runs.records import read_job


def run_of(source: str | Path) -> Path | None:
    """The run folder that a generator lies in; None of others."""
    return run_above(generator_file(source))


def open_subject(source: str | Path) -> Subject:
    """A run, a checkpoint or a file, on the CPU.

    A run is called as its variant, a file as its name; ``NAME_seed1.safetensors`` is a seed of the variant NAME.

    Raises:
        UserError: it cannot be read, or holds weights that are not finite.
    """
    generator, config = load_with_config(source)
    file, run = generator_file(source), run_of(source)
    check_weights(generator, f"ckpt={file}")
    if run is None:
        stem = Path(source).expanduser().resolve().stem
        named = re.fullmatch(r"(.+)[_-]seed(\d+)", stem)
        variant, seed = (named[1], int(named[2])) if named else (stem, None)
        return Subject(variant, generator, config, variant, seed=seed)
    job = read_job(run)
    variant = generator_name(job) or job.name
    return Subject(variant, generator, config, variant, kimg_of(file.parent.name), job.seed)


def of_one_variant(subjects: list[Subject], names: Sequence[str]) -> list[Subject]:
    """The same, those of one variant with other settings (a Fourier scale, a width) called by names of their own."""
    settings: dict[str, set[str]] = {}
    for subject in subjects:
        settings.setdefault(subject.variant, set()).add(json.dumps(subject.config, sort_keys=True))
    differ = {variant for variant, found in settings.items() if len(found) > 1}
    return [
        replace(subject, label=name, variant=name) if subject.variant in differ else subject
        for subject, name in zip(subjects, names, strict=True)
    ]


def name_of(source: str | Path) -> str:
    """Of its run folder, else of its file."""
    return (run_of(source) or generator_file(source)).stem


def told_apart(subjects: list[Subject]) -> list[Subject]:
    """The same with labels of their own: those that share one get their seed, their moment, or a number."""
    for extend in (_with_seed, _with_moment, _with_number):
        shared = {label for label, count in Counter(subject.label for subject in subjects).items() if count > 1}
        subjects = [
            replace(subject, label=extend(subject, i)) if subject.label in shared else subject
            for i, subject in enumerate(subjects)
        ]
    return subjects


def _with_seed(subject: Subject, number: int) -> str:
    return subject.label if subject.seed is None else f"{subject.label}, seed {subject.seed}"


def _with_moment(subject: Subject, number: int) -> str:
    return subject.label if subject.kimg is None else f"{subject.label}, {subject.kimg:g} kimg"


def _with_number(subject: Subject, number: int) -> str:
    return f"{subject.label} ({number + 1})"


def recorded_data(sources: Sequence[str | Path]) -> DictConfig | None:
    """The data set of the first run among generators; None where none lies in a run folder."""
    for source in sources:
        run = run_of(source)
        if run is not None:
            settings = read_job(run).config.get("data")
            if settings:
                return OmegaConf.create(settings)
    return None


def open_study(cfg: DictConfig) -> Study:
    """All that a command asks for, looked at as far as that is possible without work; on the CPU.

    Raises:
        UserError: anything that would stop it.
    """
    sources = [str(source) for source in [cfg.ckpt, *cfg.ckpts] if source is not None]
    if not sources:
        raise UserError("ckpt=... is missing: a run folder, a .safetensors or a released .pt file (see --help)")
    evaluator: Evaluator = build(cfg.metrics)
    return study_of(sources, cfg.get("data"), evaluator, cfg.num_samples, parse_seeds(cfg.seeds))


def study_of(
    sources: Sequence[str | Path],
    data: DictConfig | None = None,
    evaluator: Evaluator | None = None,
    num_samples: int = 1000,
    seeds: Sequence[int] = (0, 1, 2, 3),
) -> Study:
    """Generators beside each other, on the CPU; what notebooks begin with.

    Args:
        sources: run folders, checkpoints or files.
        data: configuration of the real pictures (``conf/data``); None: those that the first run was trained on.
        evaluator: the judge; None: EfficientNet-Lite0, which needs no download.
        num_samples, seeds: see `Study`.

    Raises:
        UserError: a file cannot be read, the resolutions differ, or the data are not there.
    """
    opened = [open_subject(source) for source in sources]
    subjects = told_apart(of_one_variant(opened, [name_of(source) for source in sources]))
    sides = {subject.label: size_name(subject.generator.resolution) for subject in subjects}
    if any("x" in side for side in sides.values()):
        listed = ", ".join(f"{label}: {side}" for label, side in sides.items())
        raise UserError(f"ckpt: figures are of generators of square pictures, and these make others ({listed})")
    if len(set(sides.values())) > 1:
        listed = ", ".join(f"{label}: {side}" for label, side in sides.items())
        raise UserError(f"ckpts: generators are compared at one resolution, and theirs differ ({listed})")
    judge = evaluator or Evaluator("efficientnet_lite0", num_samples=num_samples, num_real=num_samples, batch_size=16)
    study = Study(
        subjects, torch.device("cpu"), judge, num_samples=num_samples, seeds=tuple(seeds), batch=judge.batch_size
    )
    found = data or recorded_data(sources)
    if found is not None:
        _add_pictures(study, found, subjects[0].generator.side)
    return study


def on(study: Study, device: torch.device) -> Study:
    """The study with its generators on a device."""
    moved = [replace(subject, generator=subject.generator.to(device)) for subject in study.subjects]
    return replace(study, subjects=moved, device=device)


def _add_pictures(study: Study, data: DictConfig, resolution: int) -> None:
    module: BaseDataModule = build(data, resolution=resolution)
    module.prepare_data()
    module.setup()
    study.real, study.held_out = module.train_dataset, module.test_dataset
    study.source, study.finer = module.location, _finer(module)


def _finer(module: BaseDataModule) -> Callable[[int], PictureSet | None]:
    known: dict[int, Any] = {}

    def finer(side: int) -> PictureSet | None:
        if side not in known:
            known[side] = module.finer(side)
        found: PictureSet | None = known[side]
        return found

    return finer
