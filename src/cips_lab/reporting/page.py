"""One HTML file with everything in it: rendered from templates, escaped, allowed to load nothing."""

import base64
import hashlib
import math
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from cips_lab.files.names import printable
from cips_lab.files.whole import replace_text
from cips_lab.reporting.formats import heading
from cips_lab.reporting.table import number

TEMPLATES = resources.files("cips_lab.reporting") / "templates"


def render(template: str, data: dict[str, Any], **values: Any) -> str:
    """A page.

    Args:
        template: its name; it extends base.html.j2.
        data: for the page's script, as JSON.
        values: for the template. All text is escaped there.
    """
    environment = templates("cips_lab.reporting", "templates")
    environment.filters |= {
        "number": number,
        "heading": heading,
        "plain": plain,
        "spark": spark,
        "datetime": moment,
        "breakable": breakable,
    }
    script = _text("charts.js") + _text("page.js")
    return environment.get_template(template).render(
        script=Markup(script),  # ours alone; named by its hash, so that no other script runs
        script_hash=script_hash(script),
        style=Markup(palette() + _text("style.css")),
        data=htmlsafe_json_dumps(_finite(data)),
        **values,
    )


def templates(package: str, folder: str) -> jinja2.Environment:
    """Templates of a package: all text is escaped, and a name that is not given is a mistake."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_hash(script: str) -> str:
    """What a page's content security policy calls a script by, so that no other runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def write(page: str, path: Path) -> None:
    """A half-written page never bears the name, also where several jobs write their sweep's at once."""
    replace_text(path, printable(page))


def link(file: Path, home: Path) -> str:
    """The address of a file for a page in the folder `home`."""
    return quote(os.fsencode(Path(os.path.relpath(file.resolve(), home.resolve())).as_posix()))


def palette() -> str:
    """Colours, light and dark, and typefaces, as CSS variables: what all pages share."""
    return _text("palette.css")


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------------------------------------- filters


def plain(value: Any) -> str:
    """A setting as YAML would show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e15 else str(value)


def moment(value: Any) -> str:
    """``5 March 2026, 14:03 UTC``."""
    return f"{value.day} {value:%B %Y, %H:%M} UTC"


def breakable(text: str) -> Markup:
    """Long names may be broken after an underscore or a slash, but not before their arrow."""
    parts = re.split("(?<=[_/])", text.replace(" ", "\N{NO-BREAK SPACE}"))
    return Markup("<wbr>").join(parts)


def spark(points: list[tuple[float, float]]) -> str:
    """The path of a small curve in a box of 100 x 30."""
    if len(points) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    width, height = (max(xs) - min(xs)) or 1, (max(ys) - min(ys)) or 1
    places = [(100 * (x - min(xs)) / width, 28 - 26 * (y - min(ys)) / height) for x, y in points]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
