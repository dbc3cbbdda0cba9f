"""What `cips_lab.invert` does: all that can be looked at before the work, then the work."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.files.whole import WholeOrNone, replace_text, sha256_of
from cips_lab.interop.native import generator_file, load_generator
from cips_lab.inverting.descent import Schedule
from cips_lab.inverting.edits import edits_of
from cips_lab.inverting.objective import feature_network
from cips_lab.inverting.outcome import in_decibels, write_outcome
from cips_lab.inverting.search import Options, Search
from cips_lab.inverting.targets import Target, open_targets
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import image_grid
from cips_lab.render.finite import check_weights
from cips_lab.render.inverted import Inversion
from cips_lab.render.scene import check_scene, parse_seeds, parse_size
from cips_lab.render.synthesis import check_class, on_device

NOT_SETTINGS = ("image", "output", "device", "tile", "overwrite")  # what does not change what is found


class Inverting:
    """What a composed ``conf/invert.yaml`` asks for, looked at as far as that is possible without work.

    Raises:
        UserError: anything that would stop it: a picture, a generator, an option, a place.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.output = Path(str(cfg.output)).expanduser()
        self._check_output()
        if cfg.pixels == 0 and cfg.features == 0:
            raise UserError("pixels=0 and features=0: nothing is compared; give one of them a weight above 0")
        self.seeds = [] if cfg.edits is None else parse_seeds(cfg.edits)
        self.source = generator_file(cfg.ckpt)
        self.generator = on_device(load_generator(self.source), cfg.device)
        self.device = self.generator.mapping.w_mean.device
        check_weights(self.generator, f"ckpt={self.source}")
        check_class(self.generator, cfg["class"])
        self._check_noise()
        self.size = parse_size(cfg.resolution, self.generator.resolution)
        check_scene(self.generator, *self.size)
        images = OmegaConf.to_container(cfg.image) if OmegaConf.is_list(cfg.image) else [cfg.image]
        assert isinstance(images, list)
        self.targets = open_targets([str(image) for image in images], self.size)

    def _check_output(self) -> None:
        if self.output.is_file():
            raise UserError(f"output={self.output}: is a file; give a folder")
        if self.output.is_dir() and any(self.output.iterdir()) and not self.cfg.overwrite:
            raise UserError(
                f"output={self.output}: this folder is not empty; choose another, or overwrite=true to replace "
                "everything in it"
            )

    def _check_noise(self) -> None:
        if self.cfg.space != "layers_noise":
            return
        if not isinstance(self.generator, CIPSGenerator):
            raise UserError(
                "space=layers_noise: this generator is convolutional, and its noise is not looked for; "
                "choose space=layers"
            )
        if not self.generator.noise:
            raise UserError("space=layers_noise: this generator has no noise (generator.noise); choose space=layers")

    def run(self) -> str:
        """Write the folder, or one for each of several pictures, and say so in a few lines."""
        cfg = self.cfg
        native = self.size == self.generator.size
        self.grid = None if native else image_grid(*self.size, device=self.device)
        network = None if cfg.features == 0 else feature_network(self.size)
        if network is not None:
            network[0].to(self.device)
        schedule = Schedule(cfg.steps, cfg.learning_rate, cfg.ramp_up, cfg.ramp_down, cfg.perturbation)
        options = Options(
            cfg.space,
            cfg.start,
            cfg.candidates,
            schedule,
            (cfg.pixels, cfg.features),
            cfg.drift,
            cfg.noise_weight,
            cfg.seed,
            0,
            "auto" if cfg.tile is None else cfg.tile,
        )
        self.search = Search(self.generator, self.grid, cfg["class"], options, network)
        self.identity = sha256_of(self.source)
        whole = WholeOrNone(self.output)
        whole.begin()
        try:
            rows = self._all(whole.partial)
        except BaseException:
            whole.discard()
            raise
        whole.commit()
        return "\n".join([*(_sentence(row) for row in rows), f"in {self.output}"])

    def _all(self, folder: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        before: tuple[str, Tensor] | None = None
        for target in self.targets:
            place = folder if len(self.targets) == 1 else folder / target.name
            place.mkdir(exist_ok=True)
            numbers, styles = self._one(target, place, before)
            before = (target.name, styles)
            rows.append({"name": target.name} | numbers)
        if len(rows) > 1:
            replace_text(folder / "inversions.csv", _table(rows))
        return rows

    def _one(self, target: Target, folder: Path, before: tuple[str, Tensor] | None) -> tuple[dict[str, Any], Tensor]:
        began = time.perf_counter()
        found = self.search.find(target.image(self.device), target.name)
        seconds = time.perf_counter() - began
        settings = self._settings(target)
        inversion = Inversion(found.styles, found.noise, 0, self.identity, settings)
        more = {"seconds": round(seconds, 2), "ckpt": str(self.source), "generator_sha256": self.identity}
        numbers = write_outcome(
            folder, target, found, inversion, self._edits(inversion, before), more | {"settings": settings}
        )
        return numbers, found.styles

    @torch.no_grad()
    def _edits(self, inversion: Inversion, before: tuple[str, Tensor] | None) -> Any:
        if not self.seeds and before is None:
            return None
        mapping = self.generator.mapping
        latents = mapping.latents(self.seeds, self.cfg["class"]) if self.seeds else None
        styles = [] if latents is None else mapping(latents).split(1)
        others = [(f"seed {seed}", w) for seed, w in zip(self.seeds, styles, strict=True)]
        return edits_of(self.generator, inversion, others, self.search.space.mean, self.grid, before)

    def _settings(self, target: Target) -> dict[str, Any]:
        chosen = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(chosen, dict)
        kept = {str(key): value for key, value in chosen.items() if key not in NOT_SETTINGS}
        return kept | {"image": target.source, "size": list(self.size)}


def _sentence(row: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {in_decibels(numbers['psnr'])}" for name, numbers in row["stages"].items())
    return (
        f"{row['name']}: PSNR {in_decibels(row['psnr'])} ({stages}; the mean picture {in_decibels(row['mean_psnr'])}) "
        f"in {row['seconds']:.0f} s"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    columns = ("name", "psnr", "feature_distance", "mean_psnr", "mean_feature_distance", "gain_db", "seconds", "image")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(f"{row[c]:.4f}" if isinstance(row[c], float) else row[c] for c in columns)
    return text.getvalue()
