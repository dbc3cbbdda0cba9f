"""What becomes of one picture."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cips_lab.data.fitting import fit
from cips_lab.errors import UserError
from cips_lab.preparing.recipe import LeftOut, Recipe, encode, file_name


def picture(width: int, height: int) -> Image.Image:
    """Every pixel says where it is."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], -1).astype(np.uint8))


def place(part: Image.Image) -> tuple[int, int]:
    """Of its upper left pixel in the original."""
    red, green, blue = part.getpixel((0, 0))
    return red + 256 * (blue % 16), green + 256 * (blue // 16)


def test_the_centre_is_what_training_would_have_made() -> None:
    image = picture(300, 200)
    (part,) = Recipe((64, 64)).apply(image, 0)
    assert part.tobytes() == fit(image, 64).tobytes()
    (part,) = Recipe((64, 128)).apply(image, 0)
    assert part.tobytes() == fit(image, (64, 128)).tobytes()


@given(st.integers(16, 200), st.integers(16, 200))
def test_tiles_are_all_whole_parts_of_a_centred_grid_pixel_for_pixel(width: int, height: int) -> None:
    image = picture(width, height)
    parts = list(Recipe((16, 16), "tiles").apply(image, 0))
    assert len(parts) == (width // 16) * (height // 16)
    left, top = (width % 16) // 2, (height % 16) // 2
    expected = [(left + 16 * i, top + 16 * j) for j in range(height // 16) for i in range(width // 16)]
    assert list(map(place, parts)) == expected
    for (x, y), part in zip(expected, parts, strict=True):
        assert part.tobytes() == image.crop((x, y, x + 16, y + 16)).tobytes()


def test_tiles_of_a_span_are_resized() -> None:
    image = picture(130, 64)
    parts = list(Recipe((16, 16), "tiles", span=32).apply(image, 0))
    assert len(parts) == 8
    assert parts[0].tobytes() == fit(image.crop((1, 0, 33, 32)), 16).tobytes()


def test_random_places_are_those_of_seed_and_number() -> None:
    recipe, image = Recipe((16, 16), "random", span=16, crops=200, seed=3), picture(60, 40)
    places = [place(part) for part in recipe.apply(image, 7)]
    assert places == [place(part) for part in recipe.apply(image, 7)]
    assert places != [place(part) for part in recipe.apply(image, 8)]
    columns, rows = zip(*places, strict=True)
    assert (min(columns), max(columns), min(rows), max(rows)) == (0, 44, 0, 24)  # both edges are reached
    (part,) = Recipe((16, 32), "random").apply(image, 0)
    assert part.size == (32, 16)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe((16, 16), minimum=65), "100 x 64 pixels, smaller than minimum=65"),
        (Recipe((128, 128), "tiles"), "100 x 64 pixels, smaller than a part of 128 x 128"),
        (Recipe((64, 64), "none"), "100 x 64 pixels, not 64 x 64, and crop=none resizes none"),
    ],
)
def test_what_a_recipe_leaves_out(recipe: Recipe, message: str) -> None:
    with pytest.raises(LeftOut, match=message):
        list(recipe.apply(picture(100, 64), 0))


def test_sizes_are_kept_where_none_is_asked_for() -> None:
    (part,) = Recipe(None, "none").apply(picture(37, 21), 0)
    assert part.size == (37, 21)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": None}, "crop=center needs a resolution"),
        ({"resolution": (8, 8), "span": 4}, "span=4 is for crop=random or crop=tiles"),
        ({"resolution": (8, 8), "crop": "tiles", "crops": 4}, "crops=4 is for crop=random"),
        ({"resolution": (8, 8), "crop": "random", "crops": 10**6}, "at most 10000"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**options)  # type: ignore[arg-type]


def test_a_png_that_is_not_compressed() -> None:
    image = picture(40, 30)
    content = encode(image)
    assert len(content) > 40 * 30 * 3
    assert Image.open(io.BytesIO(content)).tobytes() == image.tobytes()
    assert file_name(12345, None) == "00012/img00012345.png"
    assert file_name(12345, 7) == "00012/img00012345-0007.png"
