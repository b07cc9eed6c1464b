#!/usr/bin/env python3
"""Emergencies in Slack: told at once, in a message of their own, where people are; no click lifts or reviews.

Runs a gateway of its own (the program's path is the first argument) against the stand-in for Slack. Dana asks for
herself and lifts the rule with a passkey that is a key here; nobody reviews it in time; Finn does, in the console.
"""

import base64
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import channel
from channel import Person, Site, ended, marked_up

WITHIN = 4
DANA = "dana@example.com"


def files() -> dict:
    """Dana can lift the rule of what she asks for; people of `ops` are told in private, too."""
    changed = dict(channel.FILES)
    rule = "[approval.strict]\n"
    emergency = f'emergency = {{ from = ["user:{DANA}"], review_within = "{WITHIN}s" }}\n'
    approvals = changed["approvals.toml"].replace(rule, rule + emergency)
    start, end = approvals.split("[approval.strict]")
    end = end.replace('notify = ["slack:CHANNEL"]', 'notify = ["slack:CHANNEL", "slack"]', 1)
    changed["approvals.toml"] = f"{start}[approval.strict]{end}"
    changed["policies/all.cedar"] += """
@id("people-run")
permit (principal is Person, action in [Action::"execute", Action::"write"], resource);
@id("passkeys-wait") @approval("second")
forbid (principal, action == Action::"countersign:passkey-add", resource);
"""
    return changed


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Passkey:
    """What an authenticator does, with a key of this process."""

    def __init__(self, origin: str) -> None:
        self.key, self.name, self.origin = ec.generate_private_key(ec.SECP256R1()), b"dana-laptop-0001", origin

    def client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": f"webauthn.{kind}", "challenge": challenge, "origin": self.origin,
                           "crossOrigin": False}, separators=(",", ":")).encode()

    def data(self, flags: int) -> bytes:
        return hashlib.sha256(b"localhost").digest() + bytes([flags]) + bytes(4)

    def make(self, options: dict) -> dict:
        point = self.key.public_key().public_numbers()
        cose = bytes.fromhex("a5010203262001215820") + point.x.to_bytes(32, "big") \
            + bytes.fromhex("225820") + point.y.to_bytes(32, "big")
        data = self.data(0x45) + bytes(16) + len(self.name).to_bytes(2, "big") + self.name + cose
        return {"passkey_challenge": options["token"], "passkey_authenticator_data": text(data),
                "passkey_client_data": text(self.client("create", options["challenge"]))}

    def sign(self, options: dict) -> dict:
        client, data = self.client("get", options["challenge"]), self.data(0x05)
        signed = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return {"challenge": options["token"], "passkey": text(self.name), "client_data": text(client),
                "authenticator_data": text(data), "signature": text(signed)}


def enrol(site: Site, dana: Person) -> Passkey:
    key = Passkey(site.gateway.url)
    options = dana.ask("/passkeys/options", {})
    page = dana.form("/passkeys/add", csrf=dana.csrf, label="laptop", **key.make(options))
    request = re.search(r"req_\w+", page)[0]
    site.people["finn"].vote(request)
    assert dana.ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"
    return key


def run(site: Site, dana: Person, *words: str) -> subprocess.Popen:
    """A command that Dana asks for herself."""
    page = dana.form("/command-line", csrf=dana.csrf)
    site.token = re.search(r"cst_[\w-]{43}", page)[0]
    return site.run(*words)


def lift(dana: Person, key: Passkey, request: str, reason: str) -> dict:
    seen = dana.ask(f"/v1/requests/{request}")
    shown = {"digest": seen["digest"], "act": seen["act"]}
    said = {"verdict": "approve", "reason": reason, "lifts": "strict", **shown}
    options = dana.ask(f"/v1/requests/{request}/passkey", said)
    body = {"rule": "strict", "reason": reason, "passkey": key.sign(options), **shown}
    return dana.ask(f"/v1/requests/{request}/emergency", body)


def alarms(site: Site, conversation: str, words: str) -> list:
    return [one for one in site.slack.messages(conversation) if words in one.words() and "digest" not in one.words()]


def emergency(site: Site) -> None:
    slack, ops, users, dana = site.slack, site.ops, site.users, site.people["dana"]
    for name, by in [("dana", "finn"), ("finn", "dana")]:
        site.link(name, by)
    key = enrol(site, dana)
    running = run(site, dana, "/bin/echo", "strict", "x1")
    card = site.card("strict x1")
    request = site.request(card)
    # No button of a card lifts or reviews, and a made-up one does nothing.
    assert not {"emergency", "lift", "review"} & set(card.elements()), card.elements()
    slack.click(users["dana"], ops, card.ts, "comment", forge={"set": {"actions.0.action_id": "emergency"}})
    time.sleep(1)
    assert site.state(card) == "held"
    reason = "checkout is down <!channel> *now*"
    assert lift(dana, key, request, reason)["state"] == "approved"
    ended(running, 0)
    # Told at once in a message of its own, there and in private to whoever may review it.
    [alarm] = slack.wait_for(lambda: alarms(site, ops, "EMERGENCY: dana@example.com lifted rule strict"))
    assert "finn@example.com" in alarm.words() and "checkout is down" in alarm.words(), alarm.words()
    for part in marked_up(alarm.blocks):
        assert "checkout" not in part, part
    slack.wait_for(lambda: alarms(site, slack.direct(users["finn"]), "EMERGENCY: dana@example.com"))
    card = site.says(card, "Nobody countersigned for it")
    assert "strict: LIFTED in an emergency" in card.words() and "0 of 1" not in card.words(), card.words()
    # Overdue, it is told once more; a gateway that was killed repeats nothing.
    [late] = slack.wait_for(lambda: alarms(site, ops, "Overdue: nobody has reviewed"), seconds=WITHIN + 20)
    assert "nobody can lift this rule again" in late.words(), late.words()
    slack.wait_for(lambda: alarms(site, slack.direct(users["finn"]), "Overdue: nobody has reviewed"))
    site.restart()
    time.sleep(3)
    assert len(alarms(site, ops, "Overdue: nobody")) == len(alarms(site, ops, "EMERGENCY: dana")) == 1
    finn = site.people["finn"]
    seen = finn.ask(f"/v1/requests/{request}")
    finn.ask(f"/v1/requests/{request}/review", {"rule": "strict", "note": "restarted it, nothing else",
                                                 "digest": seen["digest"], "act": seen["act"]})
    site.says(card, "Reviewed by finn@example.com")


def main(program: str) -> None:
    channel.FILES = files()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(program, pathlib.Path(folder), socket=False)
        try:
            emergency(site)
            verified = site.gateway.run("log", "verify", str(pathlib.Path(folder) / "data"))
            assert verified.returncode == 0, verified.stdout + verified.stderr
        finally:
            site.slack.process.stdin.close()
            site.gateway.process.kill()
    print("slack: emergencies are told at once, where people are, and no click lifts or reviews")


if __name__ == "__main__":
    main(sys.argv[1])
