#!/usr/bin/env python3
"""The stand-in for Slack in the eyes of Slack's own client for Python.

`slack_sdk` calls the stand-in, checks the signatures of what it sends, receives over a socket, and draws
the limits of blocks and views where the stand-in draws them. A line that begins with NOT is a deviation.
"""

import contextlib
import http.server
import json
import logging
import queue
import sys
import threading
import time
import traceback
import urllib.parse

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackObjectFormationError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.models.blocks import Block, Option, OptionGroup
from slack_sdk.models.views import View as SdkView
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.webhook import WebhookClient

from standin import StandIn, Unable

logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)
failed = []


@contextlib.contextmanager
def check(what: str):
    try:
        yield
        print(f"ok  {what}")
    except Exception:
        failed.append(what)
        print(f"NOT {what}\n{traceback.format_exc(limit=3)}")


def plain(text: str) -> dict:
    return {"type": "plain_text", "text": text}


def button(action: str = "go", **more) -> dict:
    return {"type": "button", "action_id": action, "text": plain(action), "value": "v", **more}


def actions(*elements: dict) -> dict:
    return {"type": "actions", "block_id": "choices", "elements": list(elements)}


def section(**more) -> dict:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "größer / <b>"}, **more}


def options(count: int, text: int = 1, value: int = 4) -> list[dict]:
    return [{"text": plain("x" * text), "value": str(number).rjust(value, "v")} for number in range(count)]


def field(element: dict, **more) -> dict:
    element = {"action_id": "text", **element}
    return {"type": "input", "block_id": "why", "label": plain("Reason"), "element": element, **more}


def modal(**more) -> dict:
    fixed = {"type": "modal", "callback_id": "reason", "title": plain("Why?"), "submit": plain("Send")}
    return fixed | {"blocks": [field({"type": "plain_text_input"})]} | more


def select(**more) -> dict:
    return section(accessory={"type": "static_select", "action_id": "s", "options": options(2), **more})


CONFIRM = {"title": plain("Sure?"), "text": plain("Really?"), "confirm": plain("Yes"), "deny": plain("No")}
# What grows, and how far both Slack's library and the stand-in let it.
LIMITS = {
    "a section's text": (3000, lambda n: section(text={"type": "mrkdwn", "text": "x" * n})),
    "a section's fields": (10, lambda n: {"type": "section", "fields": [plain("x")] * n}),
    "a block_id": (255, lambda n: section(block_id="x" * n)),
    "a header": (150, lambda n: {"type": "header", "text": plain("x" * n)}),
    "a context's elements": (10, lambda n: {"type": "context", "elements": [plain("x")] * n}),
    "an actions block's elements": (25, lambda n: actions(*(button(f"a{i}") for i in range(n)))),
    "a button's text": (75, lambda n: actions(button(text=plain("x" * n)))),
    "a button's value": (2000, lambda n: actions(button(value="x" * n))),
    "a button's url": (3000, lambda n: actions(button(url="h" * n))),
    "a button's accessibility label": (75, lambda n: actions(button(accessibility_label="x" * n))),
    "an action_id": (255, lambda n: actions(button("x" * n, text=plain("x")))),
    "the title of a question": (100, lambda n: actions(button(confirm=CONFIRM | {"title": plain("x" * n)}))),
    "the text of a question": (300, lambda n: actions(button(confirm=CONFIRM | {"text": plain("x" * n)}))),
    "the yes of a question": (30, lambda n: actions(button(confirm=CONFIRM | {"confirm": plain("x" * n)}))),
    "the no of a question": (30, lambda n: actions(button(confirm=CONFIRM | {"deny": plain("x" * n)}))),
    "a choice's options": (100, lambda n: select(options=options(n))),
    "an option's text": (75, lambda n: select(options=options(1, text=n))),
    "an option's value": (150, lambda n: select(options=options(1, value=n))),
    "a placeholder": (150, lambda n: select(placeholder=plain("x" * n))),
    "a menu's options": (5, lambda n: section(accessory={"type": "overflow", "action_id": "o", "options": options(n)})),
    "the title of a group of options": (75, lambda n: section(accessory={
        "type": "static_select", "action_id": "s",
        "option_groups": [{"label": plain("x" * n), "options": options(2)}]})),
    "an image's address": (3000, lambda n: {"type": "image", "image_url": "h" * n, "alt_text": "x"}),
    "an image's words": (2000, lambda n: {"type": "image", "image_url": "h", "alt_text": "x" * n}),
    "a field's label": (2000, lambda n: field({"type": "plain_text_input"}, label=plain("x" * n))),
    "a field's hint": (2000, lambda n: field({"type": "plain_text_input"}, hint=plain("x" * n))),
    "a view's title": (24, lambda n: modal(title=plain("x" * n))),
    "a view's button": (24, lambda n: modal(submit=plain("x" * n))),
    "a view's way out": (24, lambda n: modal(close=plain("x" * n))),
    "a view's private metadata": (3000, lambda n: modal(private_metadata="x" * n)),
    "a view's callback_id": (255, lambda n: modal(callback_id="x" * n)),
    "a view's blocks": (100, lambda n: modal(blocks=[{"type": "divider"}] * n)),
}


