#!/usr/bin/env python3
"""A gateway whose people decide in Microsoft Teams.

Runs a gateway of its own (the program's path is the first argument) against a stand-in for Microsoft's
services: linking, deciding, talking, everything that may not decide, tokens and activities that are
refused, bad weather, and a gateway that is killed in between. Then Microsoft's own client for bots, in a
browser, drives the same gateway (`playground.py`).
"""

import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "browser"))
from gateway import Gateway  # noqa: E402
from person import Person, ended  # noqa: E402

import refused  # noqa: E402
from connector import APP, CHAT, OPS, SECRET, TENANT, Card, Microsoft, account, text_of, words  # noqa: E402

FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"
CHANNEL

[group.ops]
[group.agents]
[person."olga@example.com"]
groups = ["ops"]
[person."dana@example.com"]
groups = ["ops"]
[person."finn@example.com"]
groups = ["ops"]
[person."mona@example.com"]

[agent.deploy-bot]
owner = "olga@example.com"
groups = ["agents"]

[target.tools]
kind = "exec"
environment = "production"

[[target.tools.command]]
argv = ["/bin/echo", "why", "{what:word}"]
action = "reasoned"
group = "write"

[[target.tools.command]]
argv = ["/bin/echo", "strict", "{what:word}"]
action = "strict"
group = "write"

[[target.tools.command]]
argv = ["/bin/echo", "slow", "{what:word}"]
action = "slow"
group = "write"

[[target.tools.command]]
argv = ["/bin/echo", "two", "{what:word}"]
action = "two"
group = "write"
""",
    "approvals.toml": """
[approval.chat]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "chat"
notify = ["teams:19:ops@thread.tacv2", "teams"]

[approval.reasoned]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "chat"
reason = "required"
notify = ["teams:19:ops@thread.tacv2"]

[approval.strict]
stages = [{ from = ["group:ops"], count = 1 }]
notify = ["teams:19:ops@thread.tacv2"]

[approval.two]
stages = [{ from = ["group:ops"], count = 2 }]
assurance = "chat"
notify = ["teams:19:ops@thread.tacv2", "teams:19:chat@thread.v2"]

[approval.slow]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "chat"
notify = ["teams"]
remind = "4s"

[approval.second]
stages = [{ from = ["group:ops"], count = 1 }]
""",
    "policies/all.cedar": """
