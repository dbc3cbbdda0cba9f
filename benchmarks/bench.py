"""Time the parts of a training iteration, beside the machine's own matrix-product rate in the same run.

    python benchmarks/bench.py [--experiment quickstart] [--repeats 7] [--output bench.json]

Parts are timed in turn, A B C A B C ..., and medians are given: machines are noisy, and what disturbs one disturbs all.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cips_lab.cli import conf_folder
from cips_lab.training.losses import discriminator_loss, generator_loss, r1_penalty

Part = Callable[[], object]


class FlopCounter(TorchDispatchMode):
    """Multiply-adds, counted twice each, of everything run inside; also under double backward, where torch's own
    counter, which tracks modules, gives up."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def parts_of_an_iteration(experiment: str) -> tuple[dict[str, Part], int, int]:
    """The named parts, the batch size and R1's interval of an experiment."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", [f"experiment={experiment}"])
    torch.manual_seed(0)
    generator = instantiate(cfg.generator, _convert_="all")
    discriminator = instantiate(cfg.discriminator, _convert_="all")
    z = torch.randn(cfg.batch_size, generator.z_dim)
    real, fake = torch.randn(2, cfg.batch_size, 3, cfg.resolution, cfg.resolution)

    def synthesis() -> None:
        with torch.no_grad():
            generator(z)

    def discriminator_step() -> None:
        discriminator_loss(discriminator(real), discriminator(fake)).backward()

    def r1_step() -> None:
        r1_penalty(discriminator, real).backward()

    def generator_step() -> None:
        discriminator.requires_grad_(False)
        generator_loss(discriminator(generator(z))).backward()
        discriminator.requires_grad_(True)

    parts: dict[str, Part] = {
        "synthesis (no graph)": synthesis,
        "discriminator step": discriminator_step,
        "R1 step": r1_step,
        "generator step": generator_step,
    }
    return parts, cfg.batch_size, cfg.objective.r1_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--experiment", default="quickstart", help="an experiment of conf/experiment (default: quickstart)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats of each part (default: 7)")
    parser.add_argument(
        "--output", type=Path, default=Path("bench.json"), help="where the numbers go (default: bench.json)"
    )
    args = parser.parse_args()

    parts, batch_size, r1_interval = parts_of_an_iteration(args.experiment)
    a, b = torch.randn(4096, 512), torch.randn(512, 512)
    parts = {"matrix product 4096 x 512 x 512": lambda: a @ b, **parts}
    flops: dict[str, int] = {}
    for name, part in parts.items():  # also the warm-up
        with FlopCounter() as counter:
            part()
        flops[name] = counter.total
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(args.repeats):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            seconds[name].append(time.perf_counter() - began)

    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rates = {name: flops[name] / medians[name] / 1e9 for name in parts}
    limit = rates["matrix product 4096 x 512 x 512"]
    iteration = sum(
        median / (r1_interval if name == "R1 step" else 1)
        for name, median in medians.items()
        if not name.startswith("matrix")
    )
    print(f"{'part':34}{'ms':>10}{'GFLOP':>10}{'GFLOP/s':>10}{'of limit':>10}")
    for name in parts:
        print(
            f"{name:34}{medians[name] * 1e3:10.1f}{flops[name] / 1e9:10.2f}"
            f"{rates[name]:10.1f}{rates[name] / limit:10.0%}"
        )
    print(f"{args.experiment}: {iteration / batch_size * 1000:.2f} s/kimg on {torch.get_num_threads()} thread(s)")
    rows = [
        {"part": name, "seconds": medians[name], "gflop": flops[name] / 1e9, "gflop_per_s": rates[name]}
        for name in parts
    ]
    args.output.write_text(json.dumps({"experiment": args.experiment, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
