"""Names of files as text. Those of old archives and of network drives are often no UTF-8; Python holds each byte of
theirs that is none as half of a surrogate pair, which no encoder of text takes."""

import re

_HIDDEN = re.compile(r"[\\\x00-\x1f\x7f\udc80-\udcff]")  # what a line of text cannot hold, or what escapes it
_HALVES = re.compile(r"[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def printable(name: object) -> str:
    r"""A path or a message that can be printed, logged and encoded as UTF-8: undecodable bytes as ``\xe9``.

    Bytes that make UTF-8, as Python holds them where the locale knows ASCII alone, are the letters that they make.
    """
    text = _HALVES.sub(lambda found: found[0] if "\udc80" <= found[0] <= "\udcff" else _as_byte(found), str(name))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def escape(name: str) -> str:
    r"""A name in one line without tabs: control characters and undecodable bytes as ``\x0a``, backslashes doubled."""
    return _HIDDEN.sub(lambda found: "\\\\" if found[0] == "\\" else _as_byte(found), name)


def unescape(text: str) -> str:
    """The name that `escape` was given."""

    def restored(found: re.Match[str]) -> str:
        if found[1] is None:
            return "\\"
        value = int(found[1], 16)
        return chr(value if value < 0x80 else 0xDC00 + value)

    return _ESCAPED.sub(restored, text)


def _as_byte(found: re.Match[str]) -> str:
    value = ord(found[0])
    return f"\\x{value & 0xFF:02x}" if value < 0x80 or 0xDC80 <= value <= 0xDCFF else f"\\u{value:04x}"
