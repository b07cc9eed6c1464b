#!/usr/bin/env python3
"""Signing in with a certified OpenID provider, in real Chromium.

Runs a gateway of its own (the program's path is the first argument) and npm's `oidc-provider` at
another site. People come and go, change groups and accounts there; keys rotate; the provider falls
silent. In the end it provisions people, too, and whoever it makes inactive is out. Screenshots go to
target/screenshots.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from playwright.sync_api import Error, expect, sync_playwright
from webauthn.helpers import bytes_to_base64url

from console import CHROMIUM, FLAGS, fits, shoot, sign_in
from gateway import Gateway, free_port, token

OLGA, SECRET = "olga@example.com", "a secret of +%&:/~ all kinds"
PROVIDER = pathlib.Path(__file__).resolve().parent.parent / "oidc" / "provider.mjs"
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[provider.corp]
title = "Example Corp"
issuer = "http://127.0.0.1:ISSUER"
client_id = "gateway & co"
client_secret = { file = "corp.secret" }
groups = { "db admins" = "dba", "everybody" = "staff" }
require = { tenant = "t-1" }

[group.dba]
[group.ops]
[group.staff]

[person."olga@example.com"]
groups = ["ops"]

[target.tools]
kind = "exec"
environment = "production"
""",
    "approvals.toml": """
[approval.dba]
stages = [{ from = ["group:dba"], count = 1 }]
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
""",
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action in Action::"execute", resource);
@id("people-propose")
permit (principal is Person, action in Action::"admin", resource);
@id("runs-are-approved") @approval("dba")
forbid (principal, action in Action::"execute", resource);
@id("others-ask-ops") @approval("ops")
forbid (principal, action in Action::"admin", resource) unless { principal in Group::"ops" };
""",
}


def number(value: int) -> str:
    return bytes_to_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def key(kind: str, name: str) -> dict:
    """A signing key as a provider keeps it."""
    if kind == "RS256":
        made = rsa.generate_private_key(65537, 2048).private_numbers()
        public, rest = made.public_numbers, [made.dmp1, made.dmq1, made.iqmp]
        parts = dict(zip(["n", "e", "d", "p", "q", "dp", "dq", "qi"],
                         map(number, [public.n, public.e, made.d, made.p, made.q, *rest])))
        return {"kty": "RSA", "alg": kind, "use": "sig", "kid": name, **parts}
    made = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    parts = {at: bytes_to_base64url(value.to_bytes(32, "big"))
             for at, value in [("x", made.public_numbers.x), ("y", made.public_numbers.y), ("d", made.private_value)]}
    return {"kty": "EC", "crv": "P-256", "alg": kind, "use": "sig", "kid": name, **parts}


def account(name: str, *groups: str, **more) -> dict:
    told = {"email": name, "email_verified": True, "tenant": "t-1", "name": name, "groups": list(groups)}
    return {**told, **more}


class Provider:
    """The provider, as a process that can be ended and begun again with other settings."""

    def __init__(self, folder: pathlib.Path, gateway_port: str, port: int, *, name: str = "corp", host: str = "127.0.0.1") -> None:
        self.file, self.process = folder / "provider.json", None
        self.settings = {
            "port": port,
            "host": host,
            "client_id": "gateway & co",
            "client_secret": SECRET,
            "redirect_uri": f"http://localhost:{gateway_port}/sign-in/from/{name}",
            "accounts": {},
        }

    def begin(self, **settings) -> None:
        self.end()
        self.change(**settings)
        self.process = subprocess.Popen(
            ["node", str(PROVIDER), str(self.file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout.readline().strip() == "ready"

    def change(self, **settings) -> None:
        self.settings |= settings
        self.file.write_text(json.dumps(self.settings))

    def has(self, **accounts) -> None:
        self.change(accounts=accounts)

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Person:
    """Somebody with a browser of their own."""

    def __init__(self, browser, url: str, **options) -> None:
        self.context, self.url = browser.new_context(**options), url
        self.page = self.context.new_page()

    def sign_in(self, login: str, at: str = "/inbox") -> None:
        """Goes to a page, and through the provider. Ends wherever the gateway leads."""
        self.context.clear_cookies()
        self.page.goto(self.url + at)
        self.page.get_by_role("link", name="Sign in with Example Corp").click()
        self.page.locator("input[name=login]").fill(login)
        self.page.locator("input[name=password]").fill("any")
        self.page.locator("button[type=submit]").click()
        consent = self.page.get_by_role("button", name="Continue")
        consent.click()

    def comes_in(self, login: str, at: str = "/inbox") -> None:
        self.sign_in(login, at)
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        assert self.page.url.split("?")[0] == self.url + at, self.page.url

    def is_refused(self, login: str, why: str) -> None:
        self.sign_in(login)
        expect(self.page.get_by_text(re.compile(why)).first).to_be_visible()
        # The way on asks who it is, although the provider knows.
        self.page.get_by_role("link", name="as somebody else").click()
        expect(self.page.locator("input[name=login]")).to_be_visible()
        self.page.goto(self.url + "/inbox")
        expect(self.page.get_by_role("button", name="Sign out")).to_have_count(0)


class Olga:
    """Asks for runs, from a terminal."""

    def __init__(self, gateway: Gateway, page, folder: str) -> None:
        self.gateway, self.page, self.waits = gateway, page, None
        self.env = {**os.environ, "HOME": folder, "COUNTERSIGN_URL": gateway.url,
                    "COUNTERSIGN_TOKEN": token(page, gateway.url)}

    def asks(self):
        """A run that waits, and the page of its request."""
        self.gives_up()
        run = subprocess.Popen([self.gateway.program, "--json", "run", "--target", "tools", "--", "true"],
                               env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        held = next(line for line in run.stdout if "req_" in line)
        self.waits = re.search(r"req_\w+", held)[0]
        return run, f"/requests/{self.waits}"

    def gives_up(self) -> None:
        """Takes back what waits, so that the next one is another request."""
        if self.waits:
            self.does("requests", "cancel", self.waits)
        self.waits = None

    def does(self, *words: str) -> str:
        done = self.gateway.run(*words, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def approve_button(page):
    return page.get_by_role("button", name=re.compile("^approve", re.I))


def check_approval(gateway: Gateway, provider: Provider, browser, olga: Olga) -> Person:
    """Before anybody signed in nobody can approve; then whoever the provider says is in the group can."""
    provider.has(ann=account("Ann@Example.com", "db admins", "unknown here"), eve=account("eve@example.com"))
    asked = gateway.run("run", "--target", "tools", "--", "true", env=olga.env)
    assert asked.returncode == 77 and "nobody is left" in asked.stderr, asked
    ann = Person(browser, gateway.url, viewport={"width": 390, "height": 844})
    ann.page.goto(gateway.url + "/sign-in")
    fits(ann.page)
    shoot(ann.page, "sign-in-provider-phone")
    ann.comes_in("ann")
    run, at = olga.asks()
    ann.comes_in("ann", at)
    approve_button(ann.page).first.click()
    expect(ann.page.get_by_text("Your approval is recorded")).to_be_visible()
    run.communicate(timeout=60)
    assert run.returncode == 0, run.returncode
    olga.waits = None
    assert "ann@example.com" in olga.does("people", "list")
    return ann


def check_groups(gateway: Gateway, provider: Provider, browser, olga: Olga) -> None:
    """Groups follow the provider with every sign-in."""
    eve = Person(browser, gateway.url)
    eve.comes_in("eve")
    _, at = olga.asks()
    provider.settings["accounts"]["eve"]["groups"] = ["db admins"]
    provider.change()
    # She is a member since she signed in, which is after it was asked.
    eve.comes_in("eve", at)
    expect(approve_button(eve.page)).to_have_count(0)
    _, later = olga.asks()
    eve.page.goto(gateway.url + later)
    expect(approve_button(eve.page).first).to_be_visible()
    provider.settings["accounts"]["eve"]["groups"] = []
    provider.change()
    eve.comes_in("eve")
    eve.page.goto(gateway.url + later)
    expect(approve_button(eve.page)).to_have_count(0)
    olga.gives_up()


def check_accounts(gateway: Gateway, provider: Provider, browser, olga: Olga) -> None:
    """One account is one person, whatever it is called; an address that goes to somebody else is nobody's."""
    accounts = provider.settings["accounts"]
    accounts["other-ann"] = account("ann@example.com", "db admins")
    accounts["unverified"] = account("max@example.com", email_verified=False)
    accounts["stranger"] = account("joe@elsewhere.com", tenant="t-2")
    accounts["cyrillic"] = account("\u0430nn@example.com")
    provider.change()
    one = Person(browser, gateway.url)
    one.is_refused("other-ann", "has another account with")
    shoot(one.page, "sign-in-provider-refused")
    one.is_refused("unverified", "has not verified your e-mail address")
    one.is_refused("stranger", "not one of those that may sign in")
    one.is_refused("cyrillic", "can't be a name here")
    people = olga.does("people", "list")
    assert "max@" not in people and "joe@" not in people, people
    # Renamed there, she is who she was here.
    accounts["ann"]["email"] = "ann.new@example.com"
    provider.change()
    one.comes_in("ann")
    assert "ann.new" not in olga.does("people", "list")
    olga.does("people", "unlink", "ann@example.com", "corp", "--reason", "left")
    # Whoever only looks at an open page sees it, too.
    expect(one.page.get_by_text("You are signed out.").first).to_be_visible(timeout=30_000)
    shoot(one.page, "signed-out-while-open")
    one.page.goto(gateway.url + "/inbox")
    expect(one.page.get_by_role("button", name="Sign out")).to_have_count(0)
    one.comes_in("other-ann")
    # Disabled here, nothing there helps.
    olga.does("people", "disable", "ann@example.com", "--reason", "a test")
    one.page.goto(gateway.url + "/inbox")
    expect(one.page.get_by_role("button", name="Sign out")).to_have_count(0)
    one.is_refused("other-ann", "stopped or disabled")


