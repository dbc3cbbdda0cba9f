"""Count what a computation does and what it holds, operator by operator, on real tensors and on fake ones alike."""

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Multiply-adds, counted twice each, of everything run inside; also under double backward, where torch's own
    counter, which tracks modules, gives up.

    Attributes:
        total: FLOPs so far, of matrix products and convolutions; elementwise operations are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


class MemoryTracker(TorchDispatchMode):
    """Bytes of the tensors that are alive, by kind.

    A tensor's bytes are its storage's, so that views cost nothing and two tensors on one storage cost once. Storages
    are met when an operator returns them (or in `label`) and forgotten when their last tensor dies. What an operator
    allocates within itself is not seen, but for the copies that a convolution makes of operands in a layout that is not
    its own: R1 is full of those. Nor is what an allocator rounds up.

    Attributes:
        live: kind -> bytes now. What nobody labelled is ``activations``.
        peak: kind -> bytes at the moment of the largest sum since the last `restart`.
    """

    UNLABELLED = "activations"

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._highest = 0
        self._storages: dict[int, tuple[str, int]] = {}

    def restart(self) -> None:
        """Let the peak begin anew, at what is alive now."""
        self.peak, self._highest = self.live.copy(), self.live.total()

    def label(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Say what tensors are; they may be older than the tracker."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._meet(storage)
            was, size = self._storages[id(storage)]
            self._storages[id(storage)] = kind, size
            self.live[was] -= size
            self.live[kind] += size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            # A sparse tensor is made of others, which have been met.
            if isinstance(value, Tensor) and value.layout == torch.strided:
                self._meet(value.untyped_storage())
        if func._overloadpacket is torch.ops.aten.convolution:
            copies = sum(t.numel() * t.itemsize for t in args[:2] if not has_a_layout_of_convolutions(t))
            self._mark(passing=copies)
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)  # one Python object for as long as the storage lives
        if key in self._storages:
            return
        self._storages[key] = self.UNLABELLED, storage.nbytes()
        weakref.finalize(storage, self._forget, key).atexit = False
        self.live[self.UNLABELLED] += storage.nbytes()
        self._mark()

    def _mark(self, passing: int = 0) -> None:
        """Remember this moment if it is the highest, with bytes that are gone when the operator is done."""
        total = self.live.total() + passing
        if total > self._highest:
            self.peak, self._highest = self.live.copy(), total
            self.peak[self.UNLABELLED] += passing

    def _forget(self, key: int) -> None:
        kind, size = self._storages.pop(key)
        self.live[kind] -= size


def has_a_layout_of_convolutions(x: Tensor) -> bool:
    """Whether a convolution reads [B, C, H, W] as it lies; otherwise it copies it first (ATen/native/Convolution.cpp).

    The weight's gradient under double backward is a convolution of transposed tensors, which lie otherwise.
    """
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
