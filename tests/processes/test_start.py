"""What a training does not import: it would start later, and tell of fonts and homes."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = ["experiment=debug", "trainer=cpu", "schedule.total_kimg=0.016", "data.num_workers=0", "name=run"]
# After the command has run to its end, evaluation, samples, page and all.
PROGRAM = """
import sys
from cips_lab.train import main
main()
print("LEFT OUT:", sorted({"matplotlib", "scipy.signal", "torchvision"} & sys.modules.keys()))
"""


def test_a_training_imports_no_plots_and_says_nothing_of_a_home_that_is_not_there(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG"))}
    environment |= {"HOME": str(tmp_path / "missing"), "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *SMALL], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "LEFT OUT: []" in done.stdout
    said = (done.stdout + done.stderr).lower()
    assert not [word for word in ("matplotlib", "fontmanager", "font cache") if word in said.replace("left out", "")]


def test_what_is_left_out_can_be_imported(tmp_path: Path) -> None:
    program = (
        "from cips_lab.processes.runtime import tune\ntune()\nimport pytorch_lightning\n"
        "import matplotlib.figure, scipy.signal, torch_fidelity, torchvision\n"
        "from torchmetrics import Metric"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
