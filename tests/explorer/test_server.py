"""The server beside clients that are honest, many, hostile, or no clients at all: a real process of the command."""

import html
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from served import BINARY, LONG, Client, Served, everything, job_of, save_world, status_of

from cips_lab.errors import UserError
from cips_lab.explorer import server
from cips_lab.explorer.drawing import MOST_BYTES, MOST_PIXELS

MEGABYTE = 1 << 20
LARGEST = job_of(np.zeros(MOST_PIXELS), np.zeros(MOST_PIXELS), range(MOST_PIXELS))
CLIMBING = (
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/",
    "//",
    "//etc/passwd",
)
OTHERS = (
    "/etc/passwd",
    "/pixels/",
    "/pixels/..",
    "/index.html",
    "/%00",
    "/a" * 9000,
    "http://evil.example/",
    "*",
    "/\xff",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Client]]:
    folder = tmp_path_factory.mktemp("served")
    # Wide enough for a large job to take longer than to send it does.
    generator = save_world(folder / "world.safetensors", width=128)
    with Served(folder / "world.safetensors", folder) as served:
        yield served, Client(served.port, generator)


@pytest.fixture
def served(world: tuple[Served, Client]) -> Served:
    return world[0]


@pytest.fixture
def client(world: tuple[Served, Client]) -> Iterator[Client]:
    """After each test the next honest request is answered, and nothing was complained of."""
    yield world[1]
    world[1].is_answered()
    assert world[0].process.poll() is None
    assert world[0].told.read_text() == ""


# ------------------------------------------------------------------ what is there


def test_the_page_asks_its_own_machine_and_has_no_weights(client: Client) -> None:
    status, headers, body = client.ask("GET", "/")
    page = body.decode()
    assert (status, headers.get_content_type()) == (200, "text/html")
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy[0]).split(";"))
    assert rules["connect-src"] == "'self'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "http" not in policy[0]
    assert '<script type="text/plain" id="weights"></script>' in page
    header = json.loads(re.findall(r'id="header">(.*?)</script>', page)[0])
    assert header["tensors"] == {}
    assert header["served"]["key"] == client.key
    assert header["facts"] == {"kimg": 2.5}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert client.ask("HEAD", "/")[2] == b""


@pytest.mark.parametrize("path", [*CLIMBING, *OTHERS])
def test_there_is_nothing_else(client: Client, path: str) -> None:
    for method in ("GET", "POST"):
        sent = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        answer = client.raw(sent.encode("latin-1"))
        assert status_of(answer) in ((400,) if "\xff" in path else (404,))
        assert b"root:" not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods(client: Client, method: str) -> None:
    status, headers, _ = client.ask(method, "/", b"")
    assert (status, set(headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})
    if method != "POST":
        status, headers, _ = client.ask(method, client.path(), b"")
        assert (status, headers["Allow"]) == (405, "POST")
        assert not [name for name in headers if name.lower().startswith("access-control")]
    assert client.ask("GET", client.path())[0] == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("localhost:9000", 200),  # of ssh -L
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost.evil.example:80", 400),
        ("0.0.0.0", 400),
        ("", 400),
    ],
)
def test_only_this_machines_names(client: Client, host: str, status: int) -> None:
    assert client.ask("GET", "/", headers={"Host": host})[0] == status
    job = job_of([0.0], [0.0], [0])
    assert client.ask("POST", client.path(), job, {**BINARY, "Host": host})[0] == status


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/octet-stream, text/plain",
        "",
    ],
)
def test_other_types_are_those_that_any_page_may_send(client: Client, kind: str) -> None:
    job = job_of([0.0], [0.0], [0])
    assert client.ask("POST", client.path(), job, {"Content-Type": kind})[0] == 415
    assert client.ask("POST", client.path(), job)[0] == 415


def test_mistakes_are_told(client: Client) -> None:
    job = job_of([0.0, 1.0], [0.0], [1])
    cases: list[tuple[dict[str, object], bytes, int, str]] = [
        ({"seed": -1}, job, 400, "seed must be a whole number"),
        ({"psi": "nan"}, job, 400, "psi must be a number"),
        ({"path": "/etc/passwd"}, job, 400, "'path' is no choice"),
        ({"of": "another"}, job, 409, "load the page again"),
        ({}, b"", 400, "16 bytes at least"),
        ({}, job[:-1], 400, "can hold"),
        ({}, job_of([0.0], [0.0], [1]), 400, "outside its tile"),
        ({}, job_of([np.nan], [0.0], [0]), 400, "coordinate"),
        ({}, job_of(range(MOST_PIXELS + 1), [0.0], [0]), 413, "at most 8192"),
    ]
    for changed, body, status, said in cases:
        found, headers, text = client.ask("POST", client.path(**changed), body, BINARY)
        assert (found, headers.get_content_type()) == (status, "text/plain"), text
        assert said in text.decode()
    assert client.ask("POST", "/pixels", job, BINARY)[0] == 409


