"""One network's gradients, averaged over processes while its backward pass is still running.

What `DistributedDataParallel` does for a model whose every parameter takes part in every step, for a GAN, where that is
never so: each network has a reducer of its own, and the network that is not stepped sends nothing. Gradients leave in
buckets, in the same order on every process: a bucket is sent as soon as it is full and all before it were sent. Of
the passes of an accumulated batch only the last sends.

A parameter may have no gradient in a step (R1 does not see the logit's bias) and then stays without one: a gradient of
zeros would be a step of Adam, which a process alone does not make. Which these are depends on the kind of step alone;
so the processes agree on it once, in the first step of each kind, and every later step is held to it.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

MEGABYTE = 2**20
FIRST_BUCKET_MB = 1.0  # the first is small, so that something is under way soon


@dataclass
class _Bucket:
    """Gradients that travel together.

    Attributes:
        parameters: whose they are; of one type and device.
        missing: how many of them have not got this step's yet.
        flat: the gradients, one after another, from when they were sent.
        work: the reduction that is under way, from when they were sent until it is waited for.
    """

    parameters: list[nn.Parameter]
    missing: int = 0
    flat: Tensor | None = None
    work: dist.Work | None = None


class GradientReducer:
    """Replaces a network's gradients by their means over all processes of the default group.

    A step is: any number of backward passes, `arm` before the last of them, and `finish` after it. Use it only where
    there is more than one process.

    Args:
        network: whose parameters that want a gradient are watched from now on, until `remove`.
        bucket_mb: MiB of gradients that are sent together.

    Attributes:
        bytes_reduced: bytes of gradients this process has sent so far.
    """

    def __init__(self, network: nn.Module, bucket_mb: float = 25.0) -> None:
        # A backward pass comes to the last layers first.
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad][::-1]
        self._names = {parameter: name for name, parameter in named}
        self._bucket_bytes = bucket_mb * MEGABYTE
        self._handles = [p.register_post_accumulate_grad_hook(self._arrived) for p in self._names]
        self._plans: dict[str, list[_Bucket]] = {}  # kind of step -> its buckets
        self._place: dict[str, dict[Tensor, int]] = {}  # kind of step -> parameter -> its bucket
        self._step: str | None = None
        self._seen: set[Tensor] = set()
        self._sent = 0
        self.bytes_reduced = 0

    def arm(self, step: str) -> None:
        """The next backward pass is the last of a step: gradients may leave as they come.

        Args:
            step: its kind. Steps of one kind give gradients to the same parameters.
        """
        self._step, self._seen, self._sent = step, set(), 0
        for bucket in self._plans.get(step, []):
            bucket.missing = len(bucket.parameters)

    def finish(self) -> None:
        """Send what was not sent yet, wait, and leave each parameter with its mean.

        Raises:
            RuntimeError: it was not armed; or parameters have a gradient here that have none elsewhere, or had none
                in an earlier step of this kind, or the other way round.
        """
        step = self._step
        if step is None:
            raise RuntimeError("finish() without arm(): the step's last backward pass was not announced")
        present = [parameter for parameter in self._names if parameter.grad is not None]
        if step not in self._plans:
            self._agree(step, present)
        self._check_same(step, present)
        buckets = self._plans[step]
        while self._sent < len(buckets):
            self._send(buckets[self._sent])
        for bucket in buckets:
            assert bucket.work is not None
            assert bucket.flat is not None
            bucket.work.wait()
            bucket.flat /= dist.get_world_size()
            bucket.work, bucket.flat = None, None
        self._step = None

    def remove(self) -> None:
        """Leave the network alone from now on."""
        for handle in self._handles:
            handle.remove()

    # ------------------------------------------------------------------ while a backward pass runs

    def _arrived(self, parameter: Tensor) -> None:
        """A gradient has been added to; in the last pass of a step it is complete."""
        if self._step is None or self._step not in self._plans:
            return
        place = self._place[self._step].get(parameter)
        if place is None or parameter in self._seen:
            problem = "a second one after it may have left" if place is not None else "one where it had none before"
            raise RuntimeError(f"step {self._step}: {self._names[parameter]} got a gradient, {problem}")  # type: ignore[index]
        self._seen.add(parameter)
        buckets = self._plans[self._step]
        buckets[place].missing -= 1
        while self._sent < len(buckets) and buckets[self._sent].missing == 0:
            self._send(buckets[self._sent])

    @torch.no_grad()
    def _send(self, bucket: _Bucket) -> None:
        """Start a bucket on its way. From here on the parameters' gradients are views of it: none is kept twice."""
        gradients = [p.grad for p in bucket.parameters if p.grad is not None]
        flat = gradients[0].new_empty(sum(gradient.numel() for gradient in gradients))
        # In the parameter's own order of memory, which the optimiser expects of its gradient.
        views = [
            part.as_strided(parameter.size(), parameter.stride())
            for part, parameter in zip(flat.split([g.numel() for g in gradients]), bucket.parameters, strict=True)
        ]
        torch._foreach_copy_(views, gradients)
        for parameter, view in zip(bucket.parameters, views, strict=True):
            parameter.grad = view
        bucket.flat = flat
        bucket.work = dist.all_reduce(flat, async_op=True)
        self._sent += 1
        self.bytes_reduced += flat.numel() * flat.element_size()

    # ------------------------------------------------------------------ what belongs to a kind of step

    def _agree(self, step: str, present: list[nn.Parameter]) -> None:
        """The first step of a kind: see that all processes have the same gradients, and cut the same buckets."""
        here = set(present)
        differing = self._differing([parameter in here for parameter in self._names])
        if differing:
            raise RuntimeError(
                f"step {step}: some processes have a gradient where others have none: {', '.join(differing)}"
            )
        self._plans[step] = self._cut(present)
        self._place[step] = {p: i for i, bucket in enumerate(self._plans[step]) for p in bucket.parameters}

    def _differing(self, present: list[bool]) -> list[str]:
        """The parameters of which not all processes have a gradient, and not all have none."""
        here = torch.tensor(present, device=next(iter(self._names)).device)
        everywhere, nowhere = here.to(torch.uint8), (~here).to(torch.uint8)
        for flags in (everywhere, nowhere):
            dist.all_reduce(flags, op=dist.ReduceOp.MIN)
        agreed = (everywhere + nowhere).tolist()
        return [name for name, one in zip(self._names.values(), agreed, strict=True) if not one]

    def _cut(self, parameters: list[nn.Parameter]) -> list[_Bucket]:
        """Buckets of about the wanted size, in order, each of one type and device."""
        buckets: list[_Bucket] = []
        room = 0.0
        for parameter in parameters:
            size = parameter.numel() * parameter.element_size()
            kind = (parameter.dtype, parameter.device)
            last = buckets[-1].parameters[-1] if buckets else None
            if last is None or room < size or kind != (last.dtype, last.device):
                room = self._bucket_bytes if buckets else min(FIRST_BUCKET_MB * MEGABYTE, self._bucket_bytes)
                buckets.append(_Bucket([]))
            buckets[-1].parameters.append(parameter)
            room -= size
        return buckets

    def _check_same(self, step: str, present: list[nn.Parameter]) -> None:
        expected = self._place[step].keys()
        changed = sorted(self._names[p] for p in expected ^ set(present))  # type: ignore[index]
        if changed:
            raise RuntimeError(
                f"step {step}: {', '.join(changed)}: with a gradient now and without one in the first step of this "
                "kind, or the other way round"
            )
