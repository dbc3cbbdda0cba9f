"""Gradients on their way: what is sent, when, in which order, and that the means are those of the plain formula."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny import build_gan, fit
from torch import Tensor, nn

from cips_lab.processes.collectives import mean_over_processes
from cips_lab.processes.reducer import GradientReducer
from cips_lab.training.gan import GAN
from processes import fit_together, process_group, together

# ------------------------------------------------------------------ alone in a group of one


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A real process group with this process alone in it."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every asynchronous reduction, in order."""
    sizes: list[int] = []
    original = dist.all_reduce

    def watched(tensor: Tensor, *args: Any, async_op: bool = False, **options: Any) -> Any:
        if async_op:
            sizes.append(tensor.numel() * tensor.element_size())
        return original(tensor, *args, async_op=async_op, **options)

    monkeypatch.setattr(dist, "all_reduce", watched)
    return sizes


class Chain(nn.Module):
    """Linear layers 8 x 8 without bias, 256 bytes each, applied in a given order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in order)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        for i in self.order:
            x = self.layers[i](x).tanh()
        return x.sum()


def one_step(reducer: GradientReducer, network: nn.Module, step: str = "a", x: Tensor | None = None) -> None:
    reducer.arm(step)
    network(torch.ones(2, 8) if x is None else x).backward()
    reducer.finish()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_buckets_leave_in_one_order_whatever_comes_first(sent: list[int], order: tuple[int, ...]) -> None:
    """Each layer a bucket; gradients come in the reverse of `order`, buckets leave in the reverse of registration."""
    network = Chain(order)
    reducer = GradientReducer(network, bucket_mb=256 / 2**20)
    one_step(reducer, network)
    layers = [layer.weight for layer in network.layers]
    expected = [p.grad.clone() for p in layers]
    network.zero_grad()
    sent.clear()
    under_way: list[int] = []  # how many buckets had left when each gradient came
    for parameter in layers:
        parameter.register_post_accumulate_grad_hook(lambda p: under_way.append(len(sent)))
    one_step(reducer, network)
    assert sent == [256] * 4
    arrivals = list(reversed(order))
    ready = [sum(all(j in arrivals[: i + 1] for j in range(k, 4)) for k in range(4)) for i in range(4)]
    assert under_way == ready
    for parameter, gradient in zip(layers, expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert reducer.bytes_reduced == 2 * 4 * 256


@pytest.mark.usefixtures("group")
def test_only_the_armed_pass_sends_and_accumulation_adds_up(sent: list[int]) -> None:
    network = Chain((0, 1))
    inputs = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    for x in inputs:
        network(x).backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    reducer = GradientReducer(network)
    for _ in range(2):
        for i, x in enumerate(inputs):
            if i == 2:
                reducer.arm("a")
            network(x).backward()
            assert len(sent) == int(i == 2 and "a" in reducer._plans), "before finish only the last pass of known steps"
        reducer.finish()
        assert [torch.equal(p.grad, g) for p, g in zip(network.parameters(), expected, strict=True)] == [True, True]
        assert sent == [2 * 256]
        sent.clear()
        network.zero_grad()


@pytest.mark.usefixtures("group")
def test_a_gradient_of_a_gradient_is_sent_once(sent: list[int]) -> None:
    """R1: `autograd.grad` with a graph inside an armed step touches no parameter's gradient and sends nothing."""
    network = Chain((0, 1))
    reducer = GradientReducer(network)
    for _ in range(2):
        sent.clear()
        reducer.arm("r1")
        x = torch.ones(2, 8, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x), x, create_graph=True)
        assert sent == []
        gradient.square().sum().backward()
        reducer.finish()
        assert sent == [2 * 256]
        network.zero_grad()


@pytest.mark.usefixtures("group")
def test_kinds_of_steps_have_their_own_parameters(sent: list[int]) -> None:
    network = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in "ab"})
    reducer = GradientReducer(network)
    for _ in range(2):
        for step, used in (("one", "a"), ("both", "ab"), ("other", "b")):
            sent.clear()
            reducer.arm(step)
            sum(network[name](torch.ones(1, 4)).sum() for name in used).backward()
            reducer.finish()
            assert sum(sent) == 64 * len(used)
            assert [network[name].weight.grad is not None for name in "ab"] == [name in used for name in "ab"]
            network.zero_grad()
    assert reducer.bytes_reduced == 2 * 4 * 64


@pytest.mark.usefixtures("group")
def test_a_step_that_changes_is_refused() -> None:
    network = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in "ab"})
    reducer = GradientReducer(network)

    def backward(used: str) -> None:
        network.zero_grad()
        reducer.arm("step")
        sum(network[name](torch.ones(1, 4)).sum() for name in used).backward()

    backward("a")
    reducer.finish()
    with pytest.raises(RuntimeError, match=r"step step: b.weight got a gradient, one where it had none before"):
        backward("ab")
    network.zero_grad()
    reducer.arm("step")
    with pytest.raises(RuntimeError, match=r"step step: a.weight: with a gradient now and without one"):
        reducer.finish()
    backward("a")
    with pytest.raises(RuntimeError, match=r"a.weight got a gradient, a second one after it may have left"):
        network["a"](torch.ones(1, 4)).sum().backward()