class Receiver:
    """Takes what the stand-in sends over HTTP, as it came."""

    def __init__(self) -> None:
        self.got, self.answers = queue.Queue(), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told = json.loads(body) if body.startswith(b"{") else {}
                answer = told.get("challenge", "").encode()
                if not answer:
                    outer.got.put((dict(self.headers), body))
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self, begins: bytes = b"") -> tuple[dict, bytes]:
        """The next request whose body begins so. Events of the app's own messages come in between."""
        while not (found := self.got.get(timeout=10))[1].startswith(begins):
            pass
        return found

    def interaction(self) -> dict:
        return json.loads(urllib.parse.parse_qs(self.next(b"payload=")[1].decode())["payload"][0])


def refuses(error: str, call, *arguments, status: int = 200, **named) -> SlackApiError:
    try:
        call(*arguments, **named)
    except SlackApiError as refused:
        assert refused.response["error"] == error, refused.response.data
        assert refused.response["ok"] is False and refused.response.status_code == status
        return refused
    raise AssertionError(f"{call.__name__} was accepted")


def check_calls(slack: StandIn, web: WebClient, olga: str, ops: str) -> None:
    with check("auth.test, users and conversations"):
        me = web.auth_test()
        assert (me["team_id"], me["user_id"], me["bot_id"]) == (slack.team_id, slack.bot_user_id, slack.bot_id)
        assert "chat:write" in me.headers["x-oauth-scopes"]
        assert web.users_lookupByEmail(email="olga@example.com")["user"]["id"] == olga
        assert web.users_info(user=olga)["user"]["profile"]["email"] == "olga@example.com"
        assert web.conversations_info(channel=ops)["channel"]["is_member"] is True
        assert olga in web.conversations_members(channel=ops)["members"]
        names = [one["name"] for page in web.conversations_list(limit=1) for one in page["channels"]]
        assert names == ["general", "ops"], names
        direct = web.conversations_open(users=olga)["channel"]["id"]
        assert direct.startswith("D") and web.conversations_open(users=olga)["already_open"]
        assert web.chat_postMessage(channel=olga, text="to you")["channel"] == direct == slack.direct(olga)
    with check("a message is posted, updated, answered in its thread, and deleted"):
        metadata = {"event_type": "t", "event_payload": {"a": 1}}
        posted = web.chat_postMessage(channel=ops, text="one", blocks=[section()], metadata=metadata)
        assert posted["message"]["metadata"]["event_payload"] == {"a": 1} and "warning" not in posted.data
        ts = posted["ts"]
        assert web.chat_update(channel=ops, ts=ts, text="two")["text"] == "two"
        message = slack.message(ops, ts)
        assert [one["text"] for one in message.versions] == ["one", "two"] and message.words() == "größer / <b>"
        web.chat_postMessage(channel=ops, text="reply", thread_ts=ts)
        assert [one["text"] for one in web.conversations_replies(channel=ops, ts=ts)["messages"]] == ["two", "reply"]
        assert [one.text for one in slack.messages(ops, thread=ts)] == ["reply"]
        web.chat_delete(channel=ops, ts=ts)
        assert slack.message(ops, ts).deleted
        refuses("message_not_found", web.chat_update, channel=ops, ts=ts, text="three")
        web.chat_postEphemeral(channel=ops, user=olga, text="only you")
        assert [one["text"] for one in slack.ephemerals(olga)] == ["only you"]
    with check("what Slack refuses is a SlackApiError"):
        refuses("channel_not_found", web.chat_postMessage, channel="C0NOWHERE", text="x")
        refuses("invalid_auth", WebClient("xoxb-none", base_url=slack.api).auth_test)
        refuses("not_allowed_token_type", web.apps_connections_open, app_token=slack.bot_token)
        refuses("unknown_method", web.api_call, "chat.nonsense")
        refuses("invalid_arguments", web.api_call, "chat.postMessage", json={"text": "x"})
        # Methods that only read take no JSON.
        refuses("invalid_arguments", web.api_call, "conversations.info", json={"channel": ops})
        refused = refuses("invalid_blocks", web.chat_postMessage, channel=ops, text="x", blocks=[{"type": "nonsense"}])
        [said] = refused.response["response_metadata"]["messages"]
        assert said == "[ERROR] unsupported type: nonsense [json-pointer:/blocks/0/type]"


