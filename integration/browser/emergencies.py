#!/usr/bin/env python3
"""Breaking the glass in real Chromium, with the authenticator of its developer tools.

Runs a gateway of its own (the program's path is the first argument). Rene asks for a command, may not
approve it, lifts its rule with a passkey and a reason, and it runs. Nobody reviews that in time, so the
rule can't be lifted again; Olga sees that it is overdue, reviews it, and then it can. Screenshots go to
target/screenshots, of a phone, too.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from playwright.sync_api import expect, sync_playwright

from console import CHROMIUM, FLAGS, fits, shoot, sign_in
from gateway import Gateway, token
from passkeys import FILES, OLGA, RENE, add, authenticator

REASON = "checkout is down and nobody answers"
WITHIN = 12
PHONE = {"width": 390, "height": 844}


def files() -> dict:
    changed = dict(FILES)
    emergency = f'emergency = {{ from = ["user:{RENE}"], review_within = "{WITHIN}s" }}'
    changed["approvals.toml"] = FILES["approvals.toml"].replace('assurance = "passkey"', emergency)
    return changed


def ask(gateway: Gateway, secret: str, folder: str) -> tuple:
    """Asks as Rene, and gives the command that waits and its request."""
    home = {**os.environ, "HOME": folder, "COUNTERSIGN_URL": gateway.url, "COUNTERSIGN_TOKEN": secret}
    command = subprocess.Popen(
        [gateway.program, "--json", "run", "--target", "tools", "--", "true"],
        env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    held = next(line for line in command.stdout if "req_" in line)
    return command, re.search(r"req_\w+", held)[0]


def open_glass(page) -> None:
    page.get_by_text(re.compile("^Break the glass", re.I)).first.click()


def break_glass(rene, known, request: str) -> None:
    rene.goto(request)
    # Whoever asks does not approve; the glass stands apart, and closed.
    expect(rene.get_by_role("button", name=re.compile("^approve", re.I))).to_have_count(0)
    button = rene.get_by_role("button", name=re.compile("break the glass", re.I)).first
    expect(button).not_to_be_visible()
    open_glass(rene)
    expect(rene.get_by_text("This is no approval.")).to_be_visible()
    expect(rene.get_by_text(OLGA).first).to_be_visible()
    fits(rene)
    shoot(rene, "emergency-desktop")
    rene.set_viewport_size(PHONE)
    fits(rene)
    shoot(rene, "emergency-phone")
    rene.set_viewport_size({"width": 1280, "height": 900})
    # Without a reason nothing is sent.
    button.click()
    expect(rene.get_by_text("This is no approval.")).to_be_visible()
    rene.get_by_label(re.compile("why nobody can be waited for", re.I)).fill(REASON)
    # Whom the authenticator does not know lifts nothing.
    known(False)
    button.click()
    expect(rene.get_by_text("Nothing was signed").first).to_be_visible(timeout=70_000)
    known(True)
    button.click()
    expect(rene.get_by_text("You lifted the rule in an emergency")).to_be_visible()


def overdue(olga, url: str, request: str) -> None:
    olga.wait_for_timeout(WITHIN * 1000)
    olga.goto(f"{url}/emergencies")
    expect(olga.get_by_role("heading", name=re.compile("^Overdue"))).to_be_visible()
    expect(olga.get_by_text(REASON).first).to_be_visible()
    expect(olga.get_by_role("link", name=re.compile("^Emergencies 1", re.I))).to_be_visible()
    fits(olga)
    shoot(olga, "emergencies-phone")
    olga.goto(request)
    expect(olga.get_by_text("was lifted in an emergency").first).to_be_visible()
    expect(olga.get_by_text(re.compile("It is overdue"))).to_be_visible()
    fits(olga)
    shoot(olga, "emergency-review-phone")


def review(olga, url: str) -> None:
    olga.get_by_label(re.compile("what you found", re.I)).fill("went through it with Rene: as they say")
    olga.get_by_role("button", name="Record my review").click()
    expect(olga.get_by_text("Your review is recorded")).to_be_visible()
    expect(olga.get_by_text("as they say").first).to_be_visible()
    olga.goto(f"{url}/emergencies")
    expect(olga.get_by_role("heading", name=re.compile("^Reviewed"))).to_be_visible()
    shoot(olga, "emergencies-reviewed-phone")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        gateway = Gateway(sys.argv[1], pathlib.Path(folder), files())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        olga, olga_errors = sign_in(browser, gateway.links[OLGA], viewport=PHONE)
        rene, rene_errors = sign_in(browser, gateway.links[RENE], viewport={"width": 1280, "height": 900})
        known = authenticator(rene)
        add(rene, olga, gateway.url)
        secret = token(rene, gateway.url)

        command, request = ask(gateway, secret, folder)
        page = f"{gateway.url}/requests/{request}"
        break_glass(rene, known, page)
        command.communicate(timeout=60)
        assert command.returncode == 0, command.returncode
        rene.goto(page)
        expect(rene.get_by_text("was lifted in an emergency").first).to_be_visible()
        expect(rene.get_by_role("button", name="Record my review")).to_have_count(0)
        shoot(rene, "emergency-lifted-desktop")

        overdue(olga, gateway.url, page)
        shoot_wide(olga, gateway.url)
        # Overdue, nobody lifts the rule again; reviewed, somebody does.
        second, waiting = ask(gateway, secret, folder)
        rene.goto(f"{gateway.url}/requests/{waiting}")
        expect(rene.get_by_text(re.compile("^Break the glass"))).to_have_count(0)
        olga.goto(page)
        review(olga, gateway.url)
        rene.goto(f"{gateway.url}/requests/{waiting}")
        expect(rene.get_by_text(re.compile("^Break the glass")).first).to_be_visible()
        rene.get_by_role("button", name="Cancel this request").click()
        second.communicate(timeout=60)

        said = {**os.environ, "COUNTERSIGN_URL": gateway.url, "COUNTERSIGN_TOKEN": secret, "HOME": folder}
        listed = gateway.run("--json", "requests", "emergencies", "--state", "reviewed", env=said)
        assert listed.returncode == 0, listed.stderr
        [lift] = json.loads(listed.stdout.splitlines()[0])["lifted"]
        assert lift["by"] == RENE and lift["reviewed"]["by"] == OLGA, lift
        errors = [error for error in olga_errors + rene_errors if "status of 40" not in error]
        assert not errors, errors
        browser.close()
        gateway.end()
        verified = gateway.run("log", "verify", str(gateway.folder / "data"))
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "in an emergency" in verified.stdout + verified.stderr, verified.stdout
    print("the glass breaks in Chromium, loudly, and somebody else reviews it")


def shoot_wide(olga, url: str) -> None:
    olga.set_viewport_size({"width": 1280, "height": 900})
    olga.goto(f"{url}/emergencies")
    fits(olga)
    shoot(olga, "emergencies-desktop")
    olga.set_viewport_size(PHONE)


if __name__ == "__main__":
    main()
