"""`python -m cips_lab.explore` as a user runs it."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from served import LONG, Served
from sweeps import make_run
from variants import build, composed

from cips_lab.interop.native import save_generator
from conftest import Run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_generator(build("cips"), tmp_path / "world.safetensors", composed("cips"), 2.5)
    return tmp_path / "world.safetensors"


def test_it_writes_one_page(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    result = run("explore", f"ckpt={checkpoint}", "output=pages/world.html", "title=A world")
    assert result.returncode == 0, result.stderr
    assert "pages/world.html" in result.stdout
    page = (tmp_path / "pages" / "world.html").read_text()
    assert "<h1>A world</h1>" in page
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["world.html"]
    again = run("explore", f"ckpt={checkpoint}", "output=pages/world.html", "title=A world")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "pages" / "world.html").read_text() == page  # the same bytes every time


def test_in_a_runs_folder_its_report_links_to_it(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "first")
    page, report = folder / "explorer.html", folder / "report.html"
    for output, first_line in (("runs/first/explorer.html", "explorer.html"), ("runs/first/other.html", "other.html")):
        result = run("explore", f"ckpt={checkpoint}", f"output={output}")
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1
        assert f"runs/first/{first_line}: " in result.stdout
    assert not report.exists()  # there was none, and none is asked for
    report.write_text("as training left it")
    result = run("explore", f"ckpt={checkpoint}", "output=runs/first/explorer.html")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1] == "runs/first/report.html"
    assert 'href="explorer.html"' in report.read_text()
    assert page.stat().st_size > 10_000
    report.write_text("as it was")
    assert run("explore", f"ckpt={checkpoint}", "output=explorer.html").returncode == 0  # in no run's folder
    assert report.read_text() == "as it was"


def test_mistakes_are_told_before_anything_is_written(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    cases = [
        ((), "ckpt=... is missing"),
        (("ckpt=nowhere",), "nowhere"),
        ((f"ckpt={checkpoint}", "output=page.png"), ".html"),
        ((f"ckpt={checkpoint}", "output=folder.html"), "folder"),
        ((f"ckpt={checkpoint}", "width=3"), "width"),
        ((f"ckpt={checkpoint}", "port=65536"), "port"),
        ((f"ckpt={checkpoint}", "port=-1"), "port"),
        ((f"ckpt={checkpoint}", "port=0", "device=cuda:77"), "device=cuda:77"),
    ]
    for overrides, said in cases:
        result = run("explore", *overrides)
        assert result.returncode == 2, (overrides, result.stderr)
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "explorer.html").exists()


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_serves_until_it_is_ended(checkpoint: Path, tmp_path: Path, how: signal.Signals, status: int) -> None:
    with Served(checkpoint, tmp_path, "title=A world") as served:
        with urllib.request.urlopen(f"http://localhost:{served.port}/", timeout=LONG) as page:
            assert "<h1>A world</h1>" in page.read().decode()
        with socket.create_connection(("127.0.0.1", served.port)) as held:  # a client that stays does not hold it
            held.sendall(b"POST /pixels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
            time.sleep(0.1)
            assert served.end(how) == status
    assert "Traceback" not in served.told.read_text()
    assert served.printed.read_text() == f"open {served.address} in a browser; Ctrl-C ends it\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stderr", "stdout", "world.safetensors"]


def test_a_taken_port_is_told_before_the_checkpoint_is_read(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("explore", "ckpt=nowhere.safetensors", f"port={port}")
    assert result.returncode == 2
    assert f"port={port}: Address already in use" in result.stderr
    assert "nowhere" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_convolutional_generator_is_not_served(run: Run, tmp_path: Path) -> None:
    save_generator(build("stylegan2"), tmp_path / "stylegan2.safetensors", composed("stylegan2"), 1)
    results = [run("explore", "ckpt=stylegan2.safetensors", *rest) for rest in (["port=0"], ["output=page.html"])]
    assert [result.returncode for result in results] == [2, 2]
    assert "convolutional" in results[0].stderr
    assert results[0].stderr == results[1].stderr
    assert "http" not in results[0].stdout


def test_without_the_extra_it_is_named(checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import runpy, sys; sys.modules['uvicorn'] = None; "  # as if it were not installed
        "runpy.run_module('cips_lab.explore', run_name='__main__', alter_sys=True)"
    )
    for rest, status in ((["port=0"], 2), (["output=page.html"], 0)):
        result = subprocess.run(
            [sys.executable, "-c", program, f"ckpt={checkpoint}", *rest], cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == status, result.stderr
        if status:
            assert "needs the package uvicorn" in result.stderr
            assert "pip install 'cips-lab[app]'" in result.stderr
            assert "Traceback" not in result.stderr
