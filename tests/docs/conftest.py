"""A fake OpenAI model on loopback, for the examples that call a model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

WORDS = ["Because ", "of ", "the ", "sky."]
USAGE = {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


class _ChatCompletions(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in WORDS:
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            self._send({"choices": [choice], "usage": None})
        self._send({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._send({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, fields: dict[str, object]) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", **fields}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the fake model, and set the variables with which OpenAI's client finds the model."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _ChatCompletions) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield
        server.shutdown()
        thread.join()
