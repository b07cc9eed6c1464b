#!/usr/bin/env python3
"""Deployments that GitHub holds until people countersign: deployment.py PROGRAM [SCENE…]

A gateway of its own against a stand-in for GitHub's interface (standin.py), which GitHub's own libraries take for GitHub;
they sign and deliver what GitHub would, too (octokit.mjs).
"""

import contextlib
import hashlib
import http.server
import itertools
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "browser"))
from gateway import Gateway  # noqa: E402
from person import Person  # noqa: E402
from standin import GitHub  # noqa: E402

ACTIONS = {"id": 41898282, "login": "github-actions[bot]", "type": "Bot"}
ACCOUNTS = {"dana": 583231, "finn": 583232, "olga": 583233, "stranger": 999, "other": 583240}
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[group.pipelines]
[group.developers]
[group.ops]
[person."olga@example.com"]
groups = ["ops"]
[person."dana@example.com"]
groups = ["developers", "ops"]
[person."finn@example.com"]
groups = ["developers", "ops"]
[person."mona@example.com"]
groups = ["ops"]

[workload.shop]
owner = "olga@example.com"
groups = ["pipelines"]

[target.shop-production]
kind = "deployment"
environment = "production"
[target.shop-staging]
kind = "deployment"
environment = "staging"
[target.shop-never]
kind = "deployment"
environment = "never"
[target.shop-soon]
kind = "deployment"
environment = "production"
labels = ["soon"]

[deployments.github]
kind = "github"
app = APP
private_key = { file = "app.pem" }
webhook_secret = { file = "webhook.secret" }
api = "API"
people = { 583231 = "dana@example.com", 583232 = "finn@example.com", 583233 = "olga@example.com" }

[[deployments.github.repository]]
name = "acme/shop"
id = 1296269
workload = "shop"
environments = { production = "shop-production", staging = "shop-staging", never = "shop-never", soon = "shop-soon" }
""",
    "approvals.toml": """
[approval.release]
stages = [{ from = ["group:ops"], count = 1 }]

[approval.soon]
stages = [{ from = ["group:ops"], count = 1 }]
expires = "3s"
valid_for = "4s"
""",
    "policies/all.cedar": """
