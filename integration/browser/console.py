#!/usr/bin/env python3
"""The console in real Chromium: a click on Approve lets the agent's waiting command finish.

Runs `countersign demo` (its path is the first argument), signs in as both people, tries what must
not work, approves by keyboard, and looks at the pages on a phone and on a desktop. Screenshots go
to target/screenshots.
"""

import json
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading

from playwright.sync_api import expect, sync_playwright

SHOTS = pathlib.Path("target/screenshots")
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60


class Demo:
    """The demo, with its lines as they come."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen([program, "--json", "demo"], stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def until(self, wanted) -> dict:
        """The first line that `wanted` accepts; every step before it must be as expected."""
        while True:
            line = self.lines.get(timeout=PATIENCE)
            assert line is not None, "the demo ended early"
            assert line.get("as_expected", True), line
            if wanted(line):
                return line

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        for line in iter(lambda: self.lines.get(timeout=PATIENCE), None):
            assert line.get("as_expected", True), line
        assert self.process.wait(timeout=PATIENCE) == 0, "the demo did not pass"


def sign_in(browser, link: str, **options):
    context = browser.new_context(**options)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(link)
    page.get_by_role("button", name=re.compile("sign in", re.I)).click()
    expect(page).to_have_title(re.compile("Countersign"))
    return page, errors


def fits(page) -> None:
    """Nothing is wider than the screen."""
    wider = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wider, f"{page.url} scrolls sideways"


def shoot(page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def main() -> None:
    demo = Demo(sys.argv[1])
    text = demo.until(lambda line: "sign in as rene" in line.get("note", ""))["note"]
    rene_link, olga_link = re.findall(r"http://\S+/sign-in/\S+", text)
    request = re.search(r"http://\S+/requests/\S+", text).group()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        olga, olga_errors = sign_in(browser, olga_link, viewport={"width": 390, "height": 844})
        olga.goto(request)
        expect(olga.get_by_text("Somebody else must decide").first).to_be_visible()
        expect(olga.get_by_role("button", name=re.compile("^approve", re.I))).to_have_count(0)
        fits(olga)
        shoot(olga, "request-owner-phone")

        rene, rene_errors = sign_in(browser, rene_link, viewport={"width": 1280, "height": 900})
        expect(rene).to_have_title(re.compile(r"^\(1\)"))
        shoot(rene, "inbox-desktop")
        rene.get_by_role("link", name=re.compile("git push")).first.click()
        expect(rene.get_by_text("ship the second release").first).to_be_visible()
        shoot(rene, "request-approver-desktop")

        # Without a mouse.
        rene.get_by_role("button", name=re.compile("^approve", re.I)).first.focus()
        rene.keyboard.press("Enter")
        done = demo.until(lambda line: line.get("step", "").startswith("deploy-bot's own command"))
        assert done["as_expected"], done

        # The owner's page learns of it by itself.
        expect(olga.get_by_text(re.compile("succeeded", re.I)).first).to_be_visible(timeout=15_000)
        shoot(olga, "request-done-phone")

        second = browser.new_context().new_page()
        second.goto(rene_link)
        expect(second.get_by_role("button", name=re.compile("sign in", re.I))).to_have_count(0)

        rene.goto(request.rsplit("/", 2)[0] + "/people")
        fits(rene)
        shoot(rene, "people-desktop")
        assert not olga_errors and not rene_errors, (olga_errors, rene_errors)
        browser.close()
    demo.end()
    print("the console works in Chromium; screenshots are in", SHOTS)


if __name__ == "__main__":
    main()
