#!/usr/bin/env python3
"""Provisioning in the eyes of PyPI's `scim2-tester`, and as Entra ID and Okta do it.

Starts a gateway of its own (the program's path is the first argument) whose provider provisions, has
the tester try every resource, operation and attribute that the gateway says it has, and then goes
through what the two write in their own ways. With a number as the second argument that many people are
provisioned in one group first, and the time of single calls is told.
"""

import json
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

PATIENCE = 60
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"

[provider.corp]
issuer = "https://login.example.com"
client_id = "countersign"
client_secret = { env = "HOME" }
groups = { "db admins" = "dba" }
scim = { token = { file = "scim.token" } }

[group.dba]
[person."olga@example.com"]

[target.tools]
kind = "exec"
environment = "production"
""",
    "approvals.toml": """
[approval.dba]
stages = [{ from = ["group:dba"], count = 1 }]
""",
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action in Action::"execute", resource);
@id("runs-are-approved") @approval("dba")
forbid (principal, action in Action::"execute", resource);
""",
}
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Gateway:
    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self.program, self.folder, port = program, folder, free_port()
        self.base, self.token = f"http://127.0.0.1:{port}/scim/v2", secrets.token_urlsafe(32)
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("{port}", str(port)))
        token = folder / "scim.token"
        token.write_text(self.token + "\n")
        token.chmod(0o600)
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "up", "--config", str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.call("GET", "/ServiceProviderConfig")
            except urllib.error.URLError:
                assert time.monotonic() < end and self.process.poll() is None, "the gateway did not start"
                time.sleep(0.1)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0

    def call(self, method: str, path: str, body=None, expected=None, token=None):
        """The answer, which has to have this status if one is expected."""
        request = urllib.request.Request(self.base + path, method=method)
        request.add_header("Authorization", f"Bearer {token or self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/scim+json; charset=utf-8")
            request.data = json.dumps(body).encode()
        try:
            answer = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read()
        assert expected is None or answer.status == expected, (method, path, answer.status, text)
        assert not text or answer.headers["content-type"] == "application/scim+json", answer.headers
        return json.loads(text) if text else None

    def patch(self, path: str, *operations, expected: int = 200):
        return self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, expected)

    def find(self, kind: str, query: str) -> list:
        found = self.call("GET", f"/{kind}?filter={urllib.parse.quote(query)}", expected=200)
        assert found["totalResults"] == len(found.get("Resources", [])), found
        return found["Resources"]


def check_tester(gateway: Gateway) -> None:
    """Everything that the tester knows to try."""
    headers = {"Authorization": f"Bearer {gateway.token}"}
    with httpx2.Client(base_url=gateway.base, headers=headers, timeout=60) as http:
        results = check_server(SyncSCIMClient(http))
    counts = {status: sum(one.status == status for one in results) for status in Status}
    for one in results:
        if one.status not in (Status.SUCCESS, Status.SKIPPED):
            print(f"{one.status.name} {one.title}: {one.reason}", file=sys.stderr)
    for one in results:
        if one.status == Status.SKIPPED:
            print(f"skipped {one.title}: {one.reason}")
    print({status.name: count for status, count in counts.items() if count})
    good = counts[Status.SUCCESS]
    assert good + counts[Status.SKIPPED] == len(results) and good > 50, counts