@id("people-propose") permit (principal is Person, action in [Action::"admin", Action::"read"], resource);
@id("deploys") permit (principal in Group::"pipelines", action == Action::"github:deploy", resource);
@id("people-deploy") permit (principal in Group::"developers", action in Action::"execute", resource);
@id("ops-too") permit (principal == Person::"olga@example.com", action in Action::"execute", resource);
@id("production-waits") @approval("release") @reason("Production takes two")
forbid (principal, action == Action::"github:deploy", resource == Target::"shop-production");
@id("soon-waits") @approval("soon")
forbid (principal, action == Action::"github:deploy", resource == Target::"shop-soon");
@id("never") @reason("Not from a branch")
forbid (principal, action == Action::"github:deploy", resource in Environment::"never")
when { context.arguments has ref && context.arguments.ref != "v1.0" && context.gate == "github" };
""",
}


class Lines:
    """A program that answers a line with a line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(["node", HERE / "octokit.mjs", *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, **said: object) -> dict:
        self.process.stdin.write(json.dumps(said) + "\n")
        line = self.process.stdout.readline()
        assert line, "the program ended"
        return json.loads(line)

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Nobody may ever speak to it."""

    spoken: list[str] = []

    def do_POST(self) -> None:
        self.spoken.append(self.path)
        self.send_error(404)

    do_GET = do_POST


def wait_for(what, seconds: float = 30.0):  # noqa: ANN001, ANN201
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


class Site:
    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self.program, self.folder, self.github = program, folder, GitHub()
        self.elsewhere = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
        threading.Thread(target=self.elsewhere.serve_forever, daemon=True).start()
        for name, text in [("app.pem", self.github.pem()), ("webhook.secret", self.github.secret + "\n")]:
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        files = dict(FILES)
        main = files["countersign.toml"].replace("APP", str(self.github.app)).replace('"API"', f'"{self.github.api}"')
        files["countersign.toml"] = main
        self.files = files
        self.gateway = Gateway(program, folder, files)
        self.files = {name: text.replace("{port}", self.gateway.url.rsplit(":", 1)[1]) for name, text in files.items()}
        self.people = {name: Person(self.gateway, f"{name}@example.com") for name in ("olga", "dana", "finn", "mona")}
        self.numbers = itertools.count(1000)
        self.hook = Lines("deliver")

    def end(self) -> None:
        self.hook.end()
        self.gateway.end()
        self.github.end()
        self.elsewhere.shutdown()

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

    def job(self, sender: str = "dana", creator: dict | None = None, environment: str = "production",
            run: dict | None = None, **more) -> dict:
        """A job that waits, as GitHub describes it; `run` is what GitHub says otherwise of its run."""
        number, account, said = next(self.numbers), account_of(sender), run or {}
        sha = hashlib.sha1(str(number).encode()).hexdigest()
        self.github.begin(number, environment, account, sha, **said)
        return self.delivery(number, environment, account, creator, **more)

    def again(self, job: dict, by: str) -> dict:
        """Somebody has the run of a job run again, which waits once more."""
        run, environment, account = run_of(job), job["environment"], account_of(by)
        self.github.again(run, environment, account)
        return self.delivery(run, environment, account, None)

    def delivery(self, run: int, environment: str, account: dict, creator: dict | None, **more) -> dict:
        sha, attempt = self.github.runs[run]["head_sha"], self.github.runs[run]["run_attempt"]
        return {
            "action": "requested", "environment": environment, "event": "push", "sha": sha, "ref": "main",
            "deployment_callback_url":
                f"{self.github.api}/repos/acme/shop/actions/runs/{run}/deployment_protection_rule",
            "deployment": {"id": run * 10 + attempt, "sha": sha, "ref": "main", "environment": environment, "task": "deploy",
                           "creator": creator or account},
            "pull_requests": [{"id": 1, "number": 12}],
            "repository": {"id": self.github.repository_id, "full_name": "acme/shop", "private": True},
            "organization": {"login": "acme", "id": 4},
            "installation": {"id": self.github.installation}, "sender": account, **more,
        }

    def deliver(self, payload: dict, **more: object) -> dict:
        url = f"{self.gateway.url}/deployments/github"
        return self.hook.ask(**{"url": url, "secret": self.github.secret, "payload": payload, **more})

    def asks(self, payload: dict) -> str:
        """Delivers a job, and gives the request that waits."""
        told = self.deliver(payload)
        assert told["status"] == 202, told
        return self.waiting(payload)

    def waiting(self, payload: dict, but: str | None = None) -> str:
        sha = payload["sha"][:12]
        def found() -> str | None:
            items = self.people["mona"].ask("/v1/requests?state=held&limit=200")["items"]
            return next((one["id"] for one in items if sha in one["title"] and one["id"] != but), None)
        return wait_for(found)

    def notices(self) -> list[str]:
        health = json.loads(urllib.request.urlopen(f"{self.gateway.url}/v1/health", timeout=5).read())
        return [notice for notice in health["notices"] if "deployments" in notice]

    def refused(self, code: str) -> int:
        """How often the log has that something was refused."""
        listed = self.gateway.run("log", "list", str(self.folder / "data"), "--kind", "refused", "--json")
        return listed.stdout.count(code)

    def change(self, by: str, name: str, old: str, new: str) -> None:
        """Changes the configuration, which policy lets anybody here."""
        assert old in self.files[name]
        self.files[name] = self.files[name].replace(old, new, 1)
        made = self.people[by].ask("/v1/proposals", {"operation": "bundle-apply", "arguments": {"files": self.files}})
        assert made["state"] == "succeeded", made

    def can(self, request: str, name: str) -> bool:
        return "vote" in self.people[name].ask(f"/v1/requests/{request}")["can"]

    def requests(self, payload: dict) -> int:
        items = self.people["mona"].ask("/v1/requests?limit=200")["items"]
        return sum(payload["sha"][:12] in one["title"] for one in items)

    def state(self, request: str) -> str:
        return self.people["mona"].ask(f"/v1/requests/{request}")["state"]

    def decided(self, payload: dict, state: str, seconds: float = 30.0) -> str:
        """What GitHub was told at last, in words."""
        run, environment = run_of(payload), payload["environment"]
        wait_for(lambda: self.github.states(run, environment), seconds)
        assert self.github.states(run, environment) == [state], self.github.of(run, environment)
        return self.github.of(run, environment)[-1]["comment"]


def account_of(name: str) -> dict:
    return {"id": ACCOUNTS[name], "login": f"{name}-at-github", "type": "User"}


def run_of(payload: dict) -> int:
    return int(payload["deployment_callback_url"].split("/")[-2])


def faithful(site: Site) -> None:
    """GitHub's own libraries take the stand-in for GitHub."""
    github, app = site.github, Lines("app")
    run = run_of(site.job())
    route = f"/repos/acme/shop/actions/runs/{run}/deployment_protection_rule"
    read = {"route": f"/repos/acme/shop/actions/runs/{run}", "method": "GET"}
    of = {"api": github.api, "appId": github.app, "privateKey": github.pem(), "installationId": 77, "route": route}
    body = {"environment_name": "production"}
    said = app.ask(**{**of, **read})
    assert said["status"] == 200 and said["data"] == github.runs[run] and said["data"]["run_attempt"] == 1, said
    assert app.ask(**{**of, **read, "route": "/repos/acme/shop/actions/runs/7"})["status"] == 404
    assert app.ask(**{**of, **read, "route": f"/repos/acme/other/actions/runs/{run}"})["status"] == 404
    assert app.ask(**of, body={**body, "comment": "looking"})["status"] == 204
    assert app.ask(**of, body=body)["status"] == 422
    assert app.ask(**of, body={**body, "state": "maybe"})["status"] == 422
    assert app.ask(**of, body={**body, "state": "approved", "comment": "fine"})["status"] == 204
    assert app.ask(**of, body={**body, "state": "rejected"})["status"] == 404
    assert app.ask(**{**of, "installationId": 78}, body=body)["status"] == 404
    other = GitHub()
    assert app.ask(**{**of, "privateKey": other.pem()}, body=body)["status"] == 401
    other.end()
    app.end()
    assert [one["state"] for one in github.of(run)] == [None, "approved"]


def at_once(site: Site) -> None:
    """What policy decides alone is answered at once."""
    job = site.job(environment="staging")
    assert site.deliver(job)["status"] == 202
    assert "permits" in site.decided(job, "approved") and len(site.github.of(run_of(job), "staging")) == 1
    job = site.job(environment="never")
    assert site.deliver(job)["status"] == 202
    said = site.decided(job, "rejected")
    assert "`never`: `Not from a branch`" in said and "`workload:shop` on behalf of `person:dana@example.com`" in said, said
    # GitHub's names of environments know no capital letters.
    job = site.job(environment="Staging")
    site.deliver(job)
    site.decided(job, "approved")


def approved(site: Site) -> None:
    job = site.job(creator=ACTIONS)
    request = site.asks(job)
    page = f"{site.gateway.url}/requests/{request}"
    run = run_of(job)
    [told] = wait_for(lambda: site.github.of(run))
    assert told["state"] is None and page in told["comment"], told
    seen = site.people["mona"].ask(f"/v1/requests/{request}")
    assert seen["gate"] == "github" and seen["advisory"], seen
    assert seen["requester"] == "workload:shop" and "person:dana@example.com" in json.dumps(seen["chain"]), seen
    for part in ["acme/shop (number 1296269)", "production", job["sha"], f"/acme/shop/actions/runs/{run}/attempts/1", "#12",
                 "dana-at-github (number 583231)", "github-actions[bot]", "GitHub holds the job"]:
        assert part in seen["action"], (part, seen["action"])
    site.people["mona"].vote(request)
    assert page in site.decided(job, "approved")
    wait_for(lambda: site.state(request) == "succeeded")
    assert len(site.github.of(run)) == 2, site.github.of(run)


def refused(site: Site) -> None:
    job = site.job()
    request = site.asks(job)
    site.people["mona"].vote(request, "deny", reason="not on a Friday @acme/ops\n[x](https://evil.example) `y`")
    said = site.decided(job, "rejected")
    assert "`mona@example.com` denied it: `not on a Friday @acme/ops" in said and said.count("`") == 4, said
    assert f"/requests/{request}" in said, said
    # Taken back by somebody of the requester's side.
    job = site.job()
    request = site.asks(job)
    site.people["dana"].ask(f"/v1/requests/{request}/cancel", {})
    assert "`person:dana@example.com` cancelled it" in site.decided(job, "rejected")


def never_oneself(site: Site) -> None:
    """Whoever started it, made the deployment, or answers for the workload signs nothing."""
    job = site.job(creator=account_of("finn"))
    request = site.asks(job)
    for name in ("dana", "finn", "olga"):
        try:
            site.people[name].vote(request)
            raise AssertionError(f"{name} signed their own")
        except (urllib.error.HTTPError, KeyError) as error:
            # Whoever can't even try has no proof of having looked.
            assert isinstance(error, KeyError) or error.code == 403, error
    assert site.state(request) == "held" and site.github.states(run_of(job)) == []
    site.people["mona"].vote(request)
    site.decided(job, "approved")


def again(site: Site) -> None:
    """What was delivered before asks nothing, also after it was answered."""
    job = site.job()
    request = site.asks(job)
    for _ in range(3):
        assert site.deliver(job)["status"] == 200
    # Another job of the same run and environment waits for the same.
    sibling = {**job, "deployment": {**job["deployment"], "id": 5}}
    assert site.deliver(sibling)["status"] == 202
    site.people["mona"].vote(request)
    site.decided(job, "approved")
    wait_for(lambda: site.state(request) == "succeeded")
    assert site.deliver(job)["status"] == 200
    time.sleep(1)
    assert site.requests(job) == 1
    assert [one["state"] for one in site.github.of(run_of(job))] == [None, "approved"], site.github.of(run_of(job))


def at_the_same_time(site: Site) -> None:
    """Many deliveries of one job at the same time are one."""
    job, hooks = site.job(), [Lines("deliver") for _ in range(6)]
    url, told = f"{site.gateway.url}/deployments/github", []
    ask = lambda hook: told.append(hook.ask(url=url, secret=site.github.secret, payload=job)["status"])  # noqa: E731
    threads = [threading.Thread(target=ask, args=[hook]) for hook in hooks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [200] * 5 + [202], told
    site.people["mona"].vote(site.waiting(job))
    site.decided(job, "approved")
    assert site.requests(job) == 1 and len(site.github.of(run_of(job))) <= 2
    for hook in hooks:
        hook.end()


def strangers(site: Site) -> None:
    github, before = site.github, len(site.github.calls)
    job = site.job()
    forged = [
        {"secret": "x" * 40}, {"tamper": " "}, {"headers": {"x-hub-signature-256": ""}},
        {"headers": {"x-hub-signature-256": "sha256=" + "0" * 64}}, {"headers": {"x-hub-signature-256": "sha1=" + "0" * 40}},
    ]
    for more in forged:
        assert site.deliver(job, **more)["status"] == 401, more
    port = site.elsewhere.server_port
    end = f"/repos/acme/shop/actions/runs/{run_of(job)}/deployment_protection_rule"
    for callback in [f"http://127.0.0.1:{port}{end}", f"http://localhost:{port}{end}", f"{github.api}@127.0.0.1:{port}{end}",
                     f"{github.api}/redirect?to=http://127.0.0.1:{port}{end}", f"{github.api}/repos/acme/../evil{end}"]:
        assert site.deliver({**job, "deployment_callback_url": callback})["status"] == 403, callback
    for foreign in [{"full_name": "evil/shop", "id": 1296269}, {"full_name": "acme/shop", "id": 1}]:
        assert site.deliver({**job, "repository": foreign})["status"] == 403, foreign
    url = site.gateway.url + "/deployments/other"
    assert site.deliver(job, url=url)["status"] == 404
    assert site.deliver({**job, "padding": "x" * (2 << 20)})["status"] == 413
    assert site.deliver(job, headers={"content-type": "application/x-www-form-urlencoded"})["status"] == 415
    assert site.deliver({"zen": "Design for failure."}, headers={"x-github-event": "ping"})["status"] == 200
    assert site.deliver({**job, "action": "completed"})["status"] == 200
    assert site.deliver({"action": "requested"})["status"] == 400
    time.sleep(0.5)
    assert len(github.calls) == before and not Elsewhere.spoken and site.requests(job) == 0
    # An installation that GitHub has not: there is nobody to answer, and nobody is asked twice.
    gone = {**site.job(environment="never"), "installation": {"id": 4242}}
    assert site.deliver(gone)["status"] == 202
    wait_for(lambda: ("/app/installations/4242/access_tokens", 404) in github.calls)
    assert any("answers to deployments" in notice for notice in wait_for(site.notices))


def unknown(site: Site) -> None:
    """Who or what stands for nothing here is told what to add."""
    job = site.job(sender="stranger")
    assert site.deliver(job)["status"] == 202
    said = site.decided(job, "rejected")
    assert "stranger-at-github" in said and '999 = "PERSON"' in said and "[deployments.github]" in said, said
    robot = {"id": 77, "login": "renovate[bot]", "type": "Bot"}
    job = site.job(creator=robot)
    site.deliver(job)
    assert "renovate[bot]" in site.decided(job, "rejected")
    # A name is not a number: whoever is called like GitHub's own account is not it.
    job = site.job(creator={**ACTIONS, "type": "User"})
    site.deliver(job)
    site.decided(job, "rejected")
    job = site.job(environment="qa")
    site.deliver(job)
    assert "`environments`" in site.decided(job, "rejected")
    assert site.requests(job) == 0


def weather(site: Site) -> None:
    """GitHub is told again when it wants that, and what it may have taken is not said to have failed."""
    job = site.job()
    request = site.asks(job)
    wait_for(lambda: len(site.github.of(run_of(job))) == 1)
    with site.github.lock:
        site.github.weather += [(503, {"retry-after": "2"}), (502, {})]
    before = time.time()
    site.people["mona"].vote(request)
    site.decided(job, "approved")
    assert site.github.of(run_of(job))[-1]["at"] - before > 2.5
    wait_for(lambda: site.state(request) == "succeeded")
    # It never takes it: the job ends, and it is not known whether it went on.
    job = site.job(environment="soon")
    request = site.asks(job)
    wait_for(lambda: len(site.github.of(run_of(job), "soon")) == 1)
    with site.github.lock:
        site.github.weather += [(500, {})] * 4 + [(502, {"retry-after": "3"})]
    site.people["mona"].vote(request)
    assert "nobody knows" in site.decided(job, "rejected", 60)
    assert site.state(request) == "unknown"
    # GitHub says no for good.
    job = site.job()
    request = site.asks(job)
    wait_for(lambda: len(site.github.of(run_of(job))) == 1)
    with site.github.lock:
        site.github.waiting.discard((run_of(job), "production"))
    site.people["mona"].vote(request)
    wait_for(lambda: site.state(request) == "failed")


def too_late(site: Site) -> None:
    job = site.job(environment="soon")
    request = site.asks(job)
    assert "nobody decided in time" in site.decided(job, "rejected")
    assert site.state(request) == "expired"
    # An approval that lapses before GitHub can be told is never told.
    job = site.job(environment="soon")
    request = site.asks(job)
    wait_for(lambda: len(site.github.of(run_of(job), "soon")) == 1)
    site.github.installation = 0
    site.people["mona"].vote(request)
    wait_for(lambda: site.state(request) == "unclaimed", 20)
    site.github.installation = 77
    assert "lapsed" in site.decided(job, "rejected", 90)


def configured(site: Site) -> None:
    """A new configuration counts at once, goes on with what waits, and makes nobody an approver of what it lets in."""
    held, later = site.job(), site.job()
    request, another = site.asks(held), site.asks(later)
    old = '583231 = "dana@example.com"'
    site.change("mona", "countersign.toml", old, f'{old}, 583240 = "dana@example.com"')
    # Whoever said that this account is dana could have it.
    job = site.job(sender="other")
    asked = site.asks(job)
    with contextlib.suppress(urllib.error.HTTPError, KeyError):
        site.people["mona"].vote(asked)
        raise AssertionError("mona signed for an account that she brought in")
    site.people["finn"].vote(asked)
    site.decided(job, "approved")
    # Nor of what waited then.
    assert not site.can(request, "mona") and site.can(request, "finn")
    site.people["finn"].vote(request)
    site.decided(held, "approved")
    # What policy does not allow any more when it is claimed is rejected.
    site.change("olga", "policies/all.cedar", '@id("never")', '@id("closed") forbid (principal, action == '
                'Action::"github:deploy", resource == Target::"shop-production");\n@id("never")')
    site.people["finn"].vote(another)
    assert "current policy no longer allows it" in site.decided(later, "rejected")
    job = site.job()
    assert site.deliver(job)["status"] == 202
    assert "`closed`" in site.decided(job, "rejected")
    site.change("olga", "policies/all.cedar", site.files["policies/all.cedar"], FILES["policies/all.cedar"])


def stopped(site: Site) -> None:
    """The workload is stopped while its request waits."""
    job = site.job()
    site.asks(job)
    made = site.people["olga"].ask("/v1/proposals", {"operation": "agent-stop", "arguments": {"workload": "shop"}})
    assert made["state"] == "succeeded", made
    assert "was stopped" in site.decided(job, "rejected")


def killed(site: Site) -> None:
    """Nothing is lost and nothing said twice, whenever the gateway is killed."""
    held, approved, denied, fresh = (site.job() for _ in range(4))
    requests = [site.asks(job) for job in (held, approved, denied)]
    for job in (held, approved, denied):
        wait_for(lambda job=job: len(site.github.of(run_of(job))) == 1)
    # What was decided while GitHub was away is told after the next start.
    site.github.installation = 0
    site.people["mona"].vote(requests[1])
    site.people["mona"].vote(requests[2], "deny", reason="no")
    time.sleep(0.5)
    assert site.deliver(fresh)["status"] == 202
    site.kill()
    site.github.installation = 77
    assert not any(site.github.states(run_of(job)) for job in (held, approved, denied, fresh))
    site.start()
    site.decided(approved, "approved")
    site.decided(denied, "rejected")
    site.people["mona"].vote(requests[0])
    site.decided(held, "approved")
    # What was taken and not asked yet is asked now.
    site.people["mona"].vote(site.waiting(fresh))
    site.decided(fresh, "approved")
    # What policy permits at once and was being told is not told again, nor asked again.
    job = site.job(environment="staging")
    with site.github.lock:
        site.github.weather += [(500, {"retry-after": "60"})]
    assert site.deliver(job)["status"] == 202
    wait_for(lambda: not site.github.weather)
    site.kill()
    site.start()
    assert "nobody knows" in site.decided(job, "rejected")
    # Killed while it tells: nobody knows whether GitHub took it, so the job ends.
    job = site.job()
    request = site.asks(job)
    wait_for(lambda: len(site.github.of(run_of(job))) == 1)
    with site.github.lock:
        site.github.weather += [(500, {"retry-after": "60"})]
    site.people["mona"].vote(request)
    wait_for(lambda: site.state(request) == "running" and not site.github.weather)
    site.kill()
    site.start()
    assert "nobody knows" in site.decided(job, "rejected")
    assert site.state(request) == "unknown"
    for job, request in [(held, requests[0]), (approved, requests[1])]:
        assert site.state(request) == "succeeded" and site.github.states(run_of(job)) == ["approved"]
        assert site.deliver(job)["status"] == 200


def another_attempt(site: Site) -> None:
    """Who has somebody else's run run again asks for themselves, and what was signed before is not for them."""
    job = site.job(sender="dana")
    run, first = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(run))
    again = site.again(job, "finn")
    assert site.deliver(again)["status"] == 202
    second = site.waiting(job, but=first)
    seen = site.people["mona"].ask(f"/v1/requests/{second}")
    for part in ["attempt        2", "started by     finn-at-github", "first run by   dana-at-github", "attempts/2"]:
        assert part in seen["action"], (part, seen["action"])
    assert "(attempt 2)" in seen["title"] and '"person:finn@example.com"' in json.dumps(seen["chain"]), seen
    # The older one is over, says why, and is signed by nobody.
    assert site.state(first) == "cancelled" and not site.can(first, "finn")
    assert "attempt 2" in json.dumps(site.people["mona"].ask(f"/v1/requests/{first}")["conversation"])
    assert not site.can(second, "finn") and not site.can(second, "dana") and site.can(second, "mona")
    time.sleep(1)
    assert site.github.states(run) == [], "the older one's end was told of the newer attempt"
    site.people["mona"].vote(second)
    site.decided(job, "approved")
    assert site.github.told(2, run) == ["approved"]
    # A run that its owner has run again is asked again, too, and what was delivered before stays answered.
    job = site.job(sender="dana")
    first = site.asks(job)
    again = site.again(job, "dana")
    assert site.deliver(again)["status"] == 202
    second = site.waiting(job, but=first)
    wait_for(lambda: site.state(first) == "cancelled")
    assert site.deliver(job)["status"] == 200 and site.state(second) == "held"
    site.people["finn"].vote(second)
    site.decided(job, "approved")


def signed_before(site: Site) -> None:
    """What was signed of an attempt is not told of the next, when nothing was heard of that one either."""
    job = site.job(sender="dana")
    run, request = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(run))
    site.again(job, "finn")
    site.people["finn"].vote(request)
    wait_for(lambda: site.state(request) == "cancelled")
    # It is signed while GitHub is away, and run again before that is over.
    job = site.job(sender="dana")
    other, request = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(other))
    with site.github.lock:
        site.github.weather += [(503, {"retry-after": "4"})]
    site.people["finn"].vote(request)
    wait_for(lambda: not site.github.weather)
    again = site.again(job, "finn")
    assert site.deliver(again)["status"] == 202
    second = site.waiting(job, but=request)
    assert site.state(second) == "held" and not site.can(second, "finn")
    wait_for(lambda: site.state(request) == "unknown")
    # The App's tokens can't be had, so nothing is claimed.
    job = site.job(sender="dana")
    third, request = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(third))
    site.github.installation = 0
    site.people["finn"].vote(request)
    time.sleep(1)
    again = site.again(job, "finn")
    site.github.installation = 77
    wait_for(lambda: site.state(request) == "cancelled")
    # A no is not for the next attempt either, whoever says it.
    job = site.job(sender="dana")
    fourth, request = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(fourth))
    site.again(job, "finn")
    site.people["dana"].ask(f"/v1/requests/{request}/cancel", {})
    job = site.job(sender="dana")
    fifth, request = run_of(job), site.asks(job)
    wait_for(lambda: site.github.of(fifth))
    again = site.again(job, "olga")
    site.people["mona"].vote(request, "deny", reason="no")
    time.sleep(3)
    for one in (run, other, third, fourth, fifth):
        assert site.github.states(one) == [], site.github.of(one)
    # And the next attempt is asked about as if nothing had been.
    assert site.deliver(again)["status"] == 202
    request = site.waiting(again)
    site.people["mona"].vote(request)
    site.decided(again, "approved")
    site.people["mona"].vote(second)
    wait_for(lambda: site.github.told(2, other) == ["approved"])


