"""What metrics add up over pictures, beside features: for real pictures computed once and kept in the cache.

The files lie beside those of `reference`, with the sums' name before the extractor's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from cips_lab.files.untrusted import read_safetensors
from cips_lab.metrics.collect import PictureSet, home_of
from cips_lab.metrics.extractors import Extractor
from cips_lab.metrics.metric import PictureSums
from cips_lab.metrics.reference import (
    VERSION,
    cache_of_metrics,
    described,
    header,
    keep,
    newest_first,
    there_for_all,
)
from cips_lab.networks.size import Size, size_name

Sums = Mapping[str, Mapping[str, Tensor]]  # name of the sums -> what their accumulator gave


def sums_path(
    pictures: PictureSet, sums: PictureSums, extractor: Extractor, count: int, cache: str | Path | None
) -> Path:
    """The file of a data set's first `count` pictures; it need not exist. No picture is read."""
    size = size_name(pictures.resolution)
    recipe = f"{VERSION} {pictures.fingerprint()} {size} {count} {sums.name} {extractor.name} {extractor.weights_hash}"
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    return cache_of_metrics(cache) / f"{prefix(sums, extractor, pictures.resolution)}{count}_{key}.safetensors"


def prefix(sums: PictureSums, extractor: Extractor, resolution: Size) -> str:
    """What the names of such files begin with."""
    return f"sums-{sums.name}_{extractor.name}_{size_name(resolution)}_"


class Missing(NamedTuple):
    """Sums that are on no disk yet, and what is to see the pictures for them."""

    sums: PictureSums
    path: Path
    accumulator: Metric


def sums_there(
    pictures: PictureSet, wanted: Sequence[PictureSums], extractor: Extractor, count: int, cache: str | Path | None
) -> tuple[Sums, list[Missing]]:
    """Of the first `count` pictures: what is on disk for all processes, and what all together must compute.

    Raises `UserError` for a damaged file.
    """
    if not wanted:
        return {}, []
    paths = [sums_path(pictures, sums, extractor, count, cache) for sums in wanted]
    there = there_for_all(paths, extractor.device)
    found, missing = {}, []
    for sums, path, has in zip(wanted, paths, there, strict=True):
        if has:
            found[sums.name] = read_safetensors(path)[0]
        else:
            accumulator = sums.make(pictures.resolution, count).to(home_of(extractor.device))
            missing.append(Missing(sums, path, accumulator))
    return found, missing


def kept(missing: Sequence[Missing], pictures: PictureSet, extractor: Extractor, count: int) -> Sums:
    """What accumulators gave that have seen all pictures, on disk from now on."""
    found = {}
    for sums, path, accumulator in missing:
        found[sums.name] = {name: tensor.cpu() for name, tensor in accumulator.compute().items()}
        keep(path, found[sums.name], described(pictures, extractor, count))
    return found


def recorded_sums(
    location: str,
    resolution: Size,
    wanted: Sequence[PictureSums],
    extractor: Extractor,
    count: int,
    cache: str | Path | None,
) -> Sums | None:
    """What the cache holds of pictures that are at `location` no longer; None where any is missing."""
    found = {}
    for sums in wanted:
        for path in newest_first(prefix(sums, extractor, resolution), cache):
            said = header(path)
            same = said["location"] == location and said["weights_hash"] == extractor.weights_hash
            if same and int(said["count"]) == count:
                found[sums.name] = read_safetensors(path)[0]
                break
        else:
            return None
    return found


def on(sums: Sums, device: torch.device) -> dict[str, dict[str, Tensor]]:
    """The same on another device."""
    return {name: {key: tensor.to(device) for key, tensor in part.items()} for name, part in sums.items()}
