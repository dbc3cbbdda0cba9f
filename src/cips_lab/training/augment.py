"""What is done to every picture before the discriminator sees it, real ones and generated ones alike.

With few pictures a discriminator learns them by heart; what it sees is changed at random, and gradients pass through
the changes, so that the generator still learns the pictures as they are. Every change is a differentiable function of
the pictures, twice, for R1, and of numbers drawn by (seed, purpose, images seen).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cips_lab.processes.collectives import total
from cips_lab.training.draws import stream


class Augment(nn.Module):
    """`augment=none`: nothing is changed. The others override what they do."""

    numbers = 0  # drawn for each picture
    moves = False  # whether what a pixel shows may lie elsewhere afterwards

    def draw(self, seed: int, purpose: str, images_seen: int, batch_size: int) -> Tensor:
        """[batch_size, numbers] uniform in [0, 1), of a whole global batch, on the CPU.

        Args:
            seed: the run's.
            purpose: ``real``, ``fake`` or ``generator``: which pictures.
            images_seen: at the start of the iteration.
            batch_size: global.
        """
        return torch.rand(batch_size, self.numbers, generator=stream(seed, f"augment {purpose}", images_seen))

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, 3, H, W], about [-1, 1], and draws [B, numbers] on their device -> the same shape."""
        return images

    def begin(self, images_seen: int) -> None:
        """An iteration begins."""

    def observe(self, certainty: Tensor, weights: Tensor | None = None) -> None:
        """How sure the discriminator was of some real pictures, [b, n], see `losses.certainty`.

        Args:
            weights: of its n logits in the loss; None: all alike.
        """

    def end(self, batch_size: int) -> None:
        """The iteration ends, of a global batch."""

    def statistics(self) -> dict[str, Tensor]:
        """What is logged, the same on every process."""
        return {}


class Blur(Augment):
    """A Gaussian low-pass that fades out (Karras et al. 2021, StyleGAN3, appendix D): coarse shapes are learned first.

    Args:
        sigma: of the Gaussian at the beginning, pixels.
        fade_kimg: thousands of images in which it falls to 0, evenly.
    """

    def __init__(self, sigma: float = 2.0, fade_kimg: float = 200.0) -> None:
        super().__init__()
        if sigma < 0 or fade_kimg <= 0:
            raise ValueError("augment.sigma must be at least 0 and augment.fade_kimg positive")
        self.first, self.fade_kimg = sigma, fade_kimg
        self.sigma = sigma

    def begin(self, images_seen: int) -> None:
        self.sigma = self.first * max(0.0, 1 - images_seen / (1000 * self.fade_kimg))

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        return low_pass(images, self.sigma)

    def statistics(self) -> dict[str, Tensor]:
        return {"augment/sigma": torch.tensor(self.sigma)}


