"""A generator published on the Hugging Face hub: its files, a picture of what it makes, and a card that tells of it."""

import json
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from cips_lab import __version__
from cips_lab.errors import UserError
from cips_lab.files.whole import replace_text
from cips_lab.interop import hub
from cips_lab.interop.discriminators import write_both
from cips_lab.interop.native import generator_file, load_trained, save_generator
from cips_lab.interop.trained import Trained
from cips_lab.metrics import results
from cips_lab.metrics.registry import keys_of, of_key
from cips_lab.networks.generator import Generator
from cips_lab.networks.size import size_name
from cips_lab.render.finite import check_weights
from cips_lab.render.pictures import save_picture, tile_images, to_uint8
from cips_lab.render.scene import draw, whole_turn
from cips_lab.runs.folder import GENERATOR, run_above
from cips_lab.runs.records import Job, Record, read_job
from cips_lab.runs.settings import flatten

LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)  # as the hub writes them
TAGS = ("cips", "gan", "image-generation", "implicit-neural-representation")
TRAINING = ("batch_size", "seed", "schedule", "objective", "discriminator", "augment", "view")  # what a card tells
SAMPLES, CARD, CONFIG, NUMBERS = "samples.png", "README.md", "config.json", "metrics.json"
TASK = "unconditional-image-generation"


def push_to_hub(
    ckpt: str | Path,
    repo_id: str,
    *,
    licence: str,
    discriminator: bool = False,
    private: bool = False,
    seeds: Sequence[int] = tuple(range(16)),
    truncation: float = 1.0,
    tags: Sequence[str] = (),
    message: str = "A generator of cips_lab",
    token: str | None = None,
) -> str:
    """Publish a generator as a repository of the Hugging Face hub, which `load_generator(repo_id)` then takes.

    Args:
        ckpt: as for `load_generator`; of a run the newest checkpoint, with the run's numbers of that moment.
        repo_id: ``owner/name``; made if need be, and replaced file by file.
        licence: under which others may use it, as the hub writes it: ``mit``, ``cc-by-4.0``, ``other``. Nobody else
            can know it: it depends on the pictures.
        discriminator: whether the discriminator goes with it, so that others can train on (`init=owner/name`).
        private: whether a repository that is made now is seen by its owner alone.
        seeds, truncation: of the pictures that are shown.
        tags: further ones.
        message: of the commit.
        token: of the hub; None: the one that `hf auth login` has kept, or HF_TOKEN.

    Returns:
        The repository's address.

    Raises:
        UserError: the generator cannot be read or used, the licence is not the hub's name of one, the hub refuses or
            cannot be reached, or the package is missing.
    """
    hub.check_upload(repo_id)
    if not LICENCE.fullmatch(licence):
        raise UserError(f"licence={licence!r}: not as the hub writes one: mit, cc-by-4.0, openrail, other, ...")
    with tempfile.TemporaryDirectory() as folder:
        write_repository(ckpt, Path(folder), repo_id, licence, discriminator, seeds, truncation, tags)
        return hub.upload(Path(folder), repo_id, private=private, message=message, token=token)


def write_repository(
    ckpt: str | Path,
    folder: Path,
    repo_id: str,
    licence: str,
    discriminator: bool = False,
    seeds: Sequence[int] = tuple(range(16)),
    truncation: float = 1.0,
    tags: Sequence[str] = (),
) -> None:
    """Write what `push_to_hub` uploads into a folder; see there."""
    stored = load_trained(ckpt)
    check_weights(stored.generator, f"ckpt={ckpt}")
    job = run_of(ckpt)
    record = None if job is None else evaluation_of(job, stored.kimg)
    if discriminator:
        write_both(ckpt, folder)
    else:
        save_generator(stored.generator, folder / GENERATOR, stored.config, stored.kimg or 0.0)
    save_picture(sample_grid(stored.generator, seeds, truncation), folder / SAMPLES)
    told = {"library_name": "cips_lab", "cips_lab": __version__, "kimg": stored.kimg, "generator": stored.config}
    replace_text(folder / CONFIG, json.dumps(told, indent=2) + "\n")
    if record is not None:
        replace_text(folder / NUMBERS, json.dumps(without_places(record), indent=2) + "\n")
    front = front_matter(repo_id, licence, tags, job, record)
    shown = f"Seeds {', '.join(map(str, seeds))}; truncation {truncation:g}."
    replace_text(folder / CARD, front + body(repo_id, stored, job, record, shown, discriminator))


def run_of(ckpt: str | Path) -> Job | None:
    """The run that a generator lies in."""
    run = run_above(generator_file(ckpt))
    return None if run is None else read_job(run)


