"""A stand-in for llama-server: its command line, its log and its streaming protocol, no model.

Run as a program. What the question holds decides the answer: `REFUSE` is a 400, `BUSY` a 429, `FULL`
the same within the stream, `BREAK` another error there, `ENDLESS` goes on until the client hangs up;
else `max_tokens` pieces come.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SYSTEM_INFO = "system_info: n_threads = 2 (n_threads_batch = 2) / 2 | CPU : FAKE = 1 | "
CACHED_TOKENS = 7


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.num_health += 1
        is_ready = self.server.num_health > 1
        self._answer(200 if is_ready else 503, {"status": "ok" if is_ready else "loading model"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"]
        if "REFUSE" in question:
            self._answer(400, {"error": {"message": "no"}})
            return
        if "BUSY" in question:
            self._answer(429, {"error": {"message": "later", "code": "busy"}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            self._stream(question, body["max_tokens"])
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    def _stream(self, question: str, num_tokens: int) -> None:
        self._event({"choices": [{"delta": {"role": "assistant", "content": None}, "index": 0}]})
        self._chunk(b":\n\n")
        if "FULL" in question:
            self._event({"error": {"code": "busy", "message": "later"}})
            return
        if "BREAK" in question:
            self._event({"error": {"code": 500, "message": "broken"}})
            return
        num_sent = 0
        while num_sent < num_tokens or "ENDLESS" in question:
            self._event({"choices": [{"delta": {"content": " é"}, "index": 0}]})
            num_sent += 1
        self._event({"choices": [{"delta": {}, "finish_reason": "length", "index": 0}]})
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": num_sent,
            "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
        }
        self._event({"choices": [], "usage": usage, "timings": {"prompt_n": 3}})

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def install(folder: Path) -> Path:
    """Write a program into a folder that runs this file; return its path."""
    program = folder / "llama-server"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n', "utf-8")
    program.chmod(0o755)
    return program


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("-m", "--host", "-np", "-c", "-b", "-ub", "-fa", "-ctk", "-ctv", "-t", "-tb"):
        parser.add_argument(flag)
    parser.add_argument("--port", type=int)
    parser.add_argument("--no-webui", action="store_true")
    parser.add_argument("-lv", type=int, default=3)
    asked = parser.parse_args()
    if asked.lv > 3:
        sys.stderr.write(f"0.00.004 I cmn  common_param: {SYSTEM_INFO}\n")
    if not Path(asked.m).is_file():
        sys.exit("exiting due to model loading error")
    server = ThreadingHTTPServer((asked.host, asked.port), Handler)
    server.num_health = 0
    server.serve_forever()


if __name__ == "__main__":
    main()
