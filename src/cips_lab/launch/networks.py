"""The networks of a run as they begin: from its seed, or from another run's weights."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from cips_lab.configuration import build
from cips_lab.data.base import BaseDataModule
from cips_lab.errors import UserError
from cips_lab.interop.native import discriminator_state, load_with_config
from cips_lab.interop.pretrained import check_judges
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.discriminator import ResidualDiscriminator
from cips_lab.networks.growth import doublings, grow_discriminator, grown_generator
from cips_lab.networks.size import size_name
from cips_lab.processes.ranks import is_first_of_all
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard

log = logging.getLogger(__name__)

COPIES = 5  # of the generator's weights in training: they, their gradients, Adam's two moments, the average


def build_gan(cfg: DictConfig, guard: Guard, flip: bool) -> GAN:
    """Both networks as they begin, from `seed` or from `init`."""
    pl.seed_everything(cfg.seed, workers=False, verbose=False)
    check_memory(cfg)
    if cfg.schedule.evaluate_kimg is not None:
        check_judges(cfg, (cfg.metrics.get("extractor"), cfg.metrics.get("manifold_extractor")))
    generator, discriminator, view = build(cfg.generator), build(cfg.discriminator), build(cfg.view)
    try:
        view.check(generator)
        gan = GAN(
            generator,
            discriminator,
            build(cfg.objective),
            batch_size=cfg.batch_size,
            micro_batch=cfg.micro_batch,
            seed=cfg.seed,
            flip=flip,
            compile=cfg.trainer.compile_mode if cfg.trainer.compile else None,
            tile=cfg.trainer.tile,
            guard=guard,
            generator_config=OmegaConf.to_container(cfg.generator, resolve=True),  # type: ignore[arg-type]
            view=view,
            augment=build(cfg.augment),
            mixed=cfg.trainer.mixed,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    if cfg.init is not None:
        initialise(gan, cfg.init)
    return gan


def know_classes(gan: GAN, data: BaseDataModule) -> None:
    """Tell the generator how often each class is; after `prepare_data`.

    Raises:
        UserError: the pictures have other classes than the networks, or none.
    """
    wanted: int = gan.generator.mapping.classes
    if getattr(gan.discriminator, "classes", 0) != wanted:
        raise UserError(
            f"generator.classes={wanted} and discriminator.classes={getattr(gan.discriminator, 'classes', 0)}: both "
            "are what model.classes says; set that alone"
        )
    if not wanted:
        return
    data.setup()
    found = data.classes()
    if found is None:
        raise UserError(
            f"model.classes={wanted}: the pictures in {data.location} have no classes; put those of each class into a "
            "folder of its own, or list them in a dataset.json (see docs/own_pictures.md), or say model.classes=0"
        )
    if len(found.names) != wanted:
        raise UserError(
            f"model.classes={wanted}: the pictures have {len(found.names)} classes: {found.described()}; say "
            f"model.classes={len(found.names)}"
        )
    gan.generator.mapping.class_shares.copy_(found.shares())
    gan.generator_ema.mapping.class_shares.copy_(found.shares())
    if is_first_of_all():
        log.info("classes 0 to %d: %s", wanted - 1, found.described())


def initialise(gan: GAN, source: str) -> None:
    """Start from other weights (`init=`): the generator's, and a discriminator's where the source holds one that fits.

    Raises:
        UserError: the generator is another; the message names the settings in which it differs.
    """
    other, config = load_with_config(source)
    settings = differing_settings(config or {"resolution": other.resolution}, gan.generator_config)
    theirs = other.state_dict()
    if doublings(other.size, gan.generator.size):
        theirs = grown(other, gan.generator, source, differing_settings(config, gan.generator_config, "resolution"))
    elif shapes_of(theirs) != shapes_of(gan.generator.state_dict()):
        difference = settings or differing_parameter(theirs, gan.generator.state_dict())
        raise UserError(f"init={source} is another generator: {difference}")
    elif settings:
        log.warning("init=%s: weights of the same shapes, and yet of another generator: %s", source, settings)
    gan.generator.load_state_dict(theirs)
    state = discriminator_state(source)
    discriminator = gan.discriminator
    if state is None:
        log.info("init=%s: the generator's weights; it holds no discriminator, which begins anew", source)
    elif shapes_of(state) == shapes_of(discriminator.state_dict()):
        discriminator.load_state_dict(state)
        log.info("init=%s: the weights of both networks", source)
    elif isinstance(discriminator, ResidualDiscriminator) and grow_discriminator(state, discriminator):
        log.info("init=%s: both networks grow; the discriminator within %g kimg", source, gan.view.fade_kimg)
    else:
        log.warning("init=%s: the generator's weights; its discriminator is of another size: ours begins anew", source)


def grown(small: nn.Module, large: nn.Module, source: str, settings: str) -> dict[str, Tensor]:
    """The weights of a generator that has grown from a smaller one.

    Args:
        small, large: the generators.
        source: where the smaller one lies.
        settings: in which settings they differ, but for the resolution.

    Raises:
        UserError: it cannot grow, and why.
    """
    if not isinstance(small, CIPSGenerator) or not isinstance(large, CIPSGenerator):
        raise UserError(f"init={source} is of a smaller resolution, and only CIPS generators grow")
    sizes = f"{size_name(small.resolution)} to {size_name(large.resolution)}"
    try:
        state = grown_generator(small, large)
    except ValueError as error:
        raise UserError(
            f"init={source} is another generator, which cannot grow from {sizes}: {settings or error}"
        ) from None
    if settings:
        log.warning("init=%s grows from %s, and other settings differ: %s", source, sizes, settings)
    else:
        log.info("init=%s: the generator grows from %s", source, sizes)
    return state


def check_memory(cfg: DictConfig) -> None:
    """Refuse a generator that this machine cannot hold, before anything is allocated.

    Raises:
        UserError: its weights, their gradients, two moments of Adam and the average need more memory than there is.
    """
    with torch.device("meta"):
        generator = build(cfg.generator)
    needed = COPIES * 4 * sum(p.numel() for p in generator.parameters())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed <= there:
        return
    largest, tensor = max(generator.named_parameters(), key=lambda item: item[1].numel())
    raise UserError(
        f"the generator needs {needed / 1e9:,.0f} GB to be trained ({COPIES} times its weights), and this machine has "
        f"{there / 1e9:,.0f} GB: generator.{largest} alone is {' x '.join(map(str, tensor.shape))}, "
        f"{4 * tensor.numel() / 1e9:,.1f} GB once; choose generator=cips_ne (no table), a smaller "
        "model.embedding_features or generator.embedding.frames, or a smaller resolution"
    )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def differing_settings(there: Mapping[str, Any], here: Mapping[str, Any], *but: str) -> str:
    """In which settings, of those that both tell, another generator differs (`but` some); empty where in none."""
    found = []
    for name in (here.keys() & there.keys()) - set(but):
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
