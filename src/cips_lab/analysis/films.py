"""Frames to films: a GIF that mail carries, and an MP4 where PyAV is installed."""

import importlib.util
import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEAST_HEIGHT = 128  # of a film in pixels: smaller pictures are repeated
MOST_BYTES = 1_400_000  # of a GIF
FRAME_SECONDS = 0.06  # a GIF counts hundredths
CAPTION = 22  # pixels
MP4_MISSING = "There is no MP4, for PyAV is not installed: pip install 'cips-lab[video]'."


def can_mp4() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def side_by_side(films: dict[str, np.ndarray]) -> np.ndarray:
    """Films of one size, uint8 [N, H, W, 3], as one at least `LEAST_HEIGHT` high; several with their names above."""
    height = next(iter(films.values())).shape[1]
    scale = max(1, math.ceil(LEAST_HEIGHT / height))
    larger = {name: film.repeat(scale, axis=1).repeat(scale, axis=2) for name, film in films.items()}
    if len(larger) > 1:
        larger = {name: np.concatenate([_caption(name, film), film], axis=1) for name, film in larger.items()}
    return np.concatenate(list(larger.values()), axis=2)


def _caption(name: str, film: np.ndarray) -> np.ndarray:
    width = film.shape[2]
    strip = Image.new("RGB", (width, CAPTION), "white")
    ImageDraw.Draw(strip).text((width / 2, CAPTION / 2), name, "black", ImageFont.load_default(13), anchor="mm")
    return np.broadcast_to(np.asarray(strip), (len(film), CAPTION, width, 3))


def gif(frames: np.ndarray, most_bytes: int = MOST_BYTES) -> bytes:
    """uint8 [N, H, W, 3] as an endless GIF; made smaller until it has at most so many bytes.

    All frames share 256 colours: with colours of their own they would flicker.
    """
    pictures = [Image.fromarray(frame) for frame in frames]
    while True:
        content = _gif(pictures)
        width, height = pictures[0].size
        if len(content) <= most_bytes or min(width, height) < 16:
            return content
        shrink = min(0.9, math.sqrt(most_bytes / len(content)))
        size = (max(1, int(width * shrink)), max(1, int(height * shrink)))
        pictures = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]


def _gif(pictures: list[Image.Image]) -> bytes:
    sample = Image.fromarray(
        np.concatenate([np.asarray(picture) for picture in pictures[:: max(1, len(pictures) // 8)]])
    )
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    target = io.BytesIO()
    milliseconds = round(1000 * FRAME_SECONDS)
    shown[0].save(target, "GIF", save_all=True, append_images=shown[1:], duration=milliseconds, loop=0)
    return target.getvalue()


def mp4(frames: np.ndarray) -> bytes:
    """uint8 [N, H, W, 3] as H.264, which every browser plays; an odd last row or column is left out.

    Raises:
        ModuleNotFoundError: PyAV is not installed (see `can_mp4`).
    """
    import av

    height, width = (side // 2 * 2 for side in frames.shape[1:3])  # colours are stored for two pixels by two
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(1 / FRAME_SECONDS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target.getvalue()
