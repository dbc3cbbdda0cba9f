"""The evaluation callback: when it is due, what it writes, what it keeps, and that an interruption costs nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny import PICTURES, MemoryDataModule, build_gan, make_trainer

from cips_lab import load_generator
from cips_lab.callbacks import evaluation as module
from cips_lab.callbacks.checkpoints import Checkpoints
from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.callbacks.metrics import MetricsLog
from cips_lab.data.dataset import ArrayDataset
from cips_lab.errors import UserError
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.metrics.results import curves, is_better, table
from cips_lab.networks.mapping import latents_of_seeds
from cips_lab.render.pictures import quantize
from cips_lab.render.scene import samples
from cips_lab.runs.records import evaluations

FEW, FULL = 10, 14


class WithHeldOut(MemoryDataModule):
    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        shape = (12, 3, 8, 8)
        self.test_dataset = ArrayDataset(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))


def evaluator(cache: Path, **options: Any) -> Evaluator:
    defaults: dict[str, Any] = {"num_samples": FULL, "kid_subset_size": 5, "kid_subsets": 3, "batch_size": 8}
    return Evaluator("efficientnet_lite0", cache=cache, **(defaults | options))


def callback(folder: Path, iterations: int, every_kimg: float | None = 0.016, **options: Any) -> Evaluation:
    best = options.pop("best", "fd")
    return Evaluation(evaluator(folder / "cache", **options), every_kimg, iterations * 8 / 1000, FEW, best)


def run(
    folder: Path,
    iterations: int,
    *callbacks: pl.Callback,
    checkpoint: Path | None = None,
    data: pl.LightningDataModule | None = None,
) -> pl.LightningModule:
    folder.mkdir(exist_ok=True)
    gan = build_gan()
    trainer = make_trainer(folder, iterations, *callbacks)
    trainer.fit(gan, datamodule=data or MemoryDataModule(), ckpt_path=checkpoint, weights_only=True)
    return gan


def test_few_samples_now_and_then_and_all_at_the_end(tmp_path: Path) -> None:
    gan = run(tmp_path, 5, MetricsLog(every_kimg=0.008), callback(tmp_path, 5), data=WithHeldOut())
    records = evaluations(tmp_path)
    assert [(r["kimg"], r["num_samples"]) for r in records] == [(0.016, FEW), (0.032, FEW), (0.04, FULL)]
    assert [r["floor/num_samples"] for r in records] == [FEW, FEW, 12]
    for record in records:
        assert record["extractor"] == "efficientnet_lite0"
        assert record["num_real"] == PICTURES
        assert "fid" not in record
        for name in ("fd_efficientnet_lite0", "kid", "precision", "recall"):
            assert np.isfinite(record[name])
            assert np.isfinite(record["floor/" + name])
    # The last one is what anyone gets from the averaged generator and the fixed latents.
    alone = evaluator(tmp_path / "cache")
    data = MemoryDataModule()
    data.setup()
    generator = gan.generator_ema  # type: ignore[union-attr, operator]
    again = alone.evaluate(samples(generator, alone.batches(), "cpu"), alone.reference(data.train_dataset))
    assert {name: records[-1][name] for name in again} == again
    # Losses stand in their own lines, and each line that is no evaluation has them.
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum("loss/generator" in line for line in lines) == 5
    written = (tmp_path / "evaluations.md").read_text()
    assert f"{FEW} samples against {PICTURES} real pictures, efficientnet_lite0; floor: {FEW} held-out" in written
    assert f"{FULL} samples against {PICTURES} real pictures" in written
    assert f"{records[0]['kid']:.4f}" in written
    assert f"{records[-1]['floor/kid']:.4f}" in written


def test_evaluation_does_not_change_training(tmp_path: Path) -> None:
    with_it = run(tmp_path / "a", 4, callback(tmp_path, 4, every_kimg=0.008))
    without = run(tmp_path / "b", 4)
    for name, value in with_it.state_dict().items():
        assert torch.equal(value, without.state_dict()[name]), name


def test_a_short_run_is_not_evaluated(tmp_path: Path) -> None:
    short = callback(tmp_path, 3, every_kimg=0.032)
    run(tmp_path, 3, short)
    assert evaluations(tmp_path) == []
    assert not short.enabled
    assert not callback(tmp_path, 3, every_kimg=None).enabled


def test_the_best_checkpoint_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.2, 0.3, 0.1])
    original = Evaluator.evaluate

    def evaluate(*arguments: Any) -> Any:
        return original(*arguments) | {"kid": next(values)}

    monkeypatch.setattr(module.Evaluator, "evaluate", evaluate)
    keeper = callback(tmp_path, 4, every_kimg=0.008, best="kid", num_samples=FEW)
    kept = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            kept.append([path.name for path in module.best_checkpoints(tmp_path)])

    run(tmp_path, 4, Checkpoints(every_kimg=0.008, keep=1), keeper, Watch())
    assert kept == [["best-kimg-00000.008"], ["best-kimg-00000.016"], ["best-kimg-00000.016"], ["best-kimg-00000.032"]]
    best = tmp_path / "checkpoints" / "best-kimg-00000.032"
    assert json.loads((best / "metrics.json").read_text())["kid"] == 0.1
    assert load_generator(best).resolution == 8
    assert (best / "training.ckpt").exists()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [best.name, "kimg-00000.032"]


def test_a_floor_of_too_few_pictures_is_told_before_the_run(tmp_path: Path) -> None:
    data = WithHeldOut()  # 12 of them
    callback(tmp_path, 4, kid_subset_size=10).check(data)
    with pytest.raises(UserError, match=r"held-out pictures: 10 are too few for the 10 nearest .*neighbours=9 or less"):
        callback(tmp_path, 4, num_samples=11, neighbours=10).check(data)
    data.setup()
    assert data.test_dataset is not None
    with pytest.raises(UserError, match=r"held-out pictures: 12 are fewer than metrics\.kid_subset_size=13; set .*=12"):
        evaluator(tmp_path, kid_subset_size=13).check(data.train_dataset, 14, data.test_dataset)


def test_an_evaluation_that_fails_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(*arguments: Any) -> Any:
        raise UserError("kid is nan")

    monkeypatch.setattr(module.Evaluator, "evaluate", no_number)
    with pytest.raises(UserError, match="kid is nan"):
        run(tmp_path, 4, Checkpoints(every_kimg=1.0), callback(tmp_path, 4))
    monkeypatch.undo()
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert saved.name == "kimg-00000.016"
    run(tmp_path, 4, Checkpoints(every_kimg=1.0), callback(tmp_path, 4), checkpoint=saved / "training.ckpt")
    assert [record["kimg"] for record in evaluations(tmp_path)] == [0.016, 0.032]


def test_what_is_better() -> None:
    common = {"num_samples": 10, "num_real": 10, "extractor": "a", "manifold_extractor": "a", "weights": "x"}
    old = common | {"kid": 0.5, "recall": 0.5}
    assert is_better(old, "kid", None)
    assert is_better(common | {"kid": 0.4}, "kid", old)
    assert not is_better(common | {"kid": 0.5}, "kid", old)
    assert is_better(common | {"recall": 0.6}, "recall", old)
    assert not is_better(common | {"recall": 0.4}, "recall", old)
    assert not is_better(common | {"kid": 0.1, "num_samples": 20}, "kid", old)  # cannot be compared


class Killed(BaseException):
    pass


def test_a_run_killed_during_an_evaluation_does_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the last one, when no image is left to train on."""
    for name, iterations, images in (("last", 4, 32), ("middle", 5, 32)):
        folder = tmp_path / name

        def killed(*arguments: Any) -> Any:
            raise Killed

        whole = [MetricsLog(every_kimg=0.008), Checkpoints(every_kimg=0.016), callback(folder, iterations)]
        with monkeypatch.context() as patch:
            original, calls = Evaluator.evaluate, iter(range(9))
            patch.setattr(module.Evaluator, "evaluate", lambda *a, o=original, c=calls: killed() if next(c) else o(*a))
            with pytest.raises(Killed):
                run(folder, iterations, *whole)
        assert [round(r["kimg"] * 1000) for r in evaluations(folder)] == [16]
        again = callback(folder, iterations)
        assert again.is_pending(folder, images, 8)
        checkpoint = folder / "checkpoints" / f"kimg-00000.0{images}" / "training.ckpt"
        fresh = [MetricsLog(every_kimg=0.008), Checkpoints(every_kimg=0.016), again]
        gan = run(folder, iterations, *fresh, checkpoint=checkpoint)
        assert gan.images_seen == iterations * 8
        found = [(round(r["kimg"] * 1000), r["num_samples"]) for r in evaluations(folder)]
        assert found == ([(16, FEW), (32, FULL)] if name == "last" else [(16, FEW), (32, FEW), (40, FULL)])
        assert not again.is_pending(folder, iterations * 8, 8)


