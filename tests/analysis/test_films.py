"""Films that can be played, decoded again."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from cips_lab.analysis import films


def moving(side: int = 32, count: int = 12) -> np.ndarray:
    """A bright square on a coloured ground, one place farther in each frame: uint8 [N, side, side, 3]."""
    frames = np.full((count, side, side, 3), (40, 80, 160), dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[10:20, number : number + 10] = (250, 240, 30)
    return frames


def decoded_gif(content: bytes) -> tuple[list[np.ndarray], Image.Image]:
    picture = Image.open(io.BytesIO(content))
    frames = []
    for number in range(picture.n_frames):  # type: ignore[attr-defined]
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB")))
    return frames, picture


def test_a_gif_holds_its_frames_and_goes_on_for_ever() -> None:
    frames = moving()
    found, picture = decoded_gif(films.gif(frames))
    assert np.abs(np.stack(found).astype(int) - frames).max() <= 8  # 256 colours for all of them
    assert picture.info["loop"] == 0
    assert picture.info["duration"] == 60


def test_a_gif_is_made_smaller_until_it_is_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 96, 128, 3), dtype=np.uint8)
    assert len(films.gif(noise)) > 50_000
    content = films.gif(noise, most_bytes=20_000)
    assert len(content) <= 20_000
    found, _ = decoded_gif(content)
    assert len(found) == 6
    height, width = found[0].shape[:2]
    assert width / height == pytest.approx(4 / 3, rel=0.05)
    assert height > 30


def test_an_mp4_is_decoded_to_the_same_frames() -> None:
    av = pytest.importorskip("av")
    frames = films.side_by_side({"one": moving(33)})[:, :, :131]
    content = films.mp4(frames)
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"  # the only one that every browser plays
        found = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(found) == len(frames)
    expected = frames[:, :132, :130]
    assert found[0].shape == expected.shape[1:]
    assert np.abs(np.stack(found).astype(int) - expected).mean() < 6
    still = np.abs(found[0].astype(int) - expected[-1]).mean()
    assert np.abs(found[-1].astype(int) - expected[-1]).mean() < still / 2


def test_films_side_by_side() -> None:
    one, other = moving(), moving()[::-1]
    alone = films.side_by_side({"one": one})
    assert alone.shape == (12, 128, 128, 3)
    assert np.array_equal(alone[:, ::4, ::4], one)
    both = films.side_by_side({"one": one, "other": other})
    assert both.shape == (12, 128 + films.CAPTION, 256, 3)
    assert np.array_equal(both[:, films.CAPTION :: 4, 128::4], other)
    assert both[:, : films.CAPTION].min() < 100  # the names
    assert films.side_by_side({"large": np.zeros((2, 256, 256, 3), np.uint8)}).shape == (2, 256, 256, 3)


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert not films.can_mp4()
