"""Archives and pictures that were made to do harm: refused, naming the archive and the entry."""

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from cips_lab.data.decode import MAX_PIXELS
from cips_lab.data.sources import FolderSource, ZipSource, check_readable
from cips_lab.data.sources import archive as archives
from cips_lab.errors import UserError


def picture(size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size)).save(buffer, "png")
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def make(path: Path, *names: str, content: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name in names:
                archive.writestr(name, content or picture())
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/a.png", "../a.png", "a/../../b.png", "C:/a.png", "C:\\a.png", "c:a.png"),
        *("..\\a.png", "a\\..\\..\\b.png", "\\\\server\\share\\a.png", "\\a.png"),
    ],
)
def test_names_that_lead_out_of_the_archive(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "set.zip", "00000/good.png", name)
    with pytest.raises(UserError, match=r"set\.zip cannot be read as a zip \(entry .*its name") as caught:
        ZipSource(path)
    assert repr(name) in str(caught.value)


def test_names_that_only_look_like_it(tmp_path: Path) -> None:
    path = make(tmp_path / "set.zip", "a..b/c...png", "..a/b.png", "x/C/a.png")
    assert len(ZipSource(path)) == 3 - 1  # "..a" is a hidden folder


def test_duplicate_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set\.zip .*'a\.png': its name is there 2 times"):
        ZipSource(make(tmp_path / "set.zip", "a.png", "b.png", "a.png"))


def test_encrypted_entries(tmp_path: Path) -> None:
    path = make(tmp_path / "set.zip", "a.png")
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of both of its headers
        content[content.index(magic) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'a\.png': it is encrypted"):
        ZipSource(path)


def test_a_bomb_is_refused_by_what_it_says(tmp_path: Path) -> None:
    path = make(tmp_path / "set.zip", "a.bmp", content=bytes(2**25), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    with pytest.raises(UserError, match=r"'a\.bmp': 33554432 bytes out of \d+ compressed ones"):
        ZipSource(path)


def test_an_entry_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "set.zip", "a.bmp", content=b"x" * 100)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'a\.bmp': 2147483648 bytes, of at most"):
        ZipSource(path)


def test_a_bomb_that_lies_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table of contents says 1,000 bytes; the rest is never unpacked."""
    path = make(tmp_path / "set.zip", "a.bmp", content=bytes(2**25), compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    unpacked = []
    read = zipfile.ZipExtFile.read

    def counted(stream: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        part = read(stream, n)
        unpacked.append(len(part))
        return part

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    with pytest.raises(UserError, match=r"set\.zip/a\.bmp cannot be decoded"):
        ZipSource(path).read(0)
    assert sum(unpacked) <= 1001


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_at_one_go_are_refused(tmp_path: Path, method: int) -> None:
    source = ZipSource(make(tmp_path / "set.zip", "a.png", compression=method))
    with pytest.raises(UserError, match=r"set\.zip/a\.png .*compressed by method"):
        source.read(0)


def test_what_is_ordinary_passes(tmp_path: Path) -> None:
    assert archives.refusal([]) is None
    bitmap = io.BytesIO()
    Image.new("RGB", (1024, 1024), (9, 9, 9)).save(bitmap, "bmp")  # plain: compresses a thousandfold, and is small
    path = make(tmp_path / "set.zip", "a.bmp", content=bitmap.getvalue(), compression=zipfile.ZIP_DEFLATED)
    assert ZipSource(path).read(0).size == (1024, 1024)


@pytest.mark.parametrize(("width", "height"), [(2**16, 2**15), (MAX_PIXELS + 1, 1), (2**31 - 1, 2**31 - 1)])
def test_pictures_that_say_they_are_enormous(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of(width, height))
    for act in (FolderSource(tmp_path).read, FolderSource(tmp_path).verify):
        with pytest.raises(UserError, match=r"bomb\.png cannot be decoded"):
            act(0)
    path = make(tmp_path / "set.zip", "in/bomb.png", content=png_of(width, height))
    with pytest.raises(UserError, match=r"set\.zip/in/bomb\.png cannot be decoded"):
        check_readable(ZipSource(path))


def test_the_limit_itself_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_of(2**14, MAX_PIXELS // 2**14))
    with pytest.raises(UserError) as caught:  # its data are missing, which is found out by decoding
        FolderSource(tmp_path).read(0)
    assert f"more than {MAX_PIXELS}" not in str(caught.value)


def test_postscript_under_another_name_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="not a picture"):
        FolderSource(tmp_path).read(0)
