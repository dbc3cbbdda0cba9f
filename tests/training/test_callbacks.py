"""What watches a run: when things are due, what is kept, and that nothing half-written bears a name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tiny import GENERATOR_CONFIG, MemoryDataModule, build_gan, fit, make_trainer

from cips_lab import load_generator
from cips_lab.callbacks import checkpoints as checkpoints_module
from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.metrics import MetricsLog, drop_lines_after
from cips_lab.callbacks.progress import ProgressLine
from cips_lab.callbacks.samples import SampleGrids
from cips_lab.files import whole as files_whole
from cips_lab.runs.folder import checkpoint_folders, images_of, kimg_label
from cips_lab.training.clock import gan_of, is_due

# ------------------------------------------------------------------ the clock


@given(batch=st.integers(1, 300), every=st.integers(1, 2000), iterations=st.integers(1, 60))
def test_due_is_passing_a_multiple(batch: int, every: int, iterations: int) -> None:
    """Counted image by image: an iteration is due if one of its images is the n-th `every`."""
    images = 0
    for _ in range(iterations):
        passed = [image for image in range(images + 1, images + batch + 1) if image % every == 0]
        images += batch
        assert is_due(images, batch, every / 1000) == bool(passed)


def test_never_due() -> None:
    assert not is_due(1000, 1000, None)


@given(a=st.integers(0, 10**8 - 1), b=st.integers(0, 10**8 - 1))  # four times the longest experiment
def test_labels_sort_as_their_numbers_and_can_be_read_back(a: int, b: int) -> None:
    assert (kimg_label(a) < kimg_label(b)) == (a < b)
    assert images_of(Path("checkpoints") / kimg_label(a)) == a
    assert "=" not in kimg_label(a)


def test_other_modules_are_refused() -> None:
    with pytest.raises(TypeError, match="GAN"):
        gan_of(pl.LightningModule())


# ------------------------------------------------------------------ metrics.jsonl


@given(kimgs=st.lists(st.integers(0, 500), max_size=12).map(sorted), until=st.integers(0, 500), cut=st.integers(0, 30))
def test_lines_beyond_a_moment_are_dropped(
    tmp_path_factory: pytest.TempPathFactory, kimgs: list[int], until: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    text = "".join(json.dumps({"kimg": images / 1000, "loss": 1.5}) + "\n" for images in kimgs)
    complete = text[: max(0, len(text) - cut)]  # a crash cuts the file short
    path.write_text(complete)
    drop_lines_after(path, until)
    remaining = path.read_text()
    assert remaining == "" or remaining.endswith("\n")
    kept = [json.loads(line)["kimg"] for line in remaining.splitlines()]
    whole = complete.count("\n")
    # The last line may be whole but for its newline.
    whole += int(complete.endswith("}"))
    assert kept == [images / 1000 for images in kimgs[:whole] if images <= until]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]


def test_no_file_is_no_error(tmp_path: Path) -> None:
    drop_lines_after(tmp_path / "metrics.jsonl", 5)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_means_over_their_interval(tmp_path: Path) -> None:
    recorded: list[dict[str, float]] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            recorded.append({name: float(value) for name, value in pl_module.statistics.items()})

    fit(build_gan(), tmp_path, 5, Watch(), MetricsLog(every_kimg=0.016))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["kimg"] for line in lines] == [0.016, 0.032]
    for index, line in enumerate(lines):
        first, second = recorded[2 * index : 2 * index + 2]
        for name in ("loss/discriminator", "loss/generator", "logits/real", "logits/fake"):
            assert line[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-5)
        # R1 was taken in the first of the two iterations only: the mean is over those where it was.
        assert line["loss/r1"] == pytest.approx(first["loss/r1"], rel=1e-5)
        assert "loss/r1" not in second
        assert line["time/sec_per_kimg"] > 0
        assert line["memory/peak_gb"] > 0.05


def test_a_continued_run_has_every_kimg_once(tmp_path: Path) -> None:
    callbacks = [MetricsLog(every_kimg=0.008), Checkpoints(every_kimg=0.016)]
    fit(build_gan(), tmp_path, 3, *callbacks)
    path = tmp_path / "metrics.jsonl"
    before = path.read_text().splitlines()
    with path.open("a") as file:
        file.write('{"kimg": 0.0')  # killed while it wrote
    checkpoint = tmp_path / "checkpoints" / "kimg-00000.016" / "training.ckpt"
    fit(build_gan(), tmp_path, 4, MetricsLog(every_kimg=0.008), checkpoint=checkpoint)
    after = path.read_text().splitlines()
    assert [json.loads(line)["kimg"] for line in after] == [0.008, 0.016, 0.024, 0.032]
    assert after[:2] == before[:2]
    losses = ("loss/generator", "loss/discriminator")
    assert [json.loads(after[2])[name] for name in losses] == [json.loads(before[2])[name] for name in losses]


# ------------------------------------------------------------------ checkpoints


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(None, [8, 16, 24, 32, 40]), (1, [40]), (2, [32, 40]), (9, [8, 16, 24, 32, 40])],
)
def test_retention(tmp_path: Path, keep: int | None, expected: list[int]) -> None:
    fit(build_gan(), tmp_path, 5, Checkpoints(every_kimg=0.008, keep=keep))
    assert names(tmp_path) == [f"kimg-00000.{images:03d}" for images in expected]
    assert [images_of(folder) for folder in checkpoint_folders(tmp_path)] == expected


def test_a_last_one_at_the_end(tmp_path: Path) -> None:
    fit(build_gan(), tmp_path, 5, Checkpoints(every_kimg=0.024, keep=None))
    assert names(tmp_path) == ["kimg-00000.024", "kimg-00000.040"]


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match=r"schedule\.keep_checkpoints"):
        Checkpoints(every_kimg=1, keep=keep)


@torch.no_grad()
def test_what_a_checkpoint_holds(tmp_path: Path) -> None:
    gan = build_gan()
    fit(gan, tmp_path, 2, Checkpoints(every_kimg=1))
    folder = tmp_path / "checkpoints" / "kimg-00000.016"
    assert sorted(p.name for p in folder.iterdir()) == ["generator.safetensors", "manifest.json", "training.ckpt"]
    z = torch.randn(2, 6)
    for source in (tmp_path, folder, folder / "generator.safetensors", folder / "training.ckpt"):
        generator = load_generator(source)
        assert torch.equal(generator(z, 3), gan.generator_ema(z, 3))  # the averaged one, not the trained one
        assert torch.equal(generator.mapping.w_mean, gan.generator.mapping.w_mean)
    checkpoint = torch.load(folder / "training.ckpt", weights_only=True)
    assert checkpoint["cips_lab"] == {"images_seen": 16, "seed": 0, "rollbacks": 0, "generator": GENERATOR_CONFIG}


@pytest.mark.parametrize("fails", ["save_generator", "flush", "save_checkpoint"])
def test_a_save_that_fails_midway_leaves_nothing_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    fit(build_gan(), tmp_path, 1, Checkpoints(every_kimg=0.008))
    assert names(tmp_path) == ["kimg-00000.008"]
    before = {p.name: p.read_bytes() for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir()}

    def disk_full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    gan, trainer = build_gan(), make_trainer(tmp_path, 3, Checkpoints(every_kimg=0.008, keep=1))
    with monkeypatch.context() as patch:
        owner = {"save_generator": checkpoints_module, "flush": files_whole, "save_checkpoint": trainer}[fails]
        patch.setattr(owner, fails, disk_full)
        with pytest.raises(OSError, match="no space left"):
            trainer.fit(
                gan,
                datamodule=MemoryDataModule(),
                ckpt_path=tmp_path / "checkpoints" / "kimg-00000.008" / "training.ckpt",
                weights_only=True,
            )
    assert [p.name for p in checkpoint_folders(tmp_path)] == ["kimg-00000.008"]
    assert [name for name in names(tmp_path) if name.startswith("kimg-")] == ["kimg-00000.008"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "checkpoints" / "kimg-00000.008").iterdir()} == before
    # The next attempt is not hindered by what the failed one left, and what is left is not there for ever.
    checkpoint = tmp_path / "checkpoints" / "kimg-00000.008" / "training.ckpt"
    fit(build_gan(), tmp_path, 3, Checkpoints(every_kimg=0.008, keep=2), checkpoint=checkpoint)
    assert names(tmp_path) == ["kimg-00000.016", "kimg-00000.024"]


def test_a_checkpoint_is_replaced_when_a_run_passes_it_again(tmp_path: Path) -> None:
    fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008))
    old = tmp_path / "checkpoints" / "kimg-00000.016" / "generator.safetensors"
    content = {name: value.clone() for name, value in load_file(old).items()}  # it maps the file
    old.write_bytes(b"damaged")
    (old.parent / "stray").write_text("of an earlier run")
    first = tmp_path / "checkpoints" / "kimg-00000.008" / "training.ckpt"
    fit(build_gan(), tmp_path, 2, Checkpoints(every_kimg=0.008), checkpoint=first)
    again = load_file(old)
    assert again.keys() == content.keys()
    assert all(torch.equal(again[name], value) for name, value in content.items())
    assert not (old.parent / "stray").exists()


# ------------------------------------------------------------------ sample grids


def test_sample_grids_are_deterministic(tmp_path: Path) -> None:
    pictures = []
    for run in ("a", "b"):
        gan = build_gan()
        torch.manual_seed(ord(run))  # of no importance
        fit(gan, tmp_path / run, 3, SampleGrids(every_kimg=0.016, rows=2, columns=3, batch=4))
        folder = tmp_path / run / "samples"
        assert sorted(p.name for p in folder.iterdir()) == ["kimg-00000.016.png", "kimg-00000.024.png", "real.png"]
        pictures.append({p.name: np.asarray(Image.open(p)) for p in folder.iterdir()})
    for name, picture in pictures[0].items():
        assert picture.shape == (2 * 8, 3 * 8, 3)
        np.testing.assert_array_equal(picture, pictures[1][name])
    assert (pictures[0]["kimg-00000.016.png"] != pictures[0]["kimg-00000.024.png"]).any()


@torch.no_grad()
def test_grids_draw_the_same_latents_at_any_time_and_batch(tmp_path: Path) -> None:
    gan = build_gan()
    whole = SampleGrids(every_kimg=1, rows=2, columns=3, batch=6).draw(gan)
    gan.images_seen = 800
    parts = SampleGrids(every_kimg=1, rows=2, columns=3, batch=4).draw(gan)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)
    mean = SampleGrids(every_kimg=1, rows=2, columns=3, truncation=0.0).draw(gan)
    torch.testing.assert_close(mean, mean[:1].expand(6, -1, -1, -1), atol=1e-5, rtol=0)
    expected = gan.generator_ema.synthesize_native(gan.generator_ema.mapping.w_mean[None])
    torch.testing.assert_close(mean[:1], expected, atol=1e-5, rtol=0)


def test_the_real_grid_holds_real_pictures(tmp_path: Path) -> None:
    fit(build_gan(), tmp_path, 1, SampleGrids(every_kimg=1, rows=2, columns=3))
    sheet = np.asarray(Image.open(tmp_path / "samples" / "real.png"))
    data = MemoryDataModule()
    data.setup()
    known = {picture.transpose(1, 2, 0).tobytes() for picture in data.train_dataset.array}
    cells = [sheet[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].tobytes() for r in range(2) for c in range(3)]
    assert set(cells) <= known
    assert len(set(cells)) == 6


# ------------------------------------------------------------------ the progress line


def test_the_progress_line_ends_at_the_total(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(build_gan(), tmp_path, 3, MetricsLog(every_kimg=0.008), ProgressLine(total_kimg=0.024))
    error = capfd.readouterr().err
    assert "100%" in error
    assert "0.0/0.0 kimg" in error  # one decimal
    for label in ("s/kimg=", "D=", "G=", "mem="):
        assert label in error
