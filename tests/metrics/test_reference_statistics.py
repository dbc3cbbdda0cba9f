"""Statistics of real pictures on disk: what their key knows, that no picture is read twice, and whole files only."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from sets import noise_pictures, save, tiny_extractor

from cips_lab.data.dataset import ArrayDataset, ImageDataset
from cips_lab.data.sources import FolderSource, ImageSource, ZipSource
from cips_lab.errors import UserError
from cips_lab.metrics.collect import PictureSet
from cips_lab.metrics.extractors import Extractor
from cips_lab.metrics.reference import Reference, recorded, reference_path, references, warn_if_unwritable

COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(noise_pictures(COUNT, seed=0), tmp_path / "pictures")


@pytest.fixture
def extractor() -> Extractor:
    return tiny_extractor()


def listed(folder: Path, resolution: int = 8) -> ImageDataset:
    """Listed anew, as another process would."""
    return ImageDataset(FolderSource(folder), resolution)


def reference(pictures: PictureSet, extractor: Extractor, cache: Path, count: int = COUNT) -> Reference:
    return references(pictures, [extractor], count, batch_size=5, cache=cache)[0]


def spoil(folder: Path) -> None:
    """Put garbage of the same size and time in the place of each picture."""
    for path in folder.iterdir():
        status = path.stat()
        path.write_bytes(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_is_what_the_extractor_sees(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    found = reference(listed(folder), extractor, tmp_path)
    features = extractor(torch.from_numpy(noise_pictures(COUNT, seed=0))).features
    torch.testing.assert_close(found.features, features)
    np.testing.assert_allclose(found.gaussian.covariance, np.cov(found.features.double().T), rtol=1e-9, atol=1e-12)
    assert found.count == found.gaussian.number == COUNT


def test_the_second_time_no_picture_is_read(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    first = reference(listed(folder), extractor, tmp_path)
    spoil(folder)
    with pytest.raises(UserError, match="cannot be decoded"):
        listed(folder)[0]
    second = reference(listed(folder), extractor, tmp_path)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.gaussian.covariance, second.gaussian.covariance)
    # Something else is to be computed: now they would be read.
    with pytest.raises(UserError, match="cannot be decoded"):
        reference(listed(folder), extractor, tmp_path, count=COUNT - 1)


def test_pictures_that_are_gone_are_remembered(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    location = listed(folder).location
    assert recorded(location, 8, extractor, COUNT, tmp_path) is None
    first = reference(listed(folder), extractor, tmp_path)
    for path in folder.iterdir():
        path.unlink()
    found = recorded(location, 8, extractor, COUNT, tmp_path)
    assert found is not None
    assert torch.equal(found.features, first.features)
    assert recorded(location, 16, extractor, COUNT, tmp_path) is None
    assert recorded(location, 8, extractor, COUNT - 1, tmp_path) is None
    assert recorded("elsewhere", 8, extractor, COUNT, tmp_path) is None


def test_the_key_knows_what_matters(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    def key(pictures: PictureSet, count: int = COUNT, network: Extractor = extractor) -> Path:
        return reference_path(pictures, network, count, tmp_path)

    usual = key(listed(folder))
    assert usual == key(listed(folder))
    other = tiny_extractor()
    other.weights_hash = "0" * 16
    different = [key(listed(folder, 16)), key(listed(folder), COUNT - 1), key(listed(folder), network=other)]
    os.utime(folder / "00003.png", ns=(0, 0))
    different.append(key(listed(folder)))
    (folder / "00003.png").rename(folder / "99999.png")
    different.append(key(listed(folder)))
    (folder / "99999.png").unlink()
    different.append(key(listed(folder)))
    assert len({usual, *different}) == 7


def zipped(folder: Path, path: Path, change: int | None = None) -> ZipSource:
    with zipfile.ZipFile(path, "w") as archive:
        for number, picture in enumerate(sorted(folder.iterdir())):
            content = bytearray(picture.read_bytes())
            if number == change:
                content[-20] ^= 1
            archive.writestr(f"{number}.png", bytes(content))
    return ZipSource(path)


def test_a_zip_is_known_by_its_checksums(folder: Path, tmp_path: Path) -> None:
    prints = [
        zipped(folder, tmp_path / f"{name}.zip", change).fingerprint()
        for name, change in (("a", None), ("b", None), ("c", 4))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_an_array_is_known_by_its_bytes(tmp_path: Path) -> None:
    pictures = noise_pictures(COUNT, seed=0)
    first = ArrayDataset(pictures).fingerprint()
    np.save(tmp_path / "array.npy", pictures)
    mapped = ArrayDataset(np.load(tmp_path / "array.npy", mmap_mode="r"))
    assert mapped.fingerprint() == first
    assert mapped.location == str(tmp_path / "array.npy")
    pictures[-1, 2, 7, 7] ^= 1
    assert ArrayDataset(pictures).fingerprint() != first


def test_any_other_source_is_known_by_its_bytes(folder: Path) -> None:
    class Plain(ImageSource):
        def __init__(self, source: FolderSource) -> None:
            self.source = source

        @classmethod
        def takes(cls, path: str) -> bool:
            return False

        def __len__(self) -> int:
            return len(self.source)

        def name(self, index: int) -> str:
            return self.source.name(index)

        def open(self, index: int) -> IO[bytes]:
            return self.source.open(index)

        @property
        def location(self) -> str:
            return "elsewhere"

    first = Plain(FolderSource(folder)).fingerprint()
    os.utime(folder / "00003.png", ns=(0, 0))
    assert Plain(FolderSource(folder)).fingerprint() == first
    spoil(folder)
    assert Plain(FolderSource(folder)).fingerprint() != first


def test_two_extractors_share_a_pass(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = ImageDataset.__getitem__
    monkeypatch.setattr(ImageDataset, "__getitem__", lambda self, i: (reads.append(i), original(self, i))[1])
    a, b = tiny_extractor(), tiny_extractor()
    b.name = "other"
    references(listed(folder), [a, b], COUNT, cache=tmp_path)
    assert sorted(reads) == list(range(COUNT))
    references(listed(folder), [a, b], COUNT, cache=tmp_path)
    assert len(reads) == COUNT
    b.name = "third"  # only what is missing is computed
    references(listed(folder), [a, b], COUNT, cache=tmp_path)
    assert len(reads) == 2 * COUNT


def test_a_damaged_file_is_named(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    path = reference(listed(folder), extractor, tmp_path).path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read .*delete it"):
        reference(listed(folder), extractor, tmp_path)


def test_a_cache_that_cannot_be_written_costs_no_features_and_is_told_once(
    folder: Path, extractor: Extractor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    unwritable = tmp_path / "file" / "cache"
    warn_if_unwritable(unwritable)
    (record,) = caplog.records
    assert re.search(r"paths\.cache=.*file/cache/metrics cannot be written .*; set paths\.cache", record.getMessage())
    found = reference(listed(folder), extractor, unwritable)
    assert torch.equal(found.features, reference(listed(folder), extractor, tmp_path / "cache").features)
    assert len(caplog.records) == 1


def test_a_picture_that_vanished_is_named(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    pictures = listed(folder)
    (folder / "00003.png").unlink()
    with pytest.raises(UserError, match=r"00003\.png: gone since the folder was listed"):
        reference(pictures, extractor, tmp_path)


TOGETHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_reference_statistics import listed, reference
from sets import tiny_extractor
print(float(reference(listed(Path(sys.argv[2])), tiny_extractor(), Path(sys.argv[3])).features.sum()))
"""


def test_processes_that_start_together(folder: Path, extractor: Extractor, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOGETHER, str(Path(__file__).parent), str(folder), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(sums) == 1
    assert [path.suffix for path in (tmp_path / "cache" / "metrics").iterdir()] == [".safetensors"]
