#!/usr/bin/env python3
"""Linking an account with a provider that says nothing about anybody, in real Chromium.

Runs a gateway of its own (the program's path is the first argument) and npm's `oidc-provider`. People link their
accounts there, alone or with a second person, sign in with them, and are out once they are unlinked; answers of the
provider are brought back into other sessions and browsers. Screenshots go to target/screenshots.
"""

import pathlib
import re
import sys
import tempfile

from playwright.sync_api import expect, sync_playwright

from console import CHROMIUM, FLAGS, fits, shoot, sign_in
from gateway import Gateway, free_port
from provider import SECRET, Olga, Provider, account, approve_button, check_record, key

OLGA, DANA, MAX = "olga@example.com", "dana@example.com", "max@example.com"
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[provider.partner]
title = "Partner"
issuer = "http://127.0.0.1:ISSUER"
client_id = "gateway & co"
client_secret = { file = "partner.secret" }
links_only = true

[group.ops]

[person."olga@example.com"]
groups = ["ops"]
[person."dana@example.com"]
groups = ["ops"]
[person."max@example.com"]

[target.tools]
kind = "exec"
environment = "production"
""",
    "approvals.toml": """
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
""",
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action in Action::"execute", resource);
@id("people-propose")
permit (principal is Person, action in Action::"admin", resource);
@id("runs-are-approved") @approval("ops")
forbid (principal, action in Action::"execute", resource);
@id("links-are-signed") @approval("ops")
forbid (principal in Group::"ops", action == Action::"countersign:account-link", resource);
""",
}


class Site:
    """A gateway, its provider, and browsers of people."""

    def __init__(self, gateway: Gateway, provider: Provider, browser) -> None:
        self.gateway, self.provider, self.browser, self.errors = gateway, provider, browser, []

    def person(self, name: str, **options):
        """Somebody's page, signed in with the link of the first start."""
        page, errors = sign_in(self.browser, self.gateway.links[name], **options)
        self.errors.append(errors)
        return page

    def stranger(self, **options):
        return self.browser.new_context(**options).new_page()

    def at_provider(self, page, login: str) -> None:
        """Signs in at the provider, up to where the gateway leads then."""
        page.locator("input[name=login]").fill(login)
        page.locator("input[name=password]").fill("any")
        page.locator("button[type=submit]").click()
        page.wait_for_url(re.compile("/interaction/|^" + re.escape(self.gateway.url)))
        if "/interaction/" in page.url:
            page.get_by_role("button", name="Continue").click()

    def links(self, page, login: str) -> None:
        """Goes from the page of accounts to the provider and back."""
        page.goto(f"{self.gateway.url}/accounts")
        page.get_by_role("button", name="Link an account with Partner").click()
        self.at_provider(page, login)
        page.wait_for_url(re.compile(re.escape(self.gateway.url) + "/(accounts|requests)"))

    def signs_in(self, page, login: str) -> None:
        page.goto(f"{self.gateway.url}/inbox")
        page.get_by_role("link", name="Sign in with Partner").click()
        self.at_provider(page, login)

    def comes_in(self, login: str, person: str):
        page = self.stranger()
        self.signs_in(page, login)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        expect(page.get_by_text(person).first).to_be_visible()
        return page

    def is_refused(self, login: str, why: str):
        page = self.stranger()
        self.signs_in(page, login)
        expect(page.get_by_text(re.compile(why)).first).to_be_visible()
        assert page.request.get(f"{self.gateway.url}/inbox").status == 401
        return page

    def is_out(self, page) -> None:
        assert page.request.get(f"{self.gateway.url}/inbox").status == 401


def check_strangers(site: Site) -> None:
    """Whose account is linked to nobody is nobody, and is told how that changes."""
    page = site.is_refused("dana-there", "linked to nobody here")
    expect(page.get_by_text("link it under Accounts")).to_be_visible()
    fits(page)
    shoot(page, "sign-in-not-linked")


def check_second_person(site: Site, dana, olga) -> str:
    """Who can approve needs somebody else, who reads whose account it is."""
    dana.goto(f"{site.gateway.url}/accounts")
    fits(dana)
    shoot(dana, "accounts-phone")
    site.links(dana, "dana-there")
    expect(dana.get_by_text("Your proposal is a request.")).to_be_visible()
    request = dana.url.split("?")[0]
    expect(approve_button(dana)).to_have_count(0)
    site.is_refused("dana-there", "linked to nobody here")
    olga.goto(request)
    for words in ["Link an account with `partner` to dana@example.com", "dana-there", "dana@partner.example.net"]:
        expect(olga.get_by_text(words).first).to_be_visible()
    shoot(olga, "account-link-review")
    approve_button(olga).first.click()
    expect(olga.get_by_text("Your approval is recorded")).to_be_visible()
    site.is_refused("dana-there", "linked to nobody here")
    dana.goto(request)
    dana.get_by_role("button", name="Apply this change").click()
    expect(dana.get_by_text("The change was applied.")).to_be_visible()
    dana.goto(f"{site.gateway.url}/accounts")
    expect(dana.get_by_text("signs in", exact=True)).to_be_visible()
    expect(dana.get_by_text("dana-there", exact=True)).to_be_visible()
    expect(dana.get_by_role("button", name="Link an account with Partner")).to_have_count(0)
    shoot(dana, "accounts-linked-phone")
    return request


