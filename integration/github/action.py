#!/usr/bin/env python3
"""Our action for GitHub Actions, as a job runs it: action.py PROGRAM

The action's own code runs as GitHub's runner would run it (job.mjs), with a real gateway, a stand-in of the place where a
job asks for its token, and people who decide. action.yml and the workflow of its README are checked by `action-validator`.
"""

import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
ACTION = ROOT.parent / "integrations" / "github-action"
sys.path[:0] = [str(ROOT / part) for part in ("browser", "slack", "python")]
from channel import Person  # noqa: E402
from exchange import ISSUER, Issuer, serve  # noqa: E402
from gateway import Gateway  # noqa: E402

FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[group.machines]
[group.ops]
[person."olga@example.com"]
[person."dana@example.com"]
groups = ["ops"]

[issuer.github]
issuer = "ISSUER"
keys = '''KEYS'''

[workload.shop]
owner = "olga@example.com"
groups = ["machines"]
proves = [{ issuer = "github", claims = { repository = "acme/shop", environment = "production" } }]

[target.release]
kind = "exec"
environment = "production"
[[target.release.command]]
argv = ["true"]
action = "true"
group = "read"

[target.ci]
kind = "exec"
advisory = true
environment = "production"
""",
    "approvals.toml": """
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
""",
    "policies/all.cedar": """
@id("machines") permit (principal in Group::"machines", action in [Action::"execute", Action::"read"], resource);
@id("waits") @approval("ops") forbid (principal, action in Action::"execute", resource);
""",
}


class Job:
    """A step that runs in the background."""

    def __init__(self, site: "Site", command: str, env: dict | None = None, **inputs: str) -> None:
        given = {"url": site.gateway.url, "target": "release", "program": site.program, "command": command, **inputs}
        given = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
        self.process = subprocess.Popen(["node", HERE / "job.mjs", ACTION, json.dumps(given)], env={**site.job, **(env or {})},
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=site.folder)

    def end(self) -> dict:
        out, err = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, err
        ended = json.loads(out)
        # Nothing but annotations ever gives the runner an order, and nothing is left stopped but the log's end.
        assert ended["orders"] == [], ended
        return ended


class Site:
    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self.program, self.folder, self.issuer = program, folder, Issuer()
        self.asked = serve(self.issuer)
        config = folder / "config"
        config.mkdir()
        files = dict(FILES)
        files["countersign.toml"] = files["countersign.toml"].replace("ISSUER", ISSUER).replace("KEYS", self.issuer.keys())
        self.gateway = Gateway(program, config, files)
        self.dana = Person(self.gateway, "dana@example.com")
        self.job = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN_", "GITHUB_", "INPUT_"))},
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{self.asked.server_port}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner",
            "GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_RUN_ID": "4711",
            "XDG_CONFIG_HOME": str(folder),
        }

    def waiting(self, words: str) -> str:
        """The request that waits and shows these words."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for one in self.dana.ask("/v1/requests?state=held")["items"]:
                if words in one["title"]:
                    return one["id"]
            time.sleep(0.1)
        raise AssertionError(f"nothing waits with {words}")


