"""Tokens that are refused, by the gateway and by Microsoft's own library alike.

Microsoft's library is asked about each (`believes.mjs`): what it refuses the gateway refuses, too; where
the gateway is stricter is said here.
"""

import json
import pathlib
import subprocess
import time

from connector import APP, ISSUER, OPS, account, encoded

HERE = pathlib.Path(__file__).resolve().parent


def cases(microsoft: object) -> list[tuple[str, dict, dict, bool]]:
    """What it is, the token's difference, the activity's, and whether Microsoft's library believes it."""
    now = int(time.time())
    evil = "https://evil.example/"
    own = {"jwk": microsoft.public()[0], "x5u": evil, "jku": f"{microsoft.url}/v1/keys"}
    return [
        ("another issuer", {"claims": {"iss": "https://sts.windows.net/x/"}}, {}, False),
        ("another issuer that begins alike", {"claims": {"iss": ISSUER + ".evil.example"}}, {}, False),
        ("no issuer", {"claims": {"iss": None}}, {}, False),
        ("another bot", {"claims": {"aud": account(9)}}, {}, False),
        ("several bots", {"claims": {"aud": [APP, account(9)]}}, {}, False),
        ("no bot", {"claims": {"aud": None}}, {}, False),
        ("the bot in capital letters", {"claims": {"aud": APP.upper()}}, {}, False),
        ("another address in the token", {"claims": {"serviceurl": evil}}, {}, False),
        ("another address in the activity", {}, {"serviceUrl": evil}, False),
        ("another address in both", {"claims": {"serviceurl": evil}}, {"serviceUrl": evil}, True),
        ("our address as somebody's user",
         {"claims": {"serviceurl": f"{microsoft.url}@evil.example/"}}, {"serviceUrl": f"{microsoft.url}@evil.example/"}, True),
        ("two addresses", {"claims": {"serviceUrl": evil}}, {}, True),
        ("no address in the token", {"claims": {"serviceurl": None}}, {}, False),
        ("over", {"claims": {"exp": now - 301}}, {}, False),
        ("never over", {"claims": {"exp": None}}, {}, True),
        ("over at no time", {"claims": {"exp": "soon"}}, {}, False),
        ("from the future", {"claims": {"nbf": now + 400, "exp": now + 4_000}}, {}, False),
        ("made in the future", {"claims": {"iat": now + 400}}, {}, True),
        ("a key that is not endorsed for Teams", {"key": "unendorsed"}, {}, False),
        ("a key without endorsements", {"key": "unendorsed", "header": {"kid": "plain"}}, {}, True),
        ("another channel", {}, {"channelId": "webchat"}, True),
        ("a channel that nothing is endorsed for", {}, {"channelId": "emulator"}, False),
        ("no channel", {}, {"channelId": None}, True),
        ("a key that nobody knows", {"key": "unknown"}, {}, False),
        ("another key's name", {"key": "unknown", "header": {"kid": "good"}}, {}, False),
        ("a name that two keys have", {"key": "twice"}, {}, True),
        ("no key's name", {"header": {"kid": None}}, {}, False),
        ("a key that comes along", {"key": "unknown", "header": {**own, "kid": "unknown"}}, {}, False),
        ("no signature", {"header": {"alg": "none"}}, {}, False),
        ("no algorithm", {"header": {"alg": None}}, {}, False),
        ("the public key as a secret", {"header": {"alg": "HS256"}}, {}, False),
        ("an algorithm in small letters", {"header": {"alg": "rs256"}}, {}, False),
        ("RS384", {"header": {"alg": "RS384"}}, {}, True),
        ("PS256", {"header": {"alg": "PS256"}}, {}, False),
        ("ES256", {"key": "curve", "header": {"alg": "ES256"}}, {}, False),
        ("an extension", {"header": {"crit": ["exp"]}}, {}, True),
        ("made for something else", {"header": {"typ": "at+jwt"}}, {}, True),
        ("an issuer twice", {"text": json.dumps(microsoft.claims())[:-1] + f', "iss": "{ISSUER}"}}'}, {}, True),
        ("something that is no object", {"text": "[]"}, {}, False),
    ]


