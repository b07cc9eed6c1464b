#!/usr/bin/env python3
"""Passkeys in real Chromium, with the authenticator of its developer tools.

Runs a gateway of its own (the program's path is the first argument) whose rule asks for passkeys.
Rene adds one, Olga countersigns it, Rene signs an approval with it that grants its like, the
waiting command runs, and once more without asking, and Rene signs in with it. Then the receipt is verified, and what was signed is checked by the PyPI
package `webauthn`, which is not our code. Screenshots go to target/screenshots.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from playwright.sync_api import expect, sync_playwright
from webauthn import verify_authentication_response
from webauthn.helpers import base64url_to_bytes

from console import CHROMIUM, FLAGS, fits, shoot, sign_in
from gateway import Gateway, token

RENE, OLGA = "rene@example.com", "olga@example.com"
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[group.ops]

[person."rene@example.com"]
groups = ["ops"]
[person."olga@example.com"]
groups = ["ops"]

[target.tools]
kind = "exec"
environment = "production"
""",
    "approvals.toml": """
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "passkey"
grants = { max = "15m", uses = 5 }

[approval.second]
stages = [{ from = ["group:ops"], count = 1 }]
""",
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action in Action::"execute", resource);
@id("people-propose")
permit (principal is Person, action in Action::"admin", resource);
@id("runs-are-signed") @approval("ops")
forbid (principal, action in Action::"execute", resource);
@id("changes-are-signed") @approval("second")
forbid (principal, action in Action::"admin", resource);
""",
}


def authenticator(page):
    """A platform authenticator that says yes, and a function that changes whether it knows the person."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    made = session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )

    def known(yes: bool) -> None:
        session.send(
            "WebAuthn.setUserVerified",
            {"authenticatorId": made["authenticatorId"], "isUserVerified": yes},
        )

    return known


def add(rene, olga, url: str) -> None:
    rene.goto(f"{url}/passkeys")
    rene.get_by_label(re.compile("what to call it", re.I)).fill("laptop")
    rene.get_by_role("button", name="Add a passkey").click()
    expect(rene.get_by_text("Add a passkey for rene@example.com").first).to_be_visible()
    shown = rene.get_by_text("fingerprint").first.inner_text()
    fingerprint = re.search(r"fingerprint\s+((?:[0-9a-f]{4} ?){4})", shown)[1]
    request = rene.url.split("?")[0]
    expect(rene.get_by_role("button", name=re.compile("^approve", re.I))).to_have_count(0)

    rene.goto(f"{url}/passkeys")
    expect(rene.get_by_text("waits for a countersignature")).to_be_visible()
    expect(rene.get_by_text(fingerprint)).to_be_visible()
    olga.goto(request)
    expect(olga.get_by_text(fingerprint).first).to_be_visible()
    shoot(olga, "passkey-countersign")
    olga.get_by_role("button", name=re.compile("^approve", re.I)).first.click()
    expect(olga.get_by_text("Your approval is recorded")).to_be_visible()

    rene.goto(request)
    rene.get_by_role("button", name=re.compile("apply", re.I)).first.click()
    expect(rene.get_by_text("applied").first).to_be_visible()
    rene.goto(f"{url}/passkeys")
    expect(rene.get_by_text(fingerprint)).to_be_visible()
    fits(rene)
    shoot(rene, "passkeys-desktop")


def approve(rene, known, request: str) -> None:
    rene.goto(request)
    button = rene.get_by_role("button", name=re.compile("with your passkey", re.I)).first
    expect(button).to_be_visible()
    rene.get_by_label(re.compile("^reason", re.I)).first.fill("looked at it\nand \"this\" is fine")
    rene.get_by_text("Grant more than this one action").click()
    rene.get_by_label("Grant its like, too").check()
    rene.get_by_label("For", exact=True).select_option("5m")
    rene.get_by_label("at most").fill("2")
    shoot(rene, "request-passkey-desktop")
    # Whom the authenticator does not know signs nothing, and is told so.
    known(False)
    button.click()
    expect(rene.get_by_text("Nothing was signed").first).to_be_visible(timeout=70_000)
    known(True)
    rene.get_by_role("button", name=re.compile("with your passkey", re.I)).first.click()
    expect(rene.get_by_text("Your approval is recorded")).to_be_visible()


