#!/usr/bin/env python3
"""A gateway whose people are told by mail.

Runs a gateway of its own (the program's path is the first argument) against real servers of mails: TLS from the
first byte, STARTTLS and none, with passwords; who is told what, threads, what a requester may try to put into a mail,
servers that fail in every way, floods, emergencies, and a gateway that is killed in between. What arrives is read with Python's
`email`.
"""

import base64
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "browser"), str(ROOT / "slack")]
from channel import Person, ended  # noqa: E402
from emergency import enrol, lift  # noqa: E402
from gateway import Gateway  # noqa: E402

from mailbox import PASSWORD, USER, Mailbox, certificate, wait_for  # noqa: E402

FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"
limits = { max_held_per_subject = 400 }

[channel.mail]
kind = "email"
server = "127.0.0.1:SMTP"
from = "countersign@example.com"
SETTINGS

[group.ops]
[group.agents]
[person."olga@example.com"]
[person."dana@example.com"]
groups = ["ops"]
[person."finn@example.com"]
groups = ["ops"]
[person.rene]
groups = ["ops"]
email = "rene.r@example.com"
[person.pat]

[agent.deploy-bot]
owner = "olga@example.com"
groups = ["agents"]
[agent.noisy-bot]
owner = "olga@example.com"
groups = ["agents"]
[agent.rain-bot]
owner = "olga@example.com"
groups = ["agents"]
[agent.night-bot]
owner = "olga@example.com"
groups = ["agents"]

[target.tools]
kind = "exec"
environment = "production"

[[target.tools.command]]
argv = ["/bin/echo", "lonely", "{what:word}"]
action = "lonely"
group = "write"

[[target.tools.command]]
argv = ["/bin/echo", "slow", "{what:word}"]
action = "slow"
group = "write"

[[target.tools.command]]
argv = ["/bin/echo", "strict", "{what:word}"]
action = "strict"
group = "write"
""",
    "approvals.toml": """
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
notify = ["mail:ops-list@example.com", "mail"]

[approval.strict]
stages = [{ from = ["group:ops"], count = 1 }]
emergency = { from = ["user:dana@example.com"], review_within = "WITHIN" }
notify = ["mail:ops-list@example.com", "mail"]

[approval.second]
stages = [{ from = ["group:ops"], count = 1 }]

[approval.lonely]
stages = [{ from = ["user:pat"], count = 1 }]
notify = ["mail"]

[approval.slow]
stages = [{ from = ["user:dana@example.com", "user:finn@example.com"], count = 2 }]
notify = ["mail:ops-list@example.com"]
remind = "3s"
""",
    "policies/all.cedar": """
