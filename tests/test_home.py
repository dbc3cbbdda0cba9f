"""The suite leaves the home folder of whoever starts it alone."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

from cips_lab.data.blue_marble import load_tiles
from cips_lab.files.cache import cache_folder

PLACES = "import os; from pathlib import Path; print(Path.home(), os.environ['CIPS_LAB_CACHE'])"


def test_what_the_suite_starts_has_a_home_of_its_own() -> None:
    real = Path(pwd.getpwuid(os.getuid()).pw_dir)
    home, cache = subprocess.check_output([sys.executable, "-c", PLACES], text=True).split()
    assert home == os.environ["HOME"] == str(Path.home())
    assert not Path(home).is_relative_to(real)
    assert cache_folder() == Path(cache)
    assert Path(cache).is_relative_to(home)
    assert not [name for name in os.environ if name.startswith("XDG_")]


def test_a_whole_suite_leaves_the_home_as_it_was(tmp_path: Path) -> None:
    """A suite of one test, which cuts tiles and imports what keeps settings in a home."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "notes").write_bytes(b"mine")
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport home\nhome.move_in()\n"
    )
    (suite / "test_one.py").write_text(
        "from cips_lab.data.blue_marble import load_tiles\n"
        "import matplotlib.pyplot, wandb\n"
        "def test_one():\n"
        "    assert len(load_tiles(16, 'test'))\n"
        "    wandb.init(mode='offline', settings=wandb.Settings(console='off', silent=True)).finish()\n"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("CIPS_LAB_TEST_HOME", "CIPS_LAB_CACHE")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=suite, env=kept | {"HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in home.rglob("*")] == ["notes"]


def test_tiles_are_cut_into_the_shared_cache() -> None:
    load_tiles(16, "test")
    assert list(cache_folder().glob("blue_marble_16_test_*.npy"))