def test_many_at_once_get_their_own(client: Client) -> None:
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(client.is_answered, range(50), [100 + 7 * seed for seed in range(50)]))


def test_one_connection_is_enough(client: Client) -> None:
    with client.connect() as connection:
        for _ in range(20):
            connection.sendall(client.whole(job_of([0.3], [0.2], [0])))
            answer = b""
            while not (end := answer.find(b"\r\n\r\n")) > 0 or len(answer) < end + 8:
                answer += connection.recv(4096)
            assert status_of(answer) == 200


def test_a_port_is_one_servers() -> None:
    with server.listen(0) as listener, pytest.raises(UserError, match=r"^port=\d+: .*; give another"):
        server.listen(listener.getsockname()[1])


# ------------------------------------------------------------------ what is too much


def test_too_large_a_body_is_refused_before_it_is_read(client: Client) -> None:
    head = client.whole(b"").decode()
    for length in (MOST_BYTES + 1, 1 << 40):
        declared = head.replace("Content-Length: 0", f"Content-Length: {length}").encode()
        with client.connect() as connection:  # which sends nothing of it
            connection.sendall(declared)
            assert status_of(everything(connection)) == 413

    def endless() -> Iterator[bytes]:
        for _ in range(10000):
            yield bytes(65536)

    sent = 0
    with client.connect() as connection:
        connection.sendall(head.replace("Content-Length: 0", "Transfer-Encoding: chunked").encode())
        try:
            for part in endless():
                connection.sendall(b"10000\r\n" + part + b"\r\n")
                sent += len(part)
        except ConnectionError:
            pass
        assert status_of(everything(connection)) in (0, 413)  # a reset may overtake the answer
    assert sent < 64 * MEGABYTE  # what buffers between the two take


def test_just_too_much_in_chunks_is_told(client: Client) -> None:
    status, _, said = client.ask("POST", client.path(), iter([LARGEST, b"x"]), BINARY)
    assert (status, said) == (413, b"more than %d bytes\n" % MOST_BYTES)
    assert client.ask("POST", client.path(), iter([LARGEST[:7], LARGEST[7:]]), BINARY)[0] == 200


def test_too_many_are_asked_to_come_again(client: Client) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(client.connect()) for _ in range(200)]
        for connection in connections:
            head, _, body = client.whole(LARGEST).partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        answers = [everything(connection) for connection in connections]
    statuses = [status_of(answer) for answer in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= server.MOST_WAITING
    assert all((b"\r\nretry-after: 1\r\n" in answer.lower()) == (status_of(answer) == 503) for answer in answers)


def are_gone(client: Client) -> None:
    """Wait until the server has seen that all others are."""
    deadline = time.monotonic() + LONG
    while client.ask("HEAD", "/")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_too_many_connections(client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(server.MOST_CONNECTIONS + 20):
            stack.enter_context(client.connect())
        assert client.ask("GET", "/")[0] == 503
    are_gone(client)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="no /proc here: Linux tells what memory was used"
)
def test_memory_is_bounded(served: Served, client: Client) -> None:
    client.ask("POST", client.path(), LARGEST, BINARY)
    served.forget_most_memory()
    before, whole = served.most_memory(), client.whole(LARGEST)
    for wave in range(8):
        with ExitStack() as stack:
            for number in range(200):
                connection = stack.enter_context(client.connect())
                # The last byte is missing, or all is there for nobody.
                connection.sendall(whole[:-1] if (wave + number) % 4 else whole.replace(b"seed=0", b"seed=-"))
            client.is_answered()
        are_gone(client)
    grown = served.most_memory() - before
    assert 8 * 200 * MOST_BYTES > 240 * MEGABYTE
    assert grown < 100 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB more"


# ------------------------------------------------------------------ what is no request


def test_what_is_cut_short(client: Client) -> None:
    whole = client.whole(job_of(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), range(4096)))
    for length in (1, 10, 60, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 4, 1000, len(whole) - 1):
        assert status_of(client.raw(whole[:length])) in (0, 400)


def test_what_is_not_http(client: Client) -> None:
    draws = np.random.default_rng(0)
    garbage = [
        b"\r\n\r\n",
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /pixels HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /pixels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /pixels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"POST /pixels HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        *(draws.bytes(500) for _ in range(50)),
    ]
    for sent in garbage:
        answer = client.raw(sent)
        assert status_of(answer) in ((200,) if b"Upgrade" in sent else (0, 400, 415)), (sent[:60], answer[:60])


def test_a_head_of_a_megabyte(client: Client) -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /?", b"X" * 10):
        assert status_of(client.raw(head + b"x" * MEGABYTE)) in (0, 400)
    many = b"".join(b"X-%d: x\r\n" % i for i in range(60000))
    assert status_of(client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")) in (0, 400)
