#!/usr/bin/env python3
"""A gateway's traces, read with OpenTelemetry's own library.

Starts the gateway (its path is the first argument) with a stream to a collector of our own, which
reads every export strictly into the messages of PyPI's `opentelemetry-proto`, refuses each the first
time, and wants the same bytes again. Requests are permitted, fail, are denied, and wait until they
are cancelled; their words are hostile, and are said, because `details` is `all`.
"""

import base64
import http.server
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE = 60
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HOSTILE = '</script>"\\u0000\u202e\U0001f600 \r\n\t\x01\x7f{"key":null}'
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
[group.ops]
[person."ann@example.com"]
groups = ["ops"]
[person."bob@example.com"]
groups = ["ops"]
[target.tools]
kind = "exec"
environment = "production"
[[target.tools.command]]
argv = ["echo", "hold"]
action = "hold"
group = "write"
[[target.tools.command]]
argv = ["rm"]
action = "remove"
group = "delete"
[stream.traces]
kind = "otlp"
start = "beginning"
details = "all"
url = "http://127.0.0.1:{collector}/v1/traces"
secret = { file = "otlp.key" }
""",
    "otlp.key": "Bearer hunter2\n",
    "approvals.toml": '[approval.ops]\nstages = [{ from = ["group:ops"], count = 1 }]\n',
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action, resource);
@id("writes-are-signed") @approval("ops")
forbid (principal, action in Action::"write", resource);
@id("nothing-is-removed")
forbid (principal, action in Action::"delete", resource);
""",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def read(body: bytes) -> ExportTraceServiceRequest:
    """Reads an export strictly. Ids are hexadecimal there, unlike other bytes in protobuf's JSON."""
    export = json.loads(body)
    for span in (s for r in export["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]):
        for name, size in (("traceId", 16), ("spanId", 8), ("parentSpanId", 8)):
            if name in span:
                assert re.fullmatch(r"[0-9a-f]*", span[name]), span
                assert len(span[name]) == size * 2, span
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
        for name in ("kind", "flags"):
            assert isinstance(span[name], int), span
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            assert isinstance(span[name], str), span
    message = json_format.ParseDict(export, ExportTraceServiceRequest(), ignore_unknown_fields=False)
    # What the library writes of it means the same to it.
    again = json_format.Parse(json_format.MessageToJson(message), ExportTraceServiceRequest())
    assert again == message and message.ByteSize() > 0
    return message


class Collector(http.server.ThreadingHTTPServer):
    """Takes each export the second time it comes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refused: set[bytes] = set()
        self.taken: list[ExportTraceServiceRequest] = []
        self.problems: list[str] = []
        self.lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            status = self.receive(body)
        except Exception as error:  # Told at the end: here it would only end a thread.
            self.server.problems.append(repr(error))
            status = 400
        answer = json_format.MessageToJson(ExportTraceServiceResponse()).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def receive(self, body: bytes) -> int:
        assert self.path == "/v1/traces", self.path
        assert self.headers["content-type"] == "application/json"
        assert self.headers["authorization"] == "Bearer hunter2"
        message = read(body)
        with self.server.lock:
            if body not in self.server.refused:
                self.server.refused.add(body)
                return 503
            self.server.taken.append(message)
            return 200

    def log_message(self, *_args) -> None:
        pass


def ask(url: str, body=None, token: str = "", trace: str = "") -> bytes:
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if trace:
        request.add_header("traceparent", trace)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def until(what: str, holds):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never came: {what}")


def alive(url: str) -> bool:
    try:
        return bool(ask(f"{url}/v1/health"))
    except OSError:
        return False


def work(url: str, link: str) -> None:
    """Has requests end in every way that one person alone can bring about."""
    token = json.loads(ask(f"{url}/v1/login", {"link": link}))["token"]

    def run(words: list[str], trace: str = "") -> str:
        body = {"target": "tools", "argv": words, "wait_ms": 0, "reason": HOSTILE}
        lines = ask(f"{url}/v1/run", body, token, trace).decode().splitlines()
        return next(one["request"] for one in map(json.loads, lines) if "request" in one)

    run(["true", HOSTILE], f"00-{TRACE}-{PARENT}-01")
    run(["false"])
    run(["rm"])
    held = run(["echo", "hold"])
    ask(f"{url}/v1/requests/{held}/cancel", {}, token)


def attributes(of) -> dict[str, str]:
    return {one.key: one.value.string_value or one.value.int_value for one in of.attributes}


def check(taken: list[ExportTraceServiceRequest]) -> int:
    """Gives the number of spans."""
    found, ids = {}, set()
    for export in taken:
        (resource,) = export.resource_spans
        about = attributes(resource.resource)
        assert about["service.name"] == "countersign", about
        assert about["service.version"] and about["service.instance.id"], about
        spans = list(resource.scope_spans[0].spans)
        root = spans[0]
        assert root.kind == Span.SPAN_KIND_SERVER
        for child in spans[1:]:
            assert (child.trace_id, child.parent_span_id) == (root.trace_id, root.span_id)
            assert root.start_time_unix_nano <= child.start_time_unix_nano
            assert child.end_time_unix_nano <= root.end_time_unix_nano
        ids.update((span.trace_id, span.span_id) for span in spans)
        said = attributes(root)
        assert json.loads(said["countersign.evidence"])["reason"], said
        found[said["countersign.result"]] = spans
    count = sum(len(spans) for spans in found.values())
    assert len(ids) == count, "an id for each span"
    assert set(found) == {"succeeded", "failed", "denied_by_policy", "cancelled"}, set(found)
    ran = found["succeeded"][0]
    assert (ran.trace_id.hex(), ran.parent_span_id.hex()) == (TRACE, PARENT)
    assert ran.flags & 0x300 == 0x300, "the parent is elsewhere"
    for result, spans in found.items():
        failed = result == "failed"
        expected = Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET
        assert spans[0].status.code == expected, result
    assert attributes(found["failed"][1])["process.exit.code"] == 1
    assert [span.name for span in found["cancelled"]] == ["exec request", "wait for people"]
    return count


def main() -> None:
    gateway = str(pathlib.Path(sys.argv[1]).resolve())
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="countersign-traces-") as scratch:
        directory, port = pathlib.Path(scratch) / "gate", free_port()
        for name, text in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = text.replace("{port}", str(port))
            path.touch(mode=0o600)
            path.write_text(text.replace("{collector}", str(collector.server_port)))
        subprocess.run([gateway, "policy", "check", directory], check=True, capture_output=True)
        url = f"http://127.0.0.1:{port}"
        command = [gateway, "up", "--config", str(directory)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            links = []
            for line in process.stderr:
                links += re.findall(r"csl_[\w-]{43}", line)
                if len(links) == 2:
                    break
            threading.Thread(target=process.stderr.read, daemon=True).start()
            until("an answer", lambda: alive(url))
            work(url, links[0])
            until("four traces", lambda: len(collector.taken) >= 4 or collector.problems)
            assert not collector.problems, collector.problems
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
    count = check(collector.taken)
    print(f"{count} spans of {len(collector.taken)} requests read by opentelemetry-proto")


if __name__ == "__main__":
    main()