def believed(microsoft: object, asked: list[dict]) -> list[bool]:
    """What Microsoft's library says of tokens."""
    told = subprocess.run(["node", "believes.mjs", f"{microsoft.url}/v1/.well-known/openidconfiguration", APP],
                          input="\n".join(map(json.dumps, asked)), capture_output=True, text=True, timeout=120, cwd=HERE)
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def metadata(site: object) -> None:
    """Keys of metadata that are another issuer's are nobody's."""
    microsoft, dana = site.microsoft, site.users["dana"]
    microsoft.metadata_issuer = "https://evil.example"
    assert microsoft.say(dana, f"a:{dana}", "inbox")[0] == 401
    assert microsoft.key_requests == 0
    microsoft.metadata_issuer = ISSUER
    microsoft.wait_for(lambda: microsoft.say(dana, f"a:{dana}", "inbox")[0] == 200)
    microsoft.wait_for(lambda: microsoft.answers(dana))


def tokens(site: object) -> None:
    microsoft, dana = site.microsoft, site.users["dana"]
    running = site.run("/bin/echo", "tokens", wait="0s")
    card = site.card("tokens")
    running.wait(timeout=30)
    verb = {"type": "Action.Execute", "verb": "approve", "data": {"request": card.value()}}

    def activity(**more: object) -> dict:
        made = microsoft.activity("invoke", dana, OPS, name="adaptiveCard/action", value={"action": verb}) | more
        return {name: value for name, value in made.items() if value is not None}

    # Good ones, so that what follows is refused for its one difference.
    now = int(time.time())
    good = [{}, {"claims": {"exp": now - 280}}, {"claims": {"nbf": now + 280}}, {"claims": {"aud": [APP]}},
            {"claims": {"serviceurl": None, "serviceUrl": microsoft.service}}]
    looks = {"action": {**verb, "verb": "refresh"}}
    for forge in good:
        status, _ = microsoft.deliver(activity(value=looks), **forge)
        assert status == 200, (forge, status)
    asked, expected = [], []
    for what, forge, more, theirs in cases(microsoft):
        token, sent = microsoft.token(**forge), activity(**more)
        status, answer = microsoft.post(json.dumps(sent).encode(), token)
        assert (status, answer) == (401, None), (what, status, answer)
        asked.append({"token": token, "serviceUrl": sent["serviceUrl"], "channelId": sent.get("channelId", "")})
        expected.append((what, theirs))
    good_one = {"token": microsoft.token(), "serviceUrl": microsoft.service, "channelId": "msteams"}
    verdicts = believed(microsoft, [good_one, *asked])
    assert verdicts.pop(0) is True
    differs = [(what, theirs, said) for (what, theirs), said in zip(expected, verdicts, strict=True) if theirs != said]
    assert not differs, differs
    # Changed after it was signed, cut off, twice, in another scheme, none at all.
    token, body = microsoft.token(), json.dumps(activity()).encode()
    head, claims, signature = token.split(".")
    forged = encoded(json.dumps(microsoft.claims(aud=APP, exp=now + 9_999)).encode())
    for other in [f"{head}.{forged}.{signature}", f"{head}.{claims}.", f"{head}.{claims}", token + "x", "x" * 20_000, "", None]:
        assert microsoft.post(body, other)[0] == 401, other
    for scheme in ["Basic", "bearer", "Bearer Bearer"]:
        assert microsoft.post(body, None, authorization=f"{scheme} {token}")[0] == 401, scheme
    # Of something that can be read in two ways.
    twice = json.dumps(activity())[:-1] + f', "serviceUrl": "{microsoft.service}"}}'
    assert microsoft.post(twice.encode(), token)[0] == 401
    # Many who name keys that nobody knows have the keys fetched once in a while.
    before = microsoft.key_requests
    for n in range(20):
        assert microsoft.deliver(activity(), key="unknown", header={"kid": f"unknown-{n}"})[0] == 401
    assert microsoft.key_requests - before <= 1, microsoft.key_requests - before
    assert site.state(card) == "held"
    card.click(dana, "deny", "enough")