def check_returns(gateway: Gateway, provider: Provider, browser) -> None:
    """Only the browser that left comes back, once, to the provider it left for."""
    left = Person(browser, gateway.url)
    seen = []
    left.page.on("request", lambda request: seen.append(request.url))
    left.comes_in("eve")
    back = next(url for url in seen if "/sign-in/from/corp" in url)
    begin = next(url for url in seen if "/auth?" in url)
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(begin).query))
    assert asked["code_challenge_method"] == "S256" and len(asked["nonce"]) == 43, asked
    assert asked["scope"] == "openid profile email", asked
    for other in (left, Person(browser, gateway.url)):
        answer = other.page.goto(back)
        assert answer.status == 401, answer.status
    stranger = Person(browser, gateway.url)
    stranger.page.goto(gateway.url + "/sign-in/with/corp")
    kept = stranger.context.cookies(gateway.url)
    [kept] = [cookie for cookie in kept if "leaving" in cookie["name"]]
    assert kept["httpOnly"] and kept["sameSite"] == "Lax", kept
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(stranger.page.url).query)).get("state")
    for query in ("state=x&code=y", f"state={asked['state']}&code=y", "code=y", "error=access_denied"):
        assert stranger.page.goto(f"{gateway.url}/sign-in/from/corp?{query}").status in (401, 404)
        stranger.context.add_cookies([kept])
    assert state is None or state != asked["state"]
    assert stranger.page.goto(f"{gateway.url}/sign-in/from/other?state=x&code=y").status == 404


