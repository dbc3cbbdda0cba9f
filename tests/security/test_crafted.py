"""Files that were made to run code, or to take all memory: refused in one message, and nothing happened."""

import json
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file

from cips_lab import load_generator
from cips_lab.errors import UserError
from cips_lab.files.untrusted import read_torch
from cips_lab.interop import official
from cips_lab.interop.native import FORMAT, save_generator
from cips_lab.launch.resume import check_checkpoint
from cips_lab.launch.same_run import refuse_another_run
from cips_lab.metrics.extractors import load_extractor
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.runs.settings import read_settings
from forked import Python

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

CIPS: dict[str, Any] = {
    "_target_": "cips_lab.networks.cips.CIPSGenerator",
    "resolution": 8,
    "width": 8,
    "z_dim": 6,
    "w_dim": 7,
    "mapping_layers": 2,
    "fourier": {"features": 8},
    "embedding": {"features": 4},
}


def small(**changes: Any) -> CIPSGenerator:
    return CIPSGenerator(**{k: v for k, v in (CIPS | changes).items() if k != "_target_"})


class Malice:
    """Unpickled without care, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.mark, "code was run")


def craft(path: Path, mark: Path, form: str) -> Path:
    """The malice in torch's zip format (as one value of a checkpoint), its older format, or as a bare pickle."""
    if form == "pickle":
        path.write_bytes(pickle.dumps({"g_ema": Malice(mark)}))
    else:
        content = {"state_dict": {}, "g_ema": {"style.1.weight": torch.zeros(7, 6)}, "cips_lab": Malice(mark)}
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = ("zip", "old", "pickle")


@pytest.mark.parametrize("form", FORMS)
def test_the_crafted_file_is_what_it_is_meant_to_be(tmp_path: Path, form: str) -> None:
    path = craft(tmp_path / "a.pt", tmp_path / "mark", form)
    if form == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".pth", ".safetensors"])
def test_nothing_runs(tmp_path: Path, form: str, suffix: str) -> None:
    path = craft(tmp_path / f"evil{suffix}", tmp_path / "mark", form)
    readers: list[Callable[[], object]] = [
        lambda: load_generator(path),
        lambda: official.load_generator(path),
        lambda: official.load_discriminator(path),
        lambda: read_torch(path, "a file"),
    ]
    readers += [lambda n=name: load_extractor(n, path) for name in ("efficientnet_lite0", "inception", "vgg16", "clip")]
    for read in readers:
        with pytest.raises(UserError, match=f"evil{suffix}"):
            read()
    assert not (tmp_path / "mark").exists()


