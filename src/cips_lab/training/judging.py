"""The discriminator as training asks it: of pictures that are changed first, telling it what it is told."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from cips_lab.training.augment import Augment
from cips_lab.training.draws import Share
from cips_lab.training.losses import judged_with_penalty, r1_penalty
from cips_lab.training.views import Shown

Look = Callable[[Tensor], Tensor]  # pictures as they are -> as the discriminator sees them


class Judge:
    """Asks a discriminator.

    Args:
        discriminator: pictures [b, 3, h, w], and what it is told -> logits [b, n]. It may say with what weights their
            losses are summed (`logit_weights`), and that a part of it alone is `penalised`.
        augment: what is done to pictures before.
        compile: mode in which `torch.compile` takes its forward pass (penalties, second derivatives, stay eager);
            None: not at all.
        mixed: whether an autocast around it reaches it; False: all of it is float32.

    Raises:
        ValueError: it is told where pixels lie, and they are moved.
    """

    def __init__(
        self, discriminator: nn.Module, augment: Augment, compile: str | None = None, mixed: bool = True
    ) -> None:
        self.discriminator, self.augment, self.mixed = discriminator, augment, mixed
        self.told = str(getattr(discriminator, "told", "none"))
        self.penalised: nn.Module = getattr(discriminator, "penalised", discriminator)
        if augment.moves and self.told != "none":
            raise ValueError(
                f"discriminator.told={self.told} says where a pixel lies, and this augment= moves pixels: choose "
                "augment=none, augment=blur or discriminator.told=none"
            )
        self._forward: Callable[..., Tensor] = (
            torch.compile(discriminator.forward, mode=compile) if compile else discriminator.forward
        )

    def look(self, seed: int, purpose: str, images_seen: int, batch_size: int, share: Share, like: Tensor) -> Look:
        """How a share of some pictures is seen in an iteration, see `Augment.draw`; on the device of a tensor."""
        draws = self.augment.draw(seed, purpose, images_seen, batch_size)
        return partial(self.augment, draws=share.of(draws).to(like.device))

    @property
    def weights(self) -> Tensor | None:
        """Of the losses of its logits, [n]; None: all alike."""
        weights: Tensor | None = getattr(self.discriminator, "logit_weights", None)
        return weights

    def logits(self, images: Tensor, shown: Shown, look: Look) -> Tensor:
        """[b, n]."""
        with in_precision(self.mixed, images.device):
            return self._with(self._forward, shown)(look(images), *shown.telling(self.told))

    def penalty(self, images: Tensor, shown: Shown, look: Look) -> Tensor:
        """E |grad D|^2 by the pictures before they are changed."""
        return r1_penalty(self._seeing(look, shown), images, *shown.telling(self.told))

    def logits_and_penalty(self, images: Tensor, shown: Shown, look: Look) -> tuple[Tensor, Tensor]:
        """Both, of one pass where all of the discriminator is penalised."""
        if self.penalised is not self.discriminator:
            return self.logits(images, shown, look), self.penalty(images, shown, look)
        return judged_with_penalty(self._seeing(look, shown), images, *shown.telling(self.told))

    def _seeing(self, look: Look, shown: Shown) -> Callable[..., Tensor]:
        asked = self._with(self.penalised, shown)
        return lambda images, *told: asked(look(images), *told)

    @staticmethod
    def _with(asked: Callable[..., Tensor], shown: Shown) -> Callable[..., Tensor]:
        return asked if shown.label is None else partial(asked, label=shown.label)


def in_precision(mixed: bool, device: torch.device) -> AbstractContextManager[object]:
    """Around a network's forward pass: the trainer's precision, or float32 whatever that is."""
    return nullcontext() if mixed else torch.autocast(device.type, enabled=False)
