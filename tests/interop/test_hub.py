"""The Hugging Face hub: there and back over HTTP, and one message for each way in which that can end."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_stand_in import TOKEN, Hub, standing_in
from PIL import Image
from test_native import CIPS, STYLEGAN2, build, write_checkpoint

from cips_lab.errors import UserError
from cips_lab.files.untrusted import read_safetensors
from cips_lab.interop.hub import ID, is_hub_id
from cips_lab.interop.native import load_generator, save_generator
from forked import Python

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with standing_in() as hub:
        yield hub


@pytest.fixture
def script(python: Python, hub: Hub, tmp_path: Path) -> Script:
    """Runs code as a process of its own, for the hub's address is read once: its UserError is its last line."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "script.py").write_text(
            "from cips_lab import load_generator, push_to_hub\nfrom cips_lab.errors import UserError\n"
            "try:\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "except UserError as error:\n"
            "    raise SystemExit(f'UserError: {error}')\n"
        )
        return python(tmp_path / "script.py", cwd=tmp_path, env=hub.environment(tmp_path / "hf") | environment)

    return run


def refused(result: subprocess.CompletedProcess[str], *says: str) -> None:
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1, result.stderr
    assert lines[-1].startswith("UserError: "), result.stderr
    assert all(part in lines[-1] for part in says), lines[-1]
    assert TOKEN not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of 1.5 kimg with an evaluation of that moment, one of another, and a path that concerns nobody."""
    folder = tmp_path / "runs" / "mine"
    write_checkpoint(folder / "checkpoints" / "kimg-00001.500", build(CIPS), CIPS)
    settings: dict[str, Any] = {
        "name": "mine", "seed": 3, "batch_size": 8, "schedule": {"total_kimg": 2.0},
        "objective": {"r1_weight": 3.0}, "data": {"path": "/home/me/secret"},
        "discriminator": {"_target_": "x.Y", "weights": "/home/me/weights.pt"},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "choices.yaml").write_text("data: blue_marble\ngenerator: cips_residual\n")
    record = (
        '"num_samples": 100, "num_real": 200, "extractor": "efficientnet_lite0", "weights": "ab", '
        '"manifold_extractor": "efficientnet_lite0", "data": "/home/me/secret"}\n'
    )
    (folder / "metrics.jsonl").write_text(
        f'{{"kimg": 0.5, "fd_efficientnet_lite0": 99.5, {record}{{"kimg": 1.5, "fd_efficientnet_lite0": 42.25, {record}'
    )
    return folder


def test_there_and_back(hub: Hub, script: Script, run_folder: Path, tmp_path: Path) -> None:
    result = script(
        "print(push_to_hub('runs/mine', 'me/faces', licence='cc-by-4.0', seeds=range(5), tags=['mine']))\n"
        "import torch\n"
        "torch.save(load_generator('me/faces').state_dict(), 'back.pt')"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{hub.endpoint}/me/faces"
    files = hub.repositories["me/faces"]
    assert sorted(files) == ["README.md", "config.json", "generator.safetensors", "metrics.json", "samples.png"]
    assert hub.commits["me/faces"] == ["A generator of cips_lab"]
    back, original = torch.load(tmp_path / "back.pt"), load_generator(run_folder).state_dict()
    assert all(torch.equal(back[name], value) for name, value in original.items())

    _, front, card = files["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["license"], told["library_name"]) == ("cc-by-4.0", "cips_lab")
    assert "mine" in told["tags"]
    (result_of,) = told["model-index"][0]["results"]
    assert result_of["dataset"]["name"] == "blue_marble"
    assert [(m["type"], m["value"]) for m in result_of["metrics"]] == [("fd_efficientnet_lite0", 42.25)]
    assert 'load_generator("me/faces")' in card
    assert "42.2500" in card
    assert "99.5" not in card
    assert '"blocks": "residual"' in card
    assert not [name for name, content in files.items() if b"/home/me" in content]

    (tmp_path / "grid.png").write_bytes(files["samples.png"])
    assert Image.open(tmp_path / "grid.png").size == (4 * 8, 2 * 8)
    # A second time: the repository is there, and what was downloaded is not asked for again.
    before = len(hub.requests)
    result = script("push_to_hub('runs/mine', 'me/faces', licence='mit', message='again')")
    assert result.returncode == 0, result.stderr
    assert hub.commits["me/faces"][1:] == ["again"]
    assert script("load_generator('me/faces')", HF_HUB_OFFLINE="1").returncode == 0
    assert "GET /me/faces/resolve/main/generator.safetensors" not in hub.requests[before:]


def test_both_networks_and_what_others_train_on(hub: Hub, script: Script, run_folder: Path, tmp_path: Path) -> None:
    training = run_folder / "checkpoints" / "kimg-00001.500" / "training.ckpt"
    content = torch.load(training, weights_only=True)
    content["state_dict"] |= {"discriminator.weight": torch.arange(3.0)}
    torch.save(content, training)
    result = script(
        "push_to_hub('runs/mine', 'me/both', licence='mit', discriminator=True, private=True)\n"
        "from cips_lab.interop.native import discriminator_state\n"
        "print(discriminator_state('me/both'))"
    )
    assert result.returncode == 0, result.stderr
    assert "tensor([0., 1., 2.])" in result.stdout
    assert "discriminator.safetensors" in hub.repositories["me/both"]
    assert b"init=me/both" in hub.repositories["me/both"]["README.md"]
    assert hub.private == {"me/both"}
    refused(script("load_generator('me/both')", HF_TOKEN="other", HF_HOME=str(tmp_path / "new")), "no repository")
    hub.repositories["me/one"] = {"generator.safetensors": hub.repositories["me/both"]["generator.safetensors"]}
    alone = script(
        "from cips_lab.interop.native import discriminator_state\nassert discriminator_state('me/one') is None"
    )
    assert alone.returncode == 0, alone.stderr


def test_what_a_card_says_of_a_file_alone(hub: Hub, script: Script, tmp_path: Path) -> None:
    save_generator(build(STYLEGAN2), tmp_path / "g.safetensors", STYLEGAN2, kimg=7)
    result = script("push_to_hub('g.safetensors', 'me/other', licence='other')")
    assert result.returncode == 0, result.stderr
    card = hub.repositories["me/other"]["README.md"].decode()
    assert "published from a file outside its run" in card
    assert "model-index" not in card
    assert "image_grid(*generator.size)" in card  # a convolutional one draws no other


def test_a_path_that_exists_wins(hub: Hub, script: Script, tmp_path: Path) -> None:
    save_generator(build(CIPS), tmp_path / "me" / "faces" / "generator.safetensors", CIPS, kimg=7)
    assert script("load_generator('me/faces')").returncode == 0
    assert hub.requests == []


def test_what_is_no_generator(hub: Hub, script: Script) -> None:
    hub.repositories["me/text"] = {"README.md": b"text"}
    hub.repositories["me/damaged"] = {"generator.safetensors": b"text, no tensors"}
    hub.gated.add("me/gated")
    refused(script("load_generator('me/text')"), "me/text", "holds no generator.safetensors")
    refused(script("load_generator('me/damaged')"), "generator.safetensors: not a safetensors file")
    refused(script("load_generator('me/gated')"), f"{hub.endpoint}/me/gated is gated", "hf auth login")
    refused(script("load_generator('me/absent')"), "no such file or folder here", f"no repository {hub.endpoint}")


def test_what_cannot_be_published(hub: Hub, script: Script, tmp_path: Path) -> None:
    save_generator(build(CIPS), tmp_path / "g.safetensors", CIPS, kimg=7)
    refused(script("push_to_hub('g.safetensors', 'faces', licence='mit')"), "faces: not the name of a repository")
    refused(script("push_to_hub('g.safetensors', 'me/faces', licence='All rights')"), "licence='All rights'")
    refused(script("push_to_hub('g.safetensors', 'me/faces', licence='mit', discriminator=True)"), "no discriminator")
    refused(script("push_to_hub('absent.safetensors', 'me/faces', licence='mit')"), "no such file")
    assert hub.requests == []  # all of it is known before
    for token in ("", "wrong"):
        refused(script("push_to_hub('g.safetensors', 'me/faces', licence='mit')", HF_TOKEN=token), "hf auth login")
    assert hub.repositories == {}


def test_no_network(script: Script, tmp_path: Path) -> None:
    save_generator(build(CIPS), tmp_path / "g.safetensors", CIPS, kimg=7)
    nobody = "http://127.0.0.1:9"
    refused(
        script("load_generator('me/faces')", HF_ENDPOINT=nobody), "no such file or folder here", "cannot be reached"
    )
    refused(script("load_generator('me/faces')", HF_HUB_OFFLINE="1"), "cannot be reached", "HF_HUB_OFFLINE")
    refused(script("push_to_hub('g.safetensors', 'me/f', licence='mit')", HF_ENDPOINT=nobody), "cannot be reached")


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub.errors", None)
    with pytest.raises(UserError, match=r"me/faces: no such file or folder; .* pip install 'cips-lab\[hub\]'"):
        load_generator("me/faces")
    from cips_lab import push_to_hub

    with pytest.raises(UserError, match=r"pip install 'cips-lab\[hub\]'"):
        push_to_hub("g.safetensors", "me/faces", licence="mit")


def test_what_is_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    names = ["me/faces", "me/CIPS-64_v1.2", "0/1"]
    assert all(is_hub_id(name) for name in names)
    paths = ["faces", "a/b", "a/b/c", "me/faces/", "/me/faces", "./faces", "../faces", "~/faces", "me/g.safetensors"]
    assert not [name for name in [*paths, "me/faces\n", "me/fa ces", "mé/faces", "", "/"] if is_hub_id(name)]
    assert not is_hub_id(Path("me/faces"))
    assert ID.fullmatch("a/b")


def test_the_file_of_a_repository_is_read_as_any_other(hub: Hub, script: Script, tmp_path: Path) -> None:
    """Its header cannot name code to run."""
    save_generator(build(CIPS), tmp_path / "g.safetensors", {**CIPS, "_target_": "os.system"}, kimg=7)
    assert read_safetensors(tmp_path / "g.safetensors")[1]["generator"].count("os.system") == 1
    hub.repositories["me/evil"] = {"generator.safetensors": (tmp_path / "g.safetensors").read_bytes()}
    refused(script("load_generator('me/evil')"), "its generator is 'os.system'")
