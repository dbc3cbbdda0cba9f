"""Frames of films, for `cips_lab.prepare`: to train on, they are too slow to come by in any order."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image

from cips_lab.data.decode import MAX_PIXELS
from cips_lab.data.sources.base import ImageSource, full_path
from cips_lab.data.sources.folder import files_alone
from cips_lab.errors import UserError
from cips_lab.files.names import printable

# FFmpeg's reader of each ending. It is told, for some of its others open what a file tells them to, addresses too.
READERS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".mpg", ".mpeg"), "mpeg"),
    ".avi": "avi",
}


EARLIER = (0.0, 1.0, 10.0, 1e6)  # seconds before a frame's time from which it is looked for


class Frame(NamedTuple):
    """One that is taken."""

    film: int  # of `VideoSource.films`
    number: int  # in it
    time: int  # its presentation time, in units of the stream's


class VideoSource(ImageSource):
    """Each n-th frame of a film, or of all films of a folder without pictures.

    Which frames there are is read from the films' packets without decoding them; a frame is decoded from the last key
    frame before it, and the next one goes on from there. Rotated films are turned upright.

    Args:
        path: a film or a folder.
        option: the option that it came from, for messages.
        every: 1: all frames; 25: of films of 25 frames a second one a second.

    Raises:
        UserError: it is missing, damaged or without a picture, or the package av is missing.
    """

    @classmethod
    def takes(cls, path: str) -> bool:
        return "://" not in path and bool(films_of(path))

    def __init__(self, path: str | Path, option: str = "data.path", every: int = 1) -> None:
        given = printable(f"{option}={path}: ")
        try:
            import av
        except ModuleNotFoundError:
            raise UserError(f"{given}frames of films need the package av: pip install 'cips-lab[video]'") from None
        av.logging.set_level(av.logging.PANIC)
        self.place, self.every = full_path(path), every
        self.films = films_of(str(path))
        self.frames: list[Frame] = []
        for number, film in enumerate(self.films):
            try:
                times = presentation_times(film)
            except Exception as error:  # a reader of bytes that may say anything
                raise UserError(
                    f"{given}{printable(film)} cannot be read as a film ({printable(str(error))}); delete or replace it"
                ) from error
            self.frames += [Frame(number, n, time) for n, time in enumerate(times) if n % every == 0]
        if not self.frames:
            raise UserError(f"{given}no frame in it; give a film ({' '.join(READERS)}) or a folder of films")
        self._reading: _Reading | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        frame = self.frames[index]
        return f"{self.films[frame.film]}/frame {frame.number}"

    def read(self, index: int) -> Image.Image:
        try:
            return self._decoded(self.frames[index])
        except Exception as error:
            self._reading = None
            raise UserError(printable(f"{self.name(index)} cannot be decoded ({error})")) from error

    def _decoded(self, frame: Frame) -> Image.Image:
        reading = self._reading
        if reading is not None and reading.process == os.getpid() and reading.is_before(frame):
            return reading.picture(frame)
        # A reader seeks by the times at which frames are decoded: the key frame it finds may be shown too late.
        for earlier in EARLIER:
            self._reading = reading = _Reading(self.films[frame.film], frame, earlier)
            with suppress(_TooLate):
                return reading.picture(frame)
        raise ValueError("the film has no picture at its time; write it again: ffmpeg -i film.avi film.mp4")

    def open(self, index: int) -> IO[bytes]:
        """A PNG of the frame."""
        stream = io.BytesIO()
        self._decoded(self.frames[index]).save(stream, "PNG", compress_level=0)
        stream.seek(0)
        return stream

    @property
    def location(self) -> str:
        return printable(self.place)

    def fingerprint(self) -> str:
        """From the films' names, sizes and modification times, and which frames are taken."""
        digest = hashlib.sha256(f"{self.every}\0{len(self.frames)}\0".encode())
        for film in self.films:
            status = film.stat()
            digest.update(f"{film}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reading": None}


class _Reading:
    """A film that is being decoded, from the last key frame before a frame on."""

    def __init__(self, film: Path, frame: Frame, earlier: float) -> None:
        self.film, self.process = frame.film, os.getpid()
        self._container, self._stream = _open(film)
        start = max(0, frame.time - round(earlier / self._stream.time_base))
        self._container.seek(start, backward=True, stream=self._stream)
        self._decoder: Iterator[Any] = self._container.decode(self._stream)
        self._last = -(2**63)

    def is_before(self, frame: Frame) -> bool:
        return frame.film == self.film and frame.time > self._last

    def picture(self, frame: Frame) -> Image.Image:
        for decoded in self._decoder:
            if decoded.pts is None:
                continue
            self._last = decoded.pts
            if decoded.pts == frame.time:
                image: Image.Image = decoded.to_image()
                return image.rotate(decoded.rotation, expand=True) if decoded.rotation else image
            if decoded.pts > frame.time:
                break
        raise _TooLate("the film has no picture at its time")


class _TooLate(ValueError):
    """A film that is being decoded has gone past a frame's time, or begins behind it."""


def _open(film: Path) -> tuple[Any, Any]:
    import av

    container = av.open(str(film), format=READERS[film.suffix.lower()])
    if not container.streams.video:
        raise ValueError("it has no pictures")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise ValueError(f"{stream.width} x {stream.height} pixels, more than {MAX_PIXELS}")
    stream.thread_type = "NONE"  # films are decoded by several processes
    return container, stream


def presentation_times(film: Path) -> list[int]:
    """Of all frames of a film, in their order, in units of its stream's time base. Nothing is decoded."""
    container, stream = _open(film)
    with container:
        times = {packet.pts for packet in container.demux(stream) if packet.pts is not None and packet.size}
        return sorted(time for time in times if time >= 0)  # before 0: decoded and not shown


def films_of(path: str) -> list[Path]:
    """The films that a path means, in their order; none where it means something else."""
    return files_alone(path, READERS)
