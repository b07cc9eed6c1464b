"""Starts the stand-in for Slack and speaks with its control interface.

    with StandIn() as slack:
        olga = slack.user("olga", email="olga@example.com")
        ops = slack.channel("ops", members=[olga])
        slack.app(events_url=…, interactivity_url=…, commands_url=…)
        [card] = slack.wait_for(lambda: slack.messages(ops))
        outcome = slack.click(olga, ops, card.ts, "approve")

Who acts and where is named by identifier. What Slack's client would not let somebody do raises `Unable`:
nothing was sent. `forge` changes what is sent on its way; see `Forge`.
"""

import dataclasses
import json
import pathlib
import subprocess
import time
import typing
import urllib.error
import urllib.request

PROGRAM = pathlib.Path(__file__).resolve().parent / "slack.mjs"
PATIENCE = 30


class Unable(Exception):
    """Slack's client doesn't let somebody do this, so that nothing was sent."""


class Forge(typing.TypedDict, total=False):
    """How a delivery differs from what Slack sends. Only with HTTP is there a signature."""

    # "bad", "missing", "other_secret", "other_version", "truncated", "upper_case", or the header itself.
    signature: str
    # Seconds by which a delivery that is signed well is older (less than zero) or from the future.
    timestamp_offset: int
    # The header's text, which is signed well.
    timestamp: str
    # Paths into the payload and their values, set after it was signed.
    tamper: dict[str, typing.Any]
    # The same before it is signed: Slack itself says so.
    set: dict[str, typing.Any]
    # Signed well, but of somebody else's workspace, organization, app, or person.
    team_id: str
    enterprise_id: str
    app_id: str
    user_id: str
    without_headers: list[str]
    content_type: str
    # So many deliveries of the same bytes at the same time.
    times: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the app answered a delivery, and what came of it for the person."""

    acknowledged: bool
    # HTTP's status and body, or what came with the acknowledgement on a socket.
    status: int | None = None
    body: str | None = None
    answer: typing.Any = None
    error: str | None = None
    # What the client shows somebody for whom it went wrong.
    shown: str | None = None
    # Of a view: whether it closed, or what the app found wrong by `block_id`.
    closed: bool = False
    errors: dict[str, str] | None = None
    refused: dict | None = None
    # What was written, answered, or delivered.
    ts: str | None = None
    delivery: str | None = None


@dataclasses.dataclass(frozen=True)
class Message:
    ts: str
    text: str
    blocks: list[dict]
    user: str
    thread_ts: str | None
    deleted: bool
    # What the message said before and now, oldest first.
    versions: list[dict]
    # Everything, as Slack has it.
    whole: dict

    def elements(self) -> dict[str, dict]:
        """The elements that somebody can use, by their `action_id`."""
        return elements(self.blocks)

    def words(self) -> str:
        """All text of the blocks, as it was sent."""
        return words(self.blocks)


@dataclasses.dataclass(frozen=True)
class View:
    id: str
    user: str
    open: bool
    errors: dict[str, str] | None
    view: dict

    def words(self) -> str:
        return words([self.view["title"], *self.view["blocks"]])


def elements(blocks: list[dict]) -> dict[str, dict]:
    found = {}
    for block in blocks:
        several = block["elements"] if block["type"] == "actions" else []
        inside = [*several, block.get("accessory"), block.get("element")]
        found |= {one["action_id"]: one for one in inside if one and "action_id" in one}
    return found


def words(value: typing.Any) -> str:
    if isinstance(value, list):
        return "\n".join(filter(None, map(words, value)))
    if not isinstance(value, dict):
        return ""
    own = value.get("text")
    parts = [own if isinstance(own, str) else "", *(words(part) for part in value.values())]
    return "\n".join(filter(None, parts))


class StandIn:
    """A Slack of its own, with one workspace and one app."""

    def __init__(self, **settings: str) -> None:
        self.process = subprocess.Popen(
            ["node", str(PROGRAM), json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        told = json.loads(self.process.stdout.readline())
        self.url, self.api = told["url"], told["api"]
        self.bot_token, self.app_token = told["bot_token"], told["app_token"]
        self.signing_secret = told["signing_secret"]
        self.team_id, self.enterprise_id, self.app_id = told["team_id"], told["enterprise_id"], told["app_id"]
        self.bot_id, self.bot_user_id = told["bot_id"], told["bot_user_id"]

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(timeout=PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def control(self, name: str, /, **asked: typing.Any) -> dict:
        asked = {key: value for key, value in asked.items() if value is not None}
        return self.control_with(name, asked)

    def control_with(self, name: str, asked: dict) -> dict:
        body = json.dumps(asked).encode()
        request = urllib.request.Request(f"{self.url}/control/{name}", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)
            if told.get("unable"):
                raise Unable(told["error"]) from None
            raise AssertionError(f"control {name}: {told}") from None

    # The workspace and its app.

    def app(self, **values: typing.Any) -> dict:
        """Sets what the app is: its URLs, `socket_mode`, `scopes`, `subscriptions`, `commands`, `revoked`."""
        return self.control_with("app", values)

    def habits(self, **values: typing.Any) -> dict:
        """Sets how Slack behaves: `ack_timeout`, `trigger_life`, `retry_delays` (milliseconds), `rate_limits`, …"""
        return self.control_with("habits", values)

    def user(self, name: str, **more: typing.Any) -> str:
        """Somebody new. With another `team_id` they come from elsewhere, through Slack Connect."""
        return self.control("user", name=name, **more)["id"]

    def channel(self, name: str, members: typing.Iterable[str] = (), *, with_bot: bool = True,
                **more: typing.Any) -> str:
        members = [*members, *([self.bot_user_id] if with_bot else [])]
        return self.control("channel", name=name, members=members, **more)["id"]

    def direct(self, user: str) -> str:
        """The conversation of somebody with the app."""
        return self.control("direct", user=user)["id"]

    def change(self, kind: str, identifier: str, **more: typing.Any) -> dict:
        """Changes a "user" or a "channel"."""
        return self.control_with(kind, {"id": identifier, **more})

    # What is there.

    def state(self, part: str) -> typing.Any:
        return self.control("state", part=part)[part]

    def messages(self, channel: str, *, thread: str | None = None, deleted: bool = False) -> list[Message]:
        found = [
            Message(one["ts"], one["text"], one.get("blocks", []), one["user"], one.get("thread_ts"), one["deleted"],
                    one["versions"], one)
            for one in self.state("messages").get(channel, [])
        ]
        return [one for one in found if (deleted or not one.deleted) and (thread is None or one.thread_ts == thread)]

    def message(self, channel: str, ts: str) -> Message:
        [found] = [one for one in self.messages(channel, deleted=True) if one.ts == ts]
        return found

    def ephemerals(self, user: str | None = None) -> list[dict]:
        return [one for one in self.state("ephemerals") if user in (None, one["user"])]

    def views(self, user: str | None = None, *, closed: bool = False) -> list[View]:
        """The views that somebody looks at, the topmost last."""
        all_views = self.state("views")
        found = [View(one["view"]["id"], one["user"], one["open"], one["errors"], one["view"]) for one in all_views]
        return [one for one in found if (closed or one.open) and user in (None, one.user)]

    def calls(self, method: str | None = None) -> list[dict]:
        """The app's calls: `at`, `method`, `args`, `status`, `answer`, `fault`."""
        return [one for one in self.state("calls") if method in (None, one["method"])]

    def deliveries(self, kind: str | None = None) -> list[dict]:
        """What was sent: "events_api", "interactive", or "slash_commands", each with its attempts."""
        return [one for one in self.state("deliveries") if kind in (None, one["kind"])]

    def sockets(self) -> list[dict]:
        return [one for one in self.state("sockets") if one["open"]]

    def wait_for(self, look: typing.Callable[[], typing.Any], seconds: float = PATIENCE) -> typing.Any:
        """What `look` finds, once it finds something."""
        end = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > end:
                calls = [(one["method"], one.get("answer")) for one in self.calls()[-5:]]
                raise AssertionError(f"nothing came in {seconds} s; the last calls: {calls}")
            time.sleep(0.02)
        return found

    # What people do.

    def act(self, what: str, **asked: typing.Any) -> Outcome:
        told = self.control(what, **asked)
        known = {field.name for field in dataclasses.fields(Outcome)}
        return Outcome(**{"acknowledged": False} | {key: value for key, value in told.items() if key in known})

    def click(self, user: str, channel: str, ts: str, action: str, *, value: typing.Any = None,
              block: str | None = None, version: int | None = None, force: bool = False,
              forge: Forge | None = None) -> Outcome:
        """Uses an element of a message. `version` is an older look of it, which somebody still sees."""
        return self.act("click", user=user, channel=channel, ts=ts, action_id=action, block_id=block, value=value,
                        version=version, force=force, forge=forge)

    def click_view(self, user: str, view: str, action: str, *, value: typing.Any = None,
                   forge: Forge | None = None) -> Outcome:
        return self.act("click", user=user, view=view, action_id=action, value=value, forge=forge)

    def submit(self, user: str, view: str, values: dict[str, typing.Any] | None = None, *, force: bool = False,
               forge: Forge | None = None) -> Outcome:
        """Sends a view, with values by `block_id` or `action_id`. `force` does what the client would not."""
        return self.act("submit", user=user, view=view, values=values or {}, force=force, forge=forge)

    def close(self, user: str, view: str, *, clear: bool = False, forge: Forge | None = None) -> Outcome:
        return self.act("close", user=user, view=view, clear=clear, forge=forge)

    def command(self, user: str, channel: str, command: str, text: str = "", *, force: bool = False,
                forge: Forge | None = None) -> Outcome:
        return self.act("command", user=user, channel=channel, command=command, text=text, force=force, forge=forge)

    def say(self, user: str, channel: str, text: str, *, thread: str | None = None, force: bool = False,
            forge: Forge | None = None) -> Outcome:
        """Writes into a channel or a thread."""
        return self.act("write", user=user, channel=channel, text=text, thread_ts=thread, force=force, forge=forge)

    def home(self, user: str, *, forge: Forge | None = None) -> Outcome:
        """Looks at the app's home."""
        return self.act("home", user=user, forge=forge)

    def replay(self, delivery: str) -> Outcome:
        """The same bytes again."""
        return self.act("replay", delivery=delivery)

    # The weather.

    def weather(self, fault: str, *, count: int = 1, method: str | None = None, retry_after: int = 1, status: int = 500,
                delay: int = 1000) -> None:
        """The next calls (of `method`, or any) meet a fault.

        "ratelimited", "error", "garbage", "hang", "drop" (before anything happened), "lost" (done, but the
        answer doesn't arrive), "slow".
        """
        more = {"retry_after": retry_after, "status": status, "delay": delay}
        self.control("weather", fault=fault, next=count, method=method, **more)

    def clear_weather(self) -> None:
        self.control("weather", clear=True)

    def socket(self, act: str, *, socket: int | None = None, **more: typing.Any) -> list[int]:
        """What happens to one socket, or to all.

        "disconnect" (with `reason`), "close" (with `code`), "drop", "silence" and "resume", "deafen" (doesn't hear
        acknowledgements) and "hear", "text", "binary".
        """
        return self.control("sockets", act=act, socket=socket, **more)["sockets"]

    def expire(self) -> None:
        """Every trigger and response URL so far is too old."""
        self.control("expire")