@pytest.mark.usefixtures("group")
def test_finish_needs_arm() -> None:
    with pytest.raises(RuntimeError, match="without arm"):
        GradientReducer(Chain((0,))).finish()


@pytest.mark.usefixtures("group")
def test_a_removed_reducer_is_inert(sent: list[int]) -> None:
    network = Chain((0, 1))
    reducer = GradientReducer(network)
    one_step(reducer, network)
    reducer.remove()
    sent.clear()
    reducer.arm("a")
    network(torch.ones(2, 8)).backward()
    assert sent == []


@pytest.mark.usefixtures("group")
def test_gradients_keep_their_parameters_layout() -> None:
    """Fused optimisers walk parameter and gradient in the order of memory."""
    network = nn.Conv2d(3, 5, 3)
    network.to(memory_format=torch.channels_last)
    assert not network.weight.is_contiguous()
    reducer = GradientReducer(network)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    network(x).square().sum().backward()
    expected = network.weight.grad.clone()
    network.zero_grad()
    reducer.arm("a")
    network(x).square().sum().backward()
    reducer.finish()
    assert torch.equal(network.weight.grad, expected)
    assert network.weight.grad.stride() == network.weight.stride()


@pytest.mark.usefixtures("group")
def test_buckets_are_of_one_type_and_about_the_wanted_size() -> None:
    network = nn.ParameterList([nn.Parameter(torch.zeros(n)) for n in (100, 100, 100, 1000, 10)])
    network.append(nn.Parameter(torch.zeros(10, dtype=torch.float64)))
    reducer = GradientReducer(network, bucket_mb=1000 / 2**20)
    sizes = [[p.numel() for p in bucket.parameters] for bucket in reducer._cut(list(reducer._names))]
    assert sizes == [[10], [10], [1000], [100, 100], [100]]


# ------------------------------------------------------------------ a GAN in two processes


