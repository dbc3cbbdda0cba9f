"""Numbers that are none: they are refused before they become a picture, where they would look like black.

A float that is NaN has no byte, and what a conversion makes of it (0 here) is a plausible pixel.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from cips_lab.errors import UserError


class PictureNotFinite(UserError):
    """A picture has no numbers, though all weights may be some; the message begins with which one it is."""


def check_weights(generator: nn.Module, source: str) -> None:
    """Refuse a generator that can only yield pictures of no numbers.

    Args:
        generator: any module; parameters and buffers are looked at.
        source: where it is from, for the message: a file, a run at some kimg.

    Raises:
        UserError: a tensor holds NaN or infinity; the first is named.
    """
    for name, tensor in generator.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise UserError(
                f"{source}: {name} is not finite (NaN or infinite in {bad} of {tensor.numel()} places), so that the "
                "generator's pictures would be no numbers; take an earlier checkpoint"
            )


def check_pictures(images: Tensor, seeds: Sequence[int] | None = None) -> None:
    """Refuse pictures [B, 3, H, W] of which any value is NaN or infinite; one look at the whole batch.

    Args:
        images: as a generator made them.
        seeds: what the pictures are called in the message; None: their places in the batch.

    Raises:
        PictureNotFinite: naming the first such picture.
    """
    if images.isfinite().all():
        return
    first = int(images.flatten(1).isfinite().all(1).logical_not().nonzero()[0, 0])
    which = f"picture {first} of a batch of {len(images)}" if seeds is None else f"the picture of seed {seeds[first]}"
    raise PictureNotFinite(
        f"{which} is not finite (NaN or infinite): the generator's weights overflow, or its precision is too low for "
        "them; take an earlier checkpoint"
    )
