"""What deciding in Slack costs a gateway: for `script/bench channels`.

In scope: the gateway's share, with a stand-in for Slack on the same machine.
Out of scope: Slack's own time.
"""

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
from channel import Site, ended  # noqa: E402

ROUNDS = 60


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
            return {"clicks": clicks, "cards": cards}
        finally:
            site.slack.process.stdin.close()
            site.gateway.process.kill()


if __name__ == "__main__":
    print(json.dumps({name: statistics.median(values) for name, values in measure(sys.argv[1]).items()}))