class Naive:
    """All gradients in one reduction, once the backward pass is over."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def arm(self, step: str) -> None:
        pass

    def finish(self) -> None:
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()

    def remove(self) -> None:
        pass


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"micro_batch": 4},
    "tiled": {"tile": 16},
    "bf16": {"precision": "bf16-mixed"},
    "stylegan2": {"generator": "stylegan2", "mixing_probability": 0.9},
}


def build(case: dict[str, Any]) -> tuple[GAN, str]:
    options = dict(case)
    precision = options.pop("precision", "32-true")
    return build_gan(options.pop("generator", "cips"), batch_size=16, **options), precision


def weights(gan: GAN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in gan.state_dict().items()}


def record_a_gan(folder: Path, name: str, case: dict[str, Any]) -> None:
    """Train with the reducer and with the naive one; write the order of events and whether the weights are equal."""
    rank = os.environ["RANK"]
    events: list[Any] = []
    gan, precision = build(case)
    gan.new_reducer = lambda network: GradientReducer(network, bucket_mb=0.001)  # type: ignore[method-assign]
    original = dist.all_reduce

    def all_reduce(tensor: Tensor, *args: Any, async_op: bool = False, **options: Any) -> Any:
        events.append(["sent" if async_op else "reduced", tensor.numel() * tensor.element_size()])
        return original(tensor, *args, async_op=async_op, **options)

    backward, step = gan.manual_backward, gan._step

    def manual_backward(loss: Tensor) -> None:
        events.append(["backward", 0])
        backward(loss)
        events.append(["backward ended", 0])

    def watched_step(optimizer: Any, network: nn.Module, phase: str) -> None:
        step(optimizer, network, phase)
        events.append(["stepped", "D" if network is gan.discriminator else "G"])

    gan.manual_backward, gan._step = manual_backward, watched_step  # type: ignore[assignment, method-assign]
    for network, last in ((gan.discriminator, gan.discriminator.from_rgb.weight), (gan.generator, first_of(gan))):
        network.requires_grad_(True)
        last.register_post_accumulate_grad_hook(lambda p: events.append(["last gradient", 0]))
    dist.all_reduce = all_reduce
    fit_together(gan, folder / f"{name}-{rank}", 4, precision=precision, batch=16)
    dist.all_reduce = original
    assert gan.reducers == {}, "removed when the training ended"

    naive, _ = build(case)
    naive.new_reducer = Naive  # type: ignore[method-assign, assignment]
    fit_together(naive, folder / f"{name}-naive-{rank}", 4, precision=precision, batch=16)
    a, b = weights(gan), weights(naive)
    different = [key for key in a if not torch.equal(a[key], b[key])]
    parameters = {
        "D": 4 * sum(p.numel() for p in gan.discriminator.parameters()),
        "G": 4 * sum(p.numel() for p in gan.generator.parameters()),
        "w": 4 * gan.generator.mapping.w_mean.numel(),
    }
    result = {"events": events, "different": different, "parameters": parameters}
    (folder / f"{name}-{rank}.json").write_text(json.dumps(result))


def first_of(gan: GAN) -> nn.Parameter:
    """The parameter of the generator that the backward pass comes to last."""
    return next(gan.generator.mapping.parameters())


def record_all(folder: Path) -> None:
    for name, case in CASES.items():
        record_a_gan(folder, name, case)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Case -> what the two processes recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    together(2, record_all, folder, folder)
    return {name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in "01"] for name in CASES}


def steps_of(events: list[list[Any]]) -> list[tuple[str, list[list[Any]]]]:
    """Events cut into optimiser steps: (D, R1 or G, its events)."""
    steps, part = [], []
    for event in events:
        part.append(event)
        if event[0] == "stepped":
            steps.append((event[1], part))
            part = []
    names = ["D", "R1", "G", "D", "G"] * 2  # R1 every second iteration
    assert [name for name, _ in steps] == ["D" if name == "R1" else name for name in names]
    return list(zip(names, (part for _, part in steps), strict=True))


def bytes_of(events: list[list[Any]]) -> int:
    return sum(size for kind, size in events if kind == "sent")


@pytest.mark.parametrize("case", CASES)
def test_each_step_sends_the_stepped_network_once(recorded: dict[str, list[dict[str, Any]]], case: str) -> None:
    for result in recorded[case]:
        size = result["parameters"]
        expected = {"D": size["D"], "R1": size["D"] - 4, "G": size["G"]}  # R1 does not see the logit's bias
        for index, (name, events) in enumerate(steps_of(result["events"])):
            assert bytes_of(events) == expected[name], (index, name)
            if index >= 5:  # known kinds: nothing else is sent but the mean of w of the last generator step
                other = [amount for kind, amount in events if kind == "reduced"]
                assert other == ([size["w"]] if index in (5, 8) else []), "the mean of w, after the generator's step"


@pytest.mark.parametrize("case", CASES)
def test_the_order_is_the_same_on_every_process(recorded: dict[str, list[dict[str, Any]]], case: str) -> None:
    orders = [[e for e in result["events"] if e[0] in ("sent", "reduced")] for result in recorded[case]]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("case", CASES)
def test_gradients_leave_before_the_backward_pass_has_ended(
    recorded: dict[str, list[dict[str, Any]]], case: str
) -> None:
    for result in recorded[case]:
        for name, events in steps_of(result["events"])[5:]:  # the first step of a kind learns what it consists of
            kinds = [kind for kind, _ in events]
            begin = len(kinds) - 1 - kinds[::-1].index("backward")  # the last pass
            end = len(kinds) - 1 - kinds[::-1].index("backward ended")
            first = kinds.index("sent")
            assert begin < first < end, "an earlier pass of an accumulated batch sends nothing"
            assert first < kinds.index("last gradient", begin), (name, "while gradients are still to come")
            assert "sent" not in kinds[end:], "nothing is left to be sent afterwards"
            assert kinds.count("backward") == (2 if case == "accumulated" else 1)


@pytest.mark.parametrize("case", CASES)
def test_it_trains_as_the_naive_reduction_does(recorded: dict[str, list[dict[str, Any]]], case: str) -> None:
    """Bit for bit: on two processes a mean is one addition, in whatever bucket."""
    assert [result["different"] for result in recorded[case]] == [[], []]


def disagree(folder: Path) -> None:
    """Rank 1 lacks a gradient: every process is told which, and none hangs."""
    process_group()
    network = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in "ab"})
    reducer = GradientReducer(network)
    reducer.arm("step")
    used = "ab" if dist.get_rank() == 0 else "a"
    sum(network[name](torch.ones(1, 4)).sum() for name in used).backward()
    with pytest.raises(
        RuntimeError, match=r"step step: some processes have a gradient where others have none: b\.weight"
    ):
        reducer.finish()
    own = torch.tensor([float(dist.get_rank())])
    assert mean_over_processes(own).tolist() == [0.5], "the group still works"
    assert own.tolist() == [float(dist.get_rank())]


def test_processes_that_disagree_say_so(tmp_path: Path) -> None:
    together(2, disagree, tmp_path, tmp_path)


def compiled(folder: Path) -> None:
    record_a_gan(folder, "compiled", {"compile": "default"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_networks(tmp_path: Path) -> None:
    together(2, compiled, tmp_path, tmp_path)
    for rank in "01":
        result = json.loads((tmp_path / f"compiled-{rank}.json").read_text())
        size = result["parameters"]
        for name, events in steps_of(result["events"]):
            assert bytes_of(events) == {"D": size["D"], "R1": size["D"] - 4, "G": size["G"]}[name]
        assert result["different"] == []


def test_one_process_reduces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gan = build_gan()
    monkeypatch.setattr(gan, "new_reducer", lambda network: pytest.fail("there is no other process"))
    fit(gan, tmp_path, 2)
    assert all(p._post_accumulate_grad_hooks is None for p in gan.parameters())