def killed_between(site: Site) -> None:
    """The same when the gateway is killed in between."""
    claimed, approved, denied = (site.job(sender="dana") for _ in range(3))
    requests = {}
    for job in (claimed, approved, denied):
        requests[run_of(job)] = site.asks(job)
        wait_for(lambda job=job: site.github.of(run_of(job)))
    with site.github.lock:
        site.github.weather += [(503, {"retry-after": "60"})]
    site.people["finn"].vote(requests[run_of(claimed)])
    wait_for(lambda: not site.github.weather)
    site.github.installation = 0
    site.people["finn"].vote(requests[run_of(approved)])
    site.people["finn"].vote(requests[run_of(denied)], "deny", reason="no")
    time.sleep(0.5)
    site.kill()
    for job in (claimed, approved, denied):
        site.again(job, "finn")
    site.github.installation = 77
    site.start()
    wait_for(lambda: site.state(requests[run_of(approved)]) == "cancelled")
    wait_for(lambda: site.state(requests[run_of(claimed)]) == "unknown")
    time.sleep(2)
    for job in (claimed, approved, denied):
        assert site.github.states(run_of(job)) == [], site.github.of(run_of(job))


def forged(site: Site) -> None:
    """Whoever has the webhook secret can say nothing of a run that GitHub does not say."""
    before = {code: site.refused(code) for code in ("other_ref", "other_commit", "other_event")}
    for environment in ("never", "production"):
        for more in [{"ref": "v1.0"}, {"sha": "a" * 40}, {"ref": "v1.0", "sha": "a" * 40}, {"event": "schedule"}]:
            job = site.job(environment=environment)
            inner = {name: more[name] for name in ("ref", "sha") if name in more}
            said = {**job, **more, "deployment": {**job["deployment"], **inner}}
            assert site.deliver(said)["status"] == 202
            time.sleep(0.3)
            assert site.github.of(run_of(job), environment) == [] and site.requests(job) == site.requests(said) == 0
    wait_for(lambda: all(site.refused(code) >= many + 2 for code, many in before.items()))
    # A run of somebody's is theirs, whoever else is said to have asked: that makes nobody less themselves.
    job = site.job(sender="finn")
    first = site.asks(job)
    dana = account_of("dana")
    said = {**job, "sender": dana, "deployment": {**job["deployment"], "id": 4243, "creator": dana}}
    assert site.deliver(said)["status"] == 202
    second = site.waiting(job, but=first)
    wait_for(lambda: site.state(first) == "cancelled")
    assert not site.can(second, "finn") and not site.can(second, "dana")
    # Nor does another delivery take away whom one named, or a stranger end what others wait for.
    for number, sender in [(4244, "finn"), (4245, "stranger")]:
        said = {**job, "sender": account_of(sender), "deployment": {**job["deployment"], "id": number}}
        assert site.deliver(said)["status"] == 202
    time.sleep(2)
    assert site.state(second) == "held" and not site.can(second, "dana") and site.requests(job) == 2
    assert site.github.states(run_of(job)) == []
    site.people["mona"].vote(second)
    site.decided(job, "approved")
    # A run that GitHub has not.
    job = {**site.job(), "deployment_callback_url":
           f"{site.github.api}/repos/acme/shop/actions/runs/4/deployment_protection_rule"}
    assert site.deliver(job)["status"] == 202
    # A branch of another repository is none of this one, whatever it is called.
    elsewhere = {"head_branch": "v1.0", "event": "pull_request", "head_repository": {"id": 9, "full_name": "evil/shop"}}
    job = site.job(environment="never", run=elsewhere, event="pull_request", ref="v1.0")
    job["deployment"]["ref"] = "v1.0"
    assert site.deliver(job)["status"] == 202
    assert "Not from a branch" in site.decided(job, "rejected")
    # A tag that GitHub itself says is one.
    job = site.job(environment="never", run={"head_branch": "v1.0"}, ref="v1.0")
    job["deployment"]["ref"] = "refs/tags/v1.0"
    job["ref"] = "refs/tags/v1.0"
    assert site.deliver(job)["status"] == 202
    site.decided(job, "approved")


