"""Statistics of the real pictures, on disk, so that an evaluation reads no real picture twice.

A file holds the features, their mean and covariance; its name holds a key that changes with whatever changes them: the
data set's fingerprint (a folder's names, sizes and modification times; a zip's names, sizes and checksums; an array's
bytes), the resolution, the number of pictures, and the network's name and weights. The key is computed without reading
a picture, and a file is never written over with something else. They lie in `metrics/` below `cache_folder`.
"""

import hashlib
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics import Metric

from cips_lab.errors import UserError
from cips_lab.files.cache import cache_folder
from cips_lab.files.untrusted import first_line, read_safetensors
from cips_lab.files.whole import replacing
from cips_lab.metrics.collect import PictureSet, batches_of, collect
from cips_lab.metrics.extractors import Extractor
from cips_lab.metrics.statistics import Gaussian
from cips_lab.networks.size import Size, parse_size, size_name
from cips_lab.processes.collectives import total, world_size
from cips_lab.processes.ranks import is_first_here

log = logging.getLogger(__name__)
_told: set[Path] = set()  # folders that were said to be unwritable

VERSION = "cips_lab.reference.1"  # raise the number when preprocessing or the file's content changes


@dataclass(frozen=True)
class Reference:
    """What one extractor sees in the first `count` pictures of a data set."""

    features: Tensor  # float32 [count, D], in the data set's order
    gaussian: Gaussian
    resolution: Size
    location: str
    path: Path

    @property
    def count(self) -> int:
        """The number of real pictures."""
        return len(self.features)


def reference_path(pictures: PictureSet, extractor: Extractor, count: int, cache: str | Path | None = None) -> Path:
    """The file of a data set's first `count` pictures; it need not exist. No picture is read."""
    size = size_name(pictures.resolution)
    recipe = f"{VERSION} {pictures.fingerprint()} {size} {count} {extractor.name} "
    key = hashlib.sha256((recipe + extractor.weights_hash).encode()).hexdigest()[:16]
    name = f"{_prefix(extractor, pictures.resolution)}{count}_{key}.safetensors"
    return cache_of_metrics(cache) / name


def references(
    pictures: PictureSet,
    extractors: Sequence[Extractor],
    count: int,
    batch_size: int = 64,
    num_workers: int = 0,
    cache: str | Path | None = None,
    accumulators: Sequence[Metric] = (),
) -> list[Reference]:
    """For each extractor, what is on disk; what is not is computed, all processes together, and kept, see `keep`.

    Accumulators see every picture in the same pass, or in one for them alone.

    Raises `UserError` for a picture that cannot be read, or a damaged file.
    """
    paths = [reference_path(pictures, extractor, count, cache) for extractor in extractors]
    found = there_for_all(paths, extractors[0].device)
    missing = [extractor for extractor, is_there in zip(extractors, found, strict=True) if not is_there]
    computed = {}
    if missing or accumulators:
        batches = batches_of(pictures, count, batch_size, num_workers)
        collected = collect(batches, missing, count, title="Real pictures", accumulators=accumulators)
        computed = {extractor.name: part for extractor, part in zip(missing, collected, strict=True)}
    results = []
    for path, extractor in zip(paths, extractors, strict=True):
        if extractor.name not in computed:
            results.append(read(path))
            continue
        features, gaussian, _ = computed[extractor.name]
        result = Reference(features.cpu(), gaussian.to("cpu"), pictures.resolution, pictures.location, path)
        tensors = {"features": result.features, "mean": result.gaussian.mean, "covariance": result.gaussian.covariance}
        keep(path, tensors, described(pictures, extractor, count))
        results.append(result)
    return results


def there_for_all(paths: Sequence[Path], device: torch.device) -> list[bool]:
    """Which files every process sees: all must take the same turn, and machines may have caches of their own."""
    return (total(torch.tensor([path.exists() for path in paths], device=device).int()) == world_size()).tolist()


