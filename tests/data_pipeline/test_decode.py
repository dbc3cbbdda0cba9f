"""Content decides what a picture is, and pixels decide whether it can be read, whatever its metadata say."""

import io
import logging
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import random_picture
from PIL import Image, ImageOps, PngImagePlugin, features

from cips_lab.data import decode as decoding
from cips_lab.data.bare import PIXEL_CHUNKS, PNG
from cips_lab.data.datamodule import ImageDataModule
from cips_lab.data.decode import decode, extensions
from cips_lab.data.sources import FolderSource, check_readable
from cips_lab.errors import UserError

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def metadata(orientation: int) -> Image.Exif:
    """What a camera writes: its name, dates, fractions, a maker's note, a place."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F], exif[0x0132], exif[0x011A] = "Maker", "2020:01:01 00:00:00", 72.0
    camera = exif.get_ifd(0x8769)
    camera[0x829A], camera[0x9003], camera[0x927C] = 0.01, "2020:01:01 00:00:00", b"maker" * 9
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (1.0, 2.0, 3.0)
    return exif


def photo(seed: int, form: str = "jpeg", orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = random_picture(24, 20, seed)
    picture.save(buffer, form, exif=metadata(seed % 8 + 1 if orientation is None else orientation))
    return buffer.getvalue()


def spoil(content: bytes, begin: int, end: int, seed: int, at_once: tuple[int, ...] = (1, 3, 20)) -> bytes:
    rng = random.Random(seed)
    changed = bytearray(content)
    for _ in range(rng.choice(at_once)):
        changed[rng.randrange(begin, end)] = rng.randrange(256)
    return bytes(changed)


def ways_up(pixels: np.ndarray) -> list[bytes]:
    return [np.rot90(side, turns).tobytes() for side in (pixels, np.fliplr(pixels)) for turns in range(4)]


# ------------------------------------------------------------------ damaged metadata


@pytest.fixture(scope="module")
def damaged_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 JPEGs, each with bytes of its EXIF changed."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(300):
        content = photo(seed)
        begin = content.index(b"Exif\0\0") + 6
        length = int.from_bytes(content[begin - 8 : begin - 6], "big")
        (folder / f"{seed:03d}.jpg").write_bytes(spoil(content, begin, begin + length - 8, seed))
    return folder


@pytest.mark.filterwarnings("ignore")
def test_the_damage_is_what_it_is_meant_to_be(damaged_photos: Path) -> None:
    """Some of these are refused by the way that everyone takes."""
    failures = 0
    for path in damaged_photos.iterdir():
        try:
            with Image.open(path) as image:
                ImageOps.exif_transpose(image)
        except Exception:
            failures += 1
    assert failures >= 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_photos_with_damaged_metadata_are_read(
    damaged_photos: Path, policy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data = ImageDataModule("mine", str(damaged_photos), 16, num_workers=0, unreadable=policy)
    data.prepare_data()
    data.setup()
    assert len([r for r in caplog.records if "odd metadata" in r.message]) <= 1, "one line, however many they are"
    listing = data.train_dataset.reader.listing = tmp_path / "unreadable.txt"
    for seed in range(300):
        plain = (damaged_photos / f"{seed:03d}.jpg").read_bytes()
        begin = plain.index(b"\xff\xe1")
        plain = plain[:begin] + plain[begin + 2 + int.from_bytes(plain[begin + 2 : begin + 4], "big") :]
        with Image.open(io.BytesIO(plain)) as image:
            expected = ways_up(np.asarray(image))
        assert np.asarray(data.train_dataset.reader.read(seed)).tobytes() in expected, seed
    assert not listing.exists()


def test_a_segment_of_the_wrong_length_is_passed_over(tmp_path: Path) -> None:
    """As libjpeg does: on to the next marker."""
    content = bytearray(photo(0, orientation=1))
    expected = np.asarray(decode(io.BytesIO(bytes(content))))
    begin = content.index(b"\xff\xe1")
    content[begin + 2 : begin + 4] = (12).to_bytes(2, "big")
    content[begin + 14 : begin + 14] = b"\0" * 5
    np.testing.assert_array_equal(decode(io.BytesIO(bytes(content))), expected)


@pytest.mark.parametrize("form", ["png", "webp", pytest.param("avif", marks=needs_avif)])
def test_damaged_exif_of_other_formats(form: str) -> None:
    content = photo(5, form)
    begin, length = content.rindex(b"MM\0*" if b"MM\0*" in content else b"II*\0"), 200
    expected = ways_up(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    for seed in range(100):
        image = decode(io.BytesIO(spoil(content, begin, begin + length, seed)))
        assert np.asarray(image).tobytes() in expected, seed


def test_damaged_fields_of_a_tiff() -> None:
    buffer = io.BytesIO()
    picture = random_picture(24, 20, seed=1)
    picture.save(buffer, "tiff", exif=metadata(1))
    content = buffer.getvalue()
    place = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[place : place + 2], "little")
    entries = range(place + 2, place + 2 + 12 * count, 12)
    texts = [at for at in entries if int.from_bytes(content[at : at + 2], "little") in (271, 282, 306, 34665, 34853)]
    assert len(texts) >= 3
    for seed in range(100):
        at = random.Random(seed).choice(texts)
        image = decode(io.BytesIO(spoil(content, at + 2, at + 12, seed)))
        np.testing.assert_array_equal(image, picture)


# ------------------------------------------------------------------ PNG's chunks


def chunk(kind: bytes, body: bytes, wrong: bool = False) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def png_with(picture: Image.Image, *extra: bytes, behind: bool = False) -> bytes:
    """A PNG with further chunks before its pixels or behind them."""
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    content = buffer.getvalue()
    place = content.index(b"IEND" if behind else b"IDAT") - 4
    return content[:place] + b"".join(extra) + content[place:]


PROFILE = b"profile\0\0" + zlib.compress(bytes(2**22))
TEXT = b"text\0\0" + zlib.compress(b"x" * 2**22)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        *(chunk(b"tEXt", b"text\0" + b"x" * 2**21), chunk(b"zTXt", TEXT), chunk(b"iCCP", PROFILE)),
        *(chunk(b"iTXt", b"text\0\1\0\0\0" + zlib.compress(b"x" * 2**22)), chunk(b"eXIf", b"no metadata at all")),
        *(chunk(kind, b"text\0text", wrong=True) for kind in (b"tEXt", b"iCCP", b"eXIf", b"tIME", b"pHYs", b"gAMA")),
        *(chunk(kind, b"") for kind in (b"tEXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL")),
    ],
    ids=lambda extra: f"{extra[4:8].decode()}-{len(extra)}",
)
def test_pngs_with_damaged_or_large_metadata(tmp_path: Path, extra: bytes, behind: bool) -> None:
    picture = random_picture(24, 20, seed=0)
    (tmp_path / "a.png").write_bytes(png_with(picture, extra, behind=behind))
    source = FolderSource(tmp_path)
    check_readable(source)
    np.testing.assert_array_equal(source.read(0), picture)


@pytest.mark.parametrize("kind", [b"IDAT", b"IHDR", b"tRNS", b"PLTE"])
def test_wrong_checksums_of_pixels_are_an_error_by_both_ways(tmp_path: Path, kind: bytes) -> None:
    palette = random_picture(24, 20, seed=0).quantize(16)
    buffer = io.BytesIO()
    palette.save(buffer, "png", transparency=1)
    content = bytearray(buffer.getvalue())
    place = content.index(kind)
    length = int.from_bytes(content[place - 4 : place], "big")
    content[place + 4 + length] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    source = FolderSource(tmp_path)
    for act in (source.read, source.verify):
        with pytest.raises(UserError, match=rf"a\.png .*\(wrong checksum in its {kind.decode()} chunk\)"):
            act(0)


def test_the_list_of_pngs_chunks_is_that_of_the_standard() -> None:
    """Critical chunks, whose first letter is large, and the one other that changes what `to_rgb` gives."""
    assert {kind for kind in PIXEL_CHUNKS if kind[:1].isupper()} == {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
    assert PNG == b"\x89PNG\r\n\x1a\n"


# ------------------------------------------------------------------ orientation, as it was


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "tiff"])
def test_orientations_give_the_bits_of_pillows_own_function(form: str, orientation: int) -> None:
    content = photo(3, form, orientation)
    with Image.open(io.BytesIO(content)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(decode(io.BytesIO(content)), expected)


def test_orientation_in_xmp_of_a_png_and_transparency(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    buffer = io.BytesIO()
    picture = random_picture(24, 20, seed=0)
    picture.save(buffer, "png", pnginfo=info, transparency=picture.getpixel((0, 0)))
    image = decode(io.BytesIO(buffer.getvalue()))
    pixels = np.asarray(picture).copy()
    pixels[0, 0] = 255
    np.testing.assert_array_equal(image, np.rot90(pixels, -1))


# ------------------------------------------------------------------ what a picture is


def test_the_endings_of_pictures() -> None:
    """By Pillow's own list, for the readers that are allowed."""
    old = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
    new = {".tif", ".tiff", ".gif", ".jfif", ".jpe", ".ppm", ".pgm"} | ({".avif"} if features.check("avif") else set())
    assert old | new <= extensions()
    dangerous = {".eps", ".ps", ".pdf", ".wmf", ".tga", ".psd", ".fits", ".h5", ".mpg", ".ico", ".pfm"}
    assert not dangerous & extensions()


