"""Speed and memory beside a reference written as plainly as the formulas, and beside the machine's own limit.

    python -m benchmarks.bench [--only synthesis,generator] [--repeats 3] [--full] [--output bench.json]

Everything is measured in one run, ours and the reference in turn, and given as medians and ratios: machines are noisy,
and what disturbs one disturbs both. "Limit" is the rate of this machine's matrix product, measured in the same turns.
Each runs in a process of its own, ours with what our commands set for a process (`cips_lab.processes.runtime`), the
reference as PyTorch comes.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from benchmarks import reference
from benchmarks.evaluation import evaluations
from benchmarks.explorer import NoBrowser
from benchmarks.explorer import measure as view
from benchmarks.manifolds import in_own_process
from benchmarks.measure import MATRIX_PRODUCT_FLOPS, Part, Worker, interleaved, matrix_product, peak_memory
from benchmarks.preparing import measure as prepared
from cips_lab.analysis.figures.foveated import render_foveated
from cips_lab.configuration import conf_folder
from cips_lab.networks import tiling
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.coordinates import foveated_pixels, image_grid
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.planning.meters import FlopCounter
from cips_lab.training.gan import Networks
from cips_lab.training.losses import discriminator_loss, generator_loss, r1_penalty

Row = dict[str, Any]
VIEW = 512  # pixels, of the explorer's row
Setups = dict[str, Callable[[], Part]]


def generator_of(resolution: int, width: int = 512) -> CIPSGenerator:
    """The paper's generator at a resolution."""
    torch.manual_seed(0)
    return CIPSGenerator(
        resolution,
        width=width,
        z_dim=width,
        w_dim=width,
        fourier={"features": width},
        embedding={"features": width},
    )


# ---------------------------------------------------------------------------------------------- parts


def synthesis_part(resolution: int, plain: bool) -> Part:
    generator = generator_of(resolution).eval()
    w = torch.randn(1, 512)

    def part() -> None:
        with torch.no_grad():
            reference.synthesize(generator, w) if plain else generator.synthesize_native(w)

    return part


def foveated_part(resolution: int, share: float) -> Part:
    """A picture from a share of its pixels: choosing them, synthesising them, filling in the others."""
    generator = generator_of(resolution).eval()
    w = torch.randn(1, 512)
    grid = image_grid(resolution, resolution)
    return lambda: render_foveated(generator, w, grid, foveated_pixels(resolution, resolution, share))


def generator_part(resolution: int, batch: int, tile: tiling.Tile, plain: bool) -> Part:
    """Forward and backward of the generator for a given gradient of the image, as in a training step."""
    generator = generator_of(resolution)
    z = torch.randn(batch, 512)
    gradient = torch.randn(batch, 3, resolution, resolution)

    def part() -> None:
        generator.zero_grad(set_to_none=True)
        w = generator.mapping(z)
        image = reference.synthesize(generator, w) if plain else generator.synthesize_native(w, tile=tile)
        image.backward(gradient)

    return part


def discriminator_part(resolution: int, batch: int, penalty: bool, plain: bool) -> Part:
    torch.manual_seed(0)
    discriminator = ResidualDiscriminator(resolution)
    images = torch.randn(batch, 3, resolution, resolution)
    forward: Callable[..., Any] = partial(reference.discriminate, discriminator) if plain else discriminator

    def part() -> None:
        discriminator.zero_grad(set_to_none=True)
        (r1_penalty(forward, images) if penalty else generator_loss("logistic", forward(images))).backward()  # type: ignore[arg-type]

    return part


