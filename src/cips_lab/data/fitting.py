"""Pictures of any size cut and resized to one. Without torch: `cips_lab.prepare` and its processes start at once."""

from PIL import Image

from cips_lab.networks.size import Size, sides


def fit(image: Image.Image, size: Size) -> Image.Image:
    """The largest centred part of `image` with the proportions of `size`, resized to it with Lanczos, antialiased.

    A picture that is already of that size comes back as it is, pixel for pixel.
    """
    height, width = sides(size)
    # Cropped first: resize(box=...) lets pixels outside the box bleed into its border.
    return central_part(image, size).resize((width, height), Image.Resampling.LANCZOS)


def central_part(image: Image.Image, size: Size) -> Image.Image:
    """The largest centred part with the proportions of `size`, pixel for pixel."""
    part = proportioned(image.size, size)
    left, top = (image.width - part[0]) // 2, (image.height - part[1]) // 2
    return image.crop((left, top, left + part[0], top + part[1]))


def proportioned(whole: tuple[int, int], size: Size) -> tuple[int, int]:
    """(width, height) of the largest part with the proportions of `size`, of a picture of (width, height)."""
    height, width = sides(size)
    if whole[0] * height >= whole[1] * width:
        return max(1, round(whole[1] * width / height)), whole[1]
    return whole[0], max(1, round(whole[0] * height / width))