def check_entra(gateway: Gateway) -> None:
    """As Entra ID writes it."""
    name = "Ann.Entra@Example.com"
    assert gateway.find("Users", f'userName eq "{name}"') == []
    ann = gateway.call("POST", "/Users", {
        "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "0a21f0f2-8d2a-4f8e", "userName": name, "active": True, "displayName": "Ann",
        "emails": [{"primary": True, "type": "work", "value": name}],
        "meta": {"resourceType": "User"}, "name": {"formatted": "Ann E", "familyName": "E", "givenName": "Ann"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "x"},
    }, 201)
    at = f"/Users/{ann['id']}"
    assert "name" not in ann and ann["userName"] == name, ann
    assert [one["id"] for one in gateway.find("Users", f'userName eq "{name.upper()}"')] == [ann["id"]]
    assert [one["id"] for one in gateway.find("Users", 'externalId eq "0a21f0f2-8d2a-4f8e"')] == [ann["id"]]
    changed = gateway.patch(
        at,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@example.com"},
        {"op": "Add", "path": 'emails[type eq "other"].value', "value": "other@example.com"},
        {"op": "Replace", "path": "name.familyName", "value": "F"},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": "x"},
    )
    assert [one["value"] for one in changed["emails"]] == ["new@example.com", "other@example.com"], changed
    changed = gateway.patch(at, {"op": "Replace", "value": {"displayName": "Ann F", 'emails[type eq "other"].value': "o@x"}})
    assert (changed["displayName"], changed["emails"][1]["value"]) == ("Ann F", "o@x"), changed
    assert gateway.patch(at, {"op": "Replace", "path": "active", "value": "False"})["active"] is False
    assert gateway.patch(at, {"op": "Replace", "path": "active", "value": "True"})["active"] is True
    group = gateway.call("POST", "/Groups", {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "externalId": "8aa1a0c0", "displayName": "db admins",
    }, 201)
    where = f"/Groups/{group['id']}"
    found = gateway.call("GET", "/Groups?excludedAttributes=members&filter=displayName%20eq%20%22db%20admins%22", expected=200)
    assert found["totalResults"] == 1 and "members" not in found["Resources"][0], found
    gateway.patch(where, {"op": "Add", "path": "members", "value": [{"$ref": None, "value": ann["id"]}]}, expected=204)
    assert [one["value"] for one in gateway.call("GET", where)["members"]] == [ann["id"]]
    gateway.patch(where, {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": ann["id"]}]}, expected=204)
    assert "members" not in gateway.call("GET", where)
    gateway.call("DELETE", where, expected=204)
    gateway.call("DELETE", at, expected=204)
    gateway.call("GET", at, expected=404)


def check_okta(gateway: Gateway) -> None:
    """As Okta writes it."""
    name = "bob.okta@example.com"
    assert gateway.call("GET", "/Users?startIndex=1&count=2", expected=200)["itemsPerPage"] <= 2
    bob = gateway.call("POST", "/Users", {
        "schemas": [USER], "userName": name, "name": {"givenName": "Bob", "familyName": "O"}, "externalId": "00u1",
        "emails": [{"primary": True, "value": name, "type": "work"}], "displayName": "Bob O", "locale": "en-US",
        "groups": [], "password": "a secret that nobody keeps", "active": True,
    }, 201)
    at = f"/Users/{bob['id']}"
    assert gateway.call("POST", "/Users", {"schemas": [USER], "userName": name.upper()}, 409)["scimType"] == "uniqueness"
    whole = {**bob, "name": {"givenName": "B"}, "displayName": "B O"}
    assert gateway.call("PUT", at, whole, 200)["displayName"] == "B O"
    assert gateway.patch(at, {"op": "replace", "value": {"active": False}})["active"] is False
    # Whoever was made to go does not come back because something else changes.
    del whole["active"]
    assert gateway.call("PUT", at, whole, 200)["active"] is False
    assert gateway.patch(at, {"op": "replace", "value": {"active": True}})["active"] is True
    group = gateway.call("POST", "/Groups", {"displayName": "crew", "members": [{"value": bob["id"], "display": name}]}, 201)
    where = f"/Groups/{group['id']}"
    gateway.patch(where, {"op": "replace", "value": {"id": group["id"], "displayName": "the crew"}}, expected=204)
    gateway.patch(where, {"op": "remove", "path": f'members[value eq "{bob["id"]}"]'}, expected=204)
    gateway.patch(where, {"op": "replace", "path": "members", "value": [{"value": bob["id"]}]}, expected=204)
    now = gateway.call("GET", where)
    assert now["displayName"] == "the crew" and len(now["members"]) == 1, now
    gateway.call("DELETE", at, expected=204)
    assert "members" not in gateway.call("GET", where)
    gateway.call("DELETE", where, expected=204)


def check_strangers(gateway: Gateway) -> None:
    for token in ("x", gateway.token[:-1], gateway.token + "x", "cst_" + "a" * 43):
        gateway.call("GET", "/Users", expected=401, token=token)
    # The token is good for nothing else.
    for path in ("/v1/directory", "/v1/whoami", "/v1/policy"):
        request = urllib.request.Request(gateway.base.replace("/scim/v2", path))
        request.add_header("Authorization", f"Bearer {gateway.token}")
        try:
            urllib.request.urlopen(request, timeout=10)
            raise AssertionError(f"{path} opens")
        except urllib.error.HTTPError as error:
            assert error.code == 401, error


def check_many(gateway: Gateway, many: int) -> None:
    """How long single calls take with many people in one group."""
    ids = []
    group = gateway.call("POST", "/Groups", {"displayName": "db admins"}, 201)["id"]

    def timed(what: str, work, times: int = 5):
        spent = []
        for number in range(times):
            begin = time.monotonic()
            work(number)
            spent.append(time.monotonic() - begin)
        print(f"{what}: {sorted(spent)[len(spent) // 2] * 1000:.0f} ms at {len(ids)} users")

    def user(_):
        name = f"user{len(ids)}@example.com"
        ids.append(gateway.call("POST", "/Users", {"userName": name, "active": True}, 201)["id"])

    while len(ids) < many:
        begin, before = time.monotonic(), len(ids)
        for _ in range(min(many - before, max(1, many // 10))):
            user(0)
        each = (time.monotonic() - begin) / (len(ids) - before)
        print(f"{len(ids)} users; each of the last took {each * 1000:.0f} ms", flush=True)
    members = lambda some: {"op": "add", "path": "members", "value": [{"value": one} for one in some]}
    timed(f"PATCH that adds {len(ids)} members", lambda _: gateway.patch(f"/Groups/{group}", members(ids), expected=204), 1)
    timed("PATCH that removes a member", lambda n: gateway.patch(
        f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{ids[n]}"]'}, expected=204))
    timed("PATCH that adds a member", lambda n: gateway.patch(f"/Groups/{group}", members([ids[n]]), expected=204))
    timed("PATCH of `active`", lambda n: gateway.patch(
        f"/Users/{ids[n]}", {"op": "replace", "path": "active", "value": False}))
    timed("PATCH that changes nothing", lambda n: gateway.patch(
        f"/Users/{ids[n]}", {"op": "replace", "path": "active", "value": False}))
    timed("GET by userName", lambda n: gateway.find("Users", f'userName eq "user{n}@example.com"'))
    timed("GET by two things", lambda n: gateway.find("Users", f'userName eq "user{n}@example.com" and active eq false'))
    timed("GET of the group", lambda _: gateway.call("GET", f"/Groups/{group}", expected=200))
    timed("a start", lambda _: (gateway.end(), gateway.begin()), 1)


def check_restart(gateway: Gateway) -> None:
    """What is provisioned is there again after a start, and the record verifies."""
    user = gateway.call("POST", "/Users", {"userName": "stays@example.com", "externalId": "s"}, 201)
    group = gateway.call("POST", "/Groups", {"displayName": "stays", "members": [{"value": user["id"]}]}, 201)
    gateway.end()
    gateway.begin()
    assert gateway.call("GET", f"/Users/{user['id']}", expected=200) == user
    assert gateway.call("GET", f"/Groups/{group['id']}", expected=200) == group
    gateway.end()
    verified = subprocess.run(
        [gateway.program, "log", "verify", str(gateway.folder / "data")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(sys.argv[1], pathlib.Path(folder))
        try:
            if len(sys.argv) > 2:
                return check_many(gateway, int(sys.argv[2]))
            check_tester(gateway)
            check_entra(gateway)
            check_okta(gateway)
            check_strangers(gateway)
            check_restart(gateway)
        finally:
            gateway.process.kill()
    print("other people's programs provision people and groups")


if __name__ == "__main__":
    main()
