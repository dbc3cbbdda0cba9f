"""The Hugging Face hub: files of a repository ``owner/name``, there and back.

Only named files are read, and as any file from elsewhere: a repository's code is never run. `huggingface_hub` keeps
what it downloaded (HF_HOME), knows the token (`hf auth login`, or HF_TOKEN), and asks HF_ENDPOINT.
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cips_lab.errors import UserError
from cips_lab.files.untrusted import first_line

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".zip")  # what ends so is a path that was mistyped
TIMEOUT = 10  # seconds for the hub's first answer
EXTRA = "pip install 'cips-lab[hub]'"


def is_hub_id(source: str | Path) -> bool:
    """Whether a text is exactly ``owner/name``, and no path that is there. A `Path` is a path."""
    return (
        isinstance(source, str)
        and ID.fullmatch(source) is not None
        and not source.endswith(FILES)
        and not Path(source).exists()
    )


def fetch(repo_id: str, name: str) -> Path:
    """A file of a repository, from the cache where it is still the newest.

    Raises:
        UserError: there is no such file or repository, it may not be read, the hub cannot be reached, or the package is
            missing.
    """
    path = download(repo_id, name)
    if path is None:
        raise UserError(f"{repo_id}: this repository of the Hugging Face hub holds no {name}: no generator of cips_lab")
    return path


def download(repo_id: str, name: str) -> Path | None:
    """As `fetch`; None where the repository has no such file."""
    package = _package(f"{repo_id}: no such file or folder; as a repository of the Hugging Face hub it needs")
    with _told(repo_id, f"{repo_id}: no such file or folder here, and"):
        try:  # once, for a download tries for half a minute, and it may be a path that was mistyped
            package.HfApi().model_info(repo_id, timeout=TIMEOUT)
        except package.errors.HfHubHTTPError:
            raise
        except (package.errors.HTTPError, ConnectionError):
            kept = package.try_to_load_from_cache(repo_id, name)
            if kept is None:
                raise
            return Path(kept) if isinstance(kept, str) else None  # it also keeps that there is no such file
        try:
            return Path(package.hf_hub_download(repo_id, name))
        except package.errors.RemoteEntryNotFoundError:
            return None
    raise AssertionError  # `_told` swallows nothing


def upload(folder: Path, repo_id: str, *, private: bool, message: str, token: str | None = None) -> str:
    """Put a folder's files into a repository, in one commit; it is made if need be.

    Returns:
        The repository's address.

    Raises:
        UserError: the name is no ``owner/name``, there is no token that may write, the hub cannot be reached, or the
            package is missing.
    """
    package = check_upload(repo_id)
    api = package.HfApi(token=token)
    with _told(repo_id, f"{repo_id}:"):
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(address)


def check_upload(repo_id: str) -> Any:
    """What can be known before any work: `UserError` for a name that is none, and where the package is missing."""
    if not ID.fullmatch(repo_id):
        raise UserError(f"{repo_id}: not the name of a repository of the Hugging Face hub, which is owner/name")
    return _package(f"{repo_id}: the Hugging Face hub needs")


def _package(told: str) -> Any:
    try:
        importlib.import_module("huggingface_hub.errors")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError(f"{told} the package huggingface_hub: {EXTRA}") from None


@contextmanager
def _told(repo_id: str, told: str) -> Iterator[None]:
    """What the hub refuses, or that it cannot be asked, in one message each; no token is ever in one."""
    from huggingface_hub import constants, errors

    where = f"{constants.ENDPOINT}/{repo_id}"
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(f"{told} {where} is gated: ask for access there, then `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{told} there is no repository {where}; to read a private one: `hf auth login`, or HF_TOKEN"
        ) from None
    except errors.LocalTokenNotFoundError:
        raise UserError(f"{told} no token for {constants.ENDPOINT}: `hf auth login`, or HF_TOKEN") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"{told} the token for {constants.ENDPOINT} is missing, or may not do that ({status}): `hf auth login` "
                "with one that may write, or HF_TOKEN"
            ) from None
        raise UserError(f"{told} {where} answers {status} ({first_line(error)})") from None
    except (errors.LocalEntryNotFoundError, errors.HTTPError, ConnectionError) as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(
            f"{told} {constants.ENDPOINT} cannot be reached ({reason}): see to the network, HF_ENDPOINT and "
            "HF_HUB_OFFLINE, or give a local path"
        ) from None
    except ValueError as error:  # names that are none; a card that the hub does not take
        raise UserError(f"{told} {' '.join(str(error).split())}") from None
