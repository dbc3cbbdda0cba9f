"""Pictures from a trained generator: ``python -m cips_lab.synthesize ckpt=runs/quickstart``. See ``--help``."""

import math
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from cips_lab.cli import command
from cips_lab.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def parse_seeds(seeds: Any) -> list[int]:
    """``3``, ``"0-15"``, ``"1,4-6"`` or a list of these -> seeds in order.

    Raises:
        UserError: anything else.
    """
    parts = list(seeds) if isinstance(seeds, (list, ListConfig)) else str(seeds).split(",")
    numbers: list[int] = []
    for part in parts:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(part).strip())
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise UserError(f"seeds={seeds}: expected a number, a range like 0-15, or a list like [1,5,9]")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return numbers


def parse_size(resolution: Any, native: int) -> tuple[int, int]:
    """``null``, a number or ``[height,width]`` -> (height, width)."""
    size = [resolution or native] * 2 if not isinstance(resolution, (list, ListConfig)) else list(resolution)
    if len(size) != 2 or not all(isinstance(side, int) and side >= 1 for side in size):
        raise UserError(f"resolution={resolution}: expected a positive number of pixels, or [height,width]")
    return size[0], size[1]


@command("synthesize")
def main(cfg: DictConfig) -> None:
    """Check all that can be checked, then synthesise."""
    if cfg.ckpt is None:
        raise UserError("ckpt=... is missing: a run folder, a .safetensors or a released .pt file (see --help)")
    seeds = parse_seeds(cfg.seeds)
    region = list(cfg.region) if isinstance(cfg.region, ListConfig) else []
    if len(region) != 4 or not (region[0] < region[2] and region[1] < region[3]):
        raise UserError(f"region={cfg.region}: expected [left,top,right,bottom] with left < right and top < bottom")
    if cfg.stream not in (None, True, False):
        raise UserError(f"stream={cfg.stream}: expected true, false or null")
    if not isinstance(cfg.batch, int) or cfg.batch < 1 or (cfg.tile is not None and cfg.tile < 1):
        raise UserError("batch and tile must be positive numbers")

    import numpy as np
    import torch
    from tqdm import tqdm

    from cips_lab.files.whole import sha256_of
    from cips_lab.interop.native import generator_file, load_generator
    from cips_lab.networks.cips import CIPSGenerator
    from cips_lab.networks.coordinates import image_grid
    from cips_lab.networks.mapping import latents_of_seeds
    from cips_lab.processes.layout import set_float32
    from cips_lab.render.pictures import save_picture, tile_images, to_uint8
    from cips_lab.render.streaming import LARGE_PIXELS, TIFF, StreamedPicture, stream_pictures

    output = Path(str(cfg.output)).expanduser()
    if output.suffix and output.suffix.lower() not in SUFFIXES and not output.is_dir():
        raise UserError(f"output={output}: not a picture format that is known here; use one of {', '.join(SUFFIXES)}")
    device = cfg.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    set_float32(tf32=False)
    source = generator_file(cfg.ckpt)
    try:
        generator = load_generator(source).to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={cfg.device}: {str(error).splitlines()[0]}") from None
    height, width = parse_size(cfg.resolution, generator.resolution)
    z = latents_of_seeds(seeds, generator.z_dim)
    as_folder = output.is_dir() or not output.suffix
    large = height * width > LARGE_PIXELS or (len(seeds) == 1 and output.suffix.lower() in TIFF and not as_folder)
    if (large and not generator.native_only) if cfg.stream is None else cfg.stream:
        if not isinstance(generator, CIPSGenerator):
            raise UserError("stream=true: this generator is convolutional; only CIPS makes pictures band by band")
        if len(seeds) > 1 and not as_folder:
            size = f"{len(seeds)} pictures of {height} x {width}"
            raise UserError(f"output={output}: {size} are streamed to a file each; give a folder, or one seed")
        identity = {"generator": sha256_of(source), "truncation": float(cfg.truncation), "region": region}
        files = [output / f"seed{seed:06d}.tif" if as_folder else output for seed in seeds]
        stream_pictures(
            generator,
            (generator.truncate(generator.mapping(latent[None].to(device)), cfg.truncation) for latent in z),
            [StreamedPicture(f, height, width, identity | {"seed": s}) for f, s in zip(files, seeds, strict=True)],
            region,
            cfg.tile,
        )
        print(f"{len(seeds)} picture(s) of {height} x {width} in {output}")
        return
    grid = image_grid(height, width, region, device=device)
    pictures: list[np.ndarray] = []
    with tqdm(total=len(seeds), desc="synthesising", unit="picture", disable=len(seeds) <= cfg.batch) as bar:
        for first in range(0, len(seeds), cfg.batch):
            w = generator.truncate(generator.mapping(z[first : first + cfg.batch].to(device)), cfg.truncation)
            try:
                images = to_uint8(generator.render(w, grid, tile=cfg.tile))
            except ValueError as error:  # a convolutional generator asked for another grid than its own
                raise UserError(str(error)) from None
            if as_folder:
                for seed, picture in zip(seeds[first:], images, strict=False):
                    save_picture(picture, output / f"seed{seed:06d}.png")
            else:
                pictures.extend(images)
            bar.update(len(images))
    if not as_folder:
        save_picture(tile_images(np.stack(pictures), cfg.columns or math.ceil(math.sqrt(len(seeds)))), output)
    print(f"{len(seeds)} picture(s) of {height} x {width} in {output}")


if __name__ == "__main__":
    main()
