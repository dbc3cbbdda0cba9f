"""The page: template, style, scripts and a packed generator in one HTML file that may load nothing."""

import base64
from importlib import resources
from typing import Any, NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from cips_lab.explorer.packing import Packed
from cips_lab.reporting.page import palette, script_hash, templates

PAGE = resources.files("cips_lab.explorer") / "page"
# Joined in this order into one script each, so that what is defined is there for the next.
ENGINE = ("wasm.js", "axes.js", "noise.js", "pixels.js")  # computes pixels: runs in workers, and is tested alone
SCRIPTS = (
    "seeds.js",
    "model.js",
    "program.js",
    "cpu.js",
    "gpu.js",
    "remote.js",
    "fovea.js",
    "fill.js",
    "lattice.js",
    "painter.js",
    "state.js",
    "picture.js",
    "pointer.js",
    "controls.js",
    "main.js",
)
SHADERS = ("shaders.wgsl",)


class Served(NamedTuple):
    """The machine that draws for a page. name: of what draws there; key: of its generator, see `Drawer`."""

    name: str
    key: str


def build_page(packed: Packed, title: str, facts: dict[str, Any], served: Served | None = None) -> str:
    """The whole file.

    Args:
        packed: from `packing.pack`.
        title: what the generator is called.
        facts: for the header: what is said of it on the page, such as thousands of images seen.
        served: who draws, where it is the machine that the page comes from; None: the page itself.
    """
    told = None if served is None else served._asdict()
    engine, script = _script(ENGINE), _script(SCRIPTS)
    return (
        templates("cips_lab.explorer", "page")
        .get_template("page.html.j2")
        .render(
            title=title,
            served=served,
            style=Markup(palette() + _text("style.css")),
            engine=Markup(engine),  # ours alone; named by their hashes, so that no other script runs
            script=Markup(script),
            hashes=" ".join(f"'{script_hash(text)}'" for text in (engine, script)),
            shaders=Markup("".join(_text(name) for name in SHADERS)),
            header=htmlsafe_json_dumps({**packed.header, "title": title, "facts": facts, "served": told}),
            weights=Markup(base64.b64encode(packed.blob).decode()),
        )
    )


def _script(names: tuple[str, ...]) -> str:
    return '"use strict";\n' + "".join(_text(name) for name in names)


def _text(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
