"""Whether and where W&B keeps runs; what it would refuse is told, or shortened, before a run begins."""

import ast
import os
import tempfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from wandb_log import offline_runs

import cips_lab
from cips_lab.errors import UserError
from cips_lab.tracking.loggers import check_loggers
from cips_lab.tracking.wandb_mode import LONGEST_NAME, LONGEST_TAG, find_a_home, has_wandb_key, shortened, wandb_mode
from cips_lab.tracking.wandb_run import wandb_logger


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a key."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.setenv(name, "")  # so that what is set or removed is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("given", [None, "", " "])
def test_nothing_given_is_offline_without_a_key_and_online_with_one(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given is not None:
        monkeypatch.setenv("WANDB_MODE", given)
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    assert wandb_mode() == "online"


@pytest.mark.parametrize("given", ["off", "none", "Online", "false"])
def test_another_mode_is_refused_before_a_run_begins(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("WANDB_MODE", given)
    options = {"wandb": {"artifacts": "auto", "tags": []}}
    with pytest.raises(UserError, match=f"WANDB_MODE={given}: choose online, offline or disabled"):
        check_loggers(OmegaConf.create(options))
    check_loggers(OmegaConf.create({}))  # logger=none asks nothing of W&B


@pytest.mark.parametrize(
    ("options", "message"),
    [({"artifacts": "some"}, "artifacts=some"), ({"tags": ["t" * 65]}, "64 characters"), ({"tags": [""]}, "64")],
)
def test_what_the_server_refuses_is_refused_before_a_run_begins(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_loggers(OmegaConf.create({"wandb": {"artifacts": "auto", "tags": []} | options}))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"machine", b"machine example.org login a password b"])
def test_a_file_of_passwords_that_cannot_be_read_holds_no_key(tmp_path: Path, content: bytes) -> None:
    assert not has_wandb_key()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_bytes(content)
    (tmp_path / "home" / ".netrc").chmod(0o600)
    assert not has_wandb_key()


def test_long_names_are_shortened_and_stay_apart() -> None:
    long = "n" * 300
    assert shortened("n" * LONGEST_NAME) == "n" * LONGEST_NAME
    assert len(shortened(long)) == LONGEST_NAME
    assert len({shortened(f"{long}{end}") for end in "abc"}) == 3
    assert shortened(long) == shortened(long)


@pytest.mark.parametrize("mode", ["", "offline"])
def test_a_run_with_long_names_keeps_what_the_server_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    folder = tmp_path / ("r" * 200)
    folder.mkdir()
    logger = wandb_logger(str(folder), "p", group="g" * 200, tags=["t" * LONGEST_TAG])
    logger.log_metrics({"kimg": 1.0, "loss": 2.0}, step=1000)
    logger.close()
    (run,) = offline_runs(folder)
    assert run.run["display_name"] == shortened("r" * 200)
    assert run.run["run_group"] == shortened("g" * 200)
    assert [row["loss"] for row in run.history] == [2.0]


def test_a_home_that_is_there_is_left_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    folders = [f"WANDB_{name}_DIR" for name in ("CACHE", "CONFIG", "DATA")]
    for name in folders:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    find_a_home()
    assert not set(folders) & os.environ.keys()
    (tmp_path / "home").rmdir()
    (tmp_path / "home").write_bytes(b"")
    monkeypatch.setenv("WANDB_DATA_DIR", "/mine")
    find_a_home()
    assert os.environ["WANDB_DATA_DIR"] == "/mine"
    assert Path(os.environ["WANDB_CACHE_DIR"]).is_relative_to(tempfile.gettempdir())


def test_nobody_else_imports_wandb() -> None:
    source = Path(cips_lab.__file__).parent
    others = []
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] in ("wandb", "wandb_workspaces") for name in names):
                others.append(path.relative_to(source).parts[0])
    assert set(others) == {"tracking"}
