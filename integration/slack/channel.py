#!/usr/bin/env python3
"""A gateway whose people decide in Slack.

Runs a gateway of its own (the program's path is the first argument) against the stand-in for Slack, once
reached by signed posts and once over a socket: linking, deciding, talking, everything that may not
decide, forged and repeated posts, bad weather, floods, and a gateway that is killed in between.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "browser"))
from gateway import Gateway  # noqa: E402
from person import Person, ended  # noqa: E402

from standin import Message, StandIn  # noqa: E402

FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"
limits = { max_held_per_subject = 400 }

[channel.slack]
kind = "slack"
team = "TEAM"
app = "APP"
bot_token = { file = "bot.token" }
REACHED
api = "API"

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
notify = ["slack:CHANNEL", "slack"]

[approval.reasoned]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "chat"
reason = "required"
notify = ["slack:CHANNEL"]

[approval.strict]
stages = [{ from = ["group:ops"], count = 1 }]
notify = ["slack:CHANNEL"]

[approval.two]
stages = [{ from = ["group:ops"], count = 2 }]
assurance = "chat"
notify = ["slack:CHANNEL"]

[approval.slow]
stages = [{ from = ["group:ops"], count = 2 }]
assurance = "chat"
notify = ["slack:CHANNEL", "slack"]
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


# What was sent within five seconds of a start, or before, may have been taken before.
AFTER_START = 6.1


class Site:
    """A gateway, a Slack, people on both, and an agent."""

    def __init__(self, program: str, folder: pathlib.Path, *, socket: bool) -> None:
        self.program, self.folder, self.socket = program, folder, socket
        self.slack = StandIn()
        self.users = {name: self.slack.user(name) for name in ("olga", "dana", "finn", "mona")}
        self.ops = self.slack.channel("ops", members=self.users.values())
        reached = 'app_token = { file = "app.token" }' if socket else 'signing_secret = { file = "signing.secret" }'
        values = {"TEAM": self.slack.team_id, "APP": self.slack.app_id, "API": self.slack.api,
                  "CHANNEL": self.ops, "REACHED": reached}
        files = dict(FILES)
        for name, value in values.items():
            files = {file: text.replace(name, value) for file, text in files.items()}
        for file, secret in [("bot.token", self.slack.bot_token), ("app.token", self.slack.app_token),
                             ("signing.secret", self.slack.signing_secret)]:
            (folder / file).write_text(secret + "\n")
            (folder / file).chmod(0o600)
        self.gateway = Gateway(program, folder, files)
        self.people = {name: Person(self.gateway, f"{name}@example.com") for name in self.users}
        if socket:
            self.slack.app(socket_mode=True)
            self.slack.wait_for(self.slack.sockets)
        else:
            time.sleep(AFTER_START)
            at = f"{self.gateway.url}/channels/slack"
            self.slack.app(events_url=at, interactivity_url=at, commands_url=at)
        made = self.people["olga"].ask("/v1/proposals", {"operation": "agent-token", "arguments": {"agent": "deploy-bot"}})
        self.token = made["result"]["token"]

    def end(self) -> None:
        self.gateway.end()
        self.slack.end()

    def restart(self) -> None:
        """Kills the gateway and starts it again on what is there."""
        self.gateway.process.send_signal(signal.SIGKILL)
        self.gateway.process.wait(timeout=30)
        self.gateway.process = subprocess.Popen([self.program, "up", "--config", str(self.folder)],
                                                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True)
        self.slack.wait_for(self.answers)
        if not self.socket:
            time.sleep(AFTER_START)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.gateway.url}/v1/health", timeout=5).read()
            return True
        return False

    def link(self, name: str, by: str) -> None:
        """Links an account, which somebody else countersigns."""
        person, user = self.people[name], self.users[name]
        told = self.slack.command(user, self.ops, "/countersign", f"link {person.code()}")
        request = re.search(r"/requests/(req_\w+)", json.dumps(told.answer))[1]
        self.people[by].vote(request)
        assert person.ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"

    def run(self, *words: str, wait: str = "60s", reason: str = "to test it") -> subprocess.Popen:
        environment = {**os.environ, "COUNTERSIGN_URL": self.gateway.url, "COUNTERSIGN_TOKEN": self.token}
        return subprocess.Popen(
            [self.program, "run", "--target", "tools", "--reason", reason, "--wait", wait, "--", *words],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def card(self, words: str) -> Message:
        """The card in the channel that shows these words."""
        shows = lambda: [one for one in self.slack.messages(self.ops) if words in one.words()]  # noqa: E731
        return self.slack.wait_for(shows)[0]

    def now(self, card: Message) -> Message:
        return self.slack.message(self.ops, card.ts)

    def says(self, card: Message, words: str) -> Message:
        self.slack.wait_for(lambda: words in self.now(card).words())
        return self.now(card)

    def told(self, user: str) -> str:
        """What somebody was told last that nobody else sees."""
        return self.slack.wait_for(lambda: self.slack.ephemerals(user))[-1]["text"]

    def hears(self, user: str, *words: str) -> None:
        """Somebody is told one of these, last, that nobody else sees."""
        self.slack.wait_for(lambda: any(word in self.told(user) for word in words))

    def request(self, card: Message) -> str:
        return re.search(r"req_\w+", json.dumps(card.blocks))[0]

    def state(self, card: Message) -> str:
        return self.people["dana"].ask(f"/v1/requests/{self.request(card)}")["state"]


def linking(site: Site) -> None:
    slack, dana = site.slack, site.users["dana"]
    told = slack.command(dana, site.ops, "/countersign")
    assert "not linked to anybody" in told.answer["text"] and told.answer["response_type"] == "ephemeral", told
    assert "no such code" in slack.command(dana, site.ops, "/countersign", "link AAAA-BBBB-CCCC").answer["text"]
    code = site.people["dana"].code()
    newer = site.people["dana"].code()
    assert "no such code" in slack.command(dana, site.ops, "/countersign", f"link {code}").answer["text"]
    told = slack.command(dana, site.ops, "/countersign", f"link {newer}")
    request = re.search(r"/requests/(req_\w+)", told.answer["text"])[1]
    assert "no such code" in slack.command(dana, site.ops, "/countersign", f"link {newer}").answer["text"]
    # Whoever countersigns reads which account it is.
    seen = site.people["finn"].ask(f"/v1/requests/{request}")
    assert dana in seen["action"] and slack.team_id in seen["action"], seen["action"]
    # Nobody countersigns their own.
    with contextlib.suppress(urllib.error.HTTPError):
        site.people["dana"].vote(request)
        raise AssertionError("dana linked an account alone")
    assert "not linked" in slack.command(dana, site.ops, "/countersign").answer["text"]
    site.people["finn"].vote(request)
    assert site.people["dana"].ask(f"/v1/requests/{request}/claim", {})["state"] == "succeeded"
    assert slack.command(dana, site.ops, "/countersign").answer["text"] == "Nothing waits for you."
    assert dana in site.people["dana"].get("/accounts")
    # One account, one person; one person, one account in a channel.
    told = slack.command(dana, site.ops, "/countersign", f"link {site.people['mona'].code()}")
    assert "linked already" in told.answer["text"], told
    told = slack.command(site.users["mona"], site.ops, "/countersign", f"link {site.people['dana'].code()}")
    assert "another account" in told.answer["text"], told
    for name, by in [("olga", "dana"), ("finn", "dana")]:
        site.link(name, by)


def deciding(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    running = site.run("/bin/echo", "hello *world* <!channel> ```x```", reason="because <@U1> said _so_")
    card = site.card("hello *world*")
    # Everything that others wrote is plain text, which Slack shows as it is.
    for text in marked_up(card.blocks):
        assert "world" not in text and "because" not in text, text
    assert "&lt;!channel&gt;" in card.text and "<!channel>" not in card.text, card.text
    words = card.words()
    for part in ["agent:deploy-bot (owner olga@example.com)", "because <@U1> said _so_", "runs-wait",
                 "Somebody has to look", "chat: 0 of 1 signatures", "tools"]:
        assert part in words, (part, words)
    # In private: those who can sign, and nobody else.
    for name, told in [("dana", 1), ("finn", 1), ("olga", 0), ("mona", 0)]:
        direct = slack.direct(users[name])
        slack.wait_for(lambda: len(slack.messages(direct)) >= told)
        assert len(slack.messages(direct)) == told, name
    # Who may not: the owner, somebody without an account, somebody from elsewhere.
    slack.click(users["olga"], ops, card.ts, "approve")
    site.hears(users["olga"], "own")
    slack.click(users["mona"], ops, card.ts, "approve")
    site.hears(users["mona"], "not linked to anybody")
    assert site.state(card) == "held"
    told = slack.command(users["dana"], ops, "/countersign")
    assert "1 request waits" in told.answer["text"], told
    slack.click(users["dana"], ops, card.ts, "approve")
    assert "hello" in ended(running, 0)
    card = site.says(card, "it ran and succeeded")
    assert "dana@example.com approved" in card.words() and "approve" not in card.elements()
    assert [vote["assurance"] for vote in site.people["dana"].ask(f"/v1/requests/{site.request(card)}")["votes"]] == ["chat"]
    # The cards in private are the same.
    private = slack.messages(slack.direct(users["finn"]))[0]
    slack.wait_for(lambda: "succeeded" in slack.message(slack.direct(users["finn"]), private.ts).words())
    # An older look of a card decides nothing any more.
    slack.click(users["finn"], ops, card.ts, "approve", version=0)
    site.hears(users["finn"], "nothing more can be decided")


def marked_up(value: object) -> list[str]:
    """Every text that Slack reads as markup."""
    if isinstance(value, list):
        return [text for one in value for text in marked_up(one)]
    if not isinstance(value, dict):
        return []
    own = [value["text"]] if value.get("type") == "mrkdwn" else []
    return own + [text for one in value.values() for text in marked_up(one)]


def talking(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    running = site.run("/bin/echo", "talk")
    card = site.card("talk")
    slack.click(users["dana"], ops, card.ts, "ask")
    [view] = slack.wait_for(lambda: slack.views(users["dana"]))
    assert slack.submit(users["dana"], view.id, {"words": "which *host*?"}).closed
    thread = lambda: slack.messages(ops, thread=card.ts)  # noqa: E731
    slack.wait_for(lambda: any("which *host*?" in one.words() for one in thread()))
    # The owner answers in the thread; whoever has no account says it to Slack alone.
    slack.say(users["olga"], ops, "the new & shiny <one>", thread=card.ts)
    slack.say(users["mona"], ops, "I think so too", thread=card.ts)
    seen = lambda: site.people["finn"].ask(f"/v1/requests/{site.request(card)}")["conversation"]  # noqa: E731
    slack.wait_for(lambda: len(seen()) == 2)
    question, answer = seen()
    assert (question["kind"], question["by"]) == ("question", "person:dana@example.com"), question
    assert (answer["kind"], answer["by"], answer["to"]) == ("answer", "person:olga@example.com", question["id"]), answer
    assert answer["text"] == "the new & shiny <one>", answer
    site.hears(users["mona"], "stays in Slack")
    # What is said elsewhere stands in the thread, what was said there does not stand there twice.
    site.people["finn"].ask(f"/v1/requests/{site.request(card)}/comments", {"text": "from the console"})
    slack.wait_for(lambda: any("from the console" in one.words() for one in thread()))
    assert sum("shiny" in one.words() + one.text for one in thread()) == 1
    slack.click(users["finn"], ops, card.ts, "deny")
    [view] = slack.wait_for(lambda: slack.views(users["finn"]))
    assert slack.submit(users["finn"], view.id, {"words": "not today"}).closed
    assert "not today" in ended(running, 77)
    assert "deny" not in site.says(card, "Denied by finn@example.com").elements()


def more_than_a_click(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    running = site.run("/bin/echo", "why", "x1")
    card = site.card("why x1")
    slack.click(users["dana"], ops, card.ts, "approve")
    [view] = slack.wait_for(lambda: slack.views(users["dana"]))
    told = slack.submit(users["dana"], view.id, {"words": "  "}, force=True)
    assert not told.closed and "reason" in json.dumps(told.errors), told
    assert site.state(card) == "held"
    assert slack.submit(users["dana"], view.id, {"words": "it is Friday"}).closed
    ended(running, 0)
    assert "it is Friday" in site.says(card, "succeeded").words()
    # A rule that asks for more than a chat.
    running = site.run("/bin/echo", "strict", "x2")
    card = site.card("strict x2")
    assert "approve" not in card.elements(), card.elements()
    request = site.request(card)
    assert card.elements()["open"]["url"] == f"{site.gateway.url}/requests/{request}"
    slack.click(users["dana"], ops, card.ts, "deny", forge={"set": {"actions.0.action_id": "approve"}})
    site.hears(users["dana"], "assurance", "session")
    assert site.state(card) == "held"
    site.people["dana"].vote(request)
    ended(running, 0)
    site.says(card, "succeeded")
    # As much as a card can have, every sign of which takes two in JSON.
    running = site.run("/bin/echo", "long", '"' * 700, "b\\" * 300, reason='"' * 3_000)
    card = site.card("long")
    assert "approve" in card.elements(), card.words()
    for _ in range(3):
        slack.click(users["dana"], ops, card.ts, "comment")
        view = slack.wait_for(lambda: slack.views(users["dana"]))[-1]
        assert slack.submit(users["dana"], view.id, {"words": "\"" * 3_000}).closed
    slack.wait_for(lambda: len(slack.messages(ops, thread=card.ts)) == 3)
    slack.click(users["dana"], ops, card.ts, "approve")
    ended(running, 0)
    site.says(card, "succeeded")
    # An action that Slack can't show whole.
    running = site.run("/bin/echo", "select " + "x" * 40_000)
    card = site.card("select xxx")
    assert "Not all of this action" in card.words() and "approve" not in card.elements()
    slack.click(users["dana"], ops, card.ts, "deny", forge={"set": {"actions.0.action_id": "approve"}})
    site.hears(users["dana"], "can't show this action whole")
    digest = site.people["dana"].ask(f"/v1/requests/{site.request(card)}")["digest"]
    assert site.state(card) == "held"
    site.people["dana"].vote(site.request(card), typed_digest=digest[:8])
    ended(running, 0)


def one_vote(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    running = site.run("/bin/echo", "two", "y1")
    card = site.card("two y1")
    request = site.request(card)
    slack.click(users["dana"], ops, card.ts, "approve")
    site.says(card, "two: 1 of 2 signatures")
    slack.click(users["dana"], ops, card.ts, "approve")
    site.hears(users["dana"], "already")
    with contextlib.suppress(urllib.error.HTTPError):
        site.people["dana"].vote(request)
        raise AssertionError("dana voted twice")
    slack.click(users["dana"], ops, card.ts, "withdraw")
    site.says(card, "two: 0 of 2 signatures")
    site.people["dana"].vote(request)
    site.says(card, "two: 1 of 2 signatures")
    # A second person; and of many clicks at once one counts.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(slack.click, users["finn"], ops, card.ts, "approve", force=True)
    ended(running, 0)
    votes = site.people["dana"].ask(f"/v1/requests/{request}")["votes"]
    assert [vote["voter"] for vote in votes] == ["dana@example.com", "finn@example.com"], votes


def forgeries(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    running = site.run("/bin/echo", "forged")
    card = site.card("forged")
    unsigned = [
        {"signature": "bad"}, {"signature": "missing"}, {"signature": "other_secret"}, {"signature": "other_version"},
        {"signature": "truncated"}, {"timestamp_offset": -301}, {"timestamp_offset": 9}, {"timestamp": "soon"},
        {"tamper": {"user.id": users["dana"]}},
        {"without_headers": ["x-slack-request-timestamp"]},
    ]
    foreign = [
        {"team_id": "T0OTHER"}, {"app_id": "A0OTHER"}, {"enterprise_id": "E0OTHER"},
        {"set": {"user.team_id": "T0OTHER"}},
    ]
    for forge in ([] if site.socket else unsigned):
        by = users["olga"] if "tamper" in forge else users["dana"]
        told = slack.click(by, ops, card.ts, "approve", forge=forge)
        assert told.status == 401, (forge, told)
    for forge in foreign:
        told = slack.click(users["dana"], ops, card.ts, "approve", forge=forge)
        assert site.socket or told.status == 403, (forge, told)
    other = site.request(card)[:-1] + ("0" if site.request(card)[-1] != "0" else "1")
    digest = card.elements()["approve"]["value"].split(":")[1]
    for value in [f"{other}:{digest}", f"{site.request(card)}:{'0' * 16}", f"{site.request(card)}:", f"{site.request(card)}:{digest[:4]}", "x"]:
        slack.click(users["dana"], ops, card.ts, "approve", forge={"set": {"actions.0.value": value}})
    assert site.state(card) == "held"
    # What comes again is done once.
    told = slack.say(users["dana"], ops, "once", thread=card.ts)
    for _ in range(3):
        slack.replay(told.delivery)
    slack.click(users["dana"], ops, card.ts, "comment")
    view = slack.wait_for(lambda: slack.views(users["dana"]))[-1]
    told = slack.submit(users["dana"], view.id, {"words": "twice?"})
    slack.replay(told.delivery)
    seen = site.people["dana"].ask(f"/v1/requests/{site.request(card)}")["conversation"]
    assert [one["text"] for one in seen] == ["once", "twice?"], seen
    # An account that was unlinked, and one whose holder was disabled.
    page = site.people["finn"].get("/accounts")
    site.people["finn"].form("/accounts/remove", csrf=site.people["finn"].csrf,
                             credential=re.search(r'name="credential" value="([^"]+)"', page)[1])
    slack.click(users["finn"], ops, card.ts, "approve")
    site.hears(users["finn"], "not linked")
    site.link("finn", "dana")
    site.people["olga"].ask("/v1/proposals", {"operation": "person-disable", "arguments": {"person": "finn@example.com"}})
    before = len(slack.ephemerals(users["finn"]))
    slack.click(users["finn"], ops, card.ts, "approve", force=True)
    slack.wait_for(lambda: len(slack.ephemerals(users["finn"])) > before)
    site.hears(users["finn"], "not linked")
    assert site.state(card) == "held"
    slack.click(users["dana"], ops, card.ts, "approve")
    ended(running, 0)


def reminding(site: Site) -> None:
    """Whoever could still sign is reminded in private, once, and nobody else."""
    slack, users = site.slack, site.users
    direct = {name: slack.direct(users[name]) for name in ("dana", "finn")}
    last = {name: float(max([one.ts for one in slack.messages(where)] or ["0"])) for name, where in direct.items()}
    private = lambda name: [one for one in slack.messages(direct[name]) if float(one.ts) > last[name]]  # noqa: E731
    nudges = lambda name: [one for one in private(name) if "still wait" in one.text]  # noqa: E731
    running = site.run("/bin/echo", "slow", "coach")
    card = site.card("slow")
    slack.wait_for(lambda: private("dana") and private("finn"))
    site.people["finn"].vote(site.request(card))
    nudge = slack.wait_for(lambda: nudges("dana"))[0]
    assert nudge.text == "A request still waits for you" and "agent:deploy-bot" in nudge.words() and "coach" in nudge.words(), nudge
    assert site.request(nudge) == site.request(card), nudge.blocks
    assert list(nudge.elements()) == ["open"], nudge.elements()
    site.restart()
    # Several at once are one message.
    more = [site.run("/bin/echo", "slow", f"more-{n}") for n in range(3)]
    several = slack.wait_for(lambda: [one for one in nudges("dana") if "requests" in one.text], seconds=20)[0]
    assert re.match(r"[23] requests still wait for you", several.text), several.text
    time.sleep(6)
    # What was shown only when it was time is its own reminder.
    told = [int(one.text.split()[0]) if one.text[0].isdigit() else 1 for one in nudges("dana")]
    assert 3 <= sum(told) <= 4, told
    assert len([one for one in nudges("dana") if "coach" in one.words()]) == 1, nudges("dana")
    assert not [one for one in nudges("finn") if "coach" in one.words()], nudges("finn")
    assert not [one for one in slack.messages(site.ops) if "still wait" in one.text]
    for one in site.people["dana"].ask("/v1/requests?state=held&limit=50")["items"]:
        if "slow" in one["title"]:
            site.people["dana"].vote(one["id"])
            if "coach" not in one["title"]:
                site.people["finn"].vote(one["id"])
    for process in more:
        ended(process, 0)
    running.wait(timeout=60)


def weather(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    for fault in ["ratelimited", "error", "garbage", "drop", "lost"]:
        slack.weather(fault, method="chat.postMessage", retry_after=1)
        running = site.run("/bin/echo", f"weather-{fault}")
        card = site.card(f"weather-{fault}")
        slack.weather(fault, method="chat.update", retry_after=1)
        slack.click(users["dana"], ops, card.ts, "approve")
        ended(running, 0)
        site.says(card, "it ran and succeeded")
        time.sleep(0.5)
        shown = [one for one in slack.messages(ops) if f"weather-{fault}" in one.words()]
        assert len(shown) == 1, (fault, [one.text for one in shown])
    slack.clear_weather()
    # Killed while a card waits: the same card goes on.
    running = site.run("/bin/echo", "killed", wait="1s")
    card = site.card("killed")
    ended(running, 75)
    site.restart()
    if site.socket:
        slack.wait_for(slack.sockets)
    slack.click(users["dana"], ops, card.ts, "approve")
    site.says(card, "Approved; it waits for its requester")
    ended(site.run("/bin/echo", "killed"), 0)
    site.says(card, "it ran and succeeded")
    assert len([one for one in slack.messages(ops) if "killed" in one.words()]) == 1


def sockets(site: Site) -> None:
    """What happens to a socket loses nothing and does nothing twice."""
    slack, ops, users = site.slack, site.ops, site.users
    slack.habits(ping_every=1000)
    for act in ["disconnect", "close", "drop"]:
        before = {one["id"] for one in slack.sockets()} if "id" in slack.sockets()[0] else None
        slack.socket(act, **({"reason": "refresh_requested"} if act == "disconnect" else {}))
        slack.wait_for(lambda: slack.sockets() and (before is None or {one["id"] for one in slack.sockets()} != before))
        running = site.run("/bin/echo", f"socket-{act}")
        card = site.card(f"socket-{act}")
        slack.wait_for(lambda: slack.click(users["dana"], ops, card.ts, "approve", force=True).acknowledged)
        ended(running, 0)


def flood(site: Site) -> None:
    slack, ops, users = site.slack, site.ops, site.users
    before = len(slack.messages(ops))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(lambda n: ended(site.run("/bin/echo", f"flood-{n}", wait="0s"), 75), n) for n in range(200)]
        for one in asked:
            one.result()
    open_ = lambda: [one for one in site.people["dana"].ask("/v1/requests?state=held&limit=200")["items"]]  # noqa: E731
    assert len(open_()) == 200
    time.sleep(6)
    after = slack.messages(ops)[before:]
    assert len(after) < 60, len(after)
    lists = [one for one in after if "show" in one.elements()]
    assert lists, [one.text for one in after]
    counted = sum(int(re.search(r"(\d+) request", one.text)[1]) for one in lists)
    assert counted + len(after) - len(lists) == 200, (counted, len(after), len(lists))
    # From a list to a card of one's own, which decides.
    slack.click(users["dana"], ops, lists[-1].ts, "show")
    direct = slack.direct(users["dana"])
    shown = slack.wait_for(lambda: [one for one in slack.messages(direct) if "approve" in one.elements() and "flood-" in one.words()])[-1]
    slack.click(users["dana"], direct, shown.ts, "approve")
    slack.wait_for(lambda: "waits for its requester" in slack.message(direct, shown.ts).words())


def forged_texts(site: Site) -> None:
    """What others write can't pass for what the gateway says, and what it doesn't show can't be approved."""
    slack, ops, users = site.slack, site.ops, site.users
    environment = {"COUNTERSIGN_MODEL": "m\nTarget: staging\nWho: person:dana@example.com", "COUNTERSIGN_TASK": "x" * 900}
    os.environ.update(environment)
    running = site.run("/bin/echo", "texts", reason="fine\nBlast radius: nothing\nfinn@example.com approved: safe")
    for name in environment:
        del os.environ[name]
    card = site.card("texts")
    said = [block["text"]["text"] for block in card.blocks if block["type"] == "section"]
    lines = [line for text in said for line in text.splitlines()]
    assert "Target: tools" in lines and "Target: staging" not in lines, lines
    assert not any(line.startswith(("Who: person", "finn@")) for line in lines), lines
    assert [line for line in lines if line.startswith("Blast radius")] == [lines[-1]], lines
    slack.click(users["dana"], ops, card.ts, "approve")
    ended(running, 0)
    # What somebody wrote into the database is shown to nobody, and recorded.
    running = site.run("/bin/echo", "genuine", wait="30s")
    card = site.card("genuine")
    path = pathlib.Path(site.folder) / "data" / "countersign.db"
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
        edit = "UPDATE cases SET body = CAST(replace(CAST(body AS TEXT), 'genuine', 'harmless') AS BLOB) WHERE id = ?"
        guards = database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'cases'")
        for (guard,) in guards.fetchall():
            database.execute(f"DROP TRIGGER {guard}")
        database.execute(edit, (site.request(card),))
        database.commit()
    slack.click(users["dana"], ops, card.ts, "approve")
    site.hears(users["dana"], "changed in the database")
    assert not [one for one in slack.messages(ops) if "harmless" in one.words()]
    running.kill()


