#!/usr/bin/env python3
"""Machines that exchange what they have, by other people's libraries: exchange.py PROGRAM

Runs a gateway and a stand-in of the place where GitHub Actions asks for a job's token. Clients are npm's
`openid-client` (discovery, private_key_jwt, token exchange, DPoP), GitHub's own `@actions/core`, and
`countersign` itself with COUNTERSIGN_IDENTITY.
"""

import base64
import http.server
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "browser"))
from gateway import Gateway  # noqa: E402

ISSUER = "https://token.actions.githubusercontent.com"
CONFIG = """
[server]
listen = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"

[group.machines]
[person."olga@example.com"]

[issuer.github]
issuer = "ISSUER"
keys = '''KEYS'''

[agent.shop]
owner = "olga@example.com"
groups = ["machines"]
proves = [{ issuer = "github", claims = { repository = "acme/shop", environment = "production" } }]
[agent.signer]
owner = "olga@example.com"
keys = ['SIGNER']
[workload.nightly]
owner = "olga@example.com"
keys = ['NIGHTLY']

[target.tools]
kind = "exec"
environment = "test"
[[target.tools.command]]
argv = ["true"]
action = "true"
group = "read"
"""
POLICY = '@id("look") permit (principal in Group::"machines", action in Action::"read", resource);'


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return text(value.to_bytes(size, "big"))


class Issuer:
    """Signs what GitHub would."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)

    def keys(self) -> str:
        public = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": number(public.n, 256), "e": number(public.e, 3)}
        return json.dumps({"keys": [key]})

    def token(self, audience: str) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": audience, "sub": "repo:acme/shop:environment:production", "repository": "acme/shop",
                  "environment": "production", "iat": now, "nbf": now, "exp": now + 300, "jti": str(time.time_ns())}
        head = {"typ": "JWT", "alg": "RS256", "kid": "1"}
        message = ".".join(text(json.dumps(part).encode()) for part in (head, claims))
        return f"{message}.{text(self.key.sign(message.encode(), padding.PKCS1v15(), SHA256()))}"


def serve(issuer: Issuer) -> http.server.ThreadingHTTPServer:
    """The place that a job asks, with the bearer that the runner gave it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            good = self.headers["authorization"].lower() == "bearer of the runner" and "api-version" in query
            body = json.dumps({"value": issuer.token(query["audience"][0])} if good else {}).encode()
            self.send_response(200 if good else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pair() -> tuple:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": number(public.x, 32), "y": number(public.y, 32)}
    return jwk, {**jwk, "d": number(private.private_numbers().private_value, 32)}


def main() -> None:
    program = str(pathlib.Path(sys.argv[1]).resolve())
    issuer = Issuer()
    asked = serve(issuer)
    with tempfile.TemporaryDirectory(prefix="countersign-exchange-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o711)
        private = folder / "nightly.pem"
        made = subprocess.run([program, "--json", "agent", "key", "--output", private], capture_output=True, text=True, check=True)
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        again = subprocess.run([program, "agent", "key", "--output", private], capture_output=True)
        assert again.returncode != 0, "a key is never written over another"
        public, signing = pair()
        config = CONFIG.replace("ISSUER", ISSUER).replace("KEYS", issuer.keys())
        config = config.replace("SIGNER", json.dumps(public)).replace("NIGHTLY", json.loads(made.stdout)["public"])
        (folder / "config").mkdir()
        gateway = Gateway(program, folder / "config", {"countersign.toml": config, "policies/all.cedar": POLICY})
        try:
            check(gateway, issuer, asked, signing, folder)
        finally:
            gateway.end()
    print("ok: openid-client, @actions/core and countersign exchange what they have")


def check(gateway, issuer, asked, signing, folder) -> None:
    job = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COUNTERSIGN_")},
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{asked.server_port}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner",
        "XDG_CONFIG_HOME": str(folder),
    }
    settings = json.dumps({"url": gateway.url, "client": "agent:signer", "key": signing})
    done = subprocess.run(["node", ROOT / "exchange" / "clients.mjs", settings], env=job, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    refused = found.pop("refused")
    assert 0 < found.pop("job_lasts") <= 300
    assert found == {
        "assertion": "agent:signer", "bound": "agent:signer", "bound_type": "dpop", "bound_as_bearer": 401,
        "job": "agent:shop", "job_bound": "agent:shop",
    }, found
    assert (refused["error"], refused["status"]) == ("invalid_request", 400), refused
    assert "ask for the audience" in refused["why"], refused

    mine = folder / "token"
    mine.write_text(issuer.token(gateway.url) + "\n")
    signing_file = folder / "signer.jwk"
    signing_file.touch(mode=0o600)
    signing_file.write_text(json.dumps(signing))
    job["JOB_TOKEN"] = issuer.token(gateway.url)
    for identity, named, subject in [
        ("github-actions", None, "agent:shop"),
        ("env:JOB_TOKEN", None, "agent:shop"),
        (f"file:{mine}", None, "agent:shop"),
        (f"key:{folder / 'nightly.pem'}", "workload:nightly", "workload:nightly"),
        (f"key:{signing_file}", "agent:signer", "agent:signer"),
    ]:
        env = {**job, "COUNTERSIGN_URL": gateway.url, "COUNTERSIGN_IDENTITY": identity}
        if named:
            env["COUNTERSIGN_AS"] = named
        who = gateway.run("--json", "whoami", env=env)
        assert who.returncode == 0, who.stderr
        assert json.loads(who.stdout)["subject"] == subject, who.stdout
    env = {**job, "COUNTERSIGN_URL": gateway.url, "COUNTERSIGN_IDENTITY": "github-actions"}
    ran = gateway.run("run", "--target", "tools", "--", "true", env=env)
    assert ran.returncode == 0, ran.stderr
    mine.write_text(issuer.token("https://elsewhere.example"))
    ran = gateway.run("run", "--target", "tools", "--", "true", env={**env, "COUNTERSIGN_IDENTITY": f"file:{mine}"})
    assert ran.returncode == 69 and "audience" in ran.stderr, (ran.returncode, ran.stderr)
    both = gateway.run("whoami", env={**env, "COUNTERSIGN_TOKEN": "cst_x"})
    assert both.returncode != 0 and "both set" in both.stderr, both.stderr


if __name__ == "__main__":
    main()