class DiffAugment(Augment):
    """Colour, translation and cutout (Zhao et al. 2020), each of every picture with a probability.

    Args:
        probability: 1, as its authors have it; 0 changes nothing.
    """

    numbers = 10
    moves = True

    def __init__(self, probability: float = 1.0) -> None:
        super().__init__()
        check_probability(probability)
        self.probability = probability

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        numbers, (height, width) = Numbers(draws, self.probability), images.shape[2:]
        colour, shift, cut = numbers.gate(), numbers.gate(), numbers.gate()
        changed = images + wide(torch.where(colour, numbers.take() - 0.5, 0.0))
        saturation, contrast = (
            torch.where(colour, 2 * numbers.take(), 1.0),
            torch.where(colour, numbers.take() + 0.5, 1.0),
        )
        changed = changed * wide(saturation) + changed.mean(1, keepdim=True) * wide(1 - saturation)
        changed = changed * wide(contrast) + changed.mean((1, 2, 3), keepdim=True) * wide(1 - contrast)
        # By up to an eighth, with black where nothing is; then a black square of half the side.
        x, y = (whole_steps(numbers.take(), 2 * (side // 8)) - side // 8 for side in (width, height))
        columns, rows = torch.arange(width, device=x.device), torch.arange(height, device=x.device)
        from_x, from_y = columns - torch.where(shift, x, 0)[:, None], rows - torch.where(shift, y, 0)[:, None]
        there = within(from_y, 0, height)[:, :, None] & within(from_x, 0, width)[:, None, :]
        changed = at(changed, from_y.clamp(0, height - 1)[:, :, None], from_x.clamp(0, width - 1)[:, None, :])
        left, top = (whole_steps(numbers.take(), side)[:, None] - side // 4 for side in (width, height))
        hole = within(rows, top, top + height // 2)[:, :, None] & within(columns, left, left + width // 2)[:, None, :]
        return changed * (there & ~(hole & cut[:, None, None]))[:, None]


class Fixed(Augment):
    """The pipeline "bgc" of StyleGAN2-ADA (Karras et al. 2020, appendix B) with a fixed probability.

    Flips, quarter turns, whole shifts; scales, rotations, shifts; brightness, contrast, luma, hue, saturation: each of
    every picture with the probability. Pictures go on as in mirrors beyond their edges.

    Args:
        probability: p; 0 changes nothing.
    """

    numbers = 28
    moves = True
    probability: Tensor

    def __init__(self, probability: float = 0.2) -> None:
        super().__init__()
        check_probability(probability)
        self.register_buffer("probability", torch.tensor(float(probability)))

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        p = float(self.probability)
        if p == 0:
            return images
        numbers = Numbers(draws, p)
        height, width = images.shape[2:]
        return coloured(warped(images, motion(numbers, p, height, width)), colours(numbers))

    def statistics(self) -> dict[str, Tensor]:
        return {"augment/probability": self.probability.clone()}


class Ada(Fixed):
    """The same with a probability that follows how sure the discriminator is of real pictures (section 3.1).

    r = E[sign D(real)], of a loss of pairs E[sign(D(real) - D(fake))], is above `target` where it learns them by heart:
    then p rises, else it falls. Of several logits each counts as it does in the loss.

    Args:
        target: of r.
        speed_kimg: thousands of images in which p would go from 0 to 1.
        interval: iterations between two steps of p.
    """

    signs: Tensor
    waiting: Tensor
    r: Tensor

    def __init__(self, target: float = 0.6, speed_kimg: float = 500.0, interval: int = 4) -> None:
        super().__init__(0.0)
        if not -1 < target < 1 or speed_kimg <= 0 or interval < 1:
            raise ValueError("augment.target is in (-1, 1), augment.speed_kimg positive, augment.interval at least 1")
        self.target, self.speed_kimg, self.interval = target, speed_kimg, interval
        # Sums over all processes, so that a checkpoint holds what each of them knows: of signs, and their number.
        self.register_buffer("signs", torch.zeros(2, dtype=torch.float32))
        self.register_buffer("waiting", torch.zeros((), dtype=torch.int64))  # iterations since the last step of p
        self.register_buffer("r", torch.zeros(()))  # of the last step, to be logged
        self._here: list[Tensor] = []

    def begin(self, images_seen: int) -> None:
        self._here = []

    def observe(self, certainty: Tensor, weights: Tensor | None = None) -> None:
        signs = certainty.detach().float().sign()
        shares = torch.ones_like(signs) if weights is None else (weights / weights.sum()).expand_as(signs)
        self._here.append(torch.stack([(signs * shares).sum(), shares.sum()]))

    def end(self, batch_size: int) -> None:
        self.signs += total(torch.stack(self._here).sum(0))
        self.waiting += 1
        if int(self.waiting) >= self.interval:
            self.r.copy_(self.signs[0] / self.signs[1])
            step = float((self.r - self.target).sign()) * batch_size * self.interval / (1000 * self.speed_kimg)
            self.probability.add_(step).clamp_(0, 1)
            self.signs.zero_()
            self.waiting.zero_()

    def statistics(self) -> dict[str, Tensor]:
        return super().statistics() | {"augment/r": self.r.clone()}


# ------------------------------------------------------------------ drawing


class Numbers:
    """Draws [B, K], taken column by column."""

    def __init__(self, draws: Tensor, probability: float) -> None:
        self.left, self.probability = list(draws.float().unbind(1)), probability

    def take(self) -> Tensor:
        """The next, [B], uniform in [0, 1)."""
        return self.left.pop(0)

    def gate(self) -> Tensor:
        """Which pictures something is done to, [B]."""
        return self.take() < self.probability

    def normal(self) -> Tensor:
        """The next as a standard normal number, [B]."""
        uniform = self.take().clamp(1e-6, 1 - 1e-6)
        return math.sqrt(2) * torch.erfinv(2 * uniform - 1)

    def angle(self) -> Tensor:
        """The next as an angle from -pi to pi, [B]."""
        return (2 * self.take() - 1) * math.pi


def motion(numbers: Numbers, p: float, height: int, width: int) -> Tensor:
    """Where what is seen comes from: [B, 2, 3] for `warped`."""
    # One of two rotations happens with the probability p, before or after a scale along one axis.
    either = 1 - math.sqrt(1 - p)
    gate, value = numbers.gate(), numbers.take()
    flip = torch.where(gate & (value < 0.5), -1.0, 1.0)
    quarters = torch.where(numbers.gate(), (numbers.take() * 4).floor(), 0.0) * (math.pi / 2)
    gate = numbers.gate()
    pixels = ((2 * numbers.take() - 1) * side / 8 for side in (width, height))
    whole = [
        torch.where(gate, shift.round() * 2 / side, 0.0) for shift, side in zip(pixels, (width, height), strict=True)
    ]
    scale = torch.exp2(torch.where(numbers.gate(), 0.2 * numbers.normal(), 0.0))
    before = torch.where(numbers.take() < either, numbers.angle(), 0.0)
    stretch = torch.exp2(torch.where(numbers.gate(), 0.2 * numbers.normal(), 0.0))
    after = torch.where(numbers.take() < either, numbers.angle(), 0.0)
    gate = numbers.gate()
    fine = [torch.where(gate, 0.25 * numbers.normal(), 0.0) for _ in range(2)]
    shift = torch.stack([a + b for a, b in zip(whole, fine, strict=True)], dim=1)
    one, proportions = torch.ones_like(flip), width / height
    linear = diagonal(flip, one) @ rotation(quarters) @ diagonal(scale, scale)
    linear = linear @ rotation(before) @ diagonal(stretch, 1 / stretch) @ rotation(after)
    # Angles are those of pixels, and both axes go from -1 to 1.
    linear = diagonal(one / proportions, one) @ linear @ diagonal(one * proportions, one)
    return torch.cat([linear, shift[:, :, None]], dim=2)


def colours(numbers: Numbers) -> Tensor:
    """What colours become: [B, 3, 4], of (r, g, b, 1)."""
    brightness = torch.where(numbers.gate(), 0.2 * numbers.normal(), 0.0)
    contrast = torch.exp2(torch.where(numbers.gate(), 0.5 * numbers.normal(), 0.0))
    gate, value = numbers.gate(), numbers.take()
    flip = torch.where(gate & (value < 0.5), 1.0, 0.0)[:, None, None]
    angle = torch.where(numbers.gate(), numbers.angle(), 0.0)[:, None, None]
    saturation = torch.exp2(torch.where(numbers.gate(), numbers.normal(), 0.0))[:, None, None]
    identity, grey = torch.eye(3, device=flip.device), torch.full((3, 3), 1 / 3, device=flip.device)
    # Rodrigues' rotation about the axis of grey.
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=flip.device) / math.sqrt(3)
    hue = torch.cos(angle) * identity + torch.sin(angle) * cross + (1 - torch.cos(angle)) * grey
    matrix = (grey + (identity - grey) * saturation) @ hue @ (identity - 2 * flip * grey) * contrast[:, None, None]
    return torch.cat([matrix, (matrix.sum(2) * brightness[:, None])[:, :, None]], dim=2)


def diagonal(first: Tensor, second: Tensor) -> Tensor:
    """Matrices [B, 2, 2] that scale x and y by [B]."""
    return torch.diag_embed(torch.stack([first, second], dim=1))


def rotation(angle: Tensor) -> Tensor:
    """Matrices [B, 2, 2] that turn by angles [B]."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], dim=1)


def whole_steps(uniform: Tensor, most: int) -> Tensor:
    """Uniform numbers [B] -> whole ones from 0 to `most`."""
    return (uniform * (most + 1)).floor().long()


def check_probability(value: float) -> None:
    """Raise `ValueError` unless it is one."""
    if not 0 <= value <= 1:
        raise ValueError(f"augment.probability must be from 0 to 1, not {value}")


# ------------------------------------------------------------------ changing


def wide(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1]."""
    return values[:, None, None, None]


def within(places: Tensor, first: int | Tensor, end: int | Tensor) -> Tensor:
    """Whether places lie from `first` to before `end`."""
    return (places >= first) & (places < end)


def at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of images [B, 3, H, W] at whole rows and columns, [B, h, w] or what is broadcast to it."""
    samples = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)


def mirrored(places: Tensor, side: int) -> Tensor:
    """Whole places anywhere -> in [0, side), as if there were mirrors at the edges."""
    places = places.long() % (2 * side)
    return torch.where(places < side, places, 2 * side - 1 - places)


def warped(images: Tensor, motion: Tensor) -> Tensor:
    """Images [B, 3, H, W] seen at places moved by [B, 2, 3]: out(p) = in(A p + b), bilinear, on a frame of [-1, 1].

    By indexing, which is differentiable as often as one likes; torch's grid_sample is once.
    """
    height, width = images.shape[2:]
    motion = motion.to(torch.promote_types(images.dtype, torch.float32))
    x, y = ((2 * torch.arange(side).to(motion) + 1) / side - 1 for side in (width, height))
    places = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], torch.ones_like(x[:1])), dim=-1)
    moved = torch.einsum("bij,hwj->bihw", motion, places)
    column, row = (((moved[:, axis] + 1) * side - 1) / 2 for axis, side in ((0, width), (1, height)))
    left, top = column.floor(), row.floor()
    result = torch.zeros_like(images)
    for rows, share_y in ((top, 1 - (row - top)), (top + 1, row - top)):
        for columns, share_x in ((left, 1 - (column - left)), (left + 1, column - left)):
            corner = at(images, mirrored(rows, height), mirrored(columns, width))
            result = result + corner * (share_y * share_x)[:, None].to(images)
    return result


def coloured(images: Tensor, matrices: Tensor) -> Tensor:
    """Images [B, 3, H, W] with colours changed by [B, 3, 4]."""
    matrices = matrices.to(images)
    return torch.einsum("bij,bjhw->bihw", matrices[:, :, :3], images) + matrices[:, :, 3, None, None]


def low_pass(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels, with mirrors at the edges; nothing below a tenth of a pixel."""
    if sigma < 0.1:
        return images
    reach = min(math.ceil(3 * sigma), min(images.shape[2:]) - 1)
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(3, 1, -1)
    padded = F.pad(images, [reach] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights[:, :, None], groups=3), weights[:, :, :, None], groups=3)