def check_signature(gateway: Gateway, request: str) -> None:
    """Has PyPI's `webauthn` verify what the log kept of the vote."""
    data = gateway.folder / "data"
    receipt = gateway.folder / "receipt"
    made = gateway.run("log", "prove", request, str(data), "--output", str(receipt))
    assert made.returncode == 0, made.stderr
    key = data / "log" / "key.pub"
    verified = gateway.run("log", "verify", str(receipt), "--key", str(key))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    whole = gateway.run("log", "verify", str(data))
    assert whole.returncode == 0, whole.stdout + whole.stderr

    extra = receipt.read_text().split("\n")[1].removeprefix("extra ")
    entries = json.loads(base64url_to_bytes(extra.replace("+", "-").replace("/", "_")))["entries"]
    parts = [json.loads(entry["evidence"]) for entry in entries if "approval.decided" in entry["leaf"]]
    votes = [next(part["value"] for part in vote if part["is"] == "details") for vote in parts]
    [signed] = [vote["vote"]["signature"] for vote in votes]
    statement = json.loads(signed["statement"])
    assert statement["request"] == request and statement["verdict"] == "approve", statement
    sha256 = lambda part: hashlib.sha256(part).digest()
    challenge = sha256(
        b"countersign/approval/v1\0" + bytes.fromhex(statement["nonce"]) + sha256(signed["statement"].encode())
    )
    found = verify_authentication_response(
        credential={
            "id": signed["passkey"],
            "rawId": signed["passkey"],
            "type": "public-key",
            "response": {
                "clientDataJSON": signed["client_data"],
                "authenticatorData": signed["authenticator_data"],
                "signature": signed["signature"],
            },
        },
        expected_challenge=challenge,
        expected_rp_id="localhost",
        expected_origin=gateway.url,
        credential_public_key=base64url_to_bytes(signed["public_key"]),
        credential_current_sign_count=0,
        require_user_verification=True,
    )
    assert found.user_verified


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        gateway = Gateway(sys.argv[1], pathlib.Path(folder), FILES)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        olga, olga_errors = sign_in(browser, gateway.links[OLGA], viewport={"width": 390, "height": 844})
        rene, rene_errors = sign_in(browser, gateway.links[RENE], viewport={"width": 1280, "height": 900})
        known = authenticator(rene)
        add(rene, olga, gateway.url)

        home = {**os.environ, "HOME": folder, "COUNTERSIGN_URL": gateway.url}
        home["COUNTERSIGN_TOKEN"] = token(olga, gateway.url)
        command = subprocess.Popen(
            [gateway.program, "--json", "run", "--target", "tools", "--", "true"],
            env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        held = next(line for line in command.stdout if "req_" in line)
        request = re.search(r"req_\w+", held)[0]
        approve(rene, known, f"{gateway.url}/requests/{request}")
        command.communicate(timeout=60)
        assert command.returncode == 0, command.returncode

        # What was granted is in what the passkey signed. Once more it runs without asking, not twice.
        again = [gateway.program, "--json", "run", "--target", "tools", "--wait", "0s", "--", "true"]
        runs = [subprocess.run(again, env=home, capture_output=True, text=True) for _ in range(2)]
        assert [run.returncode for run in runs] == [0, 75], runs
        rene.goto(f"{gateway.url}/requests/{request}")
        expect(rene.get_by_text("2 of 2 uses")).to_be_visible()
        fits(rene)
        shoot(rene, "request-granted-desktop")

        rene.get_by_role("button", name="Sign out").click()
        rene.goto(f"{gateway.url}/requests/{request}")
        shoot(rene, "sign-in-passkey")
        rene.get_by_role("button", name="Sign in with a passkey").click()
        expect(rene.get_by_text(re.compile("succeeded", re.I)).first).to_be_visible()
        assert rene.url == f"{gateway.url}/requests/{request}", rene.url

        # At another address of the same gateway, pages say where passkeys work.
        rene.goto(gateway.url.replace("localhost", "127.0.0.1") + "/sign-in")
        expect(rene.get_by_text("Passkeys work only at another address")).to_be_visible()
        expect(rene.get_by_role("link", name=f"{gateway.url}/sign-in")).to_be_visible()

        # Removed, it signs nobody in any more; whoever is signed in with it is asked first.
        rene.goto(f"{gateway.url}/passkeys")
        rene.get_by_label(re.compile("this signs me out", re.I)).check()
        shoot(rene, "passkeys-remove")
        rene.get_by_role("button", name=re.compile("^remove", re.I)).click()
        expect(rene.get_by_text("You removed the passkey")).to_be_visible()
        rene.goto(f"{gateway.url}/sign-in")
        rene.get_by_role("button", name="Sign in with a passkey").click()
        expect(rene.get_by_text("not enrolled here, or was revoked").first).to_be_visible()
        # The browser names every answer that is no success.
        errors = [error for error in olga_errors + rene_errors if "status of 40" not in error]
        assert not errors, errors
        browser.close()
        gateway.end()
        check_signature(gateway, request)
    print("passkeys work in Chromium; another library agrees with what was signed")


if __name__ == "__main__":
    main()