class Iteration:
    """A training iteration of an experiment without its data: D step, R1 every 16th, G step, average.

    `mixed`: which networks are bfloat16 where `trainer.precision=bf16-mixed` makes them so; R1 is float32 always.
    """

    def __init__(self, experiment: str, overrides: list[str], plain: bool, mixed: Networks | None = None) -> None:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose("train", [f"experiment={experiment}", *overrides])
        torch.manual_seed(0)
        self.generator = instantiate(cfg.generator, _convert_="all")
        self.discriminator = instantiate(cfg.discriminator, _convert_="all")
        self.objective = instantiate(cfg.objective, _convert_="all")
        self.batch_size: int = cfg.batch_size
        self.plain = plain
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        if plain:
            betas = (0.0, 0.99)
            self.optimizer_g = torch.optim.Adam(self.generator.parameters(), lr=0.001, betas=betas, foreach=False)
            self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=0.001, betas=betas, foreach=False)
            self.synthesize = partial(reference.synthesize, self.generator)
            self.discriminate = partial(reference.discriminate, self.discriminator)
        else:
            self.optimizer_g = self.objective.generator_optimizer(self.generator)
            self.optimizer_d = self.objective.discriminator_optimizer(self.discriminator)
            self.synthesize = in_bfloat16(self.generator.synthesize_native, mixed in ("both", "generator"))
            self.discriminate = in_bfloat16(self.discriminator, mixed in ("both", "discriminator"))
        self.real = torch.rand(self.batch_size, 3, cfg.resolution, cfg.resolution) * 2 - 1
        self.z = torch.randn(self.batch_size, self.generator.z_dim)

    def main(self) -> None:
        """Everything but R1."""
        self.generator.requires_grad_(self.plain)  # the plain loop does not bother
        self.discriminator.requires_grad_(True)
        if self.plain:
            fake = self.synthesize(self.generator.mapping(self.z)).detach()
        else:
            with torch.no_grad():
                fake = self.synthesize(self.generator.mapping(self.z))
        discriminator_loss("logistic", self.discriminate(self.real), self.discriminate(fake)).backward()
        self._step(self.optimizer_d)
        self.generator.requires_grad_(True)
        self.discriminator.requires_grad_(self.plain)
        generator_loss("logistic", self.discriminate(self.synthesize(self.generator.mapping(self.z)))).backward()
        self._step(self.optimizer_g)
        with torch.no_grad():
            if self.plain:
                for mean, parameter in zip(self.average, self.generator.parameters(), strict=True):
                    mean.copy_(mean * 0.99 + parameter * 0.01)
            else:
                torch._foreach_lerp_(self.average, list(self.generator.parameters()), 0.01)

    def r1(self) -> None:
        self.discriminator.requires_grad_(True)
        r1_penalty(self.discriminate, self.real).backward()
        self._step(self.optimizer_d)

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.step()
        self.optimizer_g.zero_grad(set_to_none=True)
        self.optimizer_d.zero_grad(set_to_none=True)


def in_bfloat16(network: Callable[..., Tensor], mixed: bool) -> Callable[..., Tensor]:
    """A network's forward pass in bfloat16 where it is `mixed`."""

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(x)

    return forward if mixed else network


def iteration_part(
    experiment: str, overrides: list[str], phase: str, plain: bool, mixed: Networks | None = None
) -> Part:
    """``main`` or ``r1`` of an iteration."""
    part: Part = getattr(Iteration(experiment, overrides, plain, mixed), phase)
    return part


def whole_step_part(overrides: list[str]) -> Part:
    """A training step of `ffhq_1024` from nothing: networks, optimisers and average are made within it, and R1 too."""

    def part() -> None:
        iteration = Iteration("ffhq_1024", overrides, plain=False)
        iteration.r1()
        iteration.main()

    return part


# ---------------------------------------------------------------------------------------------- rows


def flops(part: Part) -> float:
    """Floating-point operations of one run."""
    with FlopCounter() as counter:
        part()
    return counter.total


def timed(ours: Setups, plain: Setups, repeats: int) -> dict[str, float]:
    """Median seconds of parts of ours, of the reference and of the matrix product, in turn, each in its own process."""
    setups = {name: (setup, True) for name, setup in (ours | {"limit": matrix_product}).items()}
    setups |= {name: (setup, False) for name, setup in plain.items()}
    workers = {name: Worker(setup, tuned) for name, (setup, tuned) in setups.items()}
    try:
        return interleaved(dict(workers), repeats)
    finally:
        for worker in workers.values():
            worker.close()