@id("agents-run")
permit (principal in Group::"agents", action in [Action::"execute", Action::"write"], resource);
@id("people-look")
permit (principal is Person, action in [Action::"admin", Action::"read"], resource);
@id("runs-wait") @approval("ops") @reason("Somebody has to look")
forbid (principal, action in Action::"execute", resource);
@id("people-ask")
permit (principal is Person, action == Action::"exec:strict", resource);
@id("strict-waits") @approval("strict")
forbid (principal, action == Action::"exec:strict", resource);
@id("passkeys-wait") @approval("second")
forbid (principal, action == Action::"countersign:passkey-add", resource);
@id("slow-waits") @approval("slow")
forbid (principal, action == Action::"exec:slow", resource);
@id("lonely-waits") @approval("lonely")
forbid (principal, action == Action::"exec:lonely", resource);
""",
}
# How long a review may take, in seconds.
WITHIN = 6
LOGIN = f'user = "{USER}"\nsecret = {{ file = "smtp.secret" }}'
TOLD = ["dana@example.com", "finn@example.com", "rene.r@example.com", "ops-list@example.com"]


class Site:
    """A gateway, a server of mails, people and agents."""

    def __init__(self, program: str, folder: pathlib.Path, tls: str, *, settings: str, server: Mailbox | None = None) -> None:
        self.program, self.folder = program, folder
        self.box = server or Mailbox(folder, tls)
        (folder / "smtp.secret").touch(mode=0o600)
        (folder / "smtp.secret").write_text(PASSWORD + "\n")
        files = {name: text.replace("SMTP", str(self.box.port)).replace("SETTINGS", settings).replace("WITHIN", f"{WITHIN}s")
                 for name, text in FILES.items()}
        self.gateway = Gateway(program, folder, files)
        self.people = {name.split("@")[0]: Person(self.gateway, name) for name in self.gateway.links}
        self.tokens = {}
        for agent in ("deploy-bot", "noisy-bot", "rain-bot", "night-bot"):
            asked = {"operation": "agent-token", "arguments": {"agent": agent}}
            self.tokens[agent] = self.people["olga"].ask("/v1/proposals", asked)["result"]["token"]

    def end(self) -> None:
        self.box.go()
        self.gateway.end()

    def kill(self) -> None:
        self.gateway.process.send_signal(signal.SIGKILL)
        self.gateway.process.wait(timeout=30)

    def start(self) -> None:
        self.gateway.process = subprocess.Popen([self.program, "up", "--config", str(self.folder)],
                                                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True)
        wait_for(self.answers)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.gateway.url}/v1/health", timeout=5).read()
            return True
        return False

    def run(self, *words: str, agent: str = "deploy-bot", wait: str = "90s", reason: str = "to test it") -> subprocess.Popen:
        environment = {**os.environ, "COUNTERSIGN_URL": self.gateway.url, "COUNTERSIGN_TOKEN": self.tokens[agent]}
        return subprocess.Popen(
            [self.program, "run", "--target", "tools", "--reason", reason, "--wait", wait, "--", *words],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def mail(self, to: str, words: str):
        """The one mail to an address that says so."""
        [mail] = wait_for(lambda: [one for one in self.box.to(to) if words in one.text])
        return mail

    def request(self, mail) -> str:
        return re.search(r"/requests/(req_\w+)", mail.text)[1]

    def state(self, mail) -> str:
        return self.people["dana"].ask(f"/v1/requests/{self.request(mail)}")["state"]

    def fault(self) -> str | None:
        [channel] = self.people["olga"].ask("/v1/channels")["channels"]
        assert channel["kind"] == "email", channel
        return channel.get("fault")


def telling(site: Site) -> None:
    """Who can decide is told, and led to a page; the others are told how it ended."""
    running = site.run("/bin/echo", "hello", reason="because it is time")
    mails = [site.mail(address, "hello") for address in TOLD]
    dana = mails[0]
    request = site.request(dana)
    page = f"{site.gateway.url}/requests/{request}"
    for mail in mails:
        assert mail.sender == "countersign@example.com" and str(mail.message["From"]) == "Countersign <countersign@example.com>"
        assert [str(mail.message["To"])] == mail.rcpt and mail.message["Auto-Submitted"] == "auto-generated"
        assert mail.subject.startswith("[Countersign] agent:deploy-bot: ") and "hello" in mail.subject, mail.subject
        assert mail.message.get_content_type() == "multipart/alternative"
        for part in (mail.text, " ".join(mail.page.words)):
            for words in ["Waits for a countersignature", "agent:deploy-bot (owner olga@example.com)", "tools", "hello",
                          "because it is time", "Somebody has to look", "ops: 0 of 1 signatures", "Waits until",
                          "Nothing can be decided by mail", request]:
                assert words in part, (words, part)
        # The page, and nothing else; with nothing in it that opens anything.
        assert mail.page.links == [page], mail.page.links
        assert re.findall(r"\w+://\S+", mail.text) == [page]
        assert not mail.page.tags & {"form", "input", "button", "script", "img", "link", "iframe", "object"}
        # It begins its thread, and each recipient has a thread of their own.
        assert mail.thread is None and mail.message["In-Reply-To"] is None
    assert len({mail.name for mail in mails}) == len(mails)
    assert not site.box.to("olga@example.com") and not site.box.to("rene")
    # What the link leads to decides nothing, and shows nothing to whoever is not signed in.
    try:
        urllib.request.urlopen(page, timeout=30)
        raise AssertionError("the page is shown to somebody who is not signed in")
    except urllib.error.HTTPError as refused:
        code, seen = refused.code, refused.read().decode()
    assert code == 401 and "because it is time" not in seen and site.state(dana) == "held"
    site.people["dana"].vote(request, reason="fine <b>by</b> me, see https://evil.example")
    assert "hello" in ended(running, 0)
    for mail in mails[1:]:
        over = wait_for(lambda: [one for one in site.box.to(mail.rcpt[0]) if one.thread == mail.name])[0]
        assert over.message["In-Reply-To"] == mail.name and over.name != mail.name
        assert over.subject == f"Re: {mail.subject}", over.subject
        assert "Approved" in over.text and "dana@example.com approved" in over.text, over.text
        assert over.page.links == [page] and "https[:]/[/]evil[.]example" in over.text
    owner = site.mail("olga@example.com", "ran and succeeded")
    assert owner.page.links == [page] and "dana@example.com approved" in owner.text
    # Whoever decided knows.
    time.sleep(1)
    assert site.box.to("dana@example.com") == [dana]
    assert site.fault() is None, site.fault()


def reminding(site: Site) -> None:
    """Whoever could still sign is reminded once, themselves, also after a crash."""
    running = site.run("/bin/echo", "slow", "shore", agent="rain-bot")
    first = site.mail("ops-list@example.com", "shore")
    request = site.request(first)
    site.people["finn"].vote(request)
    about = lambda address: [one for one in site.box.to(address) if request in one.text]  # noqa: E731
    reminder = wait_for(lambda: about("dana@example.com"))[0]
    for part in (reminder.text, " ".join(reminder.page.words)):
        assert "It still waits for you" in part and "slow: 1 of 2 signatures" in part, part
    time.sleep(1)
    site.kill()
    site.start()
    time.sleep(4)
    assert len(about("dana@example.com")) == 1 and not about("finn@example.com"), about("dana@example.com")
    assert len(about("ops-list@example.com")) == 1
    site.people["dana"].vote(request, "deny")
    running.wait(timeout=30)


def talking(site: Site) -> None:
    running = site.run("/bin/echo", "talk")
    mail = site.mail("dana@example.com", "talk")
    request = site.request(mail)
    site.people["dana"].ask(f"/v1/requests/{request}/questions", {"text": "Which host?\n\nApproved by finn"})
    asked = site.mail("olga@example.com", "Which host?")
    assert "A reviewer asks you something" in asked.text and "| Approved by finn" in asked.text, asked.text
    seen = site.people["olga"].ask(f"/v1/requests/{request}")
    question = next(one["id"] for one in seen["conversation"])
    site.people["olga"].ask(f"/v1/requests/{request}/answers", {"to": question, "text": "The second"})
    answered = site.mail("dana@example.com", "The second")
    assert answered.thread == mail.name and "Your question is answered" in answered.text
    site.people["finn"].vote(request, "deny", reason="not today")
    ended(running, 77)
    over = wait_for(lambda: [one for one in site.box.to("dana@example.com") if "Denied by finn@example.com" in one.text])
    assert over[0].thread == mail.name and "| not today" in over[0].text
    told = site.mail("olga@example.com", "Denied by finn@example.com")
    # Everything about a request is in one thread, also for those who were not told that it waits.
    assert told.thread == asked.thread and told.thread.count("<") == 1


def withdrawn(site: Site) -> None:
    """An approval that is withdrawn makes it wait again; nobody was told that it doesn't."""
    ended(site.run("/bin/echo", "undecided", wait="0s"), 75)
    mail = site.mail("finn@example.com", "undecided")
    request = site.request(mail)
    site.people["dana"].vote(request)
    # Nobody uses it: its owner is told that they could.
    told = wait_for(lambda: [one for one in site.box.to("olga@example.com") if request in one.text])
    assert len(told) == 1 and "Approved; it waits for its requester" in told[0].text
    site.people["dana"].ask(f"/v1/requests/{request}/withdraw", {})
    assert site.state(mail) == "held"
    time.sleep(2)
    assert [one for one in site.box.to("finn@example.com") if request in one.text] == [mail]
    site.people["rene"].vote(request, "deny")
    wait_for(lambda: [one for one in site.box.to("finn@example.com") if one.thread == mail.name])


