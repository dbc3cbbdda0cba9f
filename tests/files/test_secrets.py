"""Canaries in the environment, in the file of passwords and on the command line: none is in any file of a run."""

import io
import logging
import os
import zipfile
from pathlib import Path

import pytest

from cips_lab.files.secrets import (
    HIDDEN,
    Redacting,
    redact,
    redact_arguments,
    redact_settings,
    secret_values,
)
from forked import Python

ENVIRONMENT = {
    "WANDB_API_KEY": "0123456789canarywandb0123456789abcdefghi",
    "HF_TOKEN": "hf_canarytoken0123456789",
    "HUGGING_FACE_HUB_TOKEN": "hf_canaryhub0123456789",
    "AWS_SECRET_ACCESS_KEY": "canaryaws/0123456789",
    "DATABASE_PASSWORD": "canarypassword",
}
NETRC = "canarynetrc0123456789"
TYPED = "canarytyped0123456789"
CANARIES = [*ENVIRONMENT.values(), NETRC, TYPED, "canary"]

OF_THE_USERS_OWN = """
import pytorch_lightning


class Uploads(pytorch_lightning.Callback):
    def __init__(self, api_key: str, hub: str, url: str) -> None:
        assert "canary" in api_key and "canary" in hub and "canary" in url, "what is hidden in files is not hidden here"
"""


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file, and what lies unpacked in those that are zips."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found[str(path.relative_to(folder))] = content
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    found[f"{path.relative_to(folder)}/{name}"] = archive.read(name)
    return found


def test_a_finished_run_holds_no_secret(python: Python, tmp_path: Path) -> None:
    """Its log, configuration, environment, checkpoints, events, and W&B's files, the binary one among them."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {NETRC}\n")
    (home / ".netrc").chmod(0o600)
    environment = os.environ | ENVIRONMENT | {"HOME": str(home), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    environment["CIPS_LAB_CACHE"] = str(tmp_path / "cache")
    (tmp_path / "mine.py").write_text(OF_THE_USERS_OWN)
    result = python(
        *("-m", "cips_lab.train", "experiment=debug", "trainer=cpu", "name=x", "logger=all"),
        "schedule.total_kimg=0.04",
        "+callbacks.mine._target_=mine.Uploads",
        f"+callbacks.mine.api_key={TYPED}",
        "+callbacks.mine.hub=${oc.env:HF_TOKEN}",
        f"+callbacks.mine.url=https://user:{ENVIRONMENT['DATABASE_PASSWORD']}@example.org/x",
        "logger.wandb.tags=[${oc.env:HUGGING_FACE_HUB_TOKEN}]",
        cwd=tmp_path,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    run = tmp_path / "runs" / "x"
    files = everything_in(run)
    for name in ("config.yaml", "environment.json", "train.log", "metrics.jsonl"):
        assert name in files
    assert any(name.endswith(".wandb") for name in files)
    assert any("tensorboard/events" in name for name in files)
    assert any("training.ckpt/" in name for name in files)
    assert HIDDEN.encode() in files["config.yaml"]
    for name, content in files.items():
        for canary in CANARIES:
            assert canary.encode() not in content, f"{canary} is in {name}"
    for canary in CANARIES:
        assert canary not in result.stdout + result.stderr


# ------------------------------------------------------------------ the parts


@pytest.fixture
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_KEY_PATH", "/home/me/.ssh/id_rsa")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("KEYBOARD_LAYOUT", "english-international")
    (tmp_path / ".netrc").write_text(f"machine example.org login user password {NETRC}\n")
    (tmp_path / ".netrc").chmod(0o600)


@pytest.mark.usefixtures("canaries")
def test_what_is_a_secret() -> None:
    values = secret_values()
    assert {*ENVIRONMENT.values(), NETRC} <= set(values)
    assert not {"abc", "/home/me/.ssh/id_rsa", "english-international"} & set(values)


@pytest.mark.usefixtures("canaries")
def test_texts_settings_and_arguments() -> None:
    assert (
        redact(f"a {NETRC} b https://me:pw@host/x git@github.com")
        == f"a {HIDDEN} b https://{HIDDEN}@host/x git@github.com"
    )
    settings = {
        "data": {"path": "/x", "token": "short", "hub_token": 3, "api_key": None},
        "tags": [NETRC, 1],
        "generator": {"width": 8, "tokens": 4, "keys": ["a"], "monkey": "b"},
        "logger": {"wandb": {"secret": ["a", "b"]}},
    }
    assert redact_settings(settings) == {
        "data": {"path": "/x", "token": HIDDEN, "hub_token": HIDDEN, "api_key": None},
        "tags": [HIDDEN, 1],
        "generator": {"width": 8, "tokens": 4, "keys": ["a"], "monkey": "b"},
        "logger": {"wandb": {"secret": [HIDDEN, HIDDEN]}},
    }
    given = ["name=x", "+logger.wandb.api_key=abc", f"data.path={NETRC}", "--multirun", "data.token=", "seed=0,1"]
    shown = [
        "name=x",
        f"+logger.wandb.api_key={HIDDEN}",
        f"data.path={HIDDEN}",
        "--multirun",
        "data.token=",
        "seed=0,1",
    ]
    assert redact_arguments(given) == shown


@pytest.mark.usefixtures("canaries")
def test_logs(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Redacting())
    logger = logging.getLogger("test of secrets")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("key %s of %d", NETRC, 3)
    try:
        raise ValueError(f"no access with {NETRC}")
    except ValueError:
        logger.exception("failed")
    logger.removeHandler(handler)
    assert "key *** of 3" in stream.getvalue()
    assert "no access with ***" in stream.getvalue()
    assert NETRC not in stream.getvalue()
