"""Frames of films: which, in which order, and what is refused."""

import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cips_lab.data.sources.video import READERS, VideoSource, films_of, presentation_times
from cips_lab.errors import UserError

Run = Callable[..., subprocess.CompletedProcess[str]]
COUNT = 60


def level(number: int) -> int:
    """The grey of a frame: told apart from its neighbours' after any coding."""
    return (number * 37) % 200 + 20


def film(path: Path, count: int = COUNT, codec: str = "mpeg4", gap: int = 12) -> Path:
    """Grey frames, of which each `gap`th is a key frame; those between are told by their differences."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = gap
        stream.codec_context.max_b_frames = 0 if path.suffix == ".avi" else 2  # AVI has no place for their times
        for number in range(count):
            pixels = np.full((48, 64, 3), level(number), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def grey(image: Image.Image) -> float:
    return float(np.asarray(image).mean())


@pytest.mark.parametrize(("name", "every"), [("a.mp4", 1), ("a.mp4", 7), ("a.mkv", 5), ("a.avi", 3)])
def test_each_nth_frame_in_any_order(tmp_path: Path, name: str, every: int) -> None:
    source = VideoSource(film(tmp_path / name), every=every)
    numbers = [*range(0, COUNT, every)]
    assert len(source) == len(numbers)
    order = [*range(len(numbers)), *np.random.default_rng(0).permutation(len(numbers)).tolist()]
    for index in order:
        image = source.read(index)
        assert (image.mode, image.size) == ("RGB", (64, 48))
        assert abs(grey(image) - level(numbers[index])) < 12, (index, numbers[index])
    assert source.name(2).endswith(f"{name}/frame {numbers[2]}")
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(np.asarray(copy.read(3)), np.asarray(source.read(3)))


def test_the_next_frame_goes_on_from_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = VideoSource(film(tmp_path / "a.mp4", gap=60))
    opened: list[int] = []
    from cips_lab.data.sources import video

    original = video._open
    monkeypatch.setattr(video, "_open", lambda path: opened.append(1) or original(path))
    for index in range(COUNT):
        source.read(index)
    assert len(opened) == 1


def test_a_folder_of_films(tmp_path: Path) -> None:
    (tmp_path / "films" / "x").mkdir(parents=True)
    film(tmp_path / "films" / "b.mp4", 10)
    film(tmp_path / "films" / "x" / "a.mkv", 7)
    source = VideoSource(tmp_path / "films", every=2)
    assert len(source) == 5 + 4
    assert abs(grey(source.read(6)) - level(2)) < 12
    Image.new("RGB", (9, 9)).save(tmp_path / "films" / "a.png")
    assert films_of(str(tmp_path / "films")) == []  # a folder of pictures


def test_damaged_and_other_files(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4").read_bytes()
    path = tmp_path / "b.mp4"
    for content in (b"", b"x" * 5000, whole[:500], b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"b\.mp4 cannot be read as a film|no frame in it"):
            VideoSource(path, "source")
    middle = bytearray(whole)
    at = whole.index(b"mdat") + 8
    middle[at : at + 3000] = bytes(3000)
    path.write_bytes(middle)
    source = VideoSource(path)
    with pytest.raises(UserError, match=r"b\.mp4/frame 0 cannot be decoded"):
        source.read(0)


def test_every_reader_is_one_of_ffmpegs() -> None:
    for reader in READERS.values():
        av.format.ContainerFormat(reader, "r")


def test_times_are_those_of_the_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        decoded = [frame.pts for frame in container.decode(video=0)]
    assert presentation_times(path) == decoded
