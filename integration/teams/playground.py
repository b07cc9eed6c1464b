#!/usr/bin/env python3
"""Microsoft's own client for bots decides.

Runs a gateway (the program's path is the first argument), the Agents Playground and a browser: somebody
links their account, reads a card, opens their own view of it, approves, denies with a reason, and sees
the card follow. The playground sends no tokens: what stands in for Microsoft between both signs what it
sends, and checks what the bot sends. Then the same cards in the library that Teams renders cards with;
a folder as second argument keeps pictures of them.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from channel import HOSTILE, Site, ended  # noqa: E402
from connector import APP, OPS, TENANT, Microsoft, account, as_written  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PEOPLE = {"dana": account(2), "finn": account(3), "olga": account(1), "mona": account(4), "u5": account(5), "u6": account(6)}


def person(name: str) -> str:
    keys = {"id": PEOPLE[name], "name": name, "userPrincipleName": f"{name}@example.com", "aadObjectId": PEOPLE[name],
            "givenName": name, "surname": name, "email": f"{name}@example.com"}
    return "\n".join(f"    {key}: {value}" for key, value in keys.items())


class Playground:
    """Microsoft's client, as dana has it."""

    def __init__(self, folder: pathlib.Path, microsoft: Microsoft) -> None:
        others = "\n".join("  -" + person(name)[3:] for name in PEOPLE if name != "dana")
        (folder / ".m365agentsplayground.yml").write_text(f"""
version: "0.1.1"
tenantId: {TENANT}
bot:
  id: "28:{APP}"
  name: Countersign
currentUser:
{person("dana")}
users:
{others}
personalChat:
  id: "a:{PEOPLE["dana"]}"
groupChat:
  id: "19:chat@thread.v2"
  name: Group Chat
team:
  id: "19:team@thread.tacv2"
  name: My Team
  aadGroupId: {account(77)}
  channels:
    - id: "{OPS}"
      name: Announcements
""")
        # It opens a browser by itself.
        (folder / "bin").mkdir()
        (folder / "bin" / "xdg-open").write_text("#!/bin/sh\nexit 0\n")
        (folder / "bin" / "xdg-open").chmod(0o755)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program = HERE / "node_modules/@microsoft/m365agentsplayground/cli.js"
        # Without an input it ends.
        self.process = subprocess.Popen(
            ["node", str(program), "start", "-e", f"{microsoft.url}/api/messages", "-p", str(port), "--channel-id", "msteams",
             "--service-url", microsoft.service, "--dt"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"})
        microsoft.playground = self.url
        microsoft.wait_for(self.answers)

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.url}/_debug/ping", timeout=5).read() == b"pong"
        except OSError:
            return False


def write(page: Page, text: str) -> None:
    box = page.get_by_role("textbox").last
    box.click()
    box.fill(text)
    page.get_by_role("button", name="Send Message").click()


def shown(page: Page, text: str) -> None:
    expect(page.get_by_text(text).last).to_be_visible(timeout=20_000)


def drive(site: Site, page: Page, pictures: pathlib.Path | None) -> None:
    page.get_by_role("treeitem", name="Personal Chat").click()
    write(page, f"link {site.people['dana'].code()}")
    shown(page, "It would be linked to")
    request = re.search(r"/requests/(req_\w+)", as_written(page.inner_text("body")))[1]
    site.people["finn"].vote(request)
    assert site.people["dana"].ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"
    # A card in a channel: what everybody sees, then dana's own view of it, which decides.
    running = site.run("/bin/echo", "hello **world**", reason=HOSTILE)
    page.get_by_role("treeitem", name="Announcements").click()
    shown(page, "$ /bin/echo 'hello ")
    assert HOSTILE in as_written(page.inner_text("body")), page.inner_text("body")
    approve = page.get_by_role("button", name="Approve", exact=True)
    if not approve.count():
        page.get_by_role("button", name="Decide or discuss").last.click()
    approve.last.wait_for(timeout=20_000)
    picture(page, pictures, "channel")
    approve.last.click()
    assert "hello" in ended(running, 0)
    shown(page, "Approved; it ran and succeeded")
    shown(page, "dana@example.com approved")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0, timeout=20_000)
    # In private, with a reason.
    running = site.run("/bin/echo", "not", "this")
    page.get_by_role("treeitem", name="Personal Chat").click()
    shown(page, "$ /bin/echo not this")
    page.get_by_role("button", name="Deny …").last.click()
    page.get_by_label("Why").last.fill("not on a Friday")
    picture(page, pictures, "deny")
    page.get_by_role("button", name="Deny", exact=True).last.click()
    assert "not on a Friday" in ended(running, 77)
    shown(page, "Denied by dana@example.com")
    write(page, "inbox")
    shown(page, "Nothing waits for you.")
    picture(page, pictures, "private")


