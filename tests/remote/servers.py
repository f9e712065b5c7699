"""Servers on this machine for tests: one of files, and one that stands before another and fails."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Server:
    """A server of files, or in front of another one.

    Attributes:
        files: Bytes by path.
        upstream: ``HOST:PORT`` of a server that is asked in its place.
        faults: What happens to the next requests that bring a file, each once: a status such as
            "503", "cut" (it breaks off), "slow" (it never ends).
        refused: What is answered to the next requests that put a file, each once: a status; "lost"
            does what was asked and then answers 500.
        answer: Returns status, content and headers for a path and the headers of a request.
        asked: The methods and paths that were asked for.
        sent: Bytes of content that were sent.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    upstream: str = ""
    faults: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answer: Callable[[str, Message], tuple[int, bytes, dict[str, str]]] | None = None
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def gets(self, path: str) -> int:
        """Return how often a file was asked for."""
        return sum(one == f"GET {path}" for one in self.asked)


@contextlib.contextmanager
def serving(**how: object) -> Iterator[Server]:
    """Yield a server that runs until the block ends."""
    server = Server(**how)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            server.asked.append(f"{self.command} {path}")
            fault = ""
            if self.command == "GET" and "." in path and server.faults:
                fault = server.faults.pop(0)
            if fault.isdigit():
                self._send(int(fault), b"", {})
                return
            status, content, headers = self._found(path)
            self._send(status, content, headers, fault)

        do_HEAD = do_GET  # noqa: N815

        def do_PUT(self) -> None:
            path = urlsplit(self.path).path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.asked.append(f"{self.command} {path}")
            fault = server.refused.pop(0) if self.command == "PUT" and server.refused else ""
            status, content, headers = (
                (int(fault), b"", {}) if fault.isdigit() else self._found(path, body)
            )
            self._send(500 if fault == "lost" else status, content, headers)

        do_DELETE = do_POST = do_PUT  # noqa: N815

        def _found(self, path: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
            if server.answer is not None:
                return server.answer(self.path, self.headers)
            if server.upstream:
                upstream = HTTPConnection(server.upstream, timeout=30)
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                content = answer.read()
                headers = dict(answer.getheaders())
                upstream.close()
                return answer.status, content, headers
            if path not in server.files:
                return 404, b"", {}
            content, status, headers = server.files[path], 200, {"Accept-Ranges": "bytes"}
            wanted = self.headers.get("Range", "")
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                end = min(int(last) + 1 if last else len(content), len(content))
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
                content, status = content[int(first) : end], 206
            return status, content, headers | {"Content-Length": str(len(content))}

        def _send(
            self, status: int, content: bytes, headers: dict[str, str], fault: str = ""
        ) -> None:
            self.send_response(status)
            kept = {"etag", "last-modified", "content-range", "accept-ranges", "content-type"}
            for name, value in headers.items():
                if name.lower() in kept:
                    self.send_header(name, value)
            length = len(content)
            if self.command == "HEAD":
                length = int(headers.get("Content-Length", headers.get("content-length", 0)))
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "HEAD":
                return
            server.sent += len(content)
            with contextlib.suppress(ConnectionError):
                if fault:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    if fault == "slow":
                        time.sleep(3)
                    self.close_connection = True
                    self.connection.shutdown(2)
                else:
                    self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    server.address = f"127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