def test_curves_never_mix_networks_or_counts() -> None:
    record = {
        "kimg": 2.0, "fid": 10.0, "kid": 0.1, "kid_std": 0.01, "precision": 0.5, "precision_se": 0.1,
        "num_samples": 100, "num_real": 50, "extractor": "inception", "manifold_extractor": "vgg16", "weights": "x",
        "floor/fid": 3.0, "floor/num_samples": 80,
    }  # fmt: skip
    assert curves(record) == {
        "kimg": 2.0,
        "inception-100/fid": 10.0,
        "inception-80/floor fid": 3.0,
        "inception-100/kid": 0.1,
        "vgg16-100/precision": 0.5,
    }
    other = record | {"kimg": 4.0, "num_samples": 200}
    text = table([record, other])
    assert text.count("kimg |") == 2
    assert "100 samples against 50 real pictures, inception (vgg16 for precision" in text


class Poison(pl.Callback):
    """What a run without a guard may come to."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any) -> None:
        next(pl_module.generator_ema.parameters()).data.view(-1)[0] = float("nan")  # type: ignore[union-attr, operator]


def test_a_generator_of_no_numbers_stops_the_run(tmp_path: Path) -> None:
    """Its pictures would be evaluated as black ones."""
    with pytest.raises(UserError, match=r"kimg 0\.016, the averaged generator: \S+ is not finite"):
        run(tmp_path, 2, Poison(), callback(tmp_path, 2))
    assert evaluations(tmp_path) == []


def test_one_of_several_processes_tells_of_a_picture_that_is_not_finite_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others wait for it in every batch."""
    generator = build_gan().generator_ema
    batches = torch.arange(12).split(4)
    fifth = generator.mapping(latents_of_seeds([5], generator.z_dim))[0, 0].item()
    made = generator.synthesize_native
    finite = lambda w: torch.isclose(w[:, 0], torch.tensor(fifth)).logical_not()  # noqa: E731
    monkeypatch.setattr(generator, "synthesize_native", lambda w, **_: made(w) / finite(w)[:, None, None, None])
    with pytest.raises(UserError, match="the picture of seed 5 is not finite"):
        list(samples(generator, batches, "cpu"))
    monkeypatch.setattr("cips_lab.render.scene.world_size", lambda: 2)
    seen: list[tuple[int, ...]] = []
    with pytest.raises(UserError, match="the picture of seed 5 is not finite"):
        seen.extend(tuple(pictures.shape) for pictures in samples(generator, batches, "cpu"))
    assert seen == [(4, 3, 8, 8)] * 3


