import multiprocessing
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import random_picture
from PIL import Image

from cips_lab.data.sources import FolderSource, ZipSource, check_readable, open_source
from cips_lab.errors import UserError


def read_only_picture(folder: Path) -> Image.Image:
    source = FolderSource(folder)
    assert len(source) == 1
    image = source.read(0)
    assert image.mode == "RGB"
    return image


def test_folder_lists_pictures_in_the_order_of_their_paths(picture_folder: Path) -> None:
    source = FolderSource(picture_folder)
    expected = [f"a/{i}.png" for i in range(4)] + [f"b/c/{i}.png" for i in range(4, 9)]
    assert [source.name(i) for i in range(len(source))] == [str(picture_folder / name) for name in expected]
    for index in range(9):
        np.testing.assert_array_equal(source.read(index), random_picture(16 + 3 * index, 20 + index, seed=index))


@pytest.mark.parametrize("extension", ["PNG", "JPG", "Jpeg", "webp", "BMP"])
def test_extensions_are_known_in_any_case(tmp_path: Path, extension: str) -> None:
    Image.new("RGB", (9, 7), (200, 30, 60)).save(tmp_path / f"picture.{extension}")
    image = read_only_picture(tmp_path)
    assert image.size == (9, 7)
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() < 8


def test_links_are_followed_and_a_loop_of_links_ends(picture_folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "real").symlink_to(picture_folder)
    (picture_folder / "a" / "loop").symlink_to(picture_folder)
    assert len(FolderSource(linked)) == 9


def test_a_folder_that_cannot_be_listed_is_an_error(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse_a(path: str) -> object:
        if Path(path).name == "a":  # root may list every folder, so that permissions would prove nothing
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_a)
    with pytest.raises(UserError, match=r"pictures/a cannot be listed \(Permission denied\)"):
        FolderSource(picture_folder)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = random_picture(8, 6, seed=1, mode="L")
    grey.save(tmp_path / "grey.png")
    expected = np.asarray(grey)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(read_only_picture(tmp_path), expected)


def test_16_bit_grey_keeps_its_upper_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 8), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(np.asarray(read_only_picture(tmp_path))[..., 0], values >> 8)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    picture = random_picture(8, 6, seed=2, mode="RGBA")
    picture.save(tmp_path / "alpha.png")
    pixels = np.asarray(picture).astype(float)
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(read_only_picture(tmp_path)) - expected).max() <= 1


def test_palette_with_and_without_a_transparent_entry(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    palette.save(tmp_path / "a_opaque.png")
    palette.save(tmp_path / "b_transparent.png", transparency=1)
    source = FolderSource(tmp_path)
    assert np.asarray(source.read(0)).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert np.asarray(source.read(1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red = np.asarray(read_only_picture(tmp_path)).mean(axis=(0, 1))
    assert red[0] > 240
    assert red[1:].max() < 15


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda x: x), (2, np.fliplr), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, -1)), (8, np.rot90)],
)
def test_exif_orientation_is_honoured(
    tmp_path: Path, orientation: int, upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    picture = random_picture(10, 6, seed=3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_only_picture(tmp_path), upright(np.asarray(picture)))


def test_zip_reads_stylegans_layout(stylegan_zip: Path) -> None:
    source = ZipSource(stylegan_zip)
    assert len(source) == 11
    assert source.name(10).endswith("dataset.zip/00001/img00000010.png")
    for index in range(11):
        np.testing.assert_array_equal(source.read(index), random_picture(16, 16, seed=index))


def test_zip_survives_pickling_after_use(stylegan_zip: Path) -> None:
    source = ZipSource(stylegan_zip)
    source.read(0)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(7), random_picture(16, 16, seed=7))
    np.testing.assert_array_equal(source.read(8), random_picture(16, 16, seed=8))


def _read_many(source: ZipSource, queue: "multiprocessing.Queue[bool]") -> None:
    expected = [np.asarray(random_picture(16, 16, seed=index)) for index in range(11)]
    queue.put(all(np.array_equal(np.asarray(source.read(i % 11)), expected[i % 11]) for i in range(300)))