@pytest.mark.parametrize("form", ["png", "tiff", "gif", "ppm", "bmp", "webp", pytest.param("avif", marks=needs_avif)])
@pytest.mark.parametrize("ending", [".jpg", None])
def test_content_decides_whatever_the_ending_says(tmp_path: Path, form: str, ending: str | None) -> None:
    picture = random_picture(24, 20, seed=0)
    lossless = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}.get(form, {})
    picture.save(tmp_path / f"a{ending or '.' + form}", form, **lossless)
    source = FolderSource(tmp_path)
    check_readable(source)
    near = {"gif": 255, "avif": 8}.get(form, 0)  # of 256 colours; of another space of colours
    assert np.abs(np.asarray(source.read(0)).astype(int) - np.asarray(picture)).max() <= near


@pytest.mark.parametrize("form", ["gif", "tiff", "webp", "png"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path: Path, form: str) -> None:
    first, second = Image.new("RGB", (9, 7), (255, 0, 0)), Image.new("RGB", (9, 7), (0, 0, 255))
    options = {"lossless": True} if form == "webp" else {}
    first.save(tmp_path / f"a.{form}", save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(FolderSource(tmp_path).read(0), first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), r"\(a HEIC picture, which is not read\); convert it to PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"\(not a picture\); delete or replace"),
        (b"", r"\(not a picture\); delete or replace"),
        (bytes(12) + b"\x08\0\x08\0\x18\0" + bytes(3 * 64), r"\(not a picture\)"),  # a TGA by all that it says
    ],
)
def test_what_is_no_picture_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    source = FolderSource(tmp_path)
    for act in (source.read, source.verify):
        with pytest.raises(UserError, match=rf"a\.jpg cannot be decoded .*{message}"):
            act(0)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_range_are_refused_and_not_read_as_black(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.full((8, 8), 1, kind)).save(tmp_path / "depth.tif")
    with pytest.raises(UserError, match=r"depth\.tif cannot be decoded \(32 bits a pixel.*save it with 8 or 16"):
        FolderSource(tmp_path).read(0)