def test_the_line_of_a_crash_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kimg": 1, "extractor": "a"}\n{"kimg": 2, "extr')
    assert len(evaluations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best": "fidd"}, r"callbacks.evaluation.best=fidd"),
        ({"best": "kid", "names": ["fd"]}, r"best=kid: not among metrics.names=\['fd'\]"),
    ],
)
def test_mistakes_are_told_at_once(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        callback(tmp_path, 4, **options)


def test_too_few_samples_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.num_samples: 3 are fewer than metrics\.kid_subset_size=5"):
        callback(tmp_path, 4, num_samples=3).check(MemoryDataModule())


def test_a_best_metric_that_the_network_cannot_give_is_told_before_training(tmp_path: Path) -> None:
    """Not at the first evaluation, hours later."""
    unable = callback(tmp_path, 4, best="isc")
    unable.evaluator.extractors[0].classes = None
    with pytest.raises(UserError, match=r"callbacks\.evaluation\.best=isc: .* none"):
        unable.check(MemoryDataModule())


def test_too_few_real_pictures_are_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"22 are fewer than metrics\.kid_subset_size=50"):
        callback(tmp_path, 4, num_samples=60, kid_subset_size=50).check(MemoryDataModule())


def test_a_sample_is_the_picture_of_its_seed() -> None:
    generator = build_gan().generator_ema
    (both,) = samples(generator, [torch.tensor([3, 5])], "cpu")
    z = torch.randn(6, generator=torch.Generator().manual_seed(5))
    assert torch.equal(latents_of_seeds([5], 6)[0], z)
    assert torch.equal(both[1], quantize(generator(z[None]))[0])