def compare(name: str, setup: Callable[[bool], Part], work: float, repeats: int, memory: bool = False) -> Row:
    """One row: ours and the reference in turn with the matrix product.

    Args:
        name: of the row.
        setup: makes the part; its argument says whether the plain one.
        work: FLOPs that the result needs. What ours computes twice, to save memory, does not count.
        repeats: interleaved ones.
        memory: whether to measure that too.
    """
    ours, plain = partial(setup, False), partial(setup, True)
    seconds = timed({"ours": ours}, {"reference": plain}, repeats)
    limit = MATRIX_PRODUCT_FLOPS / seconds["limit"]
    row = {
        "row": name,
        "seconds": seconds["ours"],
        "reference_seconds": seconds["reference"],
        "speedup": seconds["reference"] / seconds["ours"],
        "gflop": work / 1e9,
        "gflop_per_s": work / seconds["ours"] / 1e9,
        "limit_gflop_per_s": limit / 1e9,
        "share_of_limit": work / seconds["ours"] / limit,
    }
    if memory:
        row["extra_mb"], row["reference_extra_mb"] = peak_memory(ours), peak_memory(plain, tuned=False)
        row["memory_ratio"] = row["extra_mb"] / row["reference_extra_mb"]
    return row


def synthesis(repeats: int) -> list[Row]:
    setup = partial(synthesis_part, 256)
    return [compare("synthesis 256, width 512, 1 image", setup, flops(setup(False)), repeats)]


def foveated(repeats: int) -> list[Row]:
    """A quarter of the pixels, the others filled in, beside all of them, both ours."""
    seconds = timed(
        {"foveated": partial(foveated_part, 256, 0.25), "whole": partial(synthesis_part, 256, False)}, {}, repeats
    )
    return [
        {
            "row": "foveated 256, width 512, 25 % of the pixels",
            "seconds": seconds["foveated"],
            "whole_seconds": seconds["whole"],
            "share_of_whole": seconds["foveated"] / seconds["whole"],
        }
    ]


def generator(repeats: int) -> list[Row]:
    model = generator_of(128)
    w = model.mapping(torch.randn(4, 512)).detach()
    # A backward pass has a product for the inputs and one for the weights. (The counter knows no grouped convolutions.)
    with torch.no_grad():
        work = 3 * flops(lambda: model.synthesize_native(w))
    setup = partial(generator_part, 128, 4, "auto")
    row = compare("generator step 128, batch 4", setup, work, max(2, repeats - 1), memory=True)
    gradient = torch.randn(4, 3, 128, 128)
    results = []
    for tile in ("auto", None):
        image = model.synthesize_native(w, tile=tile)  # type: ignore[arg-type]
        used = [p for n, p in model.named_parameters() if not n.startswith("mapping.")]
        results.append(torch.autograd.grad(image, used, gradient))
    row["worst_gradient_difference"] = max(
        float((a - b).norm() / b.norm()) for a, b in zip(*results, strict=True) if float(b.norm()) > 0
    )
    return [row]


def memory_growth(repeats: int) -> list[Row]:
    rows: list[Row] = []
    for resolution in (128, 512):
        extra = peak_memory(partial(generator_part, resolution, 1, "auto", False))
        model = generator_of(resolution)
        table = model.encoding.embedding.table.numel() * 4 / 2**20  # type: ignore[union-attr]
        images = 3 * 3 * resolution**2 * 4 / 2**20  # the image, its gradient and the pixel list
        rows.append(
            {
                "row": f"generator step {resolution}, batch 1, memory",
                "extra_mb": extra - table - images,
                "table_mb": table,
            }
        )
    rows[1]["growth_from_128"] = rows[1]["extra_mb"] / rows[0]["extra_mb"]
    return rows


def whole_step(repeats: int) -> list[Row]:
    """All that a training step of 1024 x 1024 pixels needs, width 512, batch 1: weights, moments, average, activations.

    A table of 512 features for each of a million pixels would take 2.1 GB, five times; one of 32 takes a sixteenth.
    """
    rows: list[Row] = []
    for name, overrides in (
        ("cips, a table of 32 features", ["generator=cips", "model.embedding_features=32"]),
        ("cips_ne, no table", ["generator=cips_ne"]),
    ):
        extra = peak_memory(partial(whole_step_part, [*overrides, "batch_size=1"]))
        rows.append({"row": f"step of 1024, batch 1, {name}", "extra_mb": extra})
    return rows


