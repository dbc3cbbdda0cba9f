"""docs/export.md: its Python, run as it stands there, by somebody who has neither Lightning nor Hydra."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_stand_in import standing_in
from PIL import Image
from test_discriminators import RESIDUAL_CONFIG, residual
from test_native import CIPS, build, write_checkpoint

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
LINES = re.findall(r"^python -c \"(.*)\"$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/quickstart, of the size of a test."""
    folder = tmp_path_factory.mktemp("work")
    run = folder / "runs" / "quickstart"
    checkpoint = write_checkpoint(run / "checkpoints" / "kimg-00001.500", build(CIPS), CIPS)
    content = torch.load(checkpoint / "training.ckpt", weights_only=True)
    content["state_dict"] |= {f"discriminator.{name}": value for name, value in residual().state_dict().items()}
    torch.save(content, checkpoint / "training.ckpt")
    settings = {"discriminator": RESIDUAL_CONFIG, "schedule": {"total_kimg": 2}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.mark.slow
def test_the_document_runs(work: Path) -> None:
    assert len(BLOCKS) == 6
    assert len(LINES) == 1
    # Publishing shares modules with the commands; what comes before it must do without what they are made with.
    *before, publishing = BLOCKS
    checked = "import sys\nassert not {'pytorch_lightning', 'hydra', 'omegaconf'} & sys.modules.keys()\n"
    agree = "assert np.allclose(found['onnx'], found['exported'], atol=1e-4), 'the blocks draw two pictures'\n"
    parts = []
    for block in before:
        parts.append(block)
        if "onnx.png" in block:
            parts.append("found = {'onnx': rgb}\n")
        if "torch.export.load" in block:
            parts.append(f"found['exported'] = rgb.numpy()\n{agree}")
    program = "\n".join([*parts, checked, publishing, *LINES])
    with standing_in() as hub:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=work, env=hub.environment(work / "hf"), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert sorted(hub.repositories["owner/name"]) == [
            "README.md", "config.json", "discriminator.safetensors", "generator.safetensors", "samples.png",
        ]  # fmt: skip
        assert len(hub.commits["owner/name"]) == 2
    picture = np.asarray(Image.open(work / "onnx.png"))
    assert picture.shape == (96, 128, 3)
    assert picture.std() > 5