@pytest.fixture
def command(python: Python) -> Callable[..., subprocess.CompletedProcess[str]]:
    """command(folder, "train", "experiment=debug", ...) -> the finished process."""

    def call(folder: Path, name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
        return python("-m", f"cips_lab.{name}", *overrides, cwd=folder)

    return call


def refused(result: subprocess.CompletedProcess[str], file: str) -> None:
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert file in result.stderr[result.stderr.index("error: ") :]  # a message may go on in further lines
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_runs_through_any_command(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    for suffix in (".pt", ".ckpt"):
        evil = craft(tmp_path / f"evil{suffix}", mark, "zip")
        refused(command(tmp_path, "synthesize", f"ckpt={evil}"), evil.name)
        refused(command(tmp_path, "train", "experiment=debug", "trainer=cpu", f"init={evil}", "name=a"), evil.name)
    save_generator(small(), tmp_path / "good.safetensors", CIPS, kimg=0)
    evil = craft(tmp_path / "evil.pth", mark, "zip")
    arguments = ["ckpt=good.safetensors", "data=blue_marble", "metrics=efficientnet_lite0"]
    refused(command(tmp_path, "evaluate", *arguments, f"metrics.weights={evil}"), evil.name)
    assert (
        command(tmp_path, "train", "experiment=debug", "trainer=cpu", "name=x", "schedule.total_kimg=0.04").returncode
        == 0
    )
    craft(tmp_path / "runs/x/checkpoints/kimg-00000.040/training.ckpt", mark, "zip")
    refused(command(tmp_path, "train", "experiment=debug", "trainer=cpu", "name=x"), "training.ckpt")
    assert not mark.exists()


def test_a_tampered_checkpoint_is_not_continued_from(tmp_path: Path) -> None:
    from tiny import build_gan

    path = craft(tmp_path / "training.ckpt", tmp_path / "mark", "zip")
    with pytest.raises(UserError, match=r"training\.ckpt: not a checkpoint of a run that can be read safely"):
        check_checkpoint(path, build_gan())
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["cips_lab"].update(images_seen=-8), "says -8 images were seen"),
        (lambda c: c["cips_lab"].update(images_seen="8"), "says '8' images"),
        (lambda c: c.pop("cips_lab"), "says None images"),
        (lambda c: c["state_dict"].pop("generator.first.linear.weight"), "generator.first.linear.weight is not there"),
        (lambda c: c["state_dict"].update(extra=torch.zeros(3)), r"extra is \(3,\), where this run has nothing"),
        (lambda c: c["optimizer_states"].pop(), "lacks the state of the two optimisers"),
        (lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(1)), "exp_avg of parameter 0"),
        (lambda c: c["optimizer_states"][1]["state"][0].pop("step"), "parameter 0"),
        (lambda c: c["optimizer_states"][1]["param_groups"].clear(), "cannot be continued from"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"].clear(), "cannot be continued from"),
        (lambda c: c.pop("pytorch-lightning_version"), "cannot be continued from"),
        (lambda c: c.update(callbacks=[1, 2]), "cannot be continued from"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    from tiny import MemoryDataModule, build_gan, fit, make_trainer

    from cips_lab.callbacks.checkpoints import Checkpoints
    from cips_lab.launch.resume import fit_from

    fit(build_gan(), tmp_path, 1, Checkpoints(0.008))
    path = tmp_path / "checkpoints" / "kimg-00000.008" / "training.ckpt"
    content = torch.load(path, weights_only=True)
    gan, trainer = build_gan(), make_trainer(tmp_path, 2)
    check_checkpoint(path, gan)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match=message) as caught:
        fit_from(trainer, gan, MemoryDataModule(), path)
    assert str(path) in str(caught.value)
    assert "delete kimg-00000.008" in str(caught.value)


class OutOfWorkers(pl.Callback):
    """Something that fails around a checkpoint's restoring and has nothing to do with it."""

    def __init__(self, moment: str) -> None:
        setattr(self, moment, self.fail)

    @staticmethod
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no more workers")


@pytest.mark.parametrize("moment", ["setup", "on_fit_start", "on_train_start"])
def test_what_fails_beside_the_restoring_is_not_blamed_on_the_checkpoint(tmp_path: Path, moment: str) -> None:
    from tiny import MemoryDataModule, build_gan, fit, make_trainer

    from cips_lab.callbacks.checkpoints import Checkpoints
    from cips_lab.launch.resume import fit_from

    fit(build_gan(), tmp_path, 1, Checkpoints(0.008))
    trainer = make_trainer(tmp_path, 2, OutOfWorkers(moment))
    with pytest.raises(RuntimeError, match=r"^no more workers$"):
        fit_from(trainer, build_gan(), MemoryDataModule(), tmp_path / "checkpoints" / "kimg-00000.008")


# ------------------------------------------------------------------ more than the file holds


def peak() -> int:
    """Of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 2**20}, "resolution must be a whole number up to"),
        ({"resolution": 2**13}, r"no to_rgb\.11 in the file"),
        ({"width": 10**9}, "do not fit"),
        ({"width": 20_000}, "first.linear.affine.bias|first.linear.affine"),
        ({"z_dim": 10**6}, "mapping.layers.0.weight"),
        ({"mapping_layers": 10**9}, "mapping_layers must be a whole number up to"),
        ({"mapping_layers": 900}, "mapping.layers.10.bias"),
        ({"fourier": {"features": 10**9}}, "encoding.fourier.bias"),
        ({"fourier": "many"}, "do not fit"),
        ({"embedding": {"features": 4, "std": 1, "odd": 2}}, "odd"),
        ({"width": "8"}, "do not fit"),
        ({"resolution": True}, "resolution must be a whole number"),
        ({"resolution": 1e3}, "resolution must be a whole number"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused_before_it_is_built(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(small(), path, CIPS | changes, kimg=0)
    before = peak()
    with pytest.raises(UserError, match=message) as caught:
        load_generator(path)
    assert str(path) in str(caught.value)
    assert peak() - before < 200


def test_a_convolutional_one_likewise(tmp_path: Path) -> None:
    sizes = {"resolution": 8, "z_dim": 6, "w_dim": 7, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
    config = {"_target_": "cips_lab.networks.stylegan2.StyleGAN2Generator", **sizes}
    generator = StyleGAN2Generator(**sizes)
    for changes in ({"channel_base": 10**12, "channel_max": 10**12}, {"w_dim": 10**7}, {"resolution": 4096}):
        save_generator(generator, tmp_path / "g.safetensors", config | changes, kimg=0)
        with pytest.raises(UserError, match=r"g\.safetensors: weights and configuration do not fit"):
            load_generator(tmp_path / "g.safetensors")


@pytest.mark.parametrize(
    "header",
    ["[" * 50_000, '{"a":' * 20_000 + "1" + "}" * 20_000, "1" * 5000, "x" * 70_000, "[]", "null", '"cips"'],
)
def test_headers_that_are_no_configuration(tmp_path: Path, header: str) -> None:
    path = tmp_path / "g.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": FORMAT, "generator": header})
    with pytest.raises(UserError, match=r"g\.safetensors: its header holds no configuration"):
        load_generator(path)


@pytest.mark.parametrize("size", [2**63, 2**40, 10**8])
def test_a_safetensors_header_of_absurd_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4))
    with pytest.raises(UserError, match=r"g\.safetensors: not a safetensors file"):
        load_generator(path)


def test_a_safetensors_tensor_of_absurd_size(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = tmp_path / "g.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(UserError, match=r"g\.safetensors: not a safetensors file"):
        load_generator(path)


def test_a_bomb_in_torchs_format_is_not_unpacked(tmp_path: Path) -> None:
    """2 GiB of zeros, packed into two megabytes."""
    torch.save({"g_ema": {"style.1.weight": torch.zeros(4)}}, tmp_path / "sound.pt")
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(tmp_path / "sound.pt") as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in sound.namelist():
            if not name.endswith("data/0"):
                bomb.writestr(name, sound.read(name))
                continue
            with bomb.open(name, "w", force_zip64=True) as stream:
                for _ in range(128):
                    stream.write(bytes(2**24))
    before = peak()
    with pytest.raises(UserError, match=r"bomb\.pt: .*claims"):
        official.load_generator(path)
    assert peak() - before < 100


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(2**40),
        torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1), (2**40,)),
        torch.zeros(2**20, 2**20, device="meta"),
    ],
    ids=["strides of 0", "sparse", "meta"],
)
def test_tensors_larger_than_their_file(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "large.pt"
    torch.save({"g_ema": {"style.1.weight": tensor}}, path)
    with pytest.raises(UserError, match=r"large\.pt: not a checkpoint that can be read safely"):
        official.load_generator(path)


def test_containers_that_hold_themselves(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.zeros(2)}
    content["again"] = [content, content]
    torch.save(content, tmp_path / "loop.pt")
    with pytest.raises(UserError, match=r"loop\.pt"):
        load_generator(tmp_path / "loop.pt")


# ------------------------------------------------------------------ config.yaml


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pathlib.Path.write_text [[mark], text]",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 5000,
        "- a\n- b",
        "plain",
        "a: {b: ]",
        "\x00",
        "x: " + "y" * 2**20,
    ],
)
def test_settings_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: not the configuration of a run"):
        refuse_another_run(tmp_path, {"seed": 0}, continuing=True)


def test_nothing_in_settings_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_canary")
    (tmp_path / "config.yaml").write_text("seed: ${oc.env:HF_TOKEN}")
    assert read_settings(tmp_path / "config.yaml") == {"seed": "${oc.env:HF_TOKEN}"}
    with pytest.raises(UserError) as caught:
        refuse_another_run(tmp_path, {"seed": 0}, continuing=True)
    assert "canary" not in str(caught.value)


def test_links_in_folders_are_followed(tmp_path: Path) -> None:
    save_generator(small(), tmp_path / "g.safetensors", CIPS, kimg=0)
    (tmp_path / "run" / "checkpoints" / "kimg-00001.000").mkdir(parents=True)
    link = tmp_path / "run" / "checkpoints" / "kimg-00001.000" / "generator.safetensors"
    link.symlink_to(tmp_path / "g.safetensors")
    assert load_generator(tmp_path / "run").resolution == 8
    shutil.rmtree(tmp_path / "run")