def discriminator(repeats: int) -> list[Row]:
    rows = []
    for name, penalty in (("discriminator step 64, batch 4", False), ("R1 64, batch 4", True)):
        setup = partial(discriminator_part, 64, 4, penalty)
        rows.append(compare(name, setup, flops(setup(True)), repeats))
    return rows


def iteration(repeats: int) -> list[Row]:
    """Whole iterations, R1 averaged in: at the paper's width, and the small one of the quickstart before its recipe."""
    rows = []
    for name, experiment, overrides in (
        ("ffhq_256 at 64, batch 4", "ffhq_256", ["resolution=64", "batch_size=4"]),
        ("quickstart_plain", "quickstart_plain", []),
    ):
        setups = {
            f"{side} {phase}": partial(iteration_part, experiment, overrides, phase, side == "plain")
            for side in ("our", "plain")
            for phase in ("main", "r1")
        }
        ours = {name: setup for name, setup in setups.items() if name.startswith("our")}
        plain = {name: setup for name, setup in setups.items() if name.startswith("plain")}
        seconds = timed(ours, plain, max(2, repeats - 1))
        described = Iteration(experiment, overrides, plain=False)
        interval = described.objective.r1_interval
        mine = seconds["our main"] + seconds["our r1"] / interval
        theirs = seconds["plain main"] + seconds["plain r1"] / interval
        rows.append(
            {
                "row": f"iteration of {name}",
                "seconds": mine,
                "reference_seconds": theirs,
                "speedup": theirs / mine,
                "sec_per_kimg": mine / described.batch_size * 1000,
            }
        )
    return rows


def precision(repeats: int) -> list[Row]:
    """A small CIPS's iteration without R1 in bfloat16, beside float32: which network is faster with it, here."""
    part = partial(iteration_part, "quickstart_plain", [], "main", False)
    setups = {name: partial(part, name) for name in get_args(Networks)}
    seconds = timed({"float32": part, **setups}, {}, max(2, repeats))
    return [
        {
            "row": f"quickstart_plain, bf16-mixed, mixed={name}",
            "seconds": seconds[name],
            "reference_seconds": seconds["float32"],
            "speedup": seconds["float32"] / seconds[name],
        }
        for name in setups
    ]


def beside(name: str, ours: dict[str, float], theirs: dict[str, float]) -> Row:
    """Two processes, by the seconds and the peak of memory of each."""
    return {
        "row": name,
        "seconds": ours["seconds"],
        "reference_seconds": theirs["seconds"],
        "speedup": theirs["seconds"] / ours["seconds"],
        "peak_gb": ours["peak_gb"],
        "reference_peak_gb": theirs["peak_gb"],
    }


def manifolds(repeats: int) -> list[Row]:
    """Precision and recall of 20,000 x 2,048 features beside torch-fidelity's (benchmarks/manifolds.py says more)."""
    ours, theirs = (in_own_process(which, 20_000, 2048) for which in ("ours", "torch-fidelity"))
    for name in ("precision", "recall"):  # torch-fidelity decides in float32: a near-tie of 20,000 may fall otherwise
        assert abs(ours[name] - theirs[name]) < 2.5 / 20_000, (ours, theirs)
    return [beside("precision, recall of 20,000 x 2,048", ours, theirs)]


def evaluation(repeats: int) -> list[Row]:
    """All usual metrics of 500 samples beside those of features alone (benchmarks/evaluation.py says more)."""
    found = evaluations(500, "efficientnet_lite0")
    return [beside("evaluation of 500 samples, usual metrics", found["usual"], found["features"])]


