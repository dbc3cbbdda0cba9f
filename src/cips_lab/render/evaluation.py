"""An evaluation by `cips_lab.evaluate`: all that can be looked at before the work, then the work."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cips_lab.configuration import build
from cips_lab.data.base import BaseDataModule
from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.dataset import FixedSizeDataset
from cips_lab.data.sources import open_source
from cips_lab.errors import UserError
from cips_lab.interop.native import generator_file, load_generator
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.evaluator import Evaluator, Real, Results
from cips_lab.networks.size import Size, sides, size_name
from cips_lab.render.finite import check_weights
from cips_lab.render.scene import check_scene, parse_size, samples


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

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.subject = Subject.of(cfg)
        size = self.subject.size
        cfg.resolution = size if isinstance(size, int) else list(size)
        self.evaluator: Evaluator = build(cfg.metrics)
        self.pictures: PictureSet | None = None
        data = real_data(cfg, size)
        try:
            self.pictures = self._real_pictures(data, size)
            self.evaluator.check(self.pictures, self.count)
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
        return asked if self.subject.pictures is None else min(asked, len(self.subject.pictures))

    def _real_pictures(self, data: Any, size: Size) -> PictureSet:
        data.setup()
        found = data.train_dataset if self.cfg.split == "train" else data.test_dataset
        if found is None:
            raise UserError("split=test: this data set has no held-out pictures; set data.test_path, or split=train")
        real: PictureSet = found if found.resolution == size else found.resized(size)
        return real

    def _recorded(self, data: Any, size: Size) -> Real | None:
        location = data.location if self.cfg.split == "train" else str(self.cfg.data.get("test_path"))
        return self.evaluator.recorded(location, size) if not Path(location).exists() else None

    def run(self, device: torch.device) -> Results:
        """The numbers and what they are of; every process must call it, with its device."""
        cfg, evaluator, subject = self.cfg, self.evaluator.to(device), self.subject
        if self.real is None:
            assert self.pictures is not None
            self.real = evaluator.reference(self.pictures)
        if subject.pictures is not None:
            results = evaluator.evaluate_pictures(subject.pictures, self.real)
        else:
            generator = subject.generator.to(device)
            made = samples(generator, evaluator.batches(), device, cfg.truncation, cfg.resolution)
            results = evaluator.evaluate(made, self.real)
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
