"""Whether and where W&B keeps runs, and what it would refuse: looked at before a run begins."""

import hashlib
import os
from urllib.parse import urlparse

from cips_lab.errors import UserError
from cips_lab.files.places import home_is_closed, own_temporary_folder
from cips_lab.files.secrets import read_netrc
from cips_lab.runs.folder import WANDB

MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "run": "online", "dryrun": "offline"}
# Characters; the server refuses longer ones, long after the start.
LONGEST_NAME = 128  # of a run, a group or an artifact
LONGEST_TAG = 64
FOLDERS = ("CACHE", "CONFIG", "DATA")  # that W&B makes in a home, and variables that name others


def wandb_mode() -> str:
    """``online``, ``offline`` or ``disabled``: what WANDB_MODE says, else online where there is an API key.

    Raises:
        UserError: WANDB_MODE is something else.
    """
    given = os.environ.get("WANDB_MODE", "").strip()
    if not given:
        os.environ.pop("WANDB_MODE", None)  # W&B itself takes an empty one for a mistake
        return "online" if has_wandb_key() else "offline"
    if given not in MODES:
        raise UserError(f"WANDB_MODE={given}: choose online, offline or disabled (or logger=none), or unset it")
    return MODES[given]


def has_wandb_key() -> bool:
    """Whether W&B could log in without asking: WANDB_API_KEY, or what `wandb login` left in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or "api.wandb.ai"
    entries = read_netrc()
    return entries is not None and entries.authenticators(server) is not None


def find_a_home() -> None:
    """Give W&B a temporary folder where this user has no home: it would tell of it in dozens of lines."""
    if home_is_closed():
        for folder in FOLDERS:
            os.environ.setdefault(f"WANDB_{folder}_DIR", str(own_temporary_folder() / WANDB / folder.lower()))


def check_tags(tags: list[str]) -> None:
    """Raise `UserError` for tags that W&B refuses."""
    for tag in tags:
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise UserError(f"logger.wandb.tags: {tag!r} has not 1 to {LONGEST_TAG} characters, as W&B wants it")


def shortened(name: str, most: int = LONGEST_NAME) -> str:
    """A name that W&B takes; of two long ones that differ, the short ones differ too."""
    if len(name) <= most:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{name[: most - 17]}-{digest}"