def documented(folder: pathlib.Path) -> None:
    """What the README has people copy is a workflow, and takes nothing that the action does not have."""
    readme = (ACTION / "README.md").read_text()
    assert "secrets." not in readme, "the action needs no secret"
    workflow = folder / "workflow.yml"
    workflow.write_text(re.search(r"```yaml\n(name: .*?)```", readme, re.DOTALL)[1])
    metadata = (ACTION / "action.yml").read_text()
    known = set(re.findall(r"^  ([\w-]+):$", metadata.split("outputs:")[0], re.MULTILINE))
    given = workflow.read_text().split("with:\n", 1)[1].split("      - if:")[0]
    used = set(re.findall(r"^          (\w[\w-]*):", given, re.MULTILINE))
    assert used and used <= known, (used, known)
    # The checker is older than Node.js 24 on runners.
    (folder / "action.yml").write_text(metadata.replace("using: node24", "using: node20"))
    for path in (folder / "action.yml", workflow):
        checked = subprocess.run([HERE / "node_modules/.bin/action-validator", path], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def permitted(site: Site) -> None:
    ended = Job(site, "true").end()
    assert ended["status"] == 0 and ended["outputs"]["decision"] == "ran", ended
    assert ended["outputs"]["request"].startswith("req_") and ended["outputs"]["page"] == "", ended
    assert not ended["annotations"] and "ran and succeeded" in ended["summary"], ended


def approved(site: Site) -> None:
    """People decide while the step waits; what the command writes orders nothing."""
    evil = "::set-output name=decision::ran%0A::add-path::/evil\n::error::forged\n##[add-path]/evil\n::stop-commands::x\n"
    job = Job(site, json.dumps(["/bin/echo", evil, "$(id) `id`", "two\nlines", "<b>&"]))
    request = site.waiting("set-output")
    seen = site.dana.ask(f"/v1/requests/{request}")
    assert seen["reason"] == "https://github.example/acme/shop/actions/runs/4711", seen
    assert seen["requester"] == "workload:shop", seen["requester"]
    site.dana.vote(request)
    ended = job.end()
    page = f"{site.gateway.url}/requests/{request}"
    assert ended["status"] == 0, ended
    assert ended["outputs"] == {"decision": "ran", "request": request, "page": page, "status": "0"}, ended["outputs"]
    assert evil in ended["log"] and "$(id) `id` two\nlines" in ended["log"]
    [notice] = ended["annotations"]
    assert notice["level"] == "notice" and request in notice["text"] and page in notice["text"], notice
    assert f'href="{page}"' in ended["summary"] and ended["summary"].count("href") == 1
    assert "<b>" not in ended["summary"] and "&lt;b&gt;&amp;" in ended["summary"] and "\n::" not in ended["summary"]


def refused(site: Site) -> None:
    job = Job(site, "/bin/echo\nno")
    request = site.waiting("/bin/echo no")
    site.dana.vote(request, "deny", reason="not on a Friday\n::error::forged")
    ended = job.end()
    assert ended["status"] == 77 and ended["outputs"]["decision"] == "refused" and ended["outputs"]["request"] == request, ended
    error = ended["annotations"][-1]
    assert error["level"] == "error" and "nothing was run" in error["text"] and "forged" not in [one["text"] for one in ended["annotations"]]
    # A command that fails is told from one that was refused, whatever its status.
    job = Job(site, json.dumps(["/bin/sh", "-c", "exit 77"]))
    site.dana.vote(site.waiting("exit 77"))
    ended = job.end()
    assert ended["status"] == 77 and ended["outputs"]["decision"] == "ran", ended
    assert "failed with status 77" in ended["annotations"][-1]["text"]


def held(site: Site) -> None:
    ended = Job(site, "/bin/echo\nlater", wait="0s").end()
    assert ended["status"] == 75 and ended["outputs"]["decision"] == "held", ended
    request = ended["outputs"]["request"]
    site.dana.vote(request)
    again = Job(site, "/bin/echo\nlater", wait="0s").end()
    assert again["status"] == 0 and again["outputs"] | {"page": ""} == {"decision": "ran", "request": request, "page": "", "status": "0"}, again
    # A job that is cancelled stops waiting.
    job = Job(site, "/bin/echo\ncancelled")
    request = site.waiting("cancelled")
    time.sleep(1)
    job.process.send_signal(signal.SIGINT)
    ended = job.end()
    assert ended["outputs"]["decision"] == "interrupted" and ended["status"] == 130, ended
    assert site.dana.ask(f"/v1/requests/{request}")["state"] == "held"


def local(site: Site) -> None:
    (site.folder / "here.txt").write_text("of the job\n")
    job = Job(site, "/bin/cat\nhere.txt", target="ci", local="true", working_directory=str(site.folder))
    request = site.waiting("here.txt")
    seen = site.dana.ask(f"/v1/requests/{request}")
    assert seen["advisory"] is True, seen
    site.dana.vote(request)
    ended = job.end()
    assert ended["status"] == 0 and "of the job" in ended["log"] and "advisory" in ended["annotations"][0]["text"], ended


def nobody(site: Site) -> None:
    """A job that can't say who it is, or is somebody else, gets nothing and is told why."""
    without = {"ACTIONS_ID_TOKEN_REQUEST_URL": ""}
    ended = Job(site, "true", env=without).end()
    assert ended["status"] == 64 and "id-token: write" in ended["annotations"][0]["text"], ended
    assert ended["outputs"]["decision"] == "unavailable"
    other = Issuer()
    asked = serve(other)
    forged = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{asked.server_port}/token?api-version=2.0"}
    ended = Job(site, "true", env=forged).end()
    assert ended["status"] == 69 and ended["outputs"]["decision"] == "unavailable", ended
    assert ended["annotations"][-1]["level"] == "error" and "nothing was run" in ended["annotations"][-1]["text"]
    for inputs, words in [({"command": ""}, "`command` is missing"), ({"command": "[1]"}, "no list of texts"),
                          ({"command": "[oops"}, "is none"), ({"command": '["true", "\\u0000"]'}, "a NUL"),
                          ({"program": str(site.folder), "sha256": "1" * 64}, "can't be read"), ({"local": "yes"}, "`local` is"), ({"target": ""}, "`target` is missing"),
                          ({"program": "no-such-program"}, "no program"), ({"sha256": "12"}, "64 hexadecimal digits")]:
        ended = Job(site, **{"command": "true", **inputs}).end()
        assert ended["status"] == 64 and words in ended["annotations"][0]["text"], (inputs, ended)


def downloads(site: Site) -> None:
    """What is fetched runs only if it is what was named."""
    served = site.folder / "served"
    served.mkdir()
    marker = site.folder / "ran"
    stub = served / "countersign"
    stub.write_text(f'#!/bin/sh\ntouch {marker}\nexec {site.program} "$@"\n')
    good = hashlib.sha256(stub.read_bytes()).hexdigest()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given, **more) -> None:
            super().__init__(*given, directory=str(served), **more)

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for download, sha256, words in [
        (f"{address}/countersign", "0" * 64, "not the one that was named"), (f"{address}/countersign", None, "needs `sha256`"),
        (f"{address}/nothing", good, "status 404"), ("http://downloads.example/countersign", good, "no `https` address"),
        ("file:///bin/true", good, "no `https` address"), ("nonsense", good, "no address"),
    ]:
        ended = Job(site, "true", download=download, sha256=sha256).end()
        assert ended["status"] == 64 and words in ended["annotations"][0]["text"], (download, ended)
        assert not marker.exists(), download
    ended = Job(site, "true", download=f"{address}/countersign", sha256=good.upper()).end()
    assert ended["status"] == 0 and marker.exists(), ended
    ended = Job(site, "true", program=str(stub), sha256="1" * 64).end()
    assert ended["status"] == 64, ended
    # What was checked is what runs, wherever it runs, and whatever is called the same there.
    elsewhere = site.folder / "checkout"
    evil = elsewhere / "served" / "countersign"
    evil.parent.mkdir(parents=True)
    evil.write_text(f'#!/bin/sh\ntouch {site.folder}/evil\necho \'{{"event":"exited","outcome":"succeeded"}}\'\n')
    evil.chmod(0o755)
    stub.chmod(0o755)
    path = f"served:{os.environ['PATH']}"
    for program, env in [("served/countersign", {}), ("./served/countersign", {}), ("countersign", {"PATH": path})]:
        for sha256 in (good, None):
            marker.unlink(missing_ok=True)
            ended = Job(site, "true", env=env, program=program, sha256=sha256, working_directory="checkout").end()
            assert ended["status"] == 0 and ended["outputs"]["decision"] == "ran", ended
            assert marker.exists() and not (site.folder / "evil").exists(), (program, ended)


def silent(site: Site) -> None:
    """A program that says nothing of an end has not ended well."""
    stub = site.folder / "silent"
    for said in ("", '{"event":"exited","outcome":"unknown"}'):
        stub.write_text(f"#!/bin/sh\necho '{said}'\nexit 0\n")
        stub.chmod(0o755)
        ended = Job(site, "true", program=str(stub)).end()
        assert ended["status"] == 70, ended
        assert ended["outputs"]["decision"] == "unknown" and ended["outputs"]["status"] == "70", ended
        assert ended["annotations"][-1]["level"] == "error", ended


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="countersign-github-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o711)
        documented(folder)
        site = Site(str(pathlib.Path(sys.argv[1]).resolve()), folder)
        try:
            for step in [permitted, approved, refused, held, local, nobody, downloads, silent]:
                began = time.monotonic()
                step(site)
                print(f"github action: {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            site.gateway.end()
        finally:
            site.gateway.process.kill()


if __name__ == "__main__":
    main()