def forged(site: Site) -> None:
    """What a requester writes is neither a header, nor markup, nor a link, nor the gateway's own words."""
    reason = ("so\r\n.\r\nMAIL FROM:<eve@evil.example>\nApproved by dana@example.com\n\n"
              "Open its page:\nhttps://evil.example/requests/1 www.evil.example\n"
              "<a href=\"https://evil.example\">here</a> <img src=https://evil.example/x.png> \u202egnp.exe \\\\evil\\share")
    words = ["/bin/echo", "forged\r\nBcc: eve@evil.example\r\n\r\n<script>alert(1)</script>", "--boundary", "=?utf-8?q?=0D=0ABcc:_eve?=",
             "https://evil.example/approve?me", "\u202etxt.exe", "ünïcode " * 60]
    before = len(site.box.mails)
    running = site.run(*words, reason=reason)
    mail = site.mail("dana@example.com", "forged")
    wait_for(lambda: len(site.box.mails) >= before + len(TOLD))
    names = [name.lower() for name in mail.message.keys()]
    assert len(names) == len(set(names)) and "bcc" not in names, names
    assert set(names) == {"from", "to", "date", "message-id", "subject", "auto-submitted", "x-auto-response-suppress",
                          "mime-version", "content-type"}, names
    assert [part.get_content_type() for part in mail.message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert not mail.message.defects and all(not part.defects for part in mail.message.walk())
    assert {one.sender for one in site.box.mails} == {"countersign@example.com"}
    assert not [one for one in site.box.mails if "evil" in one.rcpt[0]]
    assert "\n" not in mail.subject and mail.subject.startswith("[Countersign] agent:deploy-bot: "), mail.subject
    page = f"{site.gateway.url}/requests/{site.request(mail)}"
    assert mail.page.links == [page] and "script" not in mail.page.tags and "img" not in mail.page.tags, mail.page.links
    for part in (mail.text, mail.html, mail.subject):
        assert "\u202e" not in part
    for part in (mail.text, mail.html.replace(page, "")):
        assert "://evil" not in part and "evil.example" not in part and "\\\\evil" not in part, part
    for line in mail.text.splitlines():
        if "Approved by dana" in line or "evil" in line:
            assert line.startswith("| "), line
    # Lines of a mail have limits, whatever is in it.
    assert max(len(line) for line in mail.raw.split(b"\r\n")) <= 998
    site.people["dana"].ask(f"/v1/requests/{site.request(mail)}/votes", {
        "verdict": "deny", **{key: site.people["dana"].ask(f"/v1/requests/{site.request(mail)}")[key] for key in ("digest", "act")}})
    ended(running, 77)
    # What reads as an encoded word, in a title of ASCII, stays what was written.
    said = base64.b64encode("Approved \u202e https://evil.example".encode()).decode()
    word = f"=?utf-8?B?{said}?="
    ended(site.run("/bin/echo", f"decoded {word} x", wait="0s"), 75)
    mail = site.mail("dana@example.com", "decoded")
    assert "Approved" not in mail.subject and "=[?]utf-8?B?" in mail.subject, mail.subject
    site.people["dana"].vote(site.request(mail), "deny")


def weather(site: Site) -> None:
    """Whatever the server does, each mail is shown once."""
    ops = "ops-list@example.com"
    for at, does in [("RCPT", "450 4.2.0 greylisted"), ("DATA", "451 4.3.0 try again"), ("DATA", "slow"), ("DATA", "drop"),
                     ("MAIL", "421 4.3.2 going down")]:
        word = f"weather-{at}-{does.split()[0]}"
        site.box.faults.append({"at": at, "does": does, **({} if at == "MAIL" else {"of": ops})})
        running = site.run("/bin/echo", word, agent="rain-bot")
        came = wait_for(lambda: [one for one in site.box.to(ops) if word in one.text])
        dana = site.mail("dana@example.com", word)
        if does == "drop":
            # The server has it, and the gateway can't know: the second has the name of the first.
            came = wait_for(lambda: len(found := [one for one in site.box.to(ops) if word in one.text]) >= 2 and found)
        assert len({one.name for one in came}) == 1 and len(came) == (2 if does == "drop" else 1), came
        wait_for(lambda: site.fault() is None)
        site.people["dana"].vote(site.request(dana))
        ended(running, 0)
        wait_for(lambda: [one for one in site.box.to(ops) if one.thread == came[0].name])
    # An address that is refused for good is said, and keeps nobody else waiting.
    site.box.faults.append({"at": "RCPT", "of": ops, "does": "550 5.1.1 no such mailbox here", "stays": True})
    running = site.run("/bin/echo", "refused", agent="rain-bot")
    dana = site.mail("dana@example.com", "refused")
    wait_for(lambda: "no such mailbox here" in (site.fault() or "") and ops in site.fault())
    time.sleep(2)
    assert not [one for one in site.box.to(ops) if "refused" in one.text]
    site.box.faults.clear()
    site.people["dana"].vote(site.request(dana))
    ended(running, 0)
    # A server that is not there, and a password that is wrong.
    site.box.go()
    running = site.run("/bin/echo", "away", agent="rain-bot")
    wait_for(lambda: "no mail can be sent" in (site.fault() or ""))
    site.box.password = "another"
    site.box.come()
    wait_for(lambda: "does not know the gateway" in (site.fault() or ""))
    assert PASSWORD not in site.fault()
    site.box.password = PASSWORD
    dana = site.mail("dana@example.com", "away")
    wait_for(lambda: site.fault() is None)
    site.people["dana"].vote(site.request(dana))
    ended(running, 0)


def killed(site: Site) -> None:
    """What is owed is sent after a restart, and what was sent is not sent again."""
    told = site.run("/bin/echo", "before the end", agent="night-bot")
    first = site.mail("finn@example.com", "before the end")
    wait_for(lambda: all([one for one in site.box.to(address) if "before the end" in one.text] for address in TOLD))
    site.box.go()
    owed = site.run("/bin/echo", "owed", agent="night-bot")
    wait_for(lambda: "no mail can be sent" in (site.fault() or ""))
    site.kill()
    # The commands are gone, too; what they asked waits on.
    for process in (told, owed):
        process.kill()
        process.communicate(timeout=30)
    site.box.come()
    site.start()
    mails = [site.mail(address, "owed") for address in TOLD]
    time.sleep(2)
    for address in TOLD:
        assert len([one for one in site.box.to(address) if "before the end" in one.text]) == 1, address
    # The end of what was told before it is in its thread.
    site.people["dana"].vote(site.request(first), "deny")
    over = wait_for(lambda: [one for one in site.box.to("finn@example.com") if one.thread == first.name])
    assert len(over) == 1 and "Denied by dana@example.com" in over[0].text
    site.people["dana"].vote(site.request(mails[0]), "deny")
    wait_for(lambda: [one for one in site.box.to(TOLD[1]) if one.thread == mails[1].name])
    # How it ends is owed to the owner even when it ends while no mail can be sent.
    running = site.run("/bin/echo", "ends alone", agent="night-bot")
    mail = site.mail("dana@example.com", "ends alone")
    site.box.go()
    site.people["dana"].vote(site.request(mail), "deny")
    ended(running, 77)
    wait_for(lambda: "no mail can be sent" in (site.fault() or ""))
    site.kill()
    site.box.come()
    site.start()
    told = wait_for(lambda: [one for one in site.box.to("olga@example.com") if "ends alone" in one.text])
    assert len(told) == 1 and "Denied by dana@example.com" in told[0].text


def flood(site: Site) -> None:
    """Whoever asks for much at once has it in a list; others keep their mails."""
    before = len(site.box.to("dana@example.com"))
    # One connection at a time would take long: all of them are asked before most can be told.
    noisy = [site.run("/bin/echo", f"noise-{number}", agent="noisy-bot", wait="0s") for number in range(24)]
    for process in noisy:
        ended(process, 75)
    quiet = site.run("/bin/echo", "quiet")
    mail = site.mail("dana@example.com", "quiet")
    new = lambda: site.box.to("dana@example.com")[before:]  # noqa: E731
    wait_for(lambda: all(any(f"noise-{number}\n" in one.text or f"noise-{number} " in one.text for one in new())
                         for number in range(24)), seconds=90)
    noise = [one for one in new() if "noise-" in one.text]
    assert len(noise) <= 7, noise
    lists = [one for one in noise if "requests" in one.subject]
    assert lists and all("agent:noisy-bot" in one.subject for one in lists), noise
    for one in lists:
        count = int(re.search(r"(\d+) requests", one.subject)[1])
        assert len(one.page.links) == count + 1 and one.page.links[-1] == f"{site.gateway.url}/inbox", one.page.links
    # Another list waits, for somebody who reads two a minute.
    more = [site.run("/bin/echo", f"more-{number}", agent="noisy-bot", wait="0s") for number in range(8)]
    for process in more:
        ended(process, 75)
    time.sleep(3)
    assert len([one for one in new() if "noise-" in one.text or "more-" in one.text]) <= 8
    site.people["dana"].vote(site.request(mail))
    ended(quiet, 0)


def nowhere(site: Site) -> None:
    """Somebody without an address is told nothing, which is said."""
    site.run("/bin/echo", "lonely", "one", wait="0s").communicate(timeout=60)
    wait_for(lambda: "no address of person:pat is known" in (site.fault() or ""))
    listed = site.gateway.run("channel", "list", "--json", env={**os.environ, "COUNTERSIGN_URL": site.gateway.url,
                                                               "COUNTERSIGN_TOKEN": site.tokens["deploy-bot"]})
    assert listed.returncode != 0, "machines don't see channels"
    assert not [one for one in site.box.mails if "pat" in one.rcpt[0]]


def pointers(site: Site) -> None:
    """With `content = "link"`, a mail says that something waits, and where."""
    running = site.run("/bin/echo", "confidential", reason="hush")
    mail = wait_for(lambda: site.box.to("dana@example.com"))[0]
    request = site.request(mail)
    assert mail.subject == f"[Countersign] {request}" and "waits for your signature" in mail.text
    site.people["dana"].vote(request, reason="quietly")
    ended(running, 0)
    wait_for(lambda: site.box.to("olga@example.com") and len(site.box.to("finn@example.com")) == 2)
    many = [site.run("/bin/echo", f"secret-{number}", wait="0s") for number in range(12)]
    for process in many:
        ended(process, 75)
    wait_for(lambda: [one for one in site.box.to("dana@example.com") if "requests" in one.subject])
    for mail in site.box.mails:
        for words in ["confidential", "hush", "quietly", "secret-", "deploy-bot", "olga", "dana@", "tools", "echo"]:
            assert words not in mail.text and words not in mail.html and words not in mail.subject, (words, mail.text)


def in_the_clear(site: Site) -> None:
    """A server that offers no TLS, or one that nobody vouches for, hears nothing."""
    running = site.run("/bin/echo", "clear", wait="0s")
    ended(running, 75)
    wait_for(lambda: "no mail can be sent" in (site.fault() or ""))
    time.sleep(3)
    assert not site.box.heard and not site.box.mails, site.box.heard


def deciding_in_order(site: Site) -> None:
    running = site.run("/bin/echo", "plain")
    site.people["dana"].vote(site.request(site.mail("dana@example.com", "plain")))
    ended(running, 0)
    site.mail("olga@example.com", "ran and succeeded")


def emergencies(site: Site) -> None:
    """Who may review a lift is told at once, and again when nobody did; never whoever lifted it, and nothing twice."""
    dana, reviewers = site.people["dana"], ["finn@example.com", "rene.r@example.com", "ops-list@example.com"]
    key = enrol(site, dana)
    # Only people's own requests can be lifted.
    site.tokens["dana"] = re.search(r"cst_[\w-]{43}", dana.form("/command-line", csrf=dana.csrf))[0]

    def told(address: str, words: str, request: str) -> list:
        return [one for one in site.box.to(address) if words in one.text and request in one.text]

    def alone(words: str, request: str) -> None:
        assert not [one for who in ("dana@example.com", "olga@example.com") for one in told(who, words, request)]
        assert all(len(told(address, words, request)) == 1 for address in reviewers), site.box.mails

    running = site.run("/bin/echo", "strict", "x1", agent="dana")
    first = site.mail("finn@example.com", "strict x1")
    request = site.request(first)
    assert lift(dana, key, request, "checkout is down, see https://evil.example")["state"] == "approved"
    ended(running, 0)
    for address in reviewers:
        [mail] = wait_for(lambda who=address: told(who, "EMERGENCY: a rule was lifted", request))
        for words in ["dana@example.com lifted rule strict", "| checkout is down, see https[:]/[/]evil[.]example",
                      "To be reviewed by", "finn@example.com", "person:dana@example.com", "strict x1"]:
            assert words in mail.text, (words, mail.text)
        assert "EMERGENCY, person:dana@example.com: " in mail.subject, mail.subject
        assert mail.page.links == [f"{site.gateway.url}/requests/{request}#review"], mail.page.links
        assert mail.page.tags.isdisjoint({"form", "input", "button", "script", "img"})
    assert told("finn@example.com", "EMERGENCY: a rule", request)[0].thread == first.name
    # Overdue, it is told once more; a gateway that was killed repeats nothing.
    for address in reviewers:
        wait_for(lambda who=address: told(who, "Overdue: nobody has reviewed", request), seconds=WITHIN + 30)
    assert "nobody can lift this rule again" in told(reviewers[0], "Overdue: nobody", request)[0].text
    site.kill()
    site.start()
    time.sleep(3)
    alone("EMERGENCY: a rule was lifted", request)
    alone("Overdue: nobody has reviewed", request)
    finn = site.people["finn"]
    seen = finn.ask(f"/v1/requests/{request}")
    said = {"rule": "strict", "note": "restarted it", "digest": seen["digest"], "act": seen["act"]}
    finn.ask(f"/v1/requests/{request}/review", said)
    # What could not be told before the end is told after it, once, although the request is over.
    running = site.run("/bin/echo", "strict", "x2", agent="dana")
    request = site.request(site.mail("finn@example.com", "strict x2"))
    site.box.go()
    lift(dana, key, request, "again")
    ended(running, 0)
    wait_for(lambda: "no mail can be sent" in (site.fault() or ""))
    site.kill()
    site.box.come()
    site.start()
    for address in reviewers:
        wait_for(lambda who=address: told(who, "EMERGENCY: a rule was lifted", request), seconds=60)
    time.sleep(2)
    alone("EMERGENCY: a rule was lifted", request)


def shots(site: Site) -> None:
    """The mails as a reader of mails shows them, in Chromium, with nothing fetched."""
    from playwright.sync_api import sync_playwright

    running = site.run("/bin/echo", "deploy", "--to", "production", "a rather long argument " * 4,
                       reason="The second release is ready.\nIts tests passed.")
    mail = site.mail("dana@example.com", "a rather long argument")
    lists = [one for one in site.box.to("dana@example.com") if "requests" in one.subject]
    folder = pathlib.Path("target/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        for name, one, width, scheme in [("mail-desktop", mail, 900, "light"), ("mail-phone-dark", mail, 390, "dark"),
                                         ("mail-list", lists[0], 900, "light")]:
            page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True).new_page()
            fetched = []
            page.on("request", lambda request: fetched.append(request.url))
            page.set_content(one.html)
            assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), name
            assert page.get_by_role("heading", level=1).count() == 1 and not fetched, fetched
            page.screenshot(path=folder / f"{name}.png", full_page=True)
        browser.close()
    site.people["dana"].vote(site.request(mail), "deny")
    ended(running, 77)