def ended(site: Site) -> None:
    """What ended at GitHub waits here for nobody, and is no fault."""
    early, held = site.job(), site.job()
    requests = [site.asks(held)]
    wait_for(lambda: site.github.of(run_of(held)))
    # It waits for nothing when the first comment is to be said: that is not said again and again.
    with site.github.lock:
        site.github.waiting.discard((run_of(early), "production"))
    requests.append(site.asks(early))
    time.sleep(2)
    assert site.notices() == [], site.notices()
    paths = [path for path, _ in site.github.calls if f"/runs/{run_of(early)}/" in path]
    assert len(paths) == 1, paths
    for job in (early, held):
        site.github.cancel(run_of(job))
    wait_for(lambda: all(site.state(request) == "cancelled" for request in requests), 40)
    said = site.people["mona"].ask(f"/v1/requests/{requests[0]}")["conversation"]
    assert "The run ended at GitHub" in json.dumps(said), said
    assert site.notices() == [] and not any(site.github.states(run_of(job)) for job in (early, held))
    # One that ended before it was asked about is not asked about, nor one that ends before the yes.
    job = site.job()
    site.github.cancel(run_of(job))
    assert site.deliver(job)["status"] == 202
    last = site.job()
    request = site.asks(last)
    wait_for(lambda: site.github.of(run_of(last)))
    site.github.cancel(run_of(last))
    site.people["mona"].vote(request)
    wait_for(lambda: site.state(request) == "cancelled")
    assert site.requests(job) == 0 and site.github.states(run_of(last)) == []