def described(pictures: PictureSet, extractor: Extractor, count: int) -> dict[str, str]:
    """What a file's header says of its content."""
    return {
        "format": VERSION,
        "location": pictures.location,
        "resolution": size_name(pictures.resolution),
        "count": str(count),
        "extractor": extractor.name,
        "weights_hash": extractor.weights_hash,
    }


def recorded(
    location: str, resolution: Size, extractor: Extractor, most: int, cache: str | Path | None = None
) -> Reference | None:
    """The newest file about at most `most` pictures that were at `location`, for when they are there no longer.

    Not for pictures that are there: they may have changed.
    """
    for path in newest_first(_prefix(extractor, resolution), cache):
        metadata = header(path)
        same = metadata["location"] == location and metadata["weights_hash"] == extractor.weights_hash
        if same and int(metadata["count"]) <= most:
            return read(path)
    return None


def newest_first(prefix: str, cache: str | Path | None) -> list[Path]:
    """The files of the cache whose names begin so."""
    found = cache_of_metrics(cache).glob(f"{prefix}*.safetensors")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def keep(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file of the cache, on the first process of a machine.

    A folder that cannot be written costs the next evaluation its time and this one nothing: that is said once.
    """
    if not is_first_here():
        return
    try:
        write(path, tensors, metadata)
    except UserError as error:
        tell_unwritable(path.parent, str(error))


def tell_unwritable(folder: Path, reason: str) -> None:
    """Once for each folder."""
    if folder not in _told:
        _told.add(folder)
        log.warning("%s; until then the real pictures are read anew by every command that needs them", reason)


def warn_if_unwritable(cache: str | Path | None) -> None:
    """Before hours of work: say that what is computed of real pictures cannot be kept."""
    folder = cache_of_metrics(cache)
    if is_first_here():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            tell_unwritable(folder, unwritable(folder, error))


def unwritable(folder: Path, error: Exception) -> str:
    """The complaint."""
    return f"paths.cache={folder} cannot be written ({error}); set paths.cache to another folder"


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Processes that start together write the same, and none reads a part.

    Raises `UserError` if the folder cannot be written.
    """
    try:
        with replacing(path) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise UserError(unwritable(path.parent, error)) from error


def read(path: Path) -> Reference:
    """Raises `UserError` if the file is damaged."""
    metadata = header(path)
    try:
        tensors, _ = read_safetensors(path)
        features, mean, covariance = (tensors[name] for name in ("features", "mean", "covariance"))
        count, size = features.shape
        if (mean.shape, covariance.shape) != ((size,), (size, size)) or count != int(metadata["count"]):
            raise ValueError(f"features {count} x {size}, mean {list(mean.shape)}, covariance {list(covariance.shape)}")
        if features.dtype != torch.float32 or not (mean.dtype == covariance.dtype == torch.float64):
            raise ValueError(f"features of type {features.dtype}, mean {mean.dtype}, covariance {covariance.dtype}")
        gaussian = Gaussian(count, mean, covariance)
        return Reference(features, gaussian, parse_size(metadata["resolution"]), metadata["location"], path)
    except (KeyError, ValueError, UserError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); delete it and it is computed again") from None


def header(path: Path) -> dict[str, str]:
    """What a file of the cache says of itself. Raises `UserError` if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and it is computed again") from error
    if metadata.get("format") != VERSION:
        raise UserError(f"{path} holds no statistics of this version; delete it and they are computed again")
    missing = {"location", "resolution", "count", "weights_hash"} - metadata.keys()
    if missing or not (re.fullmatch(r"\d+(x\d+)?", metadata["resolution"]) and metadata["count"].isdecimal()):
        raise UserError(f"{path} cannot be read (its header is damaged); delete it and it is computed again")
    return metadata


def _prefix(extractor: Extractor, resolution: Size) -> str:
    return f"{extractor.name}_{size_name(resolution)}_"


def cache_of_metrics(cache: str | Path | None) -> Path:
    """The folder of all these files."""
    return cache_folder(cache) / "metrics"
