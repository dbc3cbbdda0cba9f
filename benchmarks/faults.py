"""Which metric sees which fault: eight faults, planted in real pictures at three strengths each, and every metric.

    python -m benchmarks.faults [--output experiments/metric_faults] [--pictures 1000] [--real 5000]

Pictures without any fault are real ones that the reference does not hold (cartoon faces, `cips_lab.data.avatars`). A
metric *sees* a fault from the strength on at which it says "worse" by more than `CLEARLY` standard errors of the
difference, as two runs would be told apart. Results are appended to OUTPUT/faults.jsonl as they come, and what stands
there is not computed again; then OUTPUT/table.md is written, and a second table below it: how many pictures it takes.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from cips_lab.data.avatars import labels, load_faces
from cips_lab.data.dataset import ArrayDataset
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.registry import METRICS, higher_is_better, keys_of

RESOLUTION = 64
CLEARLY = 3.0  # standard errors of a difference
LEAST, MOST = 10, 100_000  # pictures that `needed` tells
RECORDS, TABLE = "faults.jsonl", "table.md"
CLEAN = ("none", 0.0)

Pictures = np.ndarray  # uint8 [N, 3, R, R]
Record = dict[str, Any]


class Drawn(NamedTuple):
    """What faults are made of.

    Attributes:
        fresh: pictures without a fault, which the reference does not hold.
        reference: those that it holds.
        others: more fresh ones, of which a fault may choose; and whether each belongs to the mode that is left out.
    """

    fresh: Pictures
    reference: Pictures
    others: Pictures
    in_mode: np.ndarray


class Fault(NamedTuple):
    """One kind: `plant` makes the pictures, given its strength, which `told` puts into words."""

    name: str
    strengths: tuple[float, float, float]
    told: str
    plant: Callable[[Drawn, float], Pictures]


def blurred(drawn: Drawn, sigma: float) -> Pictures:
    """By a Gaussian of `sigma` pixels."""
    return each(drawn.fresh, lambda image: image.filter(ImageFilter.GaussianBlur(sigma)))


def noisy(drawn: Drawn, deviation: float) -> Pictures:
    """White noise, of `deviation` levels."""
    return levels(drawn.fresh + deviation * np.random.default_rng(0).standard_normal(drawn.fresh.shape))


def dithered(drawn: Drawn, height: float) -> Pictures:
    """A checkerboard, `height` levels up and down."""
    rows, columns = np.indices(drawn.fresh.shape[2:])
    return levels(drawn.fresh + height * (1 - 2 * ((rows + columns) % 2)))


def without_mode(drawn: Drawn, share: float) -> Pictures:
    """A share of the pictures that belong to a mode is replaced by ones that do not."""
    count = len(drawn.fresh)
    outside, inside = drawn.others[~drawn.in_mode], drawn.others[drawn.in_mode]
    kept = round(count * drawn.in_mode.mean() * (1 - share))
    return np.concatenate([inside[:kept], outside[: count - kept]])


def copied(drawn: Drawn, share: float) -> Pictures:
    """A share of the pictures are pictures of the reference."""
    count = round(share * len(drawn.fresh))
    return np.concatenate([drawn.reference[:: len(drawn.reference) // count][:count], drawn.fresh[count:]])


def tinted(drawn: Drawn, height: float) -> Pictures:
    """Red is `height` levels higher."""
    return levels(drawn.fresh + height * np.array([1.0, 0.0, 0.0])[:, None, None])


def gridded(drawn: Drawn, height: float) -> Pictures:
    """Every eighth row and column is `height` levels lighter."""
    rows, columns = np.indices(drawn.fresh.shape[2:])
    return levels(drawn.fresh + height * ((rows % 8 == 0) | (columns % 8 == 0)))


def enlarged(drawn: Drawn, share: float) -> Pictures:
    """Made with a share of the pixels a side, and enlarged by bicubic interpolation."""

    def change(image: Image.Image) -> Image.Image:
        small = image.resize((round(share * image.width), round(share * image.height)), Image.Resampling.LANCZOS)
        return small.resize(image.size, Image.Resampling.BICUBIC)

    return each(drawn.fresh, change)


FAULTS = (
    Fault("blur", (0.25, 0.5, 1.0), "{:g} px", blurred),
    Fault("noise", (1.0, 4.0, 16.0), "{:g} levels", noisy),
    Fault("dither", (1.0, 4.0, 16.0), "{:g} levels", dithered),
    Fault("mode missing", (0.25, 0.5, 1.0), "{:.0%} of it", without_mode),
    Fault("copies", (0.1, 0.3, 1.0), "{:.0%}", copied),
    Fault("colour cast", (2.0, 5.0, 12.0), "{:g} levels", tinted),
    Fault("grid", (2.0, 6.0, 20.0), "{:g} levels", gridded),
    Fault("low resolution", (0.875, 0.75, 0.5), "{:g} of a side", enlarged),
)


def each(pictures: Pictures, change: Callable[[Image.Image], Image.Image]) -> Pictures:
    """Picture by picture, with Pillow."""
    images = (Image.fromarray(picture.transpose(1, 2, 0)) for picture in pictures)
    return np.stack([np.asarray(change(image)).transpose(2, 0, 1) for image in images])


def levels(values: np.ndarray) -> Pictures:
    """Rounded and clipped."""
    return values.round().clip(0, 255).astype(np.uint8)


def draw(pictures: int, real: int) -> Drawn:
    """Faces; the mode is those with a beard."""
    faces, worn = load_faces(RESOLUTION, "train"), labels(RESOLUTION, "train")
    others = slice(real + pictures, len(faces))
    bearded = np.array([one["facial_hair"] != "NONE" for one in worn[others]])
    return Drawn(faces[real : real + pictures], faces[:real], faces[others], bearded)


def evaluated(drawn: Drawn, evaluator: Evaluator, done: Sequence[Record]) -> Iterator[Record]:
    """A record of each set that has none yet, the clean one first."""
    there = {(record["fault"], record["strength"]) for record in done}
    real = evaluator.reference(ArrayDataset(drawn.reference))
    others = ArrayDataset(load_faces(RESOLUTION, "test"))
    held_out = evaluator.held_out(others, len(others))
    sets: list[tuple[str, float, Callable[[], Pictures]]] = [(*CLEAN, lambda: drawn.fresh)]
    sets += [(f.name, s, lambda f=f, s=s: f.plant(drawn, s)) for f in FAULTS for s in f.strengths]  # type: ignore[misc]
    for name, strength, made in sets:
        if (name, strength) not in there:
            batches: Iterator[Tensor] = iter(torch.from_numpy(np.array(made())).split(evaluator.batch_size))
            found = evaluator.evaluate(batches, real, len(drawn.fresh), held_out)
            yield {"fault": name, "strength": strength, **found}


def worse_by(record: Record, clean: Record, key: str) -> float:
    """How many standard errors of the difference a metric says that a set is worse than one without a fault."""
    error = math.hypot(record[f"{key}_se"], clean[f"{key}_se"])
    difference = (record[key] - clean[key]) / error
    return -difference if higher_is_better(key) else difference


def verdict(fault: Fault, found: Sequence[float]) -> str:
    """A cell: the least strength from which on a metric sees a fault; a minus where it calls some of it better."""
    seen = [number for number in range(len(found)) if all(z > CLEARLY for z in found[number:])]
    if seen:
        return fault.told.format(fault.strengths[seen[0]])
    return "(better)" if min(found) < -CLEARLY else ""


def table(records: Sequence[Record]) -> str:
    """Markdown: a row for each metric, a column for each fault, and what a perfect metric could see below."""
    of = {(record["fault"], record["strength"]): record for record in records}
    clean = of[CLEAN]
    keys = keys_of(clean)
    rows = [["", *(fault.name for fault in FAULTS)], ["---"] * (len(FAULTS) + 1)]
    for key in keys:
        cells = [verdict(f, [worse_by(of[f.name, s], clean, key) for s in f.strengths]) for f in FAULTS]
        rows.append([f"`{key}`", *cells])
    rows.append(["planted", *(", ".join(map(fault.told.format, fault.strengths)) for fault in FAULTS)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def needed(records: Sequence[Record]) -> str:
    """Markdown: how many pictures each metric needs to see the middle strength, from what it said of those there were.

    Errors fall with the root of the number, and differences stay.
    """
    of = {(record["fault"], record["strength"]): record for record in records}
    clean = of[CLEAN]
    header = (f"{fault.name}, {fault.told.format(fault.strengths[1])}" for fault in FAULTS)
    rows = [["", *header], ["---"] * (len(FAULTS) + 1)]
    for key in keys_of(clean):
        seen = [worse_by(of[fault.name, fault.strengths[1]], clean, key) for fault in FAULTS]
        rows.append(
            [f"`{key}`", *(count_of(clean["num_samples"] * (CLEARLY / z) ** 2 if z > 0 else math.inf) for z in seen)]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def count_of(pictures: float) -> str:
    """To two digits, of what anyone would draw."""
    if pictures > MOST:
        return ""
    return f"{max(LEAST, int(float(f'{pictures:.1e}'))):,}"


def read(path: Path) -> list[Record]:
    """The records that are there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main() -> None:
    """Evaluate what has not been evaluated, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/metric_faults"), help="folder of the results")
    parser.add_argument("--pictures", type=int, default=1000, help="in each set")
    parser.add_argument("--real", type=int, default=5000, help="in the reference")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    records = read(options.output / RECORDS)
    network = "efficientnet_lite0"
    names = [metric.name for metric in METRICS if metric.needs != "logits"]
    evaluator = Evaluator(network, names=names, num_samples=options.pictures, num_real=options.real, kid_subsets=None)
    for record in evaluated(draw(options.pictures, options.real), evaluator, records):
        records.append(record)
        with (options.output / RECORDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(record["fault"], record["strength"], f"fd {record[evaluator.key_of('fd')]:.2f}", flush=True)
    tables = f"{table(records)}\n{needed(records)}"
    (options.output / TABLE).write_text(tables, encoding="utf-8")
    print(tables)


if __name__ == "__main__":
    main()