def check_limits(slack: StandIn, web: WebClient, receiver: Receiver, olga: str, ops: str) -> None:
    def trigger() -> str:
        ts = web.chat_postMessage(channel=ops, text="x", blocks=[actions(button())])["ts"]
        slack.click(olga, ops, ts, "go")
        return receiver.interaction()["trigger_id"]

    def library_takes(made: dict) -> bool:
        try:
            (SdkView(**made) if made["type"] == "modal" else Block.parse(made)).to_dict()
            # Options are left alone by their block.
            inside = made.get("accessory", {})
            for group in inside.get("option_groups", [{"label": plain("x"), "options": inside.get("options", [])}]):
                OptionGroup(label=group["label"], options=[Option(**one) for one in group["options"]]).to_dict()
            return True
        except SlackObjectFormationError:
            return False

    def slack_takes(made: dict) -> bool:
        try:
            if made["type"] == "modal":
                web.views_open(trigger_id=trigger(), view=json.dumps(made))
            else:
                web.api_call("chat.postMessage", json={"channel": ops, "text": "x", "blocks": [made]})
            return True
        except SlackApiError as refused:
            assert refused.response["error"] in ("invalid_blocks", "invalid_arguments"), refused.response.data
            assert all("json-pointer:/" in one for one in refused.response["response_metadata"]["messages"])
            return False

    for what, (most, make) in LIMITS.items():
        with check(f"{what}: up to {most}"):
            told = {n: (library_takes(make(n)), slack_takes(make(n))) for n in (most, most + 1)}
            assert told == {most: (True, True), most + 1: (False, False)}, told


def check_signatures(slack: StandIn, web: WebClient, receiver: Receiver, olga: str, ops: str) -> None:
    verifier = SignatureVerifier(slack.signing_secret)
    ts = web.chat_postMessage(channel=ops, text="x", blocks=[actions(button())])["ts"]
    begins = {"a click": b"payload=", "a command": b"token=", "an event": b"{"}
    does = {
        "a click": lambda **more: slack.click(olga, ops, ts, "go", **more),
        "a command": lambda **more: slack.command(olga, ops, "/countersign", "größer & <b>", **more),
        "an event": lambda **more: slack.say(olga, ops, "größer / <b>", **more),
    }
    tampered = {"a click": {"actions.0.value": "w"}, "a command": {"text": "w"}, "an event": {"event.text": "w"}}
    for what, act in does.items():
        with check(f"{what} is signed well, and a forged one isn't"):
            def valid(**forge) -> bool:
                receiver.got.queue.clear()
                act(forge=forge)
                headers, body = receiver.next(begins[what])
                assert headers["user-agent"].startswith("Slackbot")
                return verifier.is_valid_request(body, headers)

            assert valid() and valid(timestamp_offset=-290) and valid(timestamp_offset=290)
            for forge in (
                {"timestamp_offset": -310}, {"timestamp_offset": 310}, {"signature": "bad"}, {"signature": "missing"},
                {"signature": "other_secret"}, {"signature": "other_version"}, {"signature": "truncated"},
                {"signature": "upper_case"}, {"tamper": tampered[what]},
                {"without_headers": ["x-slack-request-timestamp"]},
            ):
                assert not valid(**forge), forge
            # What somebody else's workspace sends is signed well: the signature is the app's.
            assert valid(team_id="T0FOREIGN", app_id="A0FOREIGN")