def main(program: str) -> None:
    ca = 'ca = "smtp.pem"\n'
    rounds = [
        ("implicit", LOGIN + "\n" + ca, [telling, reminding, talking, withdrawn, forged, weather, killed, flood, nowhere, emergencies, shots]),
        ("starttls", 'tls = "starttls"\n' + LOGIN + "\n" + ca, [deciding_in_order]),
        ("none", 'tls = "none"\ncontent = "link"', [pointers]),
        ("stripped", 'tls = "starttls"\n' + LOGIN + "\n" + ca, [in_the_clear]),
        ("implicit", LOGIN + '\nca = "other.pem"\n', [in_the_clear]),
    ]
    for tls, settings, steps in rounds:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            certificate(folder, "other")
            site = Site(str(pathlib.Path(program).resolve()), folder, tls, settings=settings)
            try:
                for step in steps:
                    began = time.monotonic()
                    step(site)
                    print(f"email, {tls}: {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
                site.gateway.process.send_signal(signal.SIGTERM)
                site.gateway.process.wait(timeout=30)
                verified = site.gateway.run("log", "verify", str(folder / "data"))
                assert verified.returncode == 0, verified.stdout + verified.stderr
            except AssertionError:
                print("the channel says:", site.fault() if site.answers() else "nothing", "and", site.box.mails, file=sys.stderr)
                raise
            finally:
                site.gateway.process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
