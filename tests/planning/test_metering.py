"""Meters: FLOPs and bytes of computations that can be counted by hand."""

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from cips_lab.planning.meters import FlopCounter, MemoryTracker

KIB = 1024


def kib(count: int) -> torch.Tensor:
    """A tensor of so many KiB."""
    return torch.zeros(count * KIB // 4)


def test_memory_follows_what_is_alive() -> None:
    with MemoryTracker() as memory:
        a = kib(4)
        assert memory.live.total() == 4 * KIB
        b = a + 1
        assert memory.live.total() == 8 * KIB
        del a
        assert memory.live.total() == 4 * KIB
        (b + 1) * 2  # two temporaries, of which the first dies after the second is made
    assert memory.live.total() == 4 * KIB
    assert memory.peak.total() == 12 * KIB


def test_views_and_in_place_operations_cost_nothing() -> None:
    with MemoryTracker() as memory:
        a = kib(4)
        view = a.view(2, -1)[0].t()
        view.add_(1)
        del a
        assert memory.live.total() == 4 * KIB  # the storage lives on under the view
        del view
    assert memory.live.total() == 0
    assert memory.peak.total() == 4 * KIB


def test_a_graph_keeps_its_inputs_until_backward() -> None:
    with MemoryTracker() as memory:
        a = kib(4).requires_grad_()
        y = a.sin()
        loss = (y.exp() * 2).sum()  # kept: a (for cos), exp's result; not kept: what is multiplied by 2
        del y
        assert memory.live.total() - 4 == 8 * KIB
        loss.backward()
        assert memory.live.total() - 4 == 8 * KIB  # a and its gradient
    assert a.grad is not None


def test_labels_split_the_peak() -> None:
    old = kib(2)
    with MemoryTracker() as memory:
        a = kib(4)
        memory.label("parameters", [old, a])
        memory.label("parameters", [a])
        b = a * 2
        memory.label("gradients", [b])
        a + b
    assert memory.live == {"parameters": 6 * KIB, "gradients": 4 * KIB, "activations": 0}
    assert memory.peak == {"parameters": 6 * KIB, "gradients": 4 * KIB, "activations": 4 * KIB}
    memory.restart()
    assert memory.peak == memory.live


def test_a_convolution_copies_operands_in_another_layout() -> None:
    x, weight = torch.zeros(1, 2, 8, 8), torch.zeros(2, 2, 3, 3)
    for strange, copied in ((False, 0), (True, x.numel() * 4)):
        with MemoryTracker() as memory:
            memory.label("images", [x, weight])
            result = F.conv2d(x.transpose(2, 3) if strange else x, weight)
        assert memory.peak.total() == (x.numel() + weight.numel() + result.numel()) * 4 + copied


def test_fake_tensors_count_as_real_ones_do() -> None:
    def work() -> tuple[int, int]:
        with MemoryTracker() as memory, FlopCounter() as flops:
            layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.LeakyReLU(), torch.nn.Conv2d(8, 4, 3))
            layers(torch.zeros(2, 3, 16, 16)).square().sum().backward()
            return memory.peak.total(), flops.total

    real = work()
    with FakeTensorMode():
        assert work() == real


def test_flops_of_products_and_convolutions() -> None:
    with FlopCounter() as flops:
        torch.zeros(3, 5) @ torch.zeros(5, 7)
    assert flops.total == 2 * 3 * 5 * 7
    image, weight = torch.zeros(2, 3, 10, 10, requires_grad=True), torch.zeros(4, 3, 3, 3, requires_grad=True)
    forward = 2 * (2 * 8 * 8) * 4 * 3 * 9
    with FlopCounter() as flops:
        loss = F.conv2d(image, weight).sum()
        assert flops.total == forward
        loss.backward()
    assert flops.total == 3 * forward  # one more for each operand's gradient