def check_weather(slack: StandIn, web: WebClient, ops: str) -> None:
    with check("slack_sdk waits as long as it is told"):
        handlers = [RateLimitErrorRetryHandler(max_retry_count=1)]
        patient = WebClient(slack.bot_token, base_url=slack.api, retry_handlers=handlers)
        slack.weather("ratelimited", retry_after=1, method="chat.postMessage")
        began = time.monotonic()
        patient.chat_postMessage(channel=ops, text="waited")
        assert time.monotonic() - began >= 1
        assert [one["status"] for one in slack.calls("chat.postMessage")[-2:]] == [429, 200]
        slack.weather("ratelimited", retry_after=9)
        refused = refuses("ratelimited", web.auth_test, status=429)
        assert refused.response.headers["retry-after"] == "9", refused.response.headers


def check_response_url(slack: StandIn, web: WebClient, receiver: Receiver, olga: str, ops: str) -> None:
    with check("a response_url answers slack_sdk's WebhookClient: replaced, said to all, five times"):
        ts = web.chat_postMessage(channel=ops, text="x", blocks=[actions(button())])["ts"]
        receiver.got.queue.clear()
        slack.click(olga, ops, ts, "go")
        hook = WebhookClient(receiver.interaction()["response_url"])
        assert hook.send(text="other", replace_original=True).status_code == 200
        assert slack.message(ops, ts).text == "other"
        hook.send(text="for all", response_type="in_channel")
        assert slack.messages(ops)[-1].text == "for all"
        before = len(slack.ephemerals(olga))
        for _ in range(3):
            hook.send(text="for you")
        assert len(slack.ephemerals(olga)) == before + 3
        used = hook.send(text="once too often")
        assert used.status_code == 404 and json.loads(used.body)["error"] == "used_url", used.body
        assert hook.send(blocks=[]).status_code == 404
    with check("a command's response_url answers `ok`"):
        receiver.got.queue.clear()
        slack.command(olga, ops, "/countersign", "list")
        asked = dict(urllib.parse.parse_qsl(receiver.next(b"token=")[1].decode()))
        assert (asked["text"], asked["team_id"]) == ("list", slack.team_id)
        assert (asked["enterprise_id"], asked["is_enterprise_install"]) == ("E0GRID", "false")
        assert WebhookClient(asked["response_url"]).send(text="later").body == "ok"


