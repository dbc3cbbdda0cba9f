"""An evaluation by `cips_lab.evaluate`: all that can be looked at before the work, then the work."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cips_lab.configuration import build
from cips_lab.data.base import BaseDataModule, Split
from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.dataset import ArrayDataset, FixedSizeDataset, ImageDataset
from cips_lab.data.labels import Classes
from cips_lab.data.sources import open_source
from cips_lab.data.windows import Originals
from cips_lab.errors import UserError
from cips_lab.interop.native import generator_file, load_generator
from cips_lab.interop.pretrained import check_judges
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.evaluator import Evaluator, Results
from cips_lab.metrics.real import Real
from cips_lab.metrics.registry import of_patches
from cips_lab.networks.size import Size, sides, size_name
from cips_lab.render.consistency import check_consistency, consistency, seams_of
from cips_lab.render.finite import check_weights
from cips_lab.render.patches import Patches, patch_size
from cips_lab.render.scene import check_scene, parse_size, samples
from cips_lab.runs.folder import CONFIG, run_above
from cips_lab.runs.settings import read_settings


def check_output(output: Path) -> None:
    """Refuse a name for the results before hours of work: `UserError` for another ending than .json, or a folder.

    That the place can be written, every command sees for itself (`files.places`).
    """
    if output.suffix != ".json":
        raise UserError(f"output={output}: expected the name of a .json file")
    if output.is_dir():
        raise UserError(f"output={output}: expected the name of a .json file, and this is a folder")


def training_size(size: Size) -> int:
    """The smallest resolution that data modules take, a power of two from 8, in which pictures of `size` fit."""
    return 1 << max(3, (max(sides(size)) - 1).bit_length())


def real_data(cfg: DictConfig, size: Size) -> BaseDataModule:
    """What ``reference=`` names, a plain folder or .zip of pictures, or else the data set of ``data=``.

    Raises:
        UserError: both are given; the data set's options are wrong.
    """
    if cfg.reference is None:
        data: BaseDataModule = build(cfg.data, resolution=training_size(size))
        return data
    module = ImageDataModule.__module__ + "." + ImageDataModule.__qualname__
    if cfg.data.get("path") is not None or cfg.data.get("_target_") != module or cfg.split != "train":
        raise UserError(f"reference={cfg.reference} takes the place of data= and split=: leave them out, or reference=")
    return ImageDataModule("reference", open_source(cfg.reference, option="reference"), training_size(size))


def settings_of(ckpt: str | None) -> dict[str, Any]:
    """Those of the run that a generator lies in; none where it lies in no run."""
    if ckpt is None:
        return {}
    run = run_above(generator_file(ckpt))
    return {} if run is None else read_settings(run / CONFIG)


@dataclass
class Subject:
    """What is evaluated: a generator, or pictures of any."""

    generator: Any
    pictures: FixedSizeDataset | None
    size: Size

    @classmethod
    def of(cls, cfg: DictConfig) -> "Subject":
        """What ``ckpt=`` or ``samples=`` names.

        Raises:
            UserError: it cannot be read, holds weights that are not finite, or cannot be had at ``resolution=``.
        """
        if cfg.ckpt is None:
            pictures = FixedSizeDataset(open_source(cfg.samples, option="samples"), cfg.resolution)
            return cls(None, pictures, pictures.resolution)
        generator = load_generator(cfg.ckpt)
        check_weights(generator, f"ckpt={generator_file(cfg.ckpt)}")
        size = cfg.resolution or generator.resolution
        check_scene(generator, *parse_size(size, generator.resolution))
        return cls(generator, None, size)


class Evaluation:
    """What a composed ``conf/evaluate.yaml`` asks for, looked at as far as that is possible without work.

    Attributes:
        real: statistics of the real pictures: known already where these are gone, else from `run` on.

    Raises:
        UserError: anything that would stop the evaluation.
    """

    real: Real | None = None
    patches: Patches | None = None
    pictures: PictureSet | None = None
    held_out: PictureSet | None = None
    classes: Classes | None = None

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.subject = Subject.of(cfg)
        size = self.subject.size
        if cfg.consistency is not None and self.subject.generator is not None:
            check_consistency(self.subject.generator)
        if cfg.patches.count is not None:
            self._check_patches()
        cfg.resolution = size if isinstance(size, int) else list(size)
        self.evaluator: Evaluator = build(cfg.metrics)
        check_judges(settings_of(cfg.ckpt), (cfg.metrics.get("extractor"), cfg.metrics.get("manifold_extractor")))
        data = real_data(cfg, size)
        try:
            data.setup()
            self._find_pictures(data, size)
            self.evaluator.check(self.pictures, self.count, self.held_out)
        except UserError as error:  # pictures that were there once may be known already
            self.real = self._recorded(data, size)
            if self.real is None:
                raise
            if int(os.environ.get("LOCAL_RANK", 0)) == 0:
                print(f"{str(error).splitlines()[0]}; using their statistics, {self.real.main.path}", flush=True)

    @property
    def count(self) -> int:
        """Pictures to be evaluated."""
        asked = self.evaluator.num_samples
        if self.subject.pictures is None or self.patches is not None:
            return asked
        return min(asked, len(self.subject.pictures))

    def _check_patches(self) -> None:
        """Their number is that of both sets' pictures."""
        cfg, native = self.cfg, self.subject.generator
        if native is not None and (native.native_only or cfg.resolution is not None):
            raise UserError(
                "patches.count: this generator is convolutional and has whole pictures of its own size only"
                if native.native_only
                else f"resolution={cfg.resolution} and patches.count: patches are of many sizes; give one of the two"
            )
        cfg.metrics.num_samples = cfg.metrics.num_real = cfg.patches.count

    def _find_pictures(self, data: BaseDataModule, size: Size) -> None:
        """The real ones, and held-out ones where a metric compares with them beside those of the training."""
        split = self.cfg.split
        found = data.train_dataset if split == "train" else data.test_dataset
        if found is None:
            raise UserError("split=test: this data set has no held-out pictures; set data.test_path, or split=train")
        self.pictures, self.patches = self._shown(data, split, found, size)
        by_class = [one.key for one in self.evaluator.chosen if one.metric.of_classes]
        generator = self.subject.generator
        if by_class and self.patches is None and generator is not None and generator.mapping.classes:
            self.classes = data.classes(split)
        if by_class and self.classes is None and int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(
                f"{', '.join(by_class)}: left out, for it needs a generator of classes and real pictures that have them"
            )
        wanting = [one.key for one in self.evaluator.chosen if one.metric.of_held_out]
        if wanting and split == "train" and data.test_dataset is not None:
            self.held_out, _ = self._shown(data, "test", data.test_dataset, size)
        elif wanting and int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(f"{', '.join(wanting)}: left out, for there are no held-out pictures beside (data.test_path)")

    def _shown(
        self, data: BaseDataModule, split: Split, pictures: ImageDataset | ArrayDataset, size: Size
    ) -> tuple[PictureSet, Patches | None]:
        """Pictures at the size that they are compared at; or their patches, and the windows that these show."""
        if self.cfg.patches.count is None:
            return pictures if pictures.resolution == size else pictures.resized(size), None
        originals = data.originals(split)
        assert originals is not None  # there are `pictures`
        patches = self._patches(originals)
        return patches.of(originals), patches

    def _patches(self, originals: Originals) -> Patches:
        """Windows of pictures: no larger frame than the option's, and than samples have."""
        options, subject = self.cfg.patches, self.subject
        size = patch_size(options.size, subject.size, None if subject.generator is None else subject.size)
        longest = max(sides(size))
        if options.largest is not None and options.largest < longest:
            raise UserError(f"patches.largest={options.largest}: smaller than a patch, {size_name(size)}")
        limits = [options.largest, None if subject.pictures is None else max(sides(subject.size))]
        return Patches.chosen(originals, options.count, size, min((one for one in limits if one), default=None))

    def _recorded(self, data: Any, size: Size) -> Real | None:
        location = data.location if self.cfg.split == "train" else str(self.cfg.data.get("test_path"))
        if self.cfg.patches.count is not None or Path(location).exists():
            return None
        return self.evaluator.recorded(location, size)

    def run(self, device: torch.device) -> Results:
        """The numbers and what they are of; every process must call it, with its device."""
        cfg, evaluator, subject = self.cfg, self.evaluator.to(device), self.subject
        if self.real is None:
            assert self.pictures is not None
            self.real = evaluator.with_classes(evaluator.reference(self.pictures), self.classes)
        held_out = None if self.held_out is None else evaluator.held_out(self.held_out)
        if subject.pictures is not None:
            shown = subject.pictures if self.patches is None else self.patches.of(subject.pictures)
            results = evaluator.evaluate_pictures(shown, self.real, held_out)
        else:
            generator = subject.generator.to(device)
            places = None if self.patches is None else self.patches.places
            made = samples(generator, evaluator.batches(), device, cfg.truncation, cfg.resolution, places)
            labels = None if self.classes is None else generator.mapping.classes_of(range(evaluator.num_samples))
            results = evaluator.evaluate(made, self.real, held_out=held_out, labels=labels)
        if self.patches is not None:
            results = of_patches(results)
        if cfg.consistency is not None:
            if subject.pictures is not None:
                results |= seams_of(subject.pictures, cfg.consistency, device)
            else:
                results |= consistency(subject.generator, cfg.consistency, device, cfg.truncation)
        results |= {"of": str(cfg.ckpt or cfg.samples), "data": self.real.main.location, "split": str(cfg.split)}
        return results if subject.generator is None else results | {"truncation": float(cfg.truncation)}


def evaluations_of(cfg: DictConfig) -> list[Evaluation]:
    """What a composed ``conf/compare.yaml`` asks for: one of each of ``samples=`` and ``ckpts=``, in this order.

    Raises:
        UserError: anything that would stop one of them, or their sizes differ.
    """
    wanted = [("samples", one) for one in cfg.samples or []] + [("ckpt", one) for one in cfg.ckpts or []]
    found = []
    for option, value in wanted:
        settings = OmegaConf.to_container(cfg)
        assert isinstance(settings, dict)
        found.append(Evaluation(OmegaConf.create({**settings, "ckpt": None, "samples": None, option: str(value)})))
    sizes = {evaluation.subject.size: str(value) for evaluation, (_, value) in zip(found, wanted, strict=True)}
    if len(sizes) > 1:
        told = ", ".join(f"{name} has {size_name(size)}" for size, name in sizes.items())
        raise UserError(f"pictures of different sizes cannot be compared: {told}; resolution=N sets that of generators")
    return found
