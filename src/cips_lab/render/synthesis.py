"""Pictures by `cips_lab.synthesize`: all that can be looked at before the work, then the work."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line
from cips_lab.files.whole import sha256_of
from cips_lab.interop.native import generator_file, load_generator
from cips_lab.networks.coordinates import image_grid
from cips_lab.networks.generator import Generator
from cips_lab.networks.size import Size
from cips_lab.networks.surface import turn_region
from cips_lab.render.blending import blended_styles, render_blended, styles_around
from cips_lab.render.finite import PictureNotFinite, check_weights
from cips_lab.render.mixing import Mix, check_mix, mixed_styles, parse_mix
from cips_lab.render.pictures import save_picture, tile_images, to_uint8
from cips_lab.render.scene import TRAINING_SQUARE, check_scene, draw, parse_seeds, parse_size
from cips_lab.render.streaming import LARGE_PIXELS, TIFF, StreamedPicture, stream_pictures

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def choose_device(device: str) -> torch.device:
    """``auto``: an accelerator where there is one; else what it names."""
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def on_device(generator: Generator, device: str) -> Generator:
    """The generator there; `UserError` where there is no such device."""
    try:
        return generator.to(choose_device(device))
    except (RuntimeError, AssertionError) as error:  # what torch raises depends on how it was built
        raise UserError(f"device={device}: {first_line(error)}") from None


def check_class(generator: Generator, label: int | None) -> None:
    """Raise `UserError` for a class that a generator has not."""
    try:
        generator.mapping.latents([0], label)
    except ValueError as error:
        raise UserError(str(error)) from None


class Synthesis:
    """What a composed ``conf/synthesize.yaml`` asks for, looked at as far as that is possible without work.

    Raises:
        UserError: anything that would stop it: a file, its weights, a size, a region, a place.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.seeds = parse_seeds(cfg.seeds)
        self.region = [float(edge) for edge in cfg.region]
        self.output = Path(str(cfg.output)).expanduser()
        self.into_folder = self.output.is_dir() or not self.output.suffix
        if not self.into_folder and self.output.suffix.lower() not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            raise UserError(f"output={self.output}: not a picture format that is known here; use one of {known}")
        self.source = generator_file(cfg.ckpt)
        self.generator = on_device(load_generator(self.source), cfg.device)
        self.device = self.generator.mapping.w_mean.device
        check_weights(self.generator, f"ckpt={self.source}")
        self.mix = None if cfg.mix is None else parse_mix(str(cfg.mix))
        if self.mix is not None:
            check_mix(self.mix, self.generator)
        check_class(self.generator, cfg["class"])
        self.height, self.width = parse_size(cfg.resolution, self._native_size())
        if cfg.turn is not None:
            self.region = self._turned()
        self.streamed = self._is_streamed()
        check_scene(self.generator, self.height, self.width, self.region)
        if cfg.blend and (self.generator.native_only or self.mix is not None or len(self.seeds) < 2):
            raise UserError(
                "blend=true: blends the styles of two or more seeds along one picture, of a generator that is "
                "synthesised pixel by pixel, and not with mix="
            )

    def _native_size(self) -> Size:
        """What null means: the native size, and of a turn as many columns as are at the native distance."""
        height, width = self.generator.size
        if self.cfg.turn is None or self.generator.period is None:
            return self.generator.resolution
        start, stop = self.cfg.turn
        return height, max(1, round((stop - start) * self.generator.period / 2 * (width - 1)))

    def _turned(self) -> list[float]:
        if self.generator.period is None:
            raise UserError("turn=: this generator's surface is a plane; region=[...] says what is drawn of it")
        if list(self.region) != list(TRAINING_SQUARE):
            raise UserError("turn= and region= both say what is drawn; give one, and heights= with turn=")
        try:
            return list(turn_region(self.width, self.generator.period, self.cfg.turn, self.cfg.heights))
        except ValueError as error:
            raise UserError(str(error)) from None

    def _is_streamed(self) -> bool:
        one_tiff = len(self.seeds) == 1 and self.output.suffix.lower() in TIFF and not self.into_folder
        if self.cfg.blend or self.mix is not None:
            if self.cfg.stream:
                raise UserError("stream=true: pictures of one style each are streamed, not with blend= or mix=")
            return False
        large = self.height * self.width > LARGE_PIXELS or one_tiff
        streamed: bool = (large and not self.generator.native_only) if self.cfg.stream is None else self.cfg.stream
        if streamed and self.generator.native_only:
            raise UserError("stream=true: this generator is convolutional; only CIPS makes pictures band by band")
        if streamed and len(self.seeds) > 1 and not self.into_folder:
            size = f"{len(self.seeds)} pictures of {self.height} x {self.width}"
            raise UserError(f"output={self.output}: {size} are streamed to a file each; give a folder, or one seed")
        return streamed

    def run(self) -> str:
        """Write the pictures, and say so in a sentence.

        Raises:
            UserError: a picture is not finite, and none is left; or it cannot be written.
        """
        try:
            if self.mix is not None:
                return self._mixed(self.mix)
            if self.cfg.blend:
                return self._blended()
            if self.streamed:
                self._stream()
            elif self.into_folder:
                self._into_folder()
            else:
                pictures = np.concatenate(list(self._batches()))
                columns = self.cfg.columns or math.ceil(math.sqrt(len(self.seeds)))
                save_picture(tile_images(pictures, columns), self.output)
        except PictureNotFinite as error:
            raise UserError(f"ckpt={self.source}: {error}") from None
        return f"{len(self.seeds)} picture(s) of {self.height} x {self.width} in {self.output}"

    def _latents(self, seeds: list[int]) -> Tensor:
        """Of the class that is asked for, or of each seed's own."""
        return self.generator.mapping.latents(seeds, self.cfg["class"])

    def _styles(self, seeds: list[int]) -> Tensor:
        """[B, w_dim], truncated."""
        z = self._latents(seeds)
        return self.generator.truncate(self.generator.mapping(z), float(self.cfg.truncation))

    def _grid(self) -> Tensor:
        return image_grid(self.height, self.width, self.region, device=self.device)

    @torch.no_grad()
    def _blended(self) -> str:
        """One picture of all seeds: around where it is a whole turn, else from the first to the last."""
        whole = self.cfg.turn is not None and self.cfg.turn[1] - self.cfg.turn[0] == 1
        styles = (styles_around if whole else blended_styles)(self._styles(self.seeds), self.width)
        image = render_blended(self.generator, styles, self._grid(), self.cfg.tile)
        path = self.output / "blended.png" if self.into_folder else self.output
        save_picture(to_uint8(image[None], self.seeds[:1])[0], path)
        return f"a picture of {self.height} x {self.width} with {len(self.seeds)} styles along it in {path}"

    @torch.no_grad()
    def _mixed(self, mix: Mix) -> str:
        """A grid with the pictures themselves above and on the left; or a folder of those that are mixed."""
        own = self._styles(mix.seeds)
        rows, columns = own[: len(mix.rows)], own[len(mix.rows) :]
        styles = [own, mixed_styles(rows, columns, mix, self.generator.num_layers)]
        native = (self.height, self.width) == self.generator.size and self.region == list(TRAINING_SQUARE)

        def drawn(w: Tensor) -> np.ndarray:
            several = w.split(self.cfg.batch)
            if native:
                images = [self.generator.synthesize_native(part) for part in several]
            else:
                images = [self.generator.render(part, self._grid(), self.cfg.tile) for part in several]
            return to_uint8(torch.cat(images))

        themselves, mixed = (drawn(w) for w in styles)
        if self.into_folder:
            for number, picture in enumerate(mixed):
                row, column = divmod(number, len(mix.columns))
                save_picture(picture, self.output / f"seed{mix.rows[row]:06d}-{mix.columns[column]:06d}.png")
        else:
            above = [np.full_like(mixed[:1], 255), themselves[len(mix.rows) :]]
            lines = [
                part
                for row in range(len(mix.rows))
                for part in (themselves[row : row + 1], mixed[row * len(mix.columns) : (row + 1) * len(mix.columns)])
            ]
            save_picture(tile_images(np.concatenate([*above, *lines]), len(mix.columns) + 1), self.output)
        return f"{len(mixed)} mixed picture(s) of {self.height} x {self.width} in {self.output}"

    def _batches(self) -> Iterator[np.ndarray]:
        """uint8 [b, H, W, 3], in the seeds' order."""
        cfg = self.cfg
        grid = self._grid()
        with tqdm(
            total=len(self.seeds), desc="synthesising", unit="picture", disable=len(self.seeds) <= cfg.batch
        ) as bar:
            for first in range(0, len(self.seeds), cfg.batch):
                seeds = self.seeds[first : first + cfg.batch]
                z = self._latents(seeds)
                yield to_uint8(draw(self.generator, z, cfg.truncation, grid, cfg.tile), seeds)
                bar.update(len(seeds))

    def _into_folder(self) -> None:
        written: list[Path] = []
        try:
            for pictures in self._batches():
                for picture in pictures:
                    path = self.output / f"seed{self.seeds[len(written)]:06d}.png"
                    save_picture(picture, path)
                    written.append(path)
        except PictureNotFinite:  # what was drawn before is the same generator's: not to be taken for a result
            for path in written:
                path.unlink(missing_ok=True)
            raise

    def _stream(self) -> None:
        truncation, region = float(self.cfg.truncation), list(self.region)
        identity = {"generator": sha256_of(self.source), "truncation": truncation, "region": region}
        if self.cfg["class"] is not None:
            identity["class"] = self.cfg["class"]
        files = [self.output / f"seed{seed:06d}.tif" if self.into_folder else self.output for seed in self.seeds]
        pictures = [
            StreamedPicture(file, self.height, self.width, identity | {"seed": seed})
            for file, seed in zip(files, self.seeds, strict=True)
        ]
        generator, z = self.generator, self._latents(self.seeds)
        styles = (generator.truncate(generator.mapping(latent[None]), truncation) for latent in z)
        stream_pictures(generator, styles, pictures, self.region, self.cfg.tile)
