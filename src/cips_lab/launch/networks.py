"""The networks of a run as they begin: from its seed, or from another run's weights."""

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from cips_lab.configuration import build
from cips_lab.errors import UserError
from cips_lab.interop.native import load_generator
from cips_lab.training.gan import GAN
from cips_lab.training.guard import Guard


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
    """Start from another generator's weights (`init=`)."""
    other = load_generator(source)
    ours, theirs = gan.generator.state_dict(), other.state_dict()
    for name in sorted(ours.keys() | theirs.keys()):
        a, b = (list(state[name].shape) if name in state else "none" for state in (ours, theirs))
        if a != b:
            raise UserError(f"init={source} is another generator: {name} is {b} there and {a} in this configuration")
    gan.generator.load_state_dict(theirs)
