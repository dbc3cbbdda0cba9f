"""What is written into the page: every tensor, rounded to what it says, and the same bytes every time."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from variants import CIPS_VARIANTS, build

from cips_lab.errors import UserError
from cips_lab.explorer.export import export, name_of
from cips_lab.explorer.packing import pack
from cips_lab.explorer.page import ENGINE, PAGE, SCRIPTS, SHADERS, build_page
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator


def unpacked(header: dict, blob: bytes, name: str) -> np.ndarray:
    shape, kind, offset, factor = header["tensors"][name]
    count = int(np.prod(shape))
    dtype = {"f16": "<f2", "f32": "<f4"}[kind]
    return np.frombuffer(blob, dtype, count, offset).astype(np.float32).reshape(shape) * factor


@pytest.mark.parametrize("name", CIPS_VARIANTS)
def test_tensors_come_back(name: str) -> None:
    generator = build(name)
    assert isinstance(generator, CIPSGenerator)
    header, blob = pack(generator)
    assert json.loads(json.dumps(header)) == json.loads(json.dumps(pack(generator).header))
    assert pack(generator).blob == blob
    linear = generator.first.linear
    expected = (linear.weight * linear.scale).t().detach().numpy()
    found = unpacked(header, blob, "layer.0.weight")
    assert np.abs(found - expected).max() <= 2.0**-11 * np.abs(expected).max()
    if "fourier.weight" in header["tensors"]:
        np.testing.assert_array_equal(
            unpacked(header, blob, "fourier.weight"), generator.encoding.fourier.weight.detach().numpy()
        )
    ends = sorted(
        (offset, offset + int(np.prod(shape)) * int(kind[1:]) // 8)
        for shape, kind, offset, _ in header["tensors"].values()
    )
    assert all(start >= stop for (_, stop), (start, _) in pairwise(ends))
    assert all(start % 4 == 0 for start, _ in ends)
    assert ends[-1][1] == len(blob)


def test_large_numbers_do_not_overflow() -> None:
    generator = build("cips")
    with torch.no_grad():
        generator.encoding.embedding.table.mul_(1e6)
    header, blob = pack(generator)
    table = generator.encoding.embedding.table.detach().numpy()
    assert np.abs(unpacked(header, blob, "embedding.table") - table).max() <= 2.0**-11 * np.abs(table).max()


def test_the_page_holds_all_scripts_and_escapes_what_is_not_ours() -> None:
    page = build_page(pack(build("cips")), "</script><script>alert(1)</script>", {"kimg": 0})
    assert "<script>alert(1)" not in page
    for name in (*ENGINE, *SCRIPTS, *SHADERS, "style.css"):
        assert (PAGE / name).read_text() in page, name
    listed = {*ENGINE, *SCRIPTS, *SHADERS, "style.css", "page.html.j2"}
    assert {entry.name for entry in PAGE.iterdir()} == listed
    assert all(len((PAGE / name).read_text().splitlines()) <= 350 for name in listed)


def test_export_names_what_it_cannot_do(tmp_path: Path) -> None:
    from variants import composed

    save_generator(build("stylegan2"), tmp_path / "stylegan2.safetensors", composed("stylegan2"), 1)
    with pytest.raises(UserError, match="convolutional"):
        export(str(tmp_path / "stylegan2.safetensors"), tmp_path / "page.html")
    broken = build("cips")
    with torch.no_grad():
        broken.first.linear.weight[0, 0] = float("nan")
    save_generator(broken, tmp_path / "broken.safetensors", composed("cips"), 1)
    with pytest.raises(UserError, match="not finite"):
        export(str(tmp_path / "broken.safetensors"), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_names(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / "faces" / "checkpoints" / "kimg-00001.000"
    checkpoint.mkdir(parents=True)
    assert name_of(tmp_path / "runs" / "faces") == "faces"
    assert name_of(checkpoint) == "faces"
    assert name_of(tmp_path / "faces" / "cips.safetensors") == "faces/cips"