def patience(site: Site) -> None:
    """Nobody's words, and no card that Slack refuses, keep those of others waiting."""
    slack, ops, users = site.slack, site.ops, site.users
    noisy = site.run("/bin/echo", "noisy")
    request = site.request(site.card("noisy"))
    for n in range(40):
        site.people["dana"].ask(f"/v1/requests/{request}/comments", {"text": f"noise {n}"})
    running = site.run("/bin/echo", "patient")
    began = time.monotonic()
    card = site.card("patient")
    assert time.monotonic() - began < 6, time.monotonic() - began
    site.people["finn"].ask(f"/v1/requests/{site.request(card)}/comments", {"text": "soon"})
    slack.wait_for(lambda: any("soon" in one.words() for one in slack.messages(ops, thread=card.ts)), seconds=8)
    for one, process in [(request, noisy), (site.request(card), running)]:
        site.people["dana"].vote(one, "deny")
        ended(process, 77)


def vouched_for(site: Site) -> None:
    """An account that nobody countersigned approves nothing, whatever its holder may become."""
    slack, ops, mona = site.slack, site.ops, site.users["mona"]
    assert "is linked to person:mona@example.com" in slack.command(mona, ops, "/countersign", f"link {site.people['mona'].code()}").answer["text"]
    assert "approves nothing" in site.people["mona"].get("/accounts")
    site.people["olga"].ask("/v1/proposals", {"operation": "membership-add",
                                              "arguments": {"person": "mona@example.com", "group": "ops"}})
    running = site.run("/bin/echo", "vouched")
    card = site.card("vouched")
    slack.click(mona, ops, card.ts, "approve")
    site.hears(mona, "nobody countersigned that it is yours")
    assert site.state(card) == "held"
    slack.click(mona, ops, card.ts, "deny")
    view = slack.wait_for(lambda: slack.views(mona))[-1]
    assert slack.submit(mona, view.id, {"words": "no"}).closed
    ended(running, 77)


def main(program: str) -> None:
    shared = [linking, deciding, talking, more_than_a_click, one_vote, reminding, weather]
    for socket, steps in [(False, [*shared, forged_texts, patience, flood, forgeries, vouched_for]), (True, [*shared, sockets, forgeries])]:
        with tempfile.TemporaryDirectory() as folder:
            site = Site(program, pathlib.Path(folder), socket=socket)
            try:
                for step in steps:
                    began = time.monotonic()
                    step(site)
                    how = "socket" if socket else "signed"
                    print(f"slack, {how}: {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
                verified = site.gateway.run("log", "verify", str(pathlib.Path(folder) / "data"))
                assert verified.returncode == 0, verified.stdout + verified.stderr
            finally:
                site.slack.process.stdin.close()
                site.gateway.process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