def no_room(site: Site) -> None:
    """Cancelled runs make room; what finds none is told so, and asked about later."""
    held = len(site.people["mona"].ask("/v1/requests?state=held&limit=200")["items"])
    more = 102 - held
    jobs = [site.job() for _ in range(more)]
    for job in jobs:
        assert site.deliver(job)["status"] == 202
    wait_for(lambda: sum(site.requests(job) == 0 for job in jobs) <= 2, 60)
    wait_for(lambda: any("can't ask anybody" in (one["comment"] or "") for job in jobs for one in site.github.of(run_of(job))))
    late = [job for job in jobs if site.requests(job) == 0]
    # Looking whether they still wait takes a few calls a second at most, however many they are.
    before = len(site.github.calls)
    time.sleep(20)
    assert 10 <= len(site.github.calls) - before <= 50, len(site.github.calls) - before
    assert late and not any(site.github.states(run_of(job)) for job in jobs), late
    for job in jobs:
        if job not in late:
            site.github.cancel(run_of(job))
    for job in late:
        request = wait_for(lambda job=job: site.requests(job) and site.waiting(job), 120)
        site.people["mona"].vote(request)
        site.decided(job, "approved")
    wait_for(lambda: len(site.people["mona"].ask("/v1/requests?state=held&limit=200")["items"]) <= held, 240)