def test_a_tiff_of_16_bits_keeps_its_upper_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 8), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(np.asarray(FolderSource(tmp_path).read(0))[..., 0], values >> 8)


@pytest.mark.parametrize("error", [AttributeError("no such thing"), ZeroDivisionError(), AssertionError("why")])
def test_whatever_a_decoder_raises_names_the_file(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        random_picture(8, 8, seed=ord(name[0])).save(tmp_path / name)
    load = PngImagePlugin.PngImageFile.load

    def fail_at_a(image: Image.Image) -> object:
        if image.getpixel_calls == "a":  # type: ignore[attr-defined]
            raise error
        return load(image)  # type: ignore[arg-type]

    def open_named(stream: io.BufferedReader) -> Image.Image:
        image = Image.open(stream)
        image.getpixel_calls = Path(stream.name).stem if hasattr(stream, "name") else "a"  # type: ignore[attr-defined]
        return image

    monkeypatch.setattr(decoding, "open_picture", open_named)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail_at_a)
    with pytest.raises(UserError, match=rf"a\.png cannot be decoded \({error or type(error).__name__}\)"):
        FolderSource(tmp_path).read(0)
    data = ImageDataModule("mine", str(tmp_path), 8, num_workers=0, unreadable="skip")
    data.setup()
    np.testing.assert_array_equal(data.train_dataset.reader.read(0), random_picture(8, 8, seed=ord("b")))


def test_a_file_that_may_not_be_read_is_not_told_to_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_picture(8, 8, seed=0).save(tmp_path / "a.png")
    source = FolderSource(tmp_path)

    def refuse(index: int) -> io.BytesIO:  # root may read every file, so that permissions would prove nothing
        raise PermissionError(13, "Permission denied", source.name(index))

    monkeypatch.setattr(source, "open", refuse)
    with pytest.raises(UserError, match=r"a\.png cannot be decoded \(Permission denied\); make it readable") as caught:
        source.read(0)
    assert "delete" not in str(caught.value)