def test_zip_is_opened_anew_in_each_forked_process(stylegan_zip: Path) -> None:
    source = ZipSource(stylegan_zip)
    source.read(0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_read_many, args=(source, queue)) for _ in range(3)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(timeout=60)
    assert results == [True] * 3


def test_open_source_chooses_by_kind(picture_folder: Path, stylegan_zip: Path) -> None:
    assert isinstance(open_source(str(picture_folder)), FolderSource)
    assert isinstance(open_source(str(stylegan_zip)), ZipSource)


@pytest.mark.parametrize("path", [None, "/no/such/folder", "/no/such.zip"])
def test_an_unset_or_missing_path_says_how_to_get_the_data(path: str | None) -> None:
    with pytest.raises(UserError) as caught:
        open_source(path, hint="Download FFHQ from example.org and run prepare.")
    assert "data.path" in str(caught.value)
    assert str(path) in str(caught.value) or path is None
    assert str(caught.value).endswith("Download FFHQ from example.org and run prepare.")


def test_a_path_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("a.png")
    with pytest.raises(UserError, match=r"data\.test_path=.*list\.txt.*not a folder"):
        open_source(str(text), option="data.test_path")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no picture in .*empty"):
        open_source(str(empty))
    fake = tmp_path / "fake.zip"
    fake.write_text("text")
    with pytest.raises(UserError, match=r"fake\.zip cannot be read as a zip"):
        open_source(str(fake))
    hollow = tmp_path / "hollow.zip"
    with zipfile.ZipFile(hollow, "w") as archive:
        archive.writestr("dataset.json", "{}")
    with pytest.raises(UserError, match=r"no picture in .*hollow\.zip"):
        open_source(str(hollow))


def test_a_sound_source_passes_the_check(picture_folder: Path, stylegan_zip: Path) -> None:
    check_readable(FolderSource(picture_folder))
    check_readable(ZipSource(stylegan_zip))


def test_the_check_names_five_bad_files_and_counts_them_all(picture_folder: Path) -> None:
    for index in range(7):
        (picture_folder / f"bad{index}.png").write_text("this is a text file")
    with pytest.raises(UserError) as caught:
        check_readable(FolderSource(picture_folder))
    message = str(caught.value)
    assert "7 of the 16" in message
    assert [f"bad{i}.png" in message for i in range(7)] == [True] * 5 + [False] * 2
    assert "and 2 more" in message
    assert "delete or replace" in message


def test_the_check_finds_a_damaged_png_and_a_damaged_zip_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    random_picture(32, 32, seed=0).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png"):
        check_readable(FolderSource(tmp_path))
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("00000/img00000000.png", bytes(content))
    damaged = archive.read_bytes().replace(bytes(content[-40:-20]), b"x" * 20)
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match=r"set\.zip/00000/img00000000\.png"):
        check_readable(ZipSource(archive))


def test_a_large_source_is_sampled_evenly(tmp_path: Path) -> None:
    seen = []

    class Counting(FolderSource):
        def verify(self, index: int) -> None:
            seen.append(index)

        def __len__(self) -> int:
            return 1000

    random_picture(8, 8, seed=0).save(tmp_path / "one.png")
    check_readable(Counting(tmp_path), limit=100)
    assert len(set(seen)) == 100
    assert (seen[0], seen[-1]) == (0, 999)
    assert set(np.diff(seen)) <= {10, 11}


def test_undecodable_pictures_are_named(tmp_path: Path) -> None:
    random_picture(64, 64, seed=0).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("this is a text file")
    source = FolderSource(tmp_path)
    with pytest.raises(UserError, match=r"cut\.jpg cannot be decoded .*truncated"):
        source.read(0)
    with pytest.raises(UserError, match=r"text\.png cannot be decoded \(not a picture\); delete or replace"):
        source.read(1)
    (tmp_path / "text.png").unlink()
    with pytest.raises(UserError, match=r"text\.png cannot be decoded .*No such file"):
        source.read(1)
