#!/usr/bin/env python3
"""A gateway's webhooks and numbers, read with other people's libraries.

Starts the gateway (its path is the first argument) with a webhook to a receiver of our own and
with `metrics`. The receiver checks every signature with PyPI's `standardwebhooks`, reads every event
with `cloudevents`, refuses each the first time, and refuses what was changed on the way. The page of
numbers is read with `prometheus_client`.
"""

import base64
import http.server
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook, WebhookVerificationError

PATIENCE = 60
# Labels whose values are bounded by code and configuration.
LABELS = {
    "version", "part", "gate", "phase", "decision", "verdict", "status", "reason", "code",
    "stream", "kind", "le", "review",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Receiver(http.server.ThreadingHTTPServer):
    """Takes each event the second time it comes."""

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.webhook = Webhook(secret)
        self.refused: dict[str, bytes] = {}
        self.taken: dict[str, CloudEvent] = {}
        self.problems: list[str] = []
        self.lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            status = self.receive(body)
        except Exception as error:  # Told at the end: here it would only end a thread.
            self.server.problems.append(repr(error))
            status = 400
        self.send_response(status)
        self.end_headers()

    def receive(self, body: bytes) -> int:
        headers = dict(self.headers.items())
        self.server.webhook.verify(body, headers)
        try:
            self.server.webhook.verify(body + b" ", headers)
            raise AssertionError("a changed body was taken")
        except WebhookVerificationError:
            pass
        kind = self.headers["content-type"]
        assert kind.startswith("application/cloudevents+json"), kind
        event = JSONFormat().read(CloudEvent, body)
        name = self.headers["webhook-id"]
        assert event.get_id() == name, (event.get_id(), name)
        assert event.get_type().startswith("countersign."), event.get_type()
        with self.server.lock:
            first = self.server.refused.setdefault(name, body)
            assert first == body, f"{name} changed between attempts"
            if first is body:
                return 503
            self.server.taken[name] = event
            return 204

    def log_message(self, *_args) -> None:
        pass


def configure(gateway: str, directory: pathlib.Path, receiver: Receiver, secret: str) -> int:
    """Writes a configuration; gives the port of the numbers."""
    people = ["--person", "dana@example.com", "--person", "eli@example.com"]
    subprocess.run([gateway, "init", directory, *people], check=True, capture_output=True)
    port, numbers = free_port(), free_port()
    main = directory / "countersign.toml"
    server = f'listen = "127.0.0.1:{port}"\nmetrics = "127.0.0.1:{numbers}"'
    text = re.sub(r'listen = ".*"', server, main.read_text(), count=1)
    text += f"""
[stream.siem]
kind = "webhook"
start = "beginning"
url = "http://127.0.0.1:{receiver.server_port}/in"
secret = {{ file = "siem.key" }}

[stream.file]
kind = "ocsf"
start = "beginning"
path = "events.jsonl"
"""
    main.write_text(text)
    key = directory / "siem.key"
    key.touch(mode=0o600)
    key.write_text(secret + "\n")
    subprocess.run([gateway, "policy", "check", directory], check=True, capture_output=True)
    return numbers


def until(what: str, holds):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never came: {what}")


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def check_numbers(text: str) -> int:
    families = list(text_string_to_metric_families(text))
    assert len(families) > 15, f"only {len(families)} families"
    for family in families:
        assert family.type in ("counter", "gauge", "histogram"), family
        assert family.documentation, family
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
        if family.type == "histogram":
            buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
            count = [s.value for s in family.samples if s.name.endswith("_count")]
            assert buckets == sorted(buckets) and buckets[-1:] == count, family
    return len(families)


def main() -> None:
    gateway = str(pathlib.Path(sys.argv[1]).resolve())
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    receiver = Receiver(secret)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="countersign-streams-") as scratch:
        directory = pathlib.Path(scratch) / "gate"
        numbers = configure(gateway, directory, receiver, secret)
        command = [gateway, "up", "--config", str(directory)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until("numbers", lambda: page(numbers))
            # The start, the first bundle, and a link for each person.
            until("four events", lambda: len(receiver.taken) >= 4 or receiver.problems)
            assert not receiver.problems, receiver.problems
            kinds = {event.get_type() for event in receiver.taken.values()}
            assert "countersign.policy.activated" in kinds, kinds
            families = check_numbers(page(numbers))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        lines = directory / "data/streams/file/files/events.jsonl"
        assert lines.stat().st_mode & 0o777 == 0o600
        assert len(lines.read_text().splitlines()) >= 3
    count = len(receiver.taken)
    print(f"{count} events verified by standardwebhooks; {families} families read by prometheus_client")


if __name__ == "__main__":
    main()