@id("agents-run")
permit (principal in Group::"agents", action in [Action::"execute", Action::"write"], resource);
@id("people-propose")
permit (principal is Person, action in [Action::"admin", Action::"read"], resource);
@id("runs-wait") @approval("chat") @reason("Somebody has to look")
forbid (principal, action in Action::"execute", resource);
@id("reasoned-waits") @approval("reasoned")
forbid (principal, action == Action::"exec:reasoned", resource);
@id("strict-waits") @approval("strict")
forbid (principal, action == Action::"exec:strict", resource);
@id("slow-waits") @approval("slow")
forbid (principal, action == Action::"exec:slow", resource);
@id("two-wait") @approval("two")
forbid (principal, action == Action::"exec:two", resource);
@id("links-wait") @approval("second")
forbid (principal, action == Action::"countersign:account-link", resource)
unless { principal == Person::"mona@example.com" };
""",
}
PEOPLE = {"olga": account(1), "dana": account(2), "finn": account(3), "mona": account(4)}


# What was sent within five seconds of a start, or before, may have been taken before.
AFTER_START = 6.1


class Site:
    """A gateway, Microsoft, people on both, and an agent."""

    def __init__(self, program: str, folder: pathlib.Path, microsoft: Microsoft) -> None:
        self.program, self.folder, self.microsoft = program, folder, microsoft
        self.users = dict(PEOPLE)
        for members in microsoft.members.values():
            members.update(self.users.values())
        (folder / "bot.secret").write_text(SECRET + "\n")
        (folder / "bot.secret").chmod(0o600)
        files = {name: text.replace("CHANNEL", microsoft.settings()) for name, text in FILES.items()}
        self.gateway = Gateway(program, folder, files)
        microsoft.bot = f"{self.gateway.url}/channels/teams"
        self.people = {name: Person(self.gateway, f"{name}@example.com") for name in self.users}
        time.sleep(AFTER_START)
        made = self.people["olga"].ask("/v1/proposals", {"operation": "agent-token", "arguments": {"agent": "deploy-bot"}})
        self.token = made["result"]["token"]

    def end(self) -> None:
        verified = self.gateway.run("log", "verify", str(self.folder / "data"))
        assert verified.returncode == 0, verified.stdout + verified.stderr

    def restart(self) -> None:
        """Kills the gateway and starts it again on what is there."""
        self.gateway.process.send_signal(signal.SIGKILL)
        self.gateway.process.wait(timeout=30)
        self.gateway.process = subprocess.Popen([self.program, "up", "--config", str(self.folder)],
                                                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True)
        self.microsoft.wait_for(self.answers)
        time.sleep(AFTER_START)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.gateway.url}/v1/health", timeout=5).read()
            return True
        return False

    def say(self, user: str, text: str, conversation: str | None = None) -> str:
        """Says something to the bot, and gives what it answers in private."""
        before = len(self.microsoft.answers(user))
        status, _ = self.microsoft.say(user, conversation or f"a:{user}", text)
        assert status == 200, status
        return self.microsoft.wait_for(lambda: self.microsoft.answers(user)[before:])[-1].words()

    def link(self, name: str, by: str) -> None:
        """Links an account, which somebody else countersigns."""
        person, user = self.people[name], self.users[name]
        told = self.say(user, f"link {person.code()}")
        request = re.search(r"/requests/(req_\w+)", told)[1]
        self.people[by].vote(request)
        assert person.ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"

    def run(self, *words: str, wait: str = "60s", reason: str = "to test it") -> subprocess.Popen:
        environment = {**os.environ, "COUNTERSIGN_URL": self.gateway.url, "COUNTERSIGN_TOKEN": self.token}
        return subprocess.Popen(
            [self.program, "run", "--target", "tools", "--reason", reason, "--wait", wait, "--", *words],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def card(self, words: str, conversation: str = OPS) -> Card:
        """The card in a conversation that shows these words."""
        shows = lambda: [one for one in self.microsoft.cards(conversation) if words in one.words()]  # noqa: E731
        return self.microsoft.wait_for(shows)[0]

    def says(self, card: Card, words: str) -> Card:
        self.microsoft.wait_for(lambda: words in card.words())
        return card

    def quiet(self) -> None:
        """Waits until nothing more is sent."""
        sent = -1
        while sent != (sent := len(self.microsoft.calls)):
            time.sleep(2.5)

    def state(self, card: Card) -> str:
        return self.people["dana"].ask(f"/v1/requests/{request_of(card)}")["state"]


def request_of(card: Card) -> str:
    return re.search(r"req_\w+", json.dumps(card.content()))[0]


def linking(site: Site) -> None:
    dana, people = site.users["dana"], site.people
    assert "not linked to anybody" in site.say(dana, "inbox") and "`link CODE`" in site.say(dana, "inbox")
    assert "no such code" in site.say(site.users["finn"], "link AAAA-BBBB-CCCC")
    code, newer = people["dana"].code(), people["dana"].code()
    assert "no such code" in site.say(dana, f"link {code}")
    # Written where others read it, it links nobody, and is used up.
    assert "code is used up" in site.say(dana, f"Link {newer}", f"{OPS};messageid=1")
    assert "no such code" in site.say(dana, f"link {newer}")
    newest = people["dana"].code()
    request = re.search(r"/requests/(req_\w+)", site.say(dana, f"Link {newest}"))[1]
    # Whoever countersigns reads which account it is.
    seen = people["finn"].ask(f"/v1/requests/{request}")
    assert dana in seen["action"] and TENANT in seen["action"], seen["action"]
    with contextlib.suppress(urllib.error.HTTPError):
        people["dana"].vote(request)
        raise AssertionError("dana linked an account alone")
    assert "not linked" in site.say(dana, "inbox")
    people["finn"].vote(request)
    assert people["dana"].ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"
    assert site.say(dana, "inbox") == "Nothing waits for you."
    assert dana in people["dana"].get("/accounts")
    # One account, one person; one person, one account in a channel.
    assert "linked already" in site.say(dana, f"link {people['mona'].code()}")
    assert "another account" in site.say(site.users["mona"], f"link {people['dana'].code()}")
    for name, by in [("olga", "dana"), ("finn", "dana")]:
        site.link(name, by)
    # In a channel, it says how rules name it.
    assert f'notify = ["teams:{OPS}"]' in site.say(dana, "help", f"{OPS};messageid=1")
    assert "notify" not in site.say(dana, "what?")


def package(site: Site) -> None:
    """The app package, in the eyes of others."""
    file = site.folder / "countersign.zip"
    arguments = ["channel", "teams", "package", "--out", str(file), "--app", APP.upper(), "--public-url"]
    refusal = site.gateway.run(*arguments, "http://countersign.example.com")
    assert refusal.returncode == 64 and "`https://` addresses only" in refusal.stderr, refusal
    made = site.gateway.run("--json", *arguments, "https://countersign.example.com/")
    assert made.returncode == 0, made
    told = json.loads(made.stdout)
    assert told["messaging_endpoint"] == "https://countersign.example.com/channels/teams", told
    with zipfile.ZipFile(file) as zipped:
        assert zipped.testzip() is None
        assert sorted(zipped.namelist()) == ["color.png", "manifest.json", "outline.png"]
        manifest = json.loads(zipped.read("manifest.json"))
        sizes = {name: struct.unpack(">II", zipped.read(name)[16:24]) for name in manifest["icons"].values()}
    assert sizes == {"color.png": (192, 192), "outline.png": (32, 32)}, sizes
    [bot] = manifest["bots"]
    assert (manifest["id"], bot["botId"], bot["scopes"]) == (APP, APP, ["personal", "team", "groupChat"]), manifest


HOSTILE = "because **bold** [x](https://evil.example) <at>all</at> {{DATE(2020-01-01T00:00:00Z)}} &amp; `c`"


def deciding(site: Site) -> None:
    microsoft, users = site.microsoft, site.users
    running = site.run("/bin/echo", "hello **world**  {{TIME(2020-01-01T00:00:00Z)}}", reason=HOSTILE)
    card = site.card("hello **world**")
    shown = card.words()
    for part in ["agent:deploy-bot (owner olga@example.com)", HOSTILE, "runs-wait", "Somebody has to look",
                 "chat: 0 of 1 signatures", "tools", "**world**  {{TIME(2020-01-01T00:00:00Z)}}", "digest "]:
        assert part in shown, (part, shown)
    checked(card.content())
    summary = card.activity()["summary"]
    assert summary == "Waits for a countersignature: agent:deploy-bot on tools", summary
    # Everybody sees it; those who can decide get a view of their own.
    assert set(card.actions()) == {"refresh", "open"}, card.actions()
    assert card.content()["refresh"]["userIds"] == [f"29:{users[name]}" for name in ("dana", "finn")], card.content()["refresh"]
    view = card.view(users["dana"])
    assert set(view.actions()) == {"approve", "deny", "ask", "comment", "open"}, view.actions()
    checked(view.content())
    assert set(card.view(users["olga"]).actions()) == {"comment", "open"}
    # In private: those who can sign, and nobody else.
    direct = lambda name: [one for one in microsoft.cards(f"a:{users[name]}") if "hello **world**" in one.words()]  # noqa: E731
    for name in ("dana", "finn"):
        [private] = microsoft.wait_for(lambda: direct(name))
        assert "approve" in private.actions() and "refresh" not in private.content()
    assert not direct("olga") and not direct("mona")
    # Who may not: the owner, somebody without an account, who the tenant doesn't know.
    assert "own" in text_of(card.click(users["olga"], "approve"))
    assert "not linked to anybody" in text_of(card.click(users["mona"], "approve"))
    assert "not linked to anybody" in text_of(card.click(users["mona"], "refresh"))
    assert "not linked to anybody" in text_of(card.click(account(99), "approve"))
    assert site.state(card) == "held"
    assert "1 request waits" in site.say(users["dana"], "inbox")
    assert "Approved" in text_of(view.click(users["dana"], "approve"))
    assert "hello" in ended(running, 0)
    site.says(card, "it ran and succeeded")
    assert "dana@example.com approved" in card.words() and set(card.actions()) == {"open"}
    assert "refresh" not in card.content()
    assert [vote["assurance"] for vote in site.people["dana"].ask(f"/v1/requests/{request_of(card)}")["votes"]] == ["chat"]
    site.says(direct("finn")[0], "succeeded")
    # An older look of a card decides nothing any more.
    assert "nothing more can be decided" in text_of(view.click(users["finn"], "approve"))


def checked(card: dict) -> None:
    """Nothing that others wrote is markup or filled in, and all of it is small enough."""
    assert len(json.dumps(card)) < 28_000
    def look(value: object) -> None:
        if isinstance(value, list):
            for one in value:
                look(one)
        elif isinstance(value, dict):
            kind = value.get("type")
            assert kind != "FactSet" and "$data" not in value
            if kind == "TextRun":
                assert "{{" not in value["text"], value
            if kind == "TextBlock":
                assert re.fullmatch(r"req_\w+ · digest [0-9a-f]{16}( · (expires|lapses) "
                                    r"\{\{DATE\([-\w:]+,SHORT\)\}\} \{\{TIME\([-\w:]+\)\}\})?", value["text"]), value
            if kind == "Action.OpenUrl":
                assert value["url"].startswith("http://localhost:"), value
            for one in value.values():
                look(one)
    look(card)


def talking(site: Site) -> None:
    microsoft, users = site.microsoft, site.users
    running = site.run("/bin/echo", "talk")
    card = site.card("talk")
    assert "Waits" in text_of(card.view(users["dana"]).click(users["dana"], "ask", "which **host**?"))
    thread = lambda words: [one for one in microsoft.messages if one[0] == card.conversation and words in Card(microsoft, *one).words()]  # noqa: E731
    microsoft.wait_for(lambda: thread("which **host**?"))
    seen = lambda: site.people["finn"].ask(f"/v1/requests/{request_of(card)}")["conversation"]  # noqa: E731
    # The owner answers in the conversation; whoever has no account says it to Teams alone.
    assert microsoft.say(users["olga"], card.conversation, "the new & shiny <one>")[0] == 200
    assert "stays in Teams" in site.say(users["mona"], "I think so too", card.conversation)
    question, answer = microsoft.wait_for(lambda: len(seen()) == 2 and seen())
    assert (question["kind"], question["by"]) == ("question", "person:dana@example.com"), question
    assert (answer["kind"], answer["by"], answer["to"]) == ("answer", "person:olga@example.com", question["id"]), answer
    assert answer["text"] == "the new & shiny <one>", answer
    # What is said elsewhere stands there, what was said there does not stand there twice.
    site.people["finn"].ask(f"/v1/requests/{request_of(card)}/comments", {"text": "from the console"})
    microsoft.wait_for(lambda: thread("from the console"))
    assert not thread("shiny")
    # A question that is answered on the card.
    card.view(users["dana"]).click(users["dana"], "ask", "and when?")
    site.microsoft.wait_for(lambda: len(seen()) == 4)
    mine = card.view(users["olga"])
    assert mine.actions()["comment"]["title"] == "Answer"
    mine.click(users["olga"], "comment", "at once")
    assert [one["kind"] for one in seen()][-2:] == ["question", "answer"], seen()
    status, answer = card.view(users["finn"]).click(users["finn"], "deny", "not today")
    assert status == 200 and "Denied by finn@example.com" in words(answer["value"]), answer
    assert "not today" in ended(running, 77)
    assert "deny" not in site.says(card, "Denied by finn@example.com").actions()


def more_than_a_click(site: Site) -> None:
    users = site.users
    running = site.run("/bin/echo", "why", "x1")
    card = site.card("why x1")
    view = card.view(users["dana"])
    asked = json.dumps(view.content()["actions"][0])
    assert '"Action.ShowCard"' in asked and '"isRequired": true' in asked, asked
    assert "reason" in text_of(view.click(users["dana"], "approve"))
    assert "reason" in text_of(view.click(users["dana"], "approve", "   "))
    assert site.state(card) == "held"
    view.click(users["dana"], "approve", "it is Friday")
    ended(running, 0)
    assert "it is Friday" in site.says(card, "succeeded").words()
    # A rule that asks for more than a chat.
    running = site.run("/bin/echo", "strict", "x2")
    card = site.card("strict x2")
    view = card.view(users["dana"])
    assert "approve" not in view.actions() and view.actions()["open"]["title"] == "Approve on its page", view.actions()
    told = text_of(view.click(users["dana"], "deny", forge={"verb": "approve"}))
    assert "assurance" in told or "session" in told, told
    assert site.state(card) == "held"
    site.people["dana"].vote(request_of(card))
    ended(running, 0)
    site.says(card, "succeeded")
    # As much as a card can have.
    running = site.run("/bin/echo", "long", '"' * 700, "b\\" * 300, reason='"' * 3_000)
    card = site.card("long")
    view = card.view(users["dana"])
    assert "approve" in view.actions(), view.words()
    checked(view.content())
    view.click(users["dana"], "approve")
    ended(running, 0)
    site.says(card, "succeeded")
    # An action that Teams can't show whole.
    running = site.run("/bin/echo", "select " + "x" * 40_000)
    card = site.card("select xxx")
    view = card.view(users["dana"])
    assert "Not all of this action" in view.words() and "approve" not in view.actions()
    assert "can't show this action whole" in text_of(view.click(users["dana"], "deny", forge={"verb": "approve"}))
    digest = site.people["dana"].ask(f"/v1/requests/{request_of(card)}")["digest"]
    assert site.state(card) == "held"
    site.people["dana"].vote(request_of(card), typed_digest=digest[:8])
    ended(running, 0)


def one_vote(site: Site) -> None:
    users = site.users
    running = site.run("/bin/echo", "two", "y1")
    card, chat = site.card("two y1"), site.card("two y1", CHAT)
    request = request_of(card)
    card.click(users["dana"], "approve")
    site.says(card, "two: 1 of 2 signatures")
    # A group chat has the same card, without conversations below.
    site.says(chat, "two: 1 of 2 signatures")
    assert "already" in text_of(chat.click(users["dana"], "approve"))
    with contextlib.suppress(urllib.error.HTTPError):
        site.people["dana"].vote(request)
        raise AssertionError("dana voted twice")
    assert "withdraw" in card.view(users["dana"]).actions() and "withdraw" not in card.view(users["finn"]).actions()
    card.view(users["dana"]).click(users["dana"], "withdraw")
    site.says(card, "two: 0 of 2 signatures")
    site.people["dana"].vote(request)
    site.says(card, "two: 1 of 2 signatures")
    # A second person; and of many clicks at once one counts.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(card.click, users["finn"], "approve")
    ended(running, 0)
    votes = site.people["dana"].ask(f"/v1/requests/{request}")["votes"]
    assert [vote["voter"] for vote in votes] == ["dana@example.com", "finn@example.com"], votes


def reminding(site: Site) -> None:
    """Whoever could still sign is reminded in private, once."""
    microsoft, users = site.microsoft, site.users
    private = lambda name: [one for one in microsoft.cards(f"a:{users[name]}") if "coach" in one.words()]  # noqa: E731
    nudges = lambda name: [one for one in private(name) if "still waits for you" in one.words()]  # noqa: E731
    running = site.run("/bin/echo", "slow", "coach")
    card = microsoft.wait_for(lambda: private("dana"))[0]
    nudge = microsoft.wait_for(lambda: nudges("dana"))[0]
    checked(nudge.content())
    assert set(nudge.actions()) == {"open"} and request_of(card) in nudge.actions()["open"]["url"], nudge.actions()
    microsoft.wait_for(lambda: nudges("finn"))
    time.sleep(5)
    assert len(nudges("dana")) == len(nudges("finn")) == 1 and not nudges("olga")
    site.people["dana"].vote(request_of(card))
    ended(running, 0)


def replays(site: Site) -> None:
    """What comes again is done once, and what is forged not at all."""
    microsoft, users = site.microsoft, site.users
    running = site.run("/bin/echo", "forged")
    card = site.card("forged")
    view = card.view(users["dana"])
    said = microsoft.activity("message", users["dana"], card.conversation, text="once")
    data = {"request": card.value(), "comment_words": "twice?"}
    click = microsoft.activity("invoke", users["dana"], card.conversation, name="adaptiveCard/action",
                               value={"action": {"type": "Action.Execute", "verb": "comment", "data": data}})
    submit = microsoft.activity("message", users["finn"], card.conversation, value={"verb": "comment", **data, "comment_words": "old"})
    for activity in (said, click, submit):
        for _ in range(3):
            status, answer = microsoft.deliver(activity)
            assert status == 200, status
    assert answer is None
    assert microsoft.deliver(click)[1]["value"] == "This was taken already."
    seen = lambda: site.people["dana"].ask(f"/v1/requests/{request_of(card)}")["conversation"]  # noqa: E731
    assert [one["text"] for one in seen()] == ["once", "twice?", "old"], seen()
    # Too old, from the future, from before the start; of another tenant, of nobody.
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for change in [{"timestamp": "2026-01-01T00:00:00Z"}, {"timestamp": "2099-01-01T00:00:00Z"}, {"timestamp": soon},
                   {"channelData": {"tenant": {"id": account(7)}}}, {"from": {"id": "29:x", "name": "dana"}},
                   {"from": {"id": "29:x", "aadObjectId": users["dana"], "tenantId": account(7)}}]:
        status, answer = microsoft.deliver({**click, "id": "f:other", **change})
        assert (status, answer) == (403, None), (change, status, answer)
    # Buttons that were never offered.
    request, digest = card.value().split(":")
    other = request[:-1] + ("0" if request[-1] != "0" else "1")
    for value in [f"{other}:{digest}", f"{request}:{'0' * 16}", f"{request}:", f"{request}:{digest[:4]}", "x"]:
        text_of(view.click(users["dana"], "approve", forge={"request": value}))
    assert "no such button" in text_of(view.click(users["dana"], "claim"))
    assert site.state(card) == "held"
    # After a restart, what was sent before it is not taken again.
    site.restart()
    status, _ = microsoft.deliver(said)
    assert status == 403 and [one["text"] for one in seen()] == ["once", "twice?", "old"], (status, seen())
    # An account that was unlinked.
    page = site.people["finn"].get("/accounts")
    site.people["finn"].form("/accounts/remove", csrf=site.people["finn"].csrf,
                             credential=re.search(r'name="credential" value="([^"]+)"', page)[1])
    assert "not linked" in text_of(card.click(users["finn"], "approve"))
    site.link("finn", "dana")
    running.kill()
    assert "Approved" in text_of(card.click(users["dana"], "approve"))


def weather(site: Site) -> None:
    microsoft, users = site.microsoft, site.users
    for fault in ["limited", "broken", "drop", "expired"]:
        granted = microsoft.granted
        microsoft.faults.append(fault)
        running = site.run("/bin/echo", "why", f"weather-{fault}")
        card = site.card(f"weather-{fault}")
        microsoft.faults.append(fault)
        card.click(users["dana"], "approve", "go on")
        ended(running, 0)
        site.says(card, "it ran and succeeded")
        shown = [one for one in microsoft.cards(OPS) if f"weather-{fault}" in one.words()]
        assert len(shown) == 1, (fault, len(shown))
        assert (microsoft.granted > granted) == (fault == "expired"), (fault, granted, microsoft.granted)
    # What Teams doesn't take is on the request's page.
    site.quiet()
    microsoft.faults.append("too_big")
    running = site.run("/bin/echo", "why", "too-big")
    card = site.card("Teams doesn't take")
    assert set(card.actions()) == {"open"}
    site.people["dana"].vote(request_of(card), reason="it is small")
    ended(running, 0)
    # Where the app is not, nothing is told until it is.
    site.quiet()
    members = microsoft.members.pop(OPS)
    running = site.run("/bin/echo", "why", "absent")
    fault = lambda: site.people["olga"].ask("/v1/channels")["channels"][0]["fault"] or ""  # noqa: E731
    microsoft.wait_for(lambda: "add the app to the team or chat" in fault())
    microsoft.members[OPS] = members
    card = site.card("absent")
    microsoft.wait_for(lambda: fault() == "")
    card.click(users["dana"], "deny", "late")
    ended(running, 77)
    # Killed while a card waits: the same card goes on.
    running = site.run("/bin/echo", "why", "killed", wait="1s")
    card = site.card("killed")
    ended(running, 75)
    site.restart()
    card.click(users["dana"], "approve", "still good")
    site.says(card, "Approved; it waits for its requester")
    ended(site.run("/bin/echo", "why", "killed"), 0)
    site.says(card, "it ran and succeeded")
    assert len([one for one in microsoft.cards(OPS) if "killed" in one.words()]) == 1


def flood(site: Site) -> None:
    microsoft, users = site.microsoft, site.users
    before = len(microsoft.cards(OPS))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda n: ended(site.run("/bin/echo", f"flood-{n}", wait="0s"), 75), n) for n in range(40)]
        for one in asked:
            one.result()
    lists = lambda: [one for one in microsoft.cards(OPS)[before:] if "show" in one.actions()]  # noqa: E731
    microsoft.wait_for(lists)
    time.sleep(3)
    assert len(microsoft.cards(OPS)) - before < 20
    # From a list to a card of one's own, which decides.
    shown = lists()[-1]
    checked(shown.content())
    assert "in private" in text_of(shown.click(users["finn"], "show"))
    request = shown.value().split(":")[0]
    mine = lambda: [one for one in microsoft.cards(f"a:{users['finn']}") if request in one.words() and "approve" in one.actions()]  # noqa: E731
    card = microsoft.wait_for(mine)[-1]
    card.click(users["finn"], "approve")
    site.says(card, "waits for its requester")


def vouched_for(site: Site) -> None:
    """An account that nobody countersigned approves nothing, whatever its holder may become."""
    mona = site.users["mona"]
    assert "is linked to person:mona@example.com" in site.say(mona, f"link {site.people['mona'].code()}")
    site.people["olga"].ask("/v1/proposals", {"operation": "membership-add",
                                              "arguments": {"person": "mona@example.com", "group": "ops"}})
    running = site.run("/bin/echo", "why", "vouched")
    card = site.card("vouched")
    assert "nobody countersigned that it is yours" in text_of(card.click(mona, "approve", "me"))
    assert site.state(card) == "held"
    card.click(mona, "deny", "no")
    ended(running, 77)


def main(program: str) -> None:
    steps = [refused.metadata, linking, package, deciding, talking, more_than_a_click, one_vote, reminding, refused.tokens, replays, weather, flood, vouched_for]
    with tempfile.TemporaryDirectory() as folder, Microsoft() as microsoft:
        site = Site(program, pathlib.Path(folder), microsoft)
        try:
            for step in steps:
                began = time.monotonic()
                step(site)
                print(f"teams: {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            site.end()
        finally:
            site.gateway.process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
