"""The built wheel, installed into a fresh environment, works outside the repository, configuration included."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_an_installed_wheel_trains(tmp_path: Path, cache: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    # Gigabytes of dependencies are lent by this environment; its own editable install is not seen through a .pth file.
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    (Path(site.stdout.strip()) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    where = [python, "-c", "import cips_lab; print(cips_lab.__file__)"]
    place = subprocess.run(where, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    assert place.startswith(str(tmp_path / "venv"))
    result = subprocess.run(
        [python, "-m", "cips_lab.train", "experiment=debug", "trainer=cpu", "name=x", "schedule.total_kimg=0.016"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/x/checkpoints/kimg-00000.016/generator.safetensors").exists()