def taken_away(site: Site) -> None:
    """Whom an account stands for, and as whom a repository asks, counts as it is when GitHub is told."""
    person, workload = '583231 = "dana@example.com", ', 'workload = "shop"\n'
    job = site.job(sender="dana")
    request = site.asks(job)
    wait_for(lambda: site.github.of(run_of(job)))
    site.change("olga", "countersign.toml", person, "")
    said = site.decided(job, "rejected")
    assert "583231 stands for nobody here any more" in said, said
    assert site.state(request) == "cancelled"
    site.change("olga", "countersign.toml", "people = { ", f"people = {{ {person}")
    job = site.job(sender="finn")
    request = site.asks(job)
    wait_for(lambda: site.github.of(run_of(job)))
    shop = '[workload.shop]\nowner = "olga@example.com"\ngroups = ["pipelines"]\n'
    site.change("olga", "countersign.toml", shop, f"{shop}{shop.replace('shop', 'shop-two')}")
    assert site.state(request) == "held"
    site.change("olga", "countersign.toml", workload, workload.replace("shop", "shop-two"))
    assert "asks as `shop-two` now" in site.decided(job, "rejected")
    assert site.state(request) == "cancelled"
    site.change("olga", "countersign.toml", workload.replace("shop", "shop-two"), workload)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(sys.argv[1], pathlib.Path(folder))
        scenes = [faithful, at_once, approved, refused, never_oneself, again, at_the_same_time, another_attempt, signed_before,
                  forged, ended, no_room, strangers, unknown, weather, too_late, killed, killed_between, taken_away, configured,
                  stopped]
        scenes = [scene for scene in scenes if scene.__name__ in sys.argv[2:] or len(sys.argv) == 2]
        for scene in scenes:
            scene(site)
            print(f"ok  {scene.__name__}", flush=True)
        verified = site.gateway.run("log", "verify", str(pathlib.Path(folder) / "data"))
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert not Elsewhere.spoken
        site.end()


main()