def evaluation_of(job: Job, kimg: float | None) -> Record | None:
    """The evaluation of a run at a moment, and of no other: numbers of another generator are none of this one."""
    close = (r for r in job.evaluations if kimg is not None and abs(float(r["kimg"]) - kimg) < job.step_kimg / 2)
    return next(close, None)


@torch.no_grad()
def sample_grid(generator: Generator, seeds: Sequence[int], truncation: float) -> np.ndarray:
    """uint8 [H, W, 3]: the pictures of seeds, four in a row; of a cylinder its whole turns, one below the other."""
    turn = whole_turn(generator)
    batches = [list(seeds[first : first + 4]) for first in range(0, len(seeds), 4)]
    pictures = [
        picture
        for batch in batches
        for picture in to_uint8(draw(generator, generator.mapping.latents(batch), truncation, turn), batch)
    ]
    return tile_images(np.stack(pictures), 4 if turn is None else 1)


def without_places(settings: Any) -> dict[str, Any]:
    """Settings, flat, without what could be a path of the machine they are from."""
    return {
        name: value
        for name, value in flatten(settings).items()
        if not isinstance(value, (str, list, dict)) or not re.search(r"[/\\~]", str(value))
    }


def front_matter(repo_id: str, licence: str, tags: Sequence[str], job: Job | None, record: Record | None) -> str:
    """The YAML that the hub reads."""
    told: dict[str, Any] = {
        "license": licence,
        "library_name": "cips_lab",
        "pipeline_tag": TASK,
        "tags": sorted({*TAGS, *tags}),
    }
    if job is not None and record is not None:
        metrics = [{"type": key, "name": title_of(key), "value": record[key]} for key in keys_of(record)]
        pictures = job.choices.get("data", "pictures")
        result = {"task": {"type": TASK}, "dataset": {"name": pictures, "type": pictures}, "metrics": metrics}
        told["model-index"] = [{"name": repo_id.partition("/")[2], "results": [result]}]
    return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---\n"


def title_of(key: str) -> str:
    """Of a metric."""
    metric = of_key(key)
    return key if metric is None else metric.title


def body(repo_id: str, stored: Trained, job: Job | None, record: Record | None, shown: str, discriminator: bool) -> str:
    """The card below its front matter, Markdown."""
    generator = stored.generator
    millions = sum(p.numel() for p in generator.parameters()) / 1e6
    trained = "" if stored.kimg is None else f", trained on {stored.kimg:g} thousand images"
    what = "by convolutions" if generator.native_only else "pixel by pixel from their coordinates, at any resolution"
    parts = [
        f"# {repo_id.partition('/')[2]}",
        f"A generator of pictures of {size_name(generator.resolution)} pixels, {what} ({millions:.2f} M parameters"
        f"{trained}), made with `cips_lab` {__version__}, the laboratory for CIPS: *Image Generators with "
        "Conditionally-Independent Pixel Synthesis* (Anokhin et al. 2021, [arXiv 2011.13775]"
        "(https://arxiv.org/abs/2011.13775)).",
        f"![samples]({SAMPLES})\n\n{shown}",
        "## How to use it\n" + usage(repo_id, generator, discriminator),
        "## Numbers\n" + numbers(job, record),
        "## Configuration\n```json\n" + json.dumps(stored.config, indent=2) + "\n```",
    ]
    if job is not None:
        lines = [f"- {group}: {name}" for group, name in sorted(job.choices.items()) if not re.search(r"[/\\~]", name)]
        trained_with = without_places({name: job.config[name] for name in TRAINING if name in job.config})
        lines += [f"- {name}: {value}" for name, value in trained_with.items()]
        parts.append("## Training\n" + "\n".join(lines))
    return "\n" + "\n\n".join(parts) + "\n"


def usage(repo_id: str, generator: Generator, discriminator: bool) -> str:
    """Code that draws a picture, and a command that does."""
    grid = "image_grid(*generator.size)" if generator.native_only else "image_grid(1024, 1024)"
    code = (
        "```python\nimport torch\nfrom cips_lab import load_generator\n"
        "from cips_lab.networks.coordinates import image_grid\n\n"
        f'generator = load_generator("{repo_id}")\n'
        "w = generator.mapping(generator.mapping.latents([0]))\n"
        f"image = generator.render(w, {grid})  # [1, 3, H, W], about -1 to 1\n```\n\n"
        f"```\npython -m cips_lab.synthesize ckpt={shlex.quote(repo_id)} seeds=0-15 output=samples.png\n```"
    )
    train = (
        f"\n\nTo train on from both networks: `python -m cips_lab.train init={repo_id} ...`" if discriminator else ""
    )
    return code + train


def numbers(job: Job | None, record: Record | None) -> str:
    """The evaluation of this generator, or that there is none."""
    if job is None:
        return "None are known: the generator was published from a file outside its run."
    if record is None:
        return "Its run has no evaluation of this moment."
    return results.table([record])