def check_votes(site: Site, asks: Olga) -> object:
    """What is signed in with it decides as its holder."""
    page = site.comes_in("dana-there", DANA)
    run, waits = asks.asks()
    page.goto(site.gateway.url + waits)
    approve_button(page).first.click()
    expect(page.get_by_text("Your approval is recorded")).to_be_visible()
    run.communicate(timeout=60)
    assert run.returncode == 0, run.returncode
    asks.waits = None
    # Nothing is added in such a session, which would outlive it.
    page.goto(f"{site.gateway.url}/accounts")
    expect(page.get_by_text("sign in in another way")).to_be_visible()
    shoot(page, "accounts-through-linked")
    return page


def check_taken(site: Site, max_page) -> None:
    """One account is one person's."""
    site.links(max_page, "dana-there")
    expect(max_page.get_by_text("somebody's already")).to_be_visible()
    shoot(max_page, "account-taken")
    assert "dana-there" not in max_page.locator("section[aria-labelledby=mine-title]").inner_text()


def answer_of(site: Site, page, login: str) -> str:
    """What the provider answers to somebody who links, before it is brought to where linking ends."""
    caught = []

    def keep(route) -> None:
        caught.append(route.request.url)
        route.fulfill(body="kept from where it goes", content_type="text/plain")

    page.route("**/accounts/from/partner**", keep)
    page.goto(f"{site.gateway.url}/accounts")
    page.get_by_role("button", name="Link an account with Partner").click()
    site.at_provider(page, login)
    expect(page.get_by_text("kept from where it goes")).to_be_visible()
    page.unroute("**/accounts/from/partner**")
    [answer] = set(caught)
    return answer.replace("/accounts/from/", "/sign-in/from/")


def left_with(page, url: str) -> dict:
    [kept] = [one for one in page.context.cookies(url) if "leaving" in one["name"]]
    assert kept["httpOnly"] and kept["sameSite"] == "Lax", kept
    return kept


def check_replays(site: Site, max_page, olga) -> None:
    """An answer links nothing but in the session that left, and signs nobody in."""
    url = site.gateway.url
    answer = answer_of(site, max_page, "max-there")
    kept = left_with(max_page, url)
    # In another session without what that browser kept, and with it.
    assert olga.goto(answer).status == 401
    olga.context.add_cookies([kept])
    olga.goto(answer)
    expect(olga.get_by_text("begin again")).to_be_visible()
    assert "/accounts/from/partner" in olga.url, olga.url
    olga.goto(f"{url}/accounts")
    expect(olga.get_by_text("You have linked none yet.")).to_be_visible()
    # Where nobody is signed in it signs nobody in.
    stranger = site.stranger()
    stranger.context.add_cookies([kept])
    stranger.goto(answer)
    expect(stranger.get_by_role("heading", name="Sign in first")).to_be_visible()
    site.is_out(stranger)
    # An answer to a sign-in links nothing.
    signing = site.stranger()
    caught = []
    signing.on("request", lambda request: caught.append(request.url))
    signing.goto(f"{url}/sign-in/with/partner")
    begun = left_with(signing, url)
    max_page.context.add_cookies([begun])
    query = answer.split("?")[1]
    assert max_page.goto(f"{url}/accounts/from/partner?{query}").status == 401
    expect(max_page.get_by_text("begin again")).to_be_visible()
    site.is_refused("max-there", "linked to nobody here")
    # Nor does what this very browser kept, once it is spent.
    site.links(max_page, "max-there")
    expect(max_page.get_by_text("The account is linked.")).to_be_visible()
    max_page.context.add_cookies([kept])
    max_page.goto(answer)
    expect(max_page.get_by_text(re.compile("begin again|have linked another|already"))).to_be_visible()


def check_unlinking(site: Site, through, dana, olga: Olga) -> None:
    """Unlinked, it signs nobody in, and who is signed in with it is out, at once."""
    through.goto(f"{site.gateway.url}/inbox")
    dana.goto(f"{site.gateway.url}/accounts")
    dana.get_by_role("button", name="Unlink").click()
    expect(dana.get_by_text("The account is unlinked.")).to_be_visible()
    site.is_out(through)
    expect(through.get_by_text("You are signed out.").first).to_be_visible(timeout=30_000)
    site.is_refused("dana-there", "linked to nobody here")
    page = site.comes_in("max-there", MAX)
    assert re.search(r"max@example.com .*partner", olga.does("people", "list")), olga.does("people", "list")
    olga.does("people", "unlink", MAX, "partner", "--reason", "left")
    site.is_out(page)
    site.is_refused("max-there", "linked to nobody here")
    assert "partner" not in olga.does("people", "list")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        at, port = pathlib.Path(folder), free_port()
        secret = at / "partner.secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        files = {name: text.replace("ISSUER", str(port)) for name, text in FILES.items()}
        gateway = Gateway(sys.argv[1], at, files)
        provider = Provider(at, gateway.url.rsplit(":", 1)[1], port, name="partner")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            provider.begin(jwks={"keys": [key("ES256", "first")]}, in_user_info=False)
            provider.has(**{"dana-there": account("dana@partner.example.net", "ops"),
                            "max-there": account("max@partner.example.net", "ops")})
            site = Site(gateway, provider, browser)
            dana = site.person(DANA, viewport={"width": 390, "height": 844})
            olga, max_page = site.person(OLGA), site.person(MAX)
            asks = Olga(gateway, olga, folder)
            check_strangers(site)
            check_second_person(site, dana, olga)
            through = check_votes(site, asks)
            check_taken(site, max_page)
            check_replays(site, max_page, olga)
            check_unlinking(site, through, dana, asks)
            check_record(gateway)
            loud = [one for errors in site.errors for one in errors if "Failed to load resource" not in one]
            assert not loud, loud
            gateway.end()
        finally:
            provider.end()
            gateway.process.kill()
        browser.close()
    print("people link further accounts and sign in with them, until they are unlinked")


if __name__ == "__main__":
    main()
