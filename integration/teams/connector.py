"""Stands in for what is Microsoft's between Teams and a bot: login, keys, the Bot Connector.

    with Microsoft() as microsoft:
        microsoft.bot = "http://localhost:…/channels/teams"
        status, answer = microsoft.deliver(microsoft.activity("message", dana, ops, text="inbox"))

Everything that goes to the bot has a token signed with keys of its own, which `metadata` says; whatever
the bot sends must have the token that the login gave. With a playground, Microsoft's own client for
bots, both are passed on: it sends no tokens and asks for none.
"""

import base64
import copy
import datetime
import hashlib
import hmac
import http.server
import itertools
import json
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

TENANT = "11111111-2222-4333-8444-555555555555"
APP = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
SECRET = "the secret of the bot & more"
ISSUER = "https://api.botframework.com"
OPS = "19:ops@thread.tacv2"
CHAT = "19:chat@thread.v2"
PATIENCE = 30


def account(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Microsoft:
    """Login, keys and connector."""

    def __init__(self, playground: str | None = None) -> None:
        self.playground, self.bot = playground, None
        self.members = {OPS: set(), CHAT: set()}
        # Versions of each message, oldest first, by conversation and name.
        self.messages: dict[tuple[str, str], list[dict]] = {}
        self.bearer, self.granted, self.faults, self.calls = None, 0, [], []
        self.names = itertools.count(int(time.time() * 1000))
        self.keys = {name: rsa.generate_private_key(65537, 2048) for name in ("good", "unendorsed", "unknown", "twice")}
        self.curve = ec.generate_private_key(ec.SECP256R1())
        self.metadata_issuer, self.key_requests = ISSUER, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answer = outer.serve(self.command, self.path, self.headers, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, said = answer
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = serve

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A gateway that is killed breaks its connections off.
        self.server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.service = f"{self.url}/_connector"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> "Microsoft":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def settings(self) -> str:
        """The table of the channel."""
        return f"""
[channel.teams]
kind = "teams"
tenant = "{TENANT.upper()}"
app = "{APP}"
secret = {{ file = "bot.secret" }}
metadata_url = "{self.url}/v1/.well-known/openidconfiguration"
token_url = "{self.url}/{TENANT}/oauth2/v2.0/token"
service_url = "{self.service}"
"""

    # What the bot asks.

    def serve(self, method: str, path: str, headers: object, body: bytes) -> tuple | None:
        if path == "/v1/.well-known/openidconfiguration":
            return 200, {}, {"issuer": self.metadata_issuer, "jwks_uri": f"{self.url}/v1/keys",
                             "id_token_signing_alg_values_supported": ["RS256"]}
        if path == "/v1/keys":
            self.key_requests += 1
            return 200, {}, {"keys": self.public()}
        if path.endswith("/oauth2/v2.0/token"):
            return self.login(dict(urllib.parse.parse_qsl(body.decode())))
        if path == "/api/messages":
            return self.pass_in(body)
        if not path.startswith("/_connector/"):
            return 404, {}, {}
        if self.bearer is None or headers.get("authorization") != f"Bearer {self.bearer}":
            return 401, {}, {"error": {"code": "Unauthorized", "message": "no token"}}
        self.calls.append((method, path, json.loads(body) if body else None))
        fault = self.faults.pop(0) if self.faults and method != "GET" else None
        match fault:
            case "limited":
                return 429, {"retry-after": "1"}, {"error": {"code": "Throttled"}}
            case "broken":
                return 503, {}, b"<html>"
            case "drop":
                return None
            case "expired":
                self.bearer = None
                return 401, {}, {"error": {"code": "Unauthorized"}}
            case "too_big":
                return 413, {}, {"error": {"code": "MessageSizeTooBig"}}
        if self.playground:
            return self.pass_out(method, path, body)
        segments = [urllib.parse.unquote(one) for one in path.split("/")[2:]]
        return self.connector(method, segments, json.loads(body) if body else None)

    def login(self, form: dict) -> tuple:
        good = {"grant_type": "client_credentials", "client_id": APP, "client_secret": SECRET, "scope": f"{ISSUER}/.default"}
        if form != good:
            return 401, {}, {"error": "invalid_client"}
        self.bearer, self.granted = secrets.token_urlsafe(40), self.granted + 1
        return 200, {}, {"token_type": "Bearer", "expires_in": 3600, "access_token": self.bearer}

    def connector(self, method: str, segments: list[str], body: dict | None) -> tuple:
        match method, segments:
            case "POST", ["v3", "conversations"]:
                if body["isGroup"]:
                    channel = body["channelData"]["channel"]["id"]
                    if channel not in self.members:
                        return 404, {}, {"error": {"code": "ConversationNotFound"}}
                    name = str(next(self.names))
                    conversation = f"{channel};messageid={name}"
                    self.messages[conversation, name] = [body["activity"]]
                    return 201, {}, {"id": conversation, "activityId": name}
                return 201, {}, {"id": f"a:{body['members'][0]['id']}"}
            case "POST", ["v3", "conversations", conversation, "activities"]:
                name = str(next(self.names))
                self.messages[conversation, name] = [body]
                return 201, {}, {"id": name}
            case "PUT", ["v3", "conversations", conversation, "activities", name]:
                if (conversation, name) not in self.messages:
                    return 404, {}, {"error": {"code": "ActivityNotFoundInConversation"}}
                self.messages[conversation, name].append(body)
                return 200, {}, {"id": name}
            case "GET", ["v3", "conversations", conversation, "members", user]:
                if user in self.members.get(conversation.split(";")[0], ()):
                    return 200, {}, {"id": f"29:{user}", "aadObjectId": user}
                return 404, {}, {"error": {"code": "MemberNotFoundInConversation"}}
        return 405, {}, {"error": {"code": "BadArgument", "message": f"{method} {segments}"}}

    def pass_out(self, method: str, path: str, body: bytes) -> tuple:
        """To the playground."""
        request = urllib.request.Request(self.playground + path, body or None, method=method,
                                         headers={"content-type": "application/json", "authorization": "Bearer x"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, {}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {}, error.read()

    def pass_in(self, body: bytes) -> tuple:
        """From the playground, with a token."""
        status, answer = self.post(body, self.token())
        return status, {}, answer if answer is not None else {}

    # What goes to the bot.

    def public(self) -> list[dict]:
        def jwk(name: str, key: rsa.RSAPrivateKey, **more: object) -> dict:
            public = key.public_key().public_numbers()
            return {"kty": "RSA", "use": "sig", "kid": name, "x5t": name, "n": number(public.n), "e": number(public.e), **more}

        endorsed = {"endorsements": ["msteams", "webchat"]}
        point = self.curve.public_key().public_numbers()
        return [
            jwk("good", self.keys["good"], **endorsed), jwk("unendorsed", self.keys["unendorsed"], endorsements=["webchat"]),
            jwk("plain", self.keys["unendorsed"]),
            jwk("twice", self.keys["twice"], **endorsed), jwk("twice", self.keys["good"], **endorsed),
            {"kty": "EC", "use": "sig", "kid": "curve", "crv": "P-256", "x": number(point.x), "y": number(point.y), **endorsed},
        ]

    def claims(self, **more: object) -> dict:
        now = int(time.time())
        return {"serviceurl": self.service, "nbf": now - 10, "exp": now + 3600, "iss": ISSUER, "aud": APP, **more}

    def token(self, *, key: str = "good", header: dict | None = None, claims: dict | None = None, text: str | None = None) -> str:
        """A token; what is `None` in header or claims is left out. `text` stands in the claims' place."""
        header = {"alg": "RS256", "typ": "JWT", "kid": key, "x5t": key} | (header or {})
        claims = self.claims() | (claims or {})
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {name: value for name, value in header.items() if value is not None}
        said = f"{encoded(json.dumps(header).encode())}.{encoded((text or json.dumps(claims)).encode())}"
        return f"{said}.{encoded(self.sign(key, header.get('alg'), said.encode()))}"

    def sign(self, key: str, algorithm: str | None, said: bytes) -> bytes:
        signs = self.keys.get(key, self.keys["good"])
        pem = self.keys["good"].public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        match algorithm:
            case "HS256":
                return hmac.digest(pem, said, "sha256")
            case "ES256":
                from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
                r, s = decode_dss_signature(self.curve.sign(said, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case "PS256":
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
                return signs.sign(said, pss, hashes.SHA256())
            case "RS384":
                return signs.sign(said, padding.PKCS1v15(), hashes.SHA384())
            case "none" | None:
                return b""
        return signs.sign(said, padding.PKCS1v15(), hashes.SHA256())

    def activity(self, kind: str, user: str, conversation: str, *, called: str = "somebody", **more: object) -> dict:
        personal = conversation.startswith("a:")
        return {
            "type": kind, "id": f"f:{secrets.token_hex(8)}", "channelId": "msteams", "serviceUrl": self.service,
            "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "from": {"id": f"29:{user}", "name": called, "aadObjectId": user},
            "recipient": {"id": f"28:{APP}", "name": "Countersign"},
            "conversation": {"id": conversation, "tenantId": TENANT, "conversationType": "personal" if personal else "channel"},
            "channelData": {"tenant": {"id": TENANT}}, **more,
        }

    def post(self, body: bytes, token: str | None, **headers: str) -> tuple[int, object]:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {}), **headers}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.bot, body, headers), timeout=30) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, said = error.code, error.read()
        return status, json.loads(said) if said else None

    def deliver(self, activity: dict, **forge: object) -> tuple[int, object]:
        return self.post(json.dumps(activity).encode(), self.token(**forge))

    # What people see and do, where there is no playground.

    def cards(self, conversation: str) -> list["Card"]:
        """The cards of a conversation, of a channel those that began one."""
        found = [Card(self, *name) for name in list(self.messages)]
        if "@thread.tacv2" in conversation and ";" not in conversation:
            return [one for one in found if one.conversation == f"{conversation};messageid={one.name}"]
        return [one for one in found if one.conversation == conversation]

    def say(self, user: str, conversation: str, text: str) -> tuple[int, object]:
        return self.deliver(self.activity("message", user, conversation, text=f"<at>Countersign</at> {text}", entities=[
            {"type": "mention", "text": "<at>Countersign</at>", "mentioned": {"id": f"28:{APP}"}}]))

    def answers(self, user: str) -> list["Card"]:
        """What the bot told somebody in private because they asked."""
        return [one for one in self.cards(f"a:{user}") if not one.content()["actions"] or "show" in one.actions()]

    def wait_for(self, there: object, seconds: float = PATIENCE) -> object:
        until = time.monotonic() + seconds
        while not (found := there()):
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.05)
        return found


class Card:
    """A message with a card, as somebody has it before them."""

    def __init__(self, microsoft: Microsoft, conversation: str, name: str, own: dict | None = None) -> None:
        self.microsoft, self.conversation, self.name, self.own = microsoft, conversation, name, own

    def activity(self) -> dict:
        return self.microsoft.messages[self.conversation, self.name][-1]

    def content(self) -> dict:
        return self.own or self.activity()["attachments"][0]["content"]

    def words(self) -> str:
        return words(self.content()["body"])

    def actions(self) -> dict[str, dict]:
        """The actions that do something, by their verb; those with places to write in, too."""
        found = {}
        for action in every(self.content(), lambda one: one.get("type") in ("Action.Execute", "Action.OpenUrl")):
            found.setdefault(action.get("verb", "open"), action)
        return found

    def click(self, user: str, verb: str, words: str | None = None, *, forge: dict | None = None, **token: object) -> tuple[int, dict]:
        """Clicks, where the card has such a button. `forge` changes the action's data or verb."""
        action = copy.deepcopy(self.actions().get(verb) or {"verb": verb, "data": {"request": self.value()}})
        data = action["data"] | ({f"{verb}_words": words} if words is not None else {}) | (forge or {})
        wanted = {"type": "Action.Execute", "verb": data.pop("verb", action["verb"]), "data": data}
        activity = self.microsoft.activity("invoke", user, self.conversation, name="adaptiveCard/action", replyToId=self.name,
                                           value={"action": wanted, "trigger": "manual"})
        return self.microsoft.deliver(activity, **token)

    def value(self) -> str:
        return next(action["data"]["request"] for action in self.actions().values() if "data" in action)

    def view(self, user: str) -> "Card":
        """The view of one person."""
        status, answer = self.click(user, "refresh")
        assert status == 200 and answer["type"].endswith("card.adaptive"), (status, answer)
        return Card(self.microsoft, self.conversation, self.name, answer["value"])


def every(value: object, wanted: object) -> list[dict]:
    if isinstance(value, list):
        return [found for one in value for found in every(one, wanted)]
    if not isinstance(value, dict):
        return []
    own = [value] if wanted(value) else []
    return own + [found for name, one in value.items() if name not in ("fallback", "refresh") for found in every(one, wanted)]


def words(value: object) -> str:
    """The text of a card, a line each."""
    lines = every(value, lambda one: one.get("type") in ("RichTextBlock", "TextBlock"))
    texts = ["".join(run["text"] for run in one["inlines"]) if "inlines" in one else one["text"] for one in lines]
    return as_written("\n".join(texts))


def as_written(text: str) -> str:
    """A text without what a card adds to show all of it."""
    return text.replace("\u00a0", " ").replace("\u200b", "")


def text_of(answer: tuple) -> str:
    """What somebody who clicked reads first: a line, or the card's notice."""
    status, said = answer
    assert status == 200, answer
    return said["value"] if isinstance(said["value"], str) else words(said["value"]["body"])
