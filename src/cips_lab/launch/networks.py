"""The networks of a run as they begin: from its seed, or from another run's weights."""

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cips_lab.configuration import build
from cips_lab.errors import UserError
from cips_lab.interop.native import discriminator_state, load_with_config
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard

log = logging.getLogger(__name__)


def build_gan(cfg: DictConfig, guard: Guard, flip: bool) -> GAN:
    """Both networks as they begin, from `seed` or from `init`."""
    pl.seed_everything(cfg.seed, workers=False, verbose=False)
    generator, discriminator = build(cfg.generator), build(cfg.discriminator)
    gan = GAN(
        generator,
        discriminator,
        build(cfg.objective),
        batch_size=cfg.batch_size,
        micro_batch=cfg.micro_batch,
        seed=cfg.seed,
        flip=flip,
        compile=cfg.trainer.compile,
        tile=cfg.trainer.tile,
        guard=guard,
        generator_config=OmegaConf.to_container(cfg.generator, resolve=True),  # type: ignore[arg-type]
    )
    if cfg.init is not None:
        initialise(gan, cfg.init)
    return gan


def initialise(gan: GAN, source: str) -> None:
    """Start from other weights (`init=`): the generator's, and a discriminator's where the source holds one that fits.

    Raises:
        UserError: the generator is another; the message names the settings in which it differs.
    """
    other, config = load_with_config(source)
    settings = differing_settings(config or {"resolution": other.resolution}, gan.generator_config)
    theirs = other.state_dict()
    if shapes_of(theirs) != shapes_of(gan.generator.state_dict()):
        difference = settings or differing_parameter(theirs, gan.generator.state_dict())
        raise UserError(f"init={source} is another generator: {difference}")
    if settings:
        log.warning("init=%s: weights of the same shapes, and yet of another generator: %s", source, settings)
    gan.generator.load_state_dict(theirs)
    state = discriminator_state(source)
    if state is None:
        log.info("init=%s: the generator's weights; it holds no discriminator, which begins anew", source)
    elif shapes_of(state) != shapes_of(gan.discriminator.state_dict()):
        log.warning("init=%s: the generator's weights; its discriminator is of another size: ours begins anew", source)
    else:
        gan.discriminator.load_state_dict(state)
        log.info("init=%s: the weights of both networks", source)


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def differing_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In which settings, of those that both tell, another generator differs; empty where in none."""
    found = []
    for name in here.keys() & there.keys():
        theirs, ours = there[name], here[name]
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            theirs = {key: value for key, value in theirs.items() if key in ours}
            ours = {key: value for key, value in ours.items() if key in theirs}
        if theirs != ours:
            found.append(f"{name} is {in_words(theirs)} there and {in_words(ours)} here")
    return ", ".join(sorted(found))


def differing_parameter(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> str:
    """The first parameter, from the input on, that differs in its shape."""
    found, own = shapes_of(there), shapes_of(here)
    name = next(n for n in (*own, *found) if own.get(n) != found.get(n))
    return f"{name} is {list(found.get(name, ())) or 'absent'} there and {list(own.get(name, ())) or 'absent'} here"


def in_words(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {in_words(part)}" for name, part in value.items()) + "}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