def check_sockets(slack: StandIn, web: WebClient, olga: str, ops: str) -> None:
    slack.app(socket_mode=True)
    slack.habits(ping_every=300)
    seen, answers = queue.Queue(), {}

    def hear(client: SocketModeClient, asked) -> None:
        seen.put(asked)
        client.send_socket_mode_response(SocketModeResponse(asked.envelope_id, answers.pop(asked.type, None)))

    def next_of(kind: str):
        while (asked := seen.get(timeout=15)).type != kind:
            pass
        return asked

    client = SocketModeClient(slack.app_token, web_client=web, ping_interval=0.5)
    client.socket_mode_request_listeners.append(hear)
    client.connect()
    slack.wait_for(slack.sockets)
    ts = web.chat_postMessage(channel=ops, text="x", blocks=[actions(button())])["ts"]
    with check("socket: a click arrives at slack_sdk, opens a view, and what is sent from it is answered"):
        seen.queue.clear()
        assert slack.click(olga, ops, ts, "go").acknowledged
        asked = next_of("interactive")
        assert asked.payload["enterprise"]["id"] == "E0GRID" == asked.payload["team"]["enterprise_id"]
        assert asked.payload["actions"][0]["value"] == "v" and asked.accepts_response_payload is False
        web.views_open(trigger_id=asked.payload["trigger_id"], view=modal())
        [view] = slack.views(olga)
        try:
            slack.submit(olga, view.id, {})
            raise AssertionError("a field was empty")
        except Unable as refused:
            assert "required" in str(refused)
        answers["interactive"] = {"response_action": "errors", "errors": {"why": "say more"}}
        assert slack.submit(olga, view.id, {"why": "so"}).errors == {"why": "say more"}
        assert slack.submit(olga, view.id, {"text": "because"}).closed and not slack.views(olga)
        submitted = [next_of("interactive").payload for _ in range(2)][-1]
        [[held]] = [one.values() for one in submitted["view"]["state"]["values"].values()]
        assert held == {"type": "plain_text_input", "value": "because"}, submitted["view"]
    with check("socket: a command is answered with its acknowledgement, and a thread's message arrives"):
        answers["slash_commands"] = {"text": "at once"}
        before = len(slack.ephemerals(olga))
        assert slack.command(olga, ops, "/countersign", "list").acknowledged
        assert [one["text"] for one in slack.ephemerals(olga)[before:]] == ["at once"]
        asked = next_of("slash_commands")
        assert asked.payload["command"] == "/countersign" and asked.accepts_response_payload is True
        seen.queue.clear()
        assert slack.say(olga, ops, "why so?", thread=ts).acknowledged
        asked = next_of("events_api")
        assert (asked.payload["enterprise_id"], asked.payload["team_id"]) == ("E0GRID", slack.team_id)
        assert asked.payload["event"]["thread_ts"] == ts and (asked.retry_attempt, asked.retry_reason) == (0, "")
    with check("socket: an event that isn't acknowledged comes again"):
        slack.habits(ack_timeout=300, retry_delays=[100])
        slack.socket("deafen")
        seen.queue.clear()
        assert not slack.say(olga, ops, "again?").acknowledged
        first, second = next_of("events_api"), next_of("events_api")
        assert (second.retry_attempt, second.retry_reason) == (1, "timeout")
        assert first.payload["event_id"] == second.payload["event_id"] and first.envelope_id != second.envelope_id
        slack.socket("hear")
        slack.habits(ack_timeout=3000, retry_delays=[0, 60_000, 300_000])
    for what, act in {"a refresh": "disconnect", "a broken connection": "drop", "silence": "silence"}.items():
        with check(f"socket: slack_sdk comes back after {what}"):
            [old] = slack.sockets()
            slack.socket(act)
            slack.wait_for(lambda: [one for one in slack.sockets() if one["id"] != old["id"]])
            slack.socket("drop", socket=old["id"])
            seen.queue.clear()
            slack.wait_for(lambda: slack.click(olga, ops, ts, "go").acknowledged)
            assert next_of("interactive").payload["user"]["id"] == olga
    client.close()


def main() -> int:
    receiver = Receiver()
    with StandIn(enterprise_id="E0GRID") as slack:
        web = WebClient(slack.bot_token, base_url=slack.api)
        web.retry_handlers.clear()
        olga = slack.user("olga", email="olga@example.com")
        ops = slack.channel("ops", [olga])
        check_calls(slack, web, olga, ops)
        slack.app(events_url=receiver.url, interactivity_url=receiver.url, commands_url=receiver.url)
        check_limits(slack, web, receiver, olga, ops)
        check_signatures(slack, web, receiver, olga, ops)
        check_weather(slack, web, ops)
        check_response_url(slack, web, receiver, olga, ops)
        check_sockets(slack, web, olga, ops)
    well = "Slack's own client for Python takes the stand-in for Slack"
    print(f"{len(failed)} of these are not as Slack does" if failed else well)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
