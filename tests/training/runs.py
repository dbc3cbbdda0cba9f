"""What tests of interrupted runs share: how runs are compared, and a small evaluation."""

from pathlib import Path
from typing import Any

import torch

from cips_lab.callbacks.evaluation import Evaluation
from cips_lab.metrics.evaluator import Evaluator
from cips_lab.training.gan import GAN


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def assert_equal(a: GAN, b: GAN) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    for x, y in zip(a.trainer.optimizers, b.trainer.optimizers, strict=True):
        for p, q in zip(x.state_dict()["state"].values(), y.state_dict()["state"].values(), strict=True):
            assert all(torch.equal(p[name], q[name]) for name in p)


def evaluation(cache: Path, iterations: int) -> Evaluation:
    options: dict[str, Any] = {"num_samples": 14, "kid_subset_size": 5, "kid_subsets": 3, "batch_size": 4}
    evaluator = Evaluator("efficientnet_lite0", cache=cache, **options)
    return Evaluation(evaluator, 0.016, iterations * 8 / 1000, 10, "fd")
