"""What deciding in Slack and in the console costs a gateway: for `script/bench channels`.

In scope: the gateway's share, with a stand-in for Slack on the same machine.
Out of scope: Slack's own time.
"""

import concurrent.futures
import hashlib
import hmac
import http.client
import json
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import channel  # noqa: E402
from channel import Site, ended  # noqa: E402

ROUNDS = 60
OPEN = 10_000
LOOKS = 30
QUIET = """
[[target.tools.command]]
argv = ["/bin/echo", "quiet", "{what:word}"]
action = "quiet"
group = "write"
"""
QUIET_WAITS = """
@id("quiet-waits") @approval("second")
forbid (principal, action == Action::"exec:quiet", resource);
"""


def files() -> dict[str, str]:
    """What the tests have, with a command that tells nobody and room for many that wait."""
    main = channel.FILES["countersign.toml"].replace("max_held_per_subject = 400", "max_held_per_subject = 20000")
    policy = "policies/all.cedar"
    return {**channel.FILES, "countersign.toml": main + QUIET, policy: channel.FILES[policy] + QUIET_WAITS}


class Agent:
    """Commands over one connection, without a process for each."""

    def __init__(self, site: Site) -> None:
        self.token = site.token
        self.connection = http.client.HTTPConnection("localhost", int(site.gateway.url.rsplit(":", 1)[1]))

    def run(self, *argv: str, wait: int = 0) -> http.client.HTTPResponse:
        body = json.dumps({"target": "tools", "argv": ["/bin/echo", *argv], "reason": "to measure", "wait_ms": wait})
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        self.connection.request("POST", "/v1/run", body, headers)
        return self.connection.getresponse()


def event(answer: http.client.HTTPResponse, wanted: str) -> dict:
    """Reads events until one of this name."""
    while line := answer.readline():
        found = json.loads(line)
        if found["event"] == wanted:
            return found
    raise AssertionError(f"no event {wanted}")


def resumed(site: Site, decide) -> list[float]:
    """Milliseconds from a decision until the command that waits for it goes on."""
    took = []
    for n in range(ROUNDS):
        waiting = Agent(site).run("resumed", f"r{n}-{time.time_ns()}", wait=60_000)
        request = event(waiting, "held")["request"]
        seen = site.people["dana"].ask(f"/v1/requests/{request}")
        began = time.perf_counter()
        decide(request, seen)
        event(waiting, "started")
        took.append((time.perf_counter() - began) * 1_000)
        event(waiting, "exited")
    return took


def inbox(site: Site) -> list[float]:
    """Milliseconds of the first page of an inbox in which many requests wait."""
    def ask(numbers: range) -> None:
        agent = Agent(site)
        for n in numbers:
            # One subject may ask for so much a second.
            while (answer := agent.run("quiet", f"q{n}")).status == 429:
                answer.read()
                time.sleep(1)
            event(answer, "still_held")
            answer.read()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(ask, range(first, OPEN, 8)) for first in range(8)]:
            one.result()
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        page = site.people["dana"].get("/inbox")
        took.append((time.perf_counter() - began) * 1_000)
    assert "quiet" in page
    return took


class Slack:
    """Clicks without the stand-in in between, over one connection."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.connection = http.client.HTTPConnection("localhost", int(site.gateway.url.rsplit(":", 1)[1]))
        self.connection.connect()

    def click(self, user: str, value: str, verb: str = "approve") -> float:
        """Milliseconds until the gateway answered, which it does when the vote is recorded."""
        slack = self.site.slack
        payload = {
            "type": "block_actions", "api_app_id": slack.app_id, "trigger_id": f"{time.time_ns()}",
            "team": {"id": slack.team_id}, "user": {"id": user, "team_id": slack.team_id, "username": "x"},
            "channel": {"id": self.site.ops}, "actions": [{"action_id": verb, "value": value}],
        }
        body = urllib.parse.urlencode({"payload": json.dumps(payload)})
        at = str(int(time.time()))
        signature = hmac.new(slack.signing_secret.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
        headers = {"content-type": "application/x-www-form-urlencoded", "x-slack-request-timestamp": at,
                   "x-slack-signature": f"v0={signature}"}
        began = time.perf_counter()
        self.connection.request("POST", "/channels/slack", body, headers)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        return (time.perf_counter() - began) * 1_000


def measure(program: str) -> dict[str, list[float]]:
    """Milliseconds: of clicks until they are answered, and of holds until their card was sent."""
    channel.FILES = files()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(program, pathlib.Path(folder), socket=False)
        try:
            for name, by in [("dana", "finn"), ("finn", "dana")]:
                site.link(name, by)
            slack, clicks, cards = Slack(site), [], []
            for n in range(ROUNDS):
                asked = time.time() * 1_000
                ended(site.run("/bin/echo", "two", f"m{n}", wait="0s"), 75)
                card = site.card(f"two m{n}")
                cards.append(float(card.ts) * 1_000 - asked)
                # The first of two votes: what is measured is the vote, not the command.
                clicks.append(slack.click(site.users["dana"], card.elements()["approve"]["value"]))
                # The pace that Slack asks for is not ours.
                time.sleep(2.5)
            seen = site.people["finn"].ask(f"/v1/requests/{site.request(card)}")
            assert [vote["voter"] for vote in seen["votes"]] == ["dana@example.com"], seen["votes"]
            dana, finn = site.people["dana"], site.users["finn"]
            by_click = resumed(site, lambda request, seen: slack.click(finn, f"{request}:{seen['digest'][:16]}"))
            vote = lambda request, seen: dana.ask(  # noqa: E731
                f"/v1/requests/{request}/votes",
                {"verdict": "approve", "digest": seen["digest"], "act": seen["act"]})
            in_session = resumed(site, vote)
            return {"clicks": clicks, "cards": cards, "resumed_slack": by_click, "resumed_session": in_session,
                    "inbox": inbox(site)}
        finally:
            site.slack.process.stdin.close()
            site.gateway.process.kill()


if __name__ == "__main__":
    print(json.dumps({name: statistics.median(values) for name, values in measure(sys.argv[1]).items()}))