def check_keys_and_silence(gateway: Gateway, provider: Provider, browser) -> None:
    """A new key counts at once, claims may come beside the token, and without the provider nobody new comes in."""
    one = Person(browser, gateway.url)
    provider.begin(jwks={"keys": [key("ES256", "second")]}, in_user_info=True, auth_method="client_secret_post")
    one.comes_in("eve")
    answer = one.page.goto(f"{gateway.url}/inbox")
    assert answer.status == 200
    provider.end()
    other = Person(browser, gateway.url)
    try:
        other.page.goto(f"{gateway.url}/sign-in/with/corp")
        raise AssertionError("the provider answers")
    except Error as error:
        assert "ERR_CONNECTION_REFUSED" in str(error), error
    assert one.page.goto(f"{gateway.url}/inbox").status == 200
    one.page.get_by_role("button", name="Sign out").click()
    expect(one.page.get_by_role("link", name="sign out of Example Corp")).to_be_visible()
    shoot(one.page, "signed-out-provider")


class Scim:
    """The provider as it provisions."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        self.base, self.token = f"{gateway.url}/scim/v2", token

    def call(self, method: str, path: str, body: dict) -> dict:
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/scim+json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def set_active(self, user: dict, active: bool) -> None:
        operation = {"op": "Replace", "path": "active", "value": str(active)}
        self.call("PATCH", f"/Users/{user['id']}", {"Operations": [operation]})


def check_provisioning(program: str, browser, folder: str) -> None:
    """Only whoever is provisioned comes in, and is out within a second of being made inactive."""
    at, port, scim_token = pathlib.Path(folder), free_port(), "t" * 40
    files = {name: text.replace("ISSUER", str(port)) for name, text in FILES.items()}
    marker = "client_id ="
    files["countersign.toml"] = files["countersign.toml"].replace(
        marker, f'scim = {{ token = {{ file = "scim.token" }} }}\n{marker}')
    for name, text in [("corp.secret", SECRET), ("scim.token", scim_token)]:
        (at / name).write_text(text)
        (at / name).chmod(0o600)
    gateway = Gateway(program, at, files)
    provider = Provider(at, gateway.url.rsplit(":", 1)[1], port)
    try:
        provider.begin(jwks={"keys": [key("RS256", "first")]}, in_user_info=False)
        # What a sign-in says of groups is nothing here.
        provider.has(ann=account("Ann@Example.com", "everybody"), eve=account("eve@example.com", "db admins"))
        page, errors = sign_in(browser, gateway.links[OLGA])
        olga, scim = Olga(gateway, page, folder), Scim(gateway, scim_token)
        page.goto(f"{gateway.url}/people")
        expect(page.get_by_text("with a token that never ends by itself")).to_be_visible()
        fits(page)
        shoot(page, "people-provisioner")
        ann = Person(browser, gateway.url)
        ann.is_refused("ann", "is not provisioned here")
        user = scim.call("POST", "/Users", {"userName": "ann@example.com"})
        members = [{"value": user["id"]}]
        scim.call("POST", "/Groups", {"displayName": "db admins", "members": members})
        people = olga.does("people", "list")
        assert re.search(r"ann@example.com +active, provisioned +dba\b", people), people
        run, waits = olga.asks()
        ann.comes_in("ann", waits)
        expect(approve_button(ann.page).first).to_be_visible()
        begin = time.monotonic()
        scim.set_active(user, False)
        assert ann.page.request.get(f"{gateway.url}/inbox").status == 401
        out = time.monotonic() - begin
        assert out < 1, out
        run.communicate(timeout=60)
        assert run.returncode == 77, run.returncode
        olga.waits = None
        expect(ann.page.get_by_text("You are signed out.").first).to_be_visible(timeout=30_000)
        assert "inactive" in olga.does("people", "list")
        ann.is_refused("ann", "is not provisioned here")
        scim.set_active(user, True)
        ann.comes_in("ann")
        Person(browser, gateway.url).is_refused("eve", "is not provisioned here")
        assert not errors, errors
        check_record(gateway)
        gateway.end()
        print(f"who was made inactive was out after {out * 1000:.0f} ms")
    finally:
        provider.end()
        gateway.process.kill()


def check_record(gateway: Gateway) -> None:
    verified = gateway.run("log", "verify", str(gateway.folder / "data"))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        at, port = pathlib.Path(folder), free_port()
        files = {name: text.replace("ISSUER", str(port)) for name, text in FILES.items()}
        secret = at / "corp.secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        gateway = Gateway(sys.argv[1], at, files)
        provider = Provider(at, gateway.url.rsplit(":", 1)[1], port)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            # The gateway was there first: it asks once somebody wants to sign in.
            early = Person(browser, gateway.url)
            answer = early.page.goto(f"{gateway.url}/sign-in/with/corp")
            assert answer.status == 502, answer.status
            expect(early.page.get_by_text("can't be asked").first).to_be_visible()
            provider.begin(jwks={"keys": [key("RS256", "first")]}, in_user_info=False)
            # It is asked again after a moment, and not by everybody who comes.
            end = time.monotonic() + 20
            while early.page.goto(f"{gateway.url}/sign-in/with/corp").status == 502:
                assert time.monotonic() < end
                time.sleep(0.5)
            page, errors = sign_in(browser, gateway.links[OLGA])
            olga = Olga(gateway, page, folder)
            check_approval(gateway, provider, browser, olga)
            check_groups(gateway, provider, browser, olga)
            check_returns(gateway, provider, browser)
            check_accounts(gateway, provider, browser, olga)
            check_keys_and_silence(gateway, provider, browser)
            check_record(gateway)
            assert not errors, errors
            gateway.end()
        finally:
            provider.end()
            gateway.process.kill()
        with tempfile.TemporaryDirectory() as other:
            check_provisioning(sys.argv[1], browser, other)
        browser.close()
    print("people sign in with a provider, and are who it says they are")


if __name__ == "__main__":
    main()
