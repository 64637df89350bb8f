"""Downloads by https are whole and right or not there at all, whatever the server does."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import zoo
from zoo.weights import download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()
PATH = "/models/net-v1.pth"


@pytest.fixture
def address(server, cache):
    server.content[PATH] = CONTENT
    return server.url + PATH


def gets(server):
    return [asked for method, path, asked in server.requests if method == "GET" and path == PATH]


def names(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_file_is_downloaded_once(address, server, cache):
    path = download.fetch(address)
    host = server.url.removeprefix("http://").replace(":", "_")
    assert path == cache / host / "models/net-v1.pth" and path.read_bytes() == CONTENT
    assert download.fetch(address) == path and gets(server) == [None]
    assert path.with_name("net-v1.pth.sha256").read_text() == SHA
    assert names(cache) == ["net-v1.pth", "net-v1.pth.lock", "net-v1.pth.sha256"]


def test_the_folder_is_where_people_look_for_it(monkeypatch, tmp_path):
    monkeypatch.delenv("ZOO_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "flax-zoo/weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / ".cache/flax-zoo/weights"
    monkeypatch.setenv("ZOO_WEIGHTS", "~/mine")
    assert download.cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize(
    "answers, asked",
    [
        ([("cut", 1000)], [None, "bytes=1000-"]),
        ([("cut", 1000), ("cut", 10), ("cut", 0)], [None, *("bytes=1000-", *["bytes=1010-"] * 2)]),
        ([("cut", 1000), "whole"], [None, "bytes=1000-"]),
        ([("cut", 1000), "other part"], [None, "bytes=1000-", None]),
        ([("longer", 5)], [None, f"bytes={len(CONTENT)}-"]),
        ([500, 503, 429], [None] * 4),
        ([("cut", 1000), 500], [None, "bytes=1000-", "bytes=1000-"]),
    ],
)
@pytest.mark.usefixtures("pauses")
def test_faults_that_pass(address, server, cache, answers, asked):
    server.answers[PATH] += answers
    assert download.fetch(address, SHA[:8]).read_bytes() == CONTENT
    assert gets(server) == asked
    assert not [name for name in names(cache) if "part" in name]


def test_a_file_that_changes_meanwhile_is_downloaded_anew(address, server, pauses):
    server.answers[PATH] += [("cut", 1000)] * download._ATTEMPTS
    with pytest.raises(download.DownloadError, match="cut short after 1,000 bytes"):
        server.answers[PATH][1:] = [("cut", 0)] * download._ATTEMPTS
        download.fetch(address)
    server.answers[PATH].clear()
    server.content[PATH] = CONTENT[::-1]
    assert download.fetch(address).read_bytes() == CONTENT[::-1]
    assert gets(server)[-1] == "bytes=1000-"  # which the server answered with all of it


def test_without_a_version_nothing_is_continued(address, server, pauses):
    server.has_etag = False
    server.answers[PATH] += [("cut", 1000)]
    assert download.fetch(address).read_bytes() == CONTENT
    assert gets(server) == [None, None] and pauses == [1]


@pytest.mark.parametrize(
    "answer, message, tries",
    [
        (404, "the server says 404", 1),
        (401, "the server says 401", 1),
        (429, "HTTP Error 429", download._ATTEMPTS),
        (500, "HTTP Error 500", download._ATTEMPTS),
        (("cut", 0), "cut short after 0 bytes of 1,048,576", download._ATTEMPTS),
    ],
)
def test_faults_that_stay(address, server, cache, pauses, answer, message, tries):
    server.answers[PATH] += [answer] * 99
    with pytest.raises(download.DownloadError) as error:
        download.fetch(address)
    assert message in str(error.value) and address in str(error.value)
    assert f"put it at {cache}" in str(error.value)
    assert len(gets(server)) == tries and len(pauses) == tries - 1
    assert "net-v1.pth" not in names(cache)


def test_a_server_that_says_when_is_obeyed(address, server, pauses):
    server.answers[PATH] += [("status", 429, {"Retry-After": "7"}), ("status", 503, {})]
    server.answers[PATH] += [("status", 429, {"Retry-After": "99999"})]
    server.answers[PATH] += [("status", 429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})]
    download.fetch(address)
    assert pauses == [7, 2, 60, 8]


def test_a_server_that_sends_a_byte_at_a_time_is_left(address, server, cache, pauses):
    server.answers[PATH] += [("cut", 1)] * 99
    with pytest.raises(download.DownloadError, match="after 50 bytes"):
        download.fetch(address)


def test_nobody_answers(cache, pauses):
    with pytest.raises(download.DownloadError, match="fetch it on another machine and put it at"):
        download.fetch("http://127.0.0.1:9/net.pth")


@pytest.mark.parametrize(
    "content, digest, message",
    [
        (CONTENT, "00000000", f"its SHA-256 is {SHA}, and should begin with 00000000"),
        (b"<!DOCTYPE html><html>Log in first</html>", "", "it is a web page"),
        (b"", "", "it is empty"),
    ],
)
def test_another_file_is_not_kept(address, server, cache, content, digest, message):
    server.content[PATH] = content
    with pytest.raises(download.DownloadError, match=message):
        download.fetch(address, digest)
    assert not [name for name in names(cache) if name.endswith((".pth", ".part", ".sha256"))]


def test_a_size_that_is_too_small_is_found_by_the_digest(address, server, cache):
    server.answers[PATH] += [("shorter", 5)]
    with pytest.raises(download.DownloadError, match="should begin with"):
        download.fetch(address, SHA[:8])


def test_a_full_disk_is_known_before(address, server, cache, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(download.DownloadError, match="1,048,576 bytes, and the disk has .* 1,000"):
        download.fetch(address)


@pytest.mark.parametrize("digest", ["", SHA[:8]])
def test_a_changed_file_is_found(address, cache, digest):
    path = download.fetch(address, digest)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(download.DownloadError, match="damaged or was changed.*Remove it"):
        download.fetch(address, digest)
    path.unlink()
    assert download.fetch(address, digest).read_bytes() == CONTENT


def test_a_file_put_there_by_hand(cache):
    address = "https://nowhere.invalid/models/net.pth"
    path = download.place(address)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert download.fetch(address, SHA[:8]) == download.fetch(address) == path


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://server/x.pth",
        "https://server",
        "https://server/x.pth?version=2",
        "https://server/../../x.pth",
        "https://server/%2e%2e/x.pth",
        f"https://server/{'x' * 300}",
    ],
)
def test_odd_addresses(address, cache):
    with pytest.raises(ValueError, match="is not the address|has a part that"):
        download.fetch(address)


def test_names_stay_in_the_folder(cache):
    path = download.place("https://server:1/a%2F..%2Fb c/\\x.pth")
    assert path == cache / "server_1" / "a_.._b_c" / "_x.pth"


def test_redirects(address, server):
    server.answers["/old"] += [("status", 302, {"Location": PATH})]
    assert download.fetch(f"{server.url}/old").read_bytes() == CONTENT
    request = download.urllib.request.Request("https://server/x")
    with pytest.raises(download.urllib.error.HTTPError, match="redirect from https"):
        download._StaysSecure().redirect_request(request, None, 302, "", {}, "http://server/x")


# Without zoo/__init__.py, which needs JAX and takes seconds to import.
PROGRAM = """
import sys, types
sys.modules["zoo"] = types.ModuleType("zoo")
sys.modules["zoo"].__path__ = [sys.argv[2]]
from zoo.weights import download
print(download.fetch(sys.argv[1]))
"""


def start(address) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, address, str(pathlib.Path(zoo.__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_two_processes_and_one_that_is_killed(address, server, cache):
    """The second waits for the first, and goes on where that was killed."""
    server.answers[PATH] += ["slow"]
    half = len(CONTENT) // 2
    first = start(address)
    part = download.place(address).with_name("net-v1.pth.part")
    wait_for(lambda: part.is_file() and part.stat().st_size == half)
    second, third = start(address), start(address)
    time.sleep(0.3)
    assert len(gets(server)) == 1  # neither has asked for it
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    outputs = [process.communicate(timeout=20)[0].decode().strip() for process in (second, third)]
    assert outputs == [str(download.place(address))] * 2
    assert download.place(address).read_bytes() == CONTENT
    assert gets(server) == [None, f"bytes={half}-"]
