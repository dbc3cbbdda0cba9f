"""All of a public checkpoint that training goes on from: both networks, the average, and the two states of Adam.

The released program writes ``{"g", "d", "g_ema", "g_optim", "d_optim"}``. An optimiser's state knows parameters by
number alone: their places in ``generator.parameters()``, which is the order of the state dict without its buffers. Our
layout is a rearrangement of theirs, element by element and without a factor (`official.generator_tensors`), so the
gradient is the same rearrangement of theirs, and so are Adam's moments: they pass through what the weights do.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cips_lab.errors import UserError
from cips_lab.interop import official
from cips_lab.interop.official import DISCRIMINATOR, GENERATOR, KERNEL, Content, StateDict
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.modulated import Activation

MOMENTS = ("exp_avg", "exp_avg_sq")
SETTINGS = {"eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}  # of the released program, and ours
Rearranged = Callable[[StateDict], dict[str, Tensor]]


@dataclass(frozen=True)
class Adam:
    """An optimiser's state, by our names.

    Attributes:
        moments: of each parameter that has them: ``step`` (a scalar), ``exp_avg`` and ``exp_avg_sq`` in our layout.
        lr, betas: as it was stepped, after the released program's correction.
    """

    moments: dict[str, dict[str, Tensor]]
    lr: float
    betas: tuple[float, float]

    @property
    def steps(self) -> int:
        """Steps done."""
        return round(max((float(state["step"]) for state in self.moments.values()), default=0.0))


@dataclass(frozen=True)
class OfficialTraining:
    """What a file holds, as our networks.

    Attributes:
        label: the file, for messages.
        generator: as it was trained; where the file has the average alone, that.
        average: of the generator; where the file has none, the generator.
        options: of `CIPSGenerator`.
        discriminator: None where there is none.
        discriminator_options: of `ResidualDiscriminator`; empty where there is none.
        generator_adam, discriminator_adam: None where there is none.
        arguments: of the training program, where they were kept.
        missing: what is not in the file, and what is taken in its place; whole phrases.
    """

    label: str
    generator: CIPSGenerator
    average: CIPSGenerator
    options: dict[str, Any]
    discriminator: ResidualDiscriminator | None
    discriminator_options: dict[str, int]
    generator_adam: Adam | None
    discriminator_adam: Adam | None
    arguments: Mapping[str, object]
    missing: list[str] = field(default_factory=list)


def load_training(source: official.Source, activation: Activation | None = None) -> OfficialTraining:
    """Read a whole public checkpoint, whatever of it is there.

    Args:
        source: the ``.pt`` file.
        activation: see `official.load_generator`.

    Raises:
        UserError: it cannot be read, is no such checkpoint, or its parts do not fit each other.
    """
    content = official.read(source)
    average, options = official.load_with_options(content, activation=activation)
    has = {key: isinstance(content.whole.get(key), Mapping) for key in ("g", "g_ema", "d", "g_optim", "d_optim")}
    missing = []
    generator = average
    if has["g"] and has["g_ema"]:
        generator, trained = official.load_with_options(content, activation=activation, keys=("g",))
        if trained != options:
            raise UserError(f"{content.label}: its g and its g_ema are different networks")
    elif has["g_ema"]:
        missing.append("no g, the generator as it is trained: training on begins from the averaged weights")
    elif not has["g"]:
        missing.append("one generator alone: it is taken for the trained one and for the average")
    else:
        missing.append("no g_ema: the average begins anew, from g")
    if not has["d"]:
        missing.append("no d: training on begins with a new discriminator")
    generator_adam = _adam(content, "g_optim", ("g",), GENERATOR) if has["g"] else None
    discriminator_adam = _adam(content, "d_optim", ("d",), DISCRIMINATOR) if has["d"] else None
    for adam, key, network in ((generator_adam, "g_optim", "g"), (discriminator_adam, "d_optim", "d")):
        if adam is None:
            why = "" if not has[key] else f" that could be used without {network}"
            missing.append(f"no {key}{why}: its optimiser's moments begin at zero")
    discriminator, channels = official.load_discriminator_with_options(content) if has["d"] else (None, {})
    return OfficialTraining(
        content.label,
        generator,
        average,
        options,
        discriminator,
        channels,
        generator_adam,
        discriminator_adam,
        official.arguments_of(content),
        missing,
    )


def _adam(content: Content, key: str, network: tuple[str, ...], evidence: str) -> Adam | None:
    """The optimiser of the network under a key, or None where the file has none.

    Raises:
        UserError: it is none, or of other parameters than the network's.
    """
    found = content.whole.get(key)
    if not isinstance(found, Mapping):
        return None
    label, state, _ = official.network_in(content, network, evidence)
    rearranged: Rearranged = official.discriminator_tensors
    if evidence == GENERATOR:
        pairs, residual = official.variant_of(state)

        def rearranged(tensors: StateDict) -> dict[str, Tensor]:
            return official.generator_tensors(tensors, pairs, residual)

    try:
        return _read_adam(found, state, rearranged)
    except Exception as error:  # content of any kind ends in as many kinds of error
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{label}: its {key} is no state of Adam for its {network[0]} ({reason}); save the file without {key} to "
            "train on with moments that begin at zero"
        ) from None


def _read_adam(found: Mapping[Any, Any], state: StateDict, rearranged: Rearranged) -> Adam:
    groups = list(found["param_groups"])
    numbers = [number for group in groups for number in group["params"]]
    names = [name for name in state if not name.endswith(KERNEL)]
    if len(numbers) != len(names):
        raise ValueError(f"it is of {len(numbers)} parameters, and there are {len(names)}")
    rates = {(float(group["lr"]), *(float(beta) for beta in group["betas"])) for group in groups}
    if len(rates) != 1:
        raise ValueError("its groups of parameters have different learning rates or betas")
    for setting, value in SETTINGS.items():
        if any((group.get(setting, value) or 0) != value for group in groups):
            raise ValueError(f"its {setting} is not {value}, as the released program's")
    lr, first, second = rates.pop()
    if not 0 < lr < math.inf or not 0 <= first < 1 or not 0 <= second < 1:
        raise ValueError(f"it has a learning rate of {lr} and betas of {first} and {second}")
    steps: dict[str, Tensor] = {}
    moments: dict[str, dict[str, Tensor]] = {moment: {} for moment in MOMENTS}
    for number, name in zip(numbers, names, strict=True):
        if number not in found["state"]:  # it has had no gradient
            continue
        slots = found["state"][number]
        for moment in MOMENTS:
            value = slots[moment]
            if value.shape != state[name].shape:
                raise ValueError(f"{moment} of {name} is {list(value.shape)}, and that {list(state[name].shape)}")
            if not value.is_floating_point() or not bool(value.isfinite().all()):
                raise ValueError(f"{moment} of {name} is not of finite numbers")
            moments[moment][name] = value.float()
        if bool((slots["exp_avg_sq"] < 0).any()):
            raise ValueError(f"exp_avg_sq of {name} is negative")
        step = float(slots["step"])
        if not 0 < step < math.inf:
            raise ValueError(f"{name} has had {step} steps")
        steps[name] = torch.tensor(step, dtype=torch.float32)
    ours = {moment: rearranged(moments[moment]) for moment in MOMENTS}
    counted = {own: steps[name] for name in steps for own in rearranged({name: moments["exp_avg"][name]})}
    return Adam(
        {
            name: {"step": counted[name], **{moment: ours[moment][name].contiguous() for moment in MOMENTS}}
            for name in counted
        },
        lr,
        (first, second),
    )
