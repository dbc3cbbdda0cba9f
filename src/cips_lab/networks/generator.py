"""What every generator is to the rest of the program: nobody else asks of which class one is.

A generator is latents to styles (`mapping`, `truncate`, `training_styles`) and styles to pictures: on its native grid
with gradients (`synthesize_native`), as a list of pixels (`synthesis`), or on any grid without a graph (`render`).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from cips_lab.networks.mapping import MappingNetwork
from cips_lab.networks.size import Size, sides
from cips_lab.networks.surface import SurfaceName
from cips_lab.networks.tiling import Tile


class Generator(nn.Module, ABC):
    """Latents to pictures.

    Attributes:
        native_only: whether its native grid is all it can synthesise, because a pixel depends on its neighbours.
        resolution: side R of its native pictures, or (height, width); pixel (i, j) of the grid is that of
            `image_grid(R, R)`.
        z_dim, w_dim: sizes of the latent and of the style.
        num_layers: L, the layers that could each have a style of their own.
        mapping: latents [B, z_dim] -> styles [B, w_dim]; also keeps the mean style.
        mixing_probability: share of the training samples that get two styles.
        surface: what coordinates lie on, ``plane`` or ``cylinder``.
        period: on a cylinder, what x may be moved by without changing a pixel; None on the plane.
    """

    native_only: ClassVar[bool]
    resolution: Size
    surface: SurfaceName = "plane"
    period: float | None = None
    z_dim: int
    w_dim: int
    num_layers: int
    mapping: MappingNetwork
    mixing_probability: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its native pictures."""
        return sides(self.resolution)

    @property
    def side(self) -> int:
        """Of its native pictures, where they are square; `ValueError` for those of a rectangle."""
        if isinstance(self.resolution, tuple):
            raise ValueError(f"this generator's pictures are {self.resolution[0]} x {self.resolution[1]}, not square")
        return self.resolution

    # ---------------------------------------------------------------- styles

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull styles [..., w_dim] towards their tracked mean; psi = 1 changes nothing, 0 gives the mean."""
        return self.mapping.truncate(w, psi)

    def mix(self, w_first: Tensor, w_second: Tensor, crossover: int | Tensor) -> Tensor:
        """Style mixing (Karras et al. 2019, section 3.1).

        Args:
            w_first, w_second: styles [B, w_dim].
            crossover: the first layer that gets w_second, 0 to num_layers (only w_first): one number, or [B].

        Returns:
            [B, num_layers, w_dim], one style for each layer.
        """
        layers = torch.arange(self.num_layers, device=w_first.device)[:, None]
        if isinstance(crossover, Tensor):
            crossover = crossover.to(w_first.device).view(-1, 1, 1)
        return torch.where(layers < crossover, w_first[:, None], w_second[:, None])

    def training_styles(self, z: Tensor, z_second: Tensor, draw: Tensor) -> Tensor:
        """Styles of training samples, some of them mixed.

        Args:
            z, z_second: latents [B, z_dim].
            draw: [B], uniform in [0, 1): whether a sample is mixed, and from which layer on.

        Returns:
            [B, w_dim], or [B, num_layers, w_dim] where `mixing_probability` is not 0.
        """
        w = self.mapping(z)
        if self.mixing_probability == 0.0:
            return w
        # Given that it fell below the probability, the draw is uniform again: it also says where to cross over.
        place = 1 + (draw / self.mixing_probability * (self.num_layers - 1)).long()
        crossover = torch.where(draw < self.mixing_probability, place, self.num_layers)
        return self.mix(w, self.mapping(z_second), crossover)

    # ---------------------------------------------------------------- pictures

    def forward(self, z: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Latents [B, z_dim], standard normal -> images [B, 3, H, W], about [-1, 1], not clamped."""
        return self.synthesize_native(self.mapping(z), noise_seed)

    @abstractmethod
    def synthesize_native(
        self, w: Tensor, noise_seed: int | Tensor = 0, tile: Tile = "auto", keep: int | None = None
    ) -> Tensor:
        """Styles -> images [B, 3, H, W] on the native grid, with gradients where wanted.

        Args:
            w: [B, w_dim], [B, num_layers, w_dim], and what else the class takes.
            noise_seed: one integer for all samples, or [B] int64, one for each; matters only with noise.
            tile: pixels of each sample synthesised at once; ``auto``; or None for all (see `tiling.choose_tile`).
                Changes memory and speed, never the result.
            keep: bytes of graphs kept for the backward pass; None: as the memory allows (see `tiling.keep_bytes`).
        """

    @abstractmethod
    def synthesize_at(
        self,
        w: Tensor,
        coords: Tensor,
        noise_seed: int | Tensor = 0,
        tile: Tile = "auto",
        keep: int | None = None,
    ) -> Tensor:
        """Styles -> images [B, 3, h, w] on grids [h, w, 2], or [B, h, w, 2] by sample, with gradients where wanted.

        The others as in `synthesize_native`; `ValueError` for a grid that it cannot synthesise.
        """

    @abstractmethod
    def synthesize_at_once(self, w: Tensor, noise_seed: int | Tensor = 0, coords: Tensor | None = None) -> Tensor:
        """As `synthesize_native`, or `synthesize_at` where `coords` are given, with one ordinary graph over all pixels:
        what tiles are compared with.
        """

    @abstractmethod
    def synthesis(self, w: Tensor, coords: Tensor, noise_seed: int | Tensor = 0) -> Tensor:
        """Colours [B, P, 3] at coordinates [P, 2] or [B, P, 2]; `ValueError` for those that it cannot synthesise."""

    @abstractmethod
    def render(self, w: Tensor, grid: Tensor, tile: Tile = "auto", noise_seed: int | Tensor = 0) -> Tensor:
        """Images [B, 3, H, W] on a grid [H, W, 2], without a graph; `ValueError` for one that it cannot synthesise."""

    # ---------------------------------------------------------------- how it is computed

    @abstractmethod
    def tile_pixels(
        self, tile: Tile, batch: int, device: torch.device, free_bytes: int | None = None, pixels: int | None = None
    ) -> int:
        """Pixels of each of `batch` samples in a tile; all of them where there are no tiles.

        Args:
            tile: as in `synthesize_native`.
            batch: samples synthesised together.
            device: where.
            free_bytes: free memory of an accelerator; asked of it where not given.
            pixels: of the picture; None: of the native grid.
        """

    @abstractmethod
    def compile_synthesis(self, mode: str = "default") -> None:
        """Let `torch.compile` have what `synthesize_native` spends its time in; results may differ in rounding.

        Args:
            mode: of `torch.compile`; ``max-autotune`` also fuses what follows a product on GPUs.
        """