def preparing(repeats: int) -> list[Row]:
    """2,000 JPEGs into a zip beside one process of plain Pillow (benchmarks/preparing.py says more)."""
    found = prepared(2000)
    assert found["differing"] == 0, found
    return [
        {
            "row": "prepare, 2,000 JPEGs of 640 x 480 to 256",
            "seconds": found["ours"],
            "reference_seconds": found["plain"],
            "speedup": found["plain"] / found["ours"],
        }
    ]


def explorer(repeats: int) -> list[Row]:
    """A view of the quickstart's generator in a browser, beside torch (benchmarks/explorer.py says more)."""
    row: Row = {"row": f"explorer, {VIEW} x {VIEW} of quickstart, WebAssembly"}
    try:
        found = view(VIEW, repeats)
    except NoBrowser as error:
        return [row | {"left_out": str(error)}]
    return [
        row
        | {
            "seconds": found["full"],
            "coarse_seconds": found["coarse"],
            "pixels_per_s": VIEW**2 / found["full"],
            "reference_seconds": found["torch"],
            "speedup": found["torch"] / found["full"],
        }
    ]


def growth(repeats: int) -> list[Row]:
    """The generator step with resolution and batch (make bench-full)."""
    rows = []
    for resolution, batch in ((64, 4), (128, 4), (256, 1), (256, 4), (512, 1), (1024, 1)):
        setup = partial(generator_part, resolution, batch, "auto", False)
        seconds = timed({"ours": setup}, {}, 1)
        extra = peak_memory(setup)
        rows.append(
            {"row": f"generator step {resolution}, batch {batch}", "seconds": seconds["ours"], "extra_mb": extra}
        )
    return rows


ROWS = {
    "synthesis": synthesis,
    "foveated": foveated,
    "generator": generator,
    "memory": memory_growth,
    "whole_step": whole_step,
    "discriminator": discriminator,
    "iteration": iteration,
    "precision": precision,
    "manifolds": manifolds,
    "evaluation": evaluation,
    "prepare": preparing,
    "explorer": explorer,
}


def show(row: Row) -> None:
    """One line on the terminal."""
    text = f"{row['row']:44}"
    if "left_out" in row:
        text += f"  left out: {row['left_out']}"
    if "seconds" in row:
        text += f"{row['seconds']:9.3f} s"
    if "speedup" in row:
        text += f"  reference {row['reference_seconds']:8.3f} s  {row['speedup']:5.2f} x"
    if "pixels_per_s" in row:
        text += f"  coarse after {row['coarse_seconds']:.3f} s, {row['pixels_per_s']:,.0f} pixels/s"
    if "share_of_limit" in row:
        text += f"  {row['gflop_per_s']:6.1f} of {row['limit_gflop_per_s']:6.1f} GFLOP/s ({row['share_of_limit']:.0%})"
    if "share_of_whole" in row:
        text += f"  {row['share_of_whole']:.0%} of all pixels' {row['whole_seconds']:.3f} s"
    if "extra_mb" in row:
        text += f"  extra memory {row['extra_mb']:.0f} MB"
    if "peak_gb" in row:
        text += f"  peak of the process {row['peak_gb']:.2f} GB (reference {row['reference_peak_gb']:.2f} GB)"
    if "reference_extra_mb" in row:
        text += f" (reference {row['reference_extra_mb']:.0f} MB: 1/{1 / row['memory_ratio']:.1f})"
    for key, label in (("growth_from_128", "x that of 128"), ("sec_per_kimg", "s/kimg")):
        if key in row:
            text += f"  {row[key]:.2f} {label}"
    if "worst_gradient_difference" in row:
        text += f"  gradients within {row['worst_gradient_difference']:.1e} of untiled"
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS), help=f"parts of {','.join(ROWS)} (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (default: 3)")
    parser.add_argument("--full", action="store_true", help="also the growth with resolution and batch (an hour)")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="the numbers (default: bench.json)")
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(f"--only: unknown part {', '.join(unknown)}; there are {', '.join(ROWS)}")
    print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, float32", flush=True)
    rows: list[Row] = []
    for function in [ROWS[name] for name in chosen] + ([growth] if args.full else []):
        for row in function(args.repeats):
            show(row)
            rows.append(row)
    args.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
