"""Cartoon faces: a function of the seed, in one place, with their attributes beside them."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from cips_lab.data import avatars
from cips_lab.data.avatars import (
    BACKGROUND,
    FIRST_SEED,
    PARTS,
    attributes_of,
    draw_face,
    draw_faces,
    labels,
    load_faces,
    seeds_of,
)
from cips_lab.data.datamodule import AvatarsDataModule
from cips_lab.errors import UserError


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatars, "COUNTS", {"train": 12, "test": 5})


@pytest.mark.usefixtures("few")
def test_faces_and_their_labels(tmp_path: Path) -> None:
    faces = load_faces(32, "train", tmp_path)
    assert faces.shape == (12, 3, 32, 32)
    assert faces.dtype == np.uint8
    listed = labels(32, "train", tmp_path)
    assert [int(entry["seed"]) for entry in listed] == list(range(12))
    assert {key: listed[7][key] for key in PARTS} == attributes_of(7)
    np.testing.assert_array_equal(faces[7], draw_face(7, 32))
    held_out = load_faces(32, "test", tmp_path)
    np.testing.assert_array_equal(held_out[0], draw_face(FIRST_SEED["test"], 32))


def test_training_and_held_out_seeds_have_nothing_in_common() -> None:
    assert not set(seeds_of("train")) & set(seeds_of("test"))
    assert len(seeds_of("train")) == 20_000


def test_a_face_is_a_function_of_its_seed_in_any_process() -> None:
    program = (
        "from cips_lab.data.avatars import draw_face; import hashlib;"
        "print(hashlib.sha256(draw_face(5, 32).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert other.stdout.strip() == hashlib.sha256(draw_face(5, 32).tobytes()).hexdigest()


@pytest.mark.usefixtures("few")
def test_as_many_processes_as_there_are_cores_draw_the_same_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatars, "PART", 2)
    monkeypatch.setattr(avatars, "usable_cores", lambda: 2)
    parallel = draw_faces(range(3, 8), 16)
    monkeypatch.setattr(avatars, "usable_cores", lambda: 1)
    np.testing.assert_array_equal(parallel, draw_faces(range(3, 8), 16))


def test_faces_are_aligned_on_a_plain_background() -> None:
    """A face looks like the mean of others where it is, and not a few pixels beside; corners are the background's."""
    faces = np.stack([draw_face(seed, 32) for seed in range(80)]).astype(float).mean(axis=1)
    inner = np.s_[10:24, 8:24]
    mean = faces[:40].mean(axis=0)[inner]

    def likeness(moved: tuple[int, int]) -> float:
        parts = [np.roll(face, moved, (0, 1))[inner] for face in faces[40:]]
        return float(np.mean([np.corrcoef(part.ravel(), mean.ravel())[0, 1] for part in parts]))

    assert likeness((0, 0)) > 0.3 > 3 * max(likeness(moved) for moved in ((4, 0), (-4, 0), (0, 4), (0, -4)))
    corners = faces[:, :2, :2]
    assert (np.ptp(corners, axis=(1, 2)) <= 2).mean() > 0.85  # a large afro reaches the corner
    assert BACKGROUND[0] <= np.median(corners) <= BACKGROUND[1]


def test_every_part_of_a_face_varies_and_some_lack_what_can_be_lacking() -> None:
    found = [attributes_of(seed) for seed in range(400)]
    for attribute, (_, without) in PARTS.items():
        counts = Counter(face[attribute] for face in found)
        assert len(counts) >= 3, attribute
        if without:
            assert abs(counts["NONE"] / 400 - without) < 0.12, attribute


def test_more_pixels_show_the_same_face() -> None:
    small, large = draw_face(3, 32).astype(float), draw_face(3, 128).astype(float)
    averaged = large.reshape(3, 32, 4, 32, 4).mean(axis=(2, 4))
    assert np.abs(averaged - small).mean() < 4


@pytest.mark.usefixtures("few")
def test_the_data_module(tmp_path: Path) -> None:
    data = AvatarsDataModule(16, cache=str(tmp_path))
    data.prepare_data()
    data.setup()
    assert data.describe() == {
        "name": "avatars",
        "count": 12,
        "resolution": 16,
        "source": "cartoon faces (python-avatars)",
    }
    assert data.test_dataset is not None
    assert len(data.test_dataset) == 5
    assert next(iter(data.train_loader(batch_size=4, seed=0))).shape == (4, 3, 16, 16)
    finer = data.finer(32)
    assert finer is not None
    assert finer[0].shape == (3, 32, 32)
    assert data.finer(512) is None


@pytest.mark.usefixtures("few")
def test_few_faces_to_train_on(tmp_path: Path) -> None:
    everything = AvatarsDataModule(16, cache=str(tmp_path), classes_by="hair")
    few = AvatarsDataModule(16, cache=str(tmp_path), classes_by="hair", count=7)
    for data in (everything, few):
        data.setup()
    assert (few.describe()["count"], everything.describe()["count"]) == (7, 12)
    assert all(torch.equal(few.train_dataset[i], everything.train_dataset[i]) for i in range(7))
    seen = torch.cat([batch for batch, _ in zip(few.train_loader(batch_size=7, seed=0), range(3), strict=False)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 7
    known, all_known = few.classes(), everything.classes()
    assert known is not None
    assert all_known is not None
    assert [known.names[i] for i in known.of] == [all_known.names[i] for i in all_known.of][:7]
    assert few.test_dataset is not None
    assert len(few.test_dataset) == 5  # held-out faces stay as many as they are
    for count in (0, 13):
        with pytest.raises(UserError, match=f"data.count={count}: must be from 1 to 12"):
            AvatarsDataModule(16, count=count)


def test_what_cannot_be_drawn_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resolution=512: data=avatars has at most 256"):
        AvatarsDataModule(512)
    monkeypatch.setitem(sys.modules, "python_avatars", None)
    with pytest.raises(UserError, match=r"pip install 'cips-lab\[avatars\]'"):
        load_faces(32, "train", tmp_path)
