"""A server on this machine that has files, speaks the hub's protocol, and misbehaves on request."""

import collections
import dataclasses
import hashlib
import http.server
import re
import threading
import time

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclasses.dataclass
class Files:
    """What a server has, and how it answers.

    Attributes:
      url: Address of the server.
      content: Bytes by path.
      answers: By path, how the next requests are answered, one after the other; then rightly. A
        number is a status, or ("status", number, headers). ("cut", n) breaks off after n bytes,
        ("longer", n) and ("shorter", n) lie about the size, "whole" ignores Range, "other part"
        sends the wrong one, "slow" waits after half of the file until `go_on` is set.
      requests: (method, path, Range or None) of every request.
    """

    url: str = ""
    content: dict[str, bytes] = dataclasses.field(default_factory=dict)
    answers: dict[str, list] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    requests: list[tuple] = dataclasses.field(default_factory=list)
    go_on: threading.Event = dataclasses.field(default_factory=threading.Event)
    has_etag: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: Files

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        self.files.requests.append((self.command, self.path, self.headers.get("Range")))
        answers = self.files.answers[self.path]
        answer = answers.pop(0) if answers else None
        if isinstance(answer, int):
            answer = ("status", answer, {})
        if answer and answer[0] == "status":
            return self._empty(*answer[1:])
        hub = re.fullmatch(r"/([\w-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.path)
        if hub and not self.path.startswith("/cdn"):
            return self._hub(*hub.groups(), with_body)
        if self.path not in self.files.content:
            return self._empty(404, {})
        self._send(self.files.content[self.path], answer, with_body, {})

    def _hub(self, repository, revision, name, with_body):
        """As huggingface.co: small files at once, those of weights by way of another address."""
        names = [path for path in self.files.content if path.startswith(f"/cdn/{repository}/")]
        if not names:
            return self._empty(401, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._empty(404, {"X-Error-Code": "RevisionNotFound"})
        content = self.files.content.get(f"/cdn/{repository}/{name}")
        if content is None:
            error = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return self._empty(404, error)
        headers = {"X-Repo-Commit": COMMIT}
        if name.endswith(".json"):
            return self._send(content, None, with_body, headers)
        elsewhere = self.files.url.replace("127.0.0.1", "localhost")
        headers |= {
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            # Of another host, or huggingface_hub takes it for the repository's new name.
            "Location": f"{elsewhere}/cdn/{repository}/{name}",
        }
        self._empty(302, headers)

    def _empty(self, status, headers):
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def _send(self, content, answer, with_body, headers):
        kind, number = answer if isinstance(answer, tuple) else (answer, 0)
        start, total = 0, len(content)
        etag = f'"{hashlib.sha256(content).hexdigest()[:40]}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, etag)
        if asked and same and kind != "whole":
            start = int(asked[1])
            if start >= total:
                return self._empty(416, {"Content-Range": f"bytes */{total}"})
            if kind == "other part":
                start += 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        lie = {"longer": number, "shorter": -number}.get(kind, 0)
        self.send_header("Content-Length", str(total - start + lie))
        if self.files.has_etag:
            self.send_header("ETag", etag)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if not with_body:
            return
        body = content[start:]
        if kind == "slow":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.files.go_on.wait(20)
            body = body[len(body) // 2 :]
        self.wfile.write(body[:number] if kind == "cut" else body[: total - start + min(lie, 0)])
        if kind in ("cut", "longer", "shorter"):
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that went away
        pass


@pytest.fixture
def server():
    """A running server without files, a `Files`."""
    files = Files()
    handler = type("HandlerOfTest", (Handler,), {"files": files})
    running = Server(("127.0.0.1", 0), handler)
    files.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield files
    files.go_on.set()
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made between two tries, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of downloaded weights, empty."""
    monkeypatch.setenv("ZOO_WEIGHTS", str(tmp_path / "cache"))
    return tmp_path / "cache"