def picture(page: Page, pictures: pathlib.Path | None, name: str) -> None:
    if pictures:
        page.screenshot(path=pictures / f"{name}.png")


def render(page: Page, cards: list[tuple[str, dict]], pictures: pathlib.Path | None) -> None:
    """Cards in Microsoft's renderer: nothing of others is markup, nothing is missing."""
    page.goto((HERE / "cards.html").as_uri())
    page.add_script_tag(path=HERE / "node_modules/adaptivecards/dist/adaptivecards.js")
    for name, content in cards:
        told = page.evaluate("render", content)
        assert told["problems"] == [], told
        assert all(re.match(r"req_\w+ · digest ", text) for text in told["seen"]), told["seen"]
        text = as_written(page.locator("#card").inner_text())
        assert HOSTILE in text and "hello **world**  {{TIME(2020-01-01T00:00:00Z)}}" in text, text
        assert page.locator("#card a, #card strong, #card em, #card at").count() == 0
        assert "{{" not in text.split("digest ")[1], text
        # On a telephone, too, nothing reaches beyond the card, where nobody would see it.
        for width in (280, 640):
            page.evaluate("width => document.getElementById('card').style.width = `${width}px`", width)
            beyond = page.evaluate("""() => Array.from(document.querySelectorAll("#card .ac-richTextBlock, #card .ac-container"))
                .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)""")
            assert not beyond, (width, beyond)
        if name == "view":
            page.get_by_role("button", name="Deny …").click()
            page.get_by_label("Why").fill("because")
        picture(page, pictures, f"card-{name}")
        if name == "view":
            page.get_by_role("button", name="Deny", exact=True).click()
            [done] = page.evaluate("window.done")
            assert (done["verb"], done["data"]["deny_words"]) == ("deny", "because"), done


def cards_of(site: Site) -> list[tuple[str, dict]]:
    """A card as everybody and as dana sees it."""
    for name, by in [("dana", "finn"), ("finn", "dana")]:
        site.link(name, by)
    site.run("/bin/echo", "hello **world**  {{TIME(2020-01-01T00:00:00Z)}}", reason=HOSTILE, wait="0s").wait(timeout=30)
    card = site.card("hello **world**")
    return [("everybody", card.content()), ("view", card.view(site.users["dana"]).content())]


def main(program: str, pictures: pathlib.Path | None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1_600, "height": 1_100})
        with tempfile.TemporaryDirectory() as folder, Microsoft() as microsoft:
            site = Site(program, pathlib.Path(folder), microsoft)
            try:
                render(page, cards_of(site), pictures)
                print("teams: cards as Microsoft renders them", flush=True)
            finally:
                site.gateway.process.kill()
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as own, Microsoft() as microsoft:
            playground = Playground(pathlib.Path(own), microsoft)
            site = Site(program, pathlib.Path(folder), microsoft)
            try:
                page.goto(playground.url)
                began = time.monotonic()
                drive(site, page, pictures)
                print(f"teams: the playground decides ({time.monotonic() - began:.1f} s)", flush=True)
                site.end()
            except BaseException:
                picture(page, pictures, "failed")
                raise
            finally:
                playground.process.terminate()
                playground.process.wait(timeout=30)
                site.gateway.process.kill()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None)
