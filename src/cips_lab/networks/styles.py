"""What styles a generator of pixels takes: one a picture, one a layer, or one a pixel, and in every layer if wanted.

[B, w_dim]; [B, L, w_dim] (StyleGAN's convention); [B, 1 or L, P, w_dim]. In a picture [B, 1 or L, H, W, w_dim].
"""

from torch import Tensor


def check_styles(w: Tensor, w_dim: int, layers: int, pixels: int) -> None:
    """Raise `ValueError` for styles of another shape, for a list of `pixels`."""
    by_layer = w.dim() == 3 and w.shape[1] == layers
    by_pixel = w.dim() == 4 and w.shape[1] in (1, layers) and w.shape[2] == pixels
    if w.shape[-1] != w_dim or not (w.dim() == 2 or by_layer or by_pixel):
        raise ValueError(
            f"styles must be [B, {w_dim}], [B, {layers}, {w_dim}] (one a layer) or [B, 1 or {layers}, {pixels}, "
            f"{w_dim}] (by pixel), not {list(w.shape)}"
        )


def styles_of_layers(w: Tensor, layers: int) -> list[Tensor]:
    """Checked styles -> each layer's own, [B, w_dim] or, by pixel, [B, P, w_dim]."""
    if w.dim() == 2:
        return [w] * layers
    several = w.unbind(1)
    return list(several) if len(several) == layers else list(several) * layers


def styles_of_picture(w: Tensor, height: int, width: int) -> Tensor:
    """Styles of a picture as those of its pixels, row by row: [B, 1 or L, H, W, w_dim] -> [B, 1 or L, H W, w_dim].

    Raises:
        ValueError: they are by pixel, of a picture of another size.
    """
    if w.dim() != 5:
        return w
    if w.shape[2:4] != (height, width):
        raise ValueError(f"styles by pixel must be [B, 1 or L, {height}, {width}, w_dim], not {list(w.shape)}")
    return w.flatten(2, 3)
