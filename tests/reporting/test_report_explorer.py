"""The way from a run's report to its explorer: a link where the page is, the command that makes it where it is not."""

import re
from pathlib import Path

import pytest
from browser import CHROMIUM, REQUIRED, Browser
from sweeps import make_run
from variants import build, composed

from cips_lab.explorer.export import export
from cips_lab.interop.native import save_generator
from cips_lab.reporting.run_page import write_run_page


class Reader(Browser):
    """Who goes on from the report to the explorer, whose workers are made of what it holds."""

    held = (*Browser.held, "blob:")


def make_trained(folder: Path, generator: str = "cips") -> Path:
    """A run with a checkpoint."""
    make_run(folder, f"generator={generator}")
    checkpoint = folder / "checkpoints" / "kimg-00004.000"
    checkpoint.mkdir(parents=True)
    save_generator(build(generator), checkpoint / "generator.safetensors", composed(generator), 4)
    return folder


def shown(text: str) -> tuple[list[str], list[str]]:
    """Of a report: the addresses that it leads to, and the commands that it names."""
    addresses = [address for address in re.findall(r'<a [^>]*href="([^"]*)"', text) if not address.startswith("#")]
    return addresses, re.findall(r"<code>(python -m cips_lab.explore.*?)</code>", text)


def test_it_names_the_command_until_the_page_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_trained(tmp_path / "runs" / "first")
    command = "python -m cips_lab.explore ckpt=runs/first output=runs/first/explorer.html"
    assert shown(write_run_page(run, costs=False).read_text()) == ([], [command])
    export(str(run), run / "explorer.html")
    assert shown(write_run_page(run, costs=False).read_text()) == (["explorer.html"], [command])
    assert shown(write_run_page(run, state="running", costs=False).read_text())[0] == ["explorer.html"]
    elsewhere = write_run_page(run, tmp_path / "pages" / "first.html", costs=False)
    assert shown(elsewhere.read_text())[0] == ["../runs/first/explorer.html"]
    (run / "explorer.html").unlink()
    assert shown(write_run_page(run, costs=False).read_text())[0] == []


def test_the_command_can_be_typed_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_trained(tmp_path / "my runs" / "first")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    (command,) = shown(write_run_page(run, costs=False).read_text())[1]
    assert f"&#39;ckpt={run}&#39;" in command
    monkeypatch.chdir(run)
    (command,) = shown(write_run_page(run, costs=False).read_text())[1]
    assert command.endswith("ckpt=. output=explorer.html")


@pytest.mark.parametrize("kind", ["convolutional", "without a checkpoint"])
def test_nothing_is_promised_that_cannot_be_made(tmp_path: Path, kind: str) -> None:
    make = {"convolutional": lambda folder: make_trained(folder, "stylegan2"), "without a checkpoint": make_run}[kind]
    run = make(tmp_path / "run")
    text = write_run_page(run, costs=False).read_text()
    assert shown(text) == ([], [])
    assert 'id="explorer"' not in text


@pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no browser here: apt-get install chromium")
@pytest.mark.timeout(280)
def test_the_link_leads_to_the_page(tmp_path: Path) -> None:
    run = make_trained(tmp_path / "runs of mine #1" / "a?b")  # what an address must not hold as it is
    export(str(run), run / "explorer.html", "A world")
    with Reader() as reader, reader.silent():
        for width in (360, 1200):
            reader.open(write_run_page(run, costs=False), width=width)
            assert reader.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in reader.requests if "explorer.html" in url] == []  # not before it is asked for
        reader.page.get_by_role("link", name="Walk through it").click()
        reader.page.wait_for_url("**/explorer.html")
        reader.evaluate("(async () => { await explorer.ready; })()")
        assert reader.evaluate("document.querySelector('h1').textContent") == "A world"
