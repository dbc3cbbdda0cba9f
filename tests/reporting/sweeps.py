"""Run folders as training leaves them, written by hand: configurations are composed, numbers are chosen."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from cips_lab.configuration import conf_folder

CONDITIONS: dict[str, Any] = {
    "num_samples": 100,
    "num_real": 200,
    "resolution": 32,
    "extractor": "efficientnet_lite0",
    "manifold_extractor": "efficientnet_lite0",
    "weights": "abc",
    "canonical_weights": True,
}
FD = "fd_efficientnet_lite0"
FLOOR = {f"floor/{FD}": 10.0, "floor/kid": 0.01, "floor/precision": 0.7, "floor/num_samples": 100}


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    """config.yaml of a run."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", ["experiment=quickstart_plain", "name=test", "trainer=cpu", *overrides])
        resolved = OmegaConf.to_container(config, resolve=True)
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}


def make_run(
    folder: Path,
    *overrides: str,
    seed: int = 0,
    total: float = 4,
    reached: float | None = None,
    fd: float = 100.0,
    every: float = 1,
    changes: dict[str, Any] | None = None,
    grids: bool = False,
    name: str | None = None,
) -> Path:
    """A run folder whose distance falls to `fd` at its end: `fd * total / kimg` at every `every` kimg.

    Args:
        reached: kimg of its newest line; None: its end.
        changes: to the evaluations' records; a value may be a function of kimg.
        grids: whether it has sample grids.
    """
    folder.mkdir(parents=True)
    options = (f"seed={seed}", f"schedule.total_kimg={total}", f"schedule.evaluate_kimg={every}")
    config = composed(*options, *overrides) | ({"name": name} if name is not None else {})
    (folder / "config.yaml").write_text(json.dumps(config))  # which is YAML too, and written a hundred times as fast
    reached = total if reached is None else reached
    lines = []
    for step in range(1, round(reached / 0.5) + 1):
        kimg = step * 0.5
        training = {"loss/generator": 1 + 1 / kimg, "loss/discriminator": 1.2, "loss/r1": 0.01 / kimg}
        training |= {"logits/real": 0.5, "logits/fake": -0.5, "time/sec_per_kimg": 10.0 + (90 if step == 1 else 0)}
        lines.append({"kimg": kimg, **training, "memory/peak_gb": 1.0 + step / 100})
        if kimg % every == 0:
            metrics = {
                FD: fd * total / kimg,
                "kid": fd / 1000,
                "kid_std": 0.001,
                "precision": 0.5,
                "precision_se": 0.01,
            }
            record = {"kimg": kimg, **metrics, **CONDITIONS, **FLOOR}
            lines.append(record | {k: v(kimg) if callable(v) else v for k, v in (changes or {}).items()})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if grids:
        random = np.random.default_rng(seed)
        (folder / "samples").mkdir()
        for label in ("real", *(f"kimg-{kimg:09.3f}" for kimg in range(1, int(reached) + 1))):
            picture = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / "samples" / f"{label}.png")
    return folder


def make_sweep(folder: Path, **options: Any) -> Path:
    """cips and cips_ne with two seeds each: distances 100 and 110, 200 and 220; jobs know their sweep's name."""
    for number, (generator, seed, fd) in enumerate(
        [("cips", 0, 100.0), ("cips", 1, 110.0), ("cips_ne", 0, 200.0), ("cips_ne", 1, 220.0)]
    ):
        named = (f"generator={generator}", f"sweep_name={folder.name}")
        make_run(folder / str(number), *named, seed=seed, fd=fd, **options)
    return folder
