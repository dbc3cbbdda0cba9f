"""Keys, tokens and passwords: what is one, and texts without them. For all that a run writes."""

import logging
import netrc
import os
import re
from collections.abc import Mapping
from typing import Any

from cips_lab.files.names import printable

HIDDEN = "***"
SHORTEST = 8  # characters of a value worth hiding wherever it stands: shorter ones are parts of other words

_WORDS = r"(token|password|passwd|passphrase|secret|credentials?|api_?key|access_?key|private_?key)"
SECRET_NAME = re.compile(rf"(^|[._+~/]){_WORDS}($|_)|_{_WORDS}($|_)", re.IGNORECASE)  # of a setting
SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)
ADDRESS = re.compile(r"(\w+://)[^/@\s]+@")  # https://user:password@host


def secret_values() -> list[str]:
    """The secrets that this process can see: in its environment, and in the file of passwords; the longest first."""
    values = {value for name, value in os.environ.items() if SECRET_VARIABLE.search(name)}
    entries = read_netrc()
    if entries is not None:
        values |= {password for _, _, password in entries.hosts.values() if password}
    # A path to a file of secrets is none, and is what other settings legitimately begin with.
    return sorted((v for v in values if len(v) >= SHORTEST and not v.startswith(("/", "~"))), key=len, reverse=True)


def read_netrc() -> netrc.netrc | None:
    """The file of passwords in the home folder; None where there is none that can be read."""
    try:
        return netrc.netrc()
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError, RuntimeError):  # RuntimeError: there is no home
        return None


def redact(text: str) -> str:
    """A text in which every secret value, and every password in an address, is `HIDDEN`; one that can be written."""
    for value in secret_values():
        text = text.replace(value, HIDDEN)
    return printable(ADDRESS.sub(rf"\1{HIDDEN}@", text))


def redact_settings(settings: Any, name: str = "") -> Any:
    """Nested settings in which the values of secret names and all secret values are `HIDDEN`."""
    if isinstance(settings, Mapping):
        return {key: redact_settings(value, str(key)) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [redact_settings(value, name) for value in settings]
    if SECRET_NAME.search(name) and settings is not None:
        return HIDDEN
    return redact(settings) if isinstance(settings, str) else settings


def redact_arguments(arguments: list[str]) -> list[str]:
    """A command line ``data.token=abc name=x`` likewise."""
    shown = []
    for argument in arguments:
        name, separator, value = argument.partition("=")
        hidden = separator and value and SECRET_NAME.search(name)
        shown.append(f"{name}={HIDDEN}" if hidden else redact(argument))
    return shown


class Redacting(logging.Filter):
    """A filter of log handlers: no secret value passes, whoever logs it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


def guard_logs() -> None:
    """Let no secret through to what the root logger writes to."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(present, Redacting) for present in handler.filters):
            handler.addFilter(Redacting())
