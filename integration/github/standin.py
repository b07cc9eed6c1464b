"""A stand-in for GitHub's interface for Apps, as far as deployments need it.

GitHub's own libraries take it for GitHub (deployment.py says so first). It believes an App by its signature alone, gives
tokens for one repository and for an hour, says what a run is, takes an answer for a job that waits, once, and refuses what
GitHub refuses. As at GitHub, an answer is for a run and an environment, whichever attempt the run is at.
"""

import base64
import http.server
import json
import re
import secrets
import threading
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

ANSWER = re.compile(r"/repos/([\w.-]+/[\w.-]+)/actions/runs/(\d+)/deployment_protection_rule")
RUN = re.compile(r"/repos/([\w.-]+/[\w.-]+)/actions/runs/(\d+)")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class GitHub:
    """An App, its installation, and jobs that wait."""

    app, installation, repository, repository_id = 123456, 77, "acme/shop", 1296269

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.secret = secrets.token_hex(20)
        self.tokens: dict[str, dict] = {}
        self.runs: dict[int, dict] = {}
        self.waiting: set[tuple[int, str]] = set()
        self.answers: list[dict] = []
        self.weather: list[tuple[int, dict]] = []
        self.calls: list[tuple[str, int]] = []
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.api = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pem(self) -> str:
        """The private key as GitHub hands it out."""
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        return self.key.private_bytes(*form).decode()

    def of(self, run: int, environment: str = "production") -> list[dict]:
        """What was answered for a job."""
        with self.lock:
            return [one for one in self.answers if (one["run"], one["environment"]) == (run, environment)]

    def states(self, run: int, environment: str = "production") -> list[str]:
        return [one["state"] for one in self.of(run, environment) if one["state"]]

    def begin(self, run: int, environment: str, by: dict, sha: str, **more: object) -> None:
        """Somebody has a workflow run, whose job waits for an environment."""
        here = {"id": self.repository_id, "full_name": self.repository}
        with self.lock:
            self.runs[run] = {
                "id": run, "run_attempt": 1, "status": "waiting", "conclusion": None, "head_sha": sha, "head_branch": "main",
                "event": "push", "actor": by, "triggering_actor": by, "repository": here, "head_repository": here,
                "pull_requests": [{"id": 1, "number": 12}], **more,
            }
            self.waiting.add((run, environment))

    def cancel(self, run: int) -> None:
        with self.lock:
            self.runs[run].update(status="completed", conclusion="cancelled")
            self.waiting = {one for one in self.waiting if one[0] != run}

    def again(self, run: int, environment: str, by: dict) -> None:
        """Somebody has it run again: the same run, at its next attempt."""
        self.cancel(run)
        with self.lock:
            attempt = self.runs[run]["run_attempt"] + 1
            self.runs[run].update(status="waiting", conclusion=None, run_attempt=attempt, triggering_actor=by)
            self.waiting.add((run, environment))

    def told(self, attempt: int, run: int) -> list[str]:
        """What was decided while a run was at an attempt."""
        with self.lock:
            return [one["state"] for one in self.answers if (one["run"], one["attempt"]) == (run, attempt) and one["state"]]

    def believes(self, word: str) -> bool:
        """Whether this is the App: signed, made lately, and for at most ten minutes."""
        try:
            head, claims, signature = word.split(".")
            self.key.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())
            header, claims = json.loads(decoded(head)), json.loads(decoded(claims))
        except (ValueError, InvalidSignature):
            return False
        now = time.time()
        lasts = claims["exp"] - claims["iat"]
        return (header["alg"] == "RS256" and str(claims["iss"]) == str(self.app)
                and claims["iat"] <= now < claims["exp"] and lasts <= 660)

    def token(self, installation: int, wanted: dict) -> tuple[int, dict]:
        if installation != self.installation:
            return 404, {"message": "Not Found"}
        if not set(wanted.get("repository_ids", [self.repository_id])) <= {self.repository_id}:
            return 422, {"message": "There is at least one repository that does not exist or is not accessible"}
        given = wanted.get("permissions", {"actions": "read", "deployments": "write", "metadata": "read"})
        token = f"ghs_{secrets.token_hex(18)}"
        self.tokens[token] = given
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return 201, {"token": token, "expires_at": expires, "permissions": given, "repository_selection": "selected"}

    def run(self, token: str, repository: str, run: int) -> tuple[int, dict]:
        if token not in self.tokens:
            return 401, {"message": "Bad credentials"}
        if self.tokens[token].get("actions") not in ("read", "write"):
            return 403, {"message": "Resource not accessible by integration"}
        if repository.lower() != self.repository or run not in self.runs:
            return 404, {"message": "Not Found"}
        return 200, self.runs[run]

    def answer(self, token: str, repository: str, run: int, said: dict) -> tuple[int, dict]:
        if token not in self.tokens:
            return 401, {"message": "Bad credentials"}
        if self.tokens[token].get("deployments") != "write":
            return 403, {"message": "Resource not accessible by integration"}
        environment, state, comment = (said.get(name) for name in ("environment_name", "state", "comment"))
        unknown = set(said) - {"environment_name", "state", "comment"}
        if not isinstance(environment, str) or unknown or state not in (None, "approved", "rejected"):
            return 422, {"message": "Invalid request."}
        if state is None and not comment:
            return 422, {"message": "Invalid request. `comment` wasn't supplied."}
        if repository.lower() != self.repository or (run, environment) not in self.waiting:
            return 404, {"message": "Not Found"}
        comments = [one for one in self.answers if (one["run"], one["environment"]) == (run, environment)]
        if state is None and len(comments) >= 10:
            return 422, {"message": "Too many comments"}
        if state is not None:
            self.waiting.discard((run, environment))
        self.answers.append({"run": run, "environment": environment, "state": state, "comment": comment, "at": time.time(),
                             "attempt": self.runs[run]["run_attempt"]})
        return 204, {}

    def end(self) -> None:
        self.server.shutdown()


def handler(github: GitHub) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.answer(self.answered)

        def do_GET(self) -> None:
            self.answer(self.read)

        def answer(self, answered) -> None:  # noqa: ANN001
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with github.lock:
                status, said, headers = answered(json.loads(body or b"{}"))
                github.calls.append((self.path, status))
            sent = b"" if status == 204 else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def read(self, _: dict) -> tuple[int, dict, dict]:
            _, _, word = self.headers.get("authorization", "").partition(" ")
            found = RUN.fullmatch(self.path)
            if not self.headers.get("user-agent") or not found:
                return 404, {"message": "Not Found"}, {}
            return *github.run(word, found[1], int(found[2])), {}

        def answered(self, said: dict) -> tuple[int, dict, dict]:
            # GitHub takes both words before a token, and refuses whoever doesn't say who they are.
            scheme, _, word = self.headers.get("authorization", "").partition(" ")
            if not self.headers.get("user-agent"):
                return 403, {"message": "Request forbidden by administrative rules."}, {}
            if scheme.lower() not in ("bearer", "token"):
                return 401, {"message": "Requires authentication"}, {}
            if found := re.fullmatch(r"/app/installations/(\d+)/access_tokens", self.path):
                if not github.believes(word):
                    return 401, {"message": "A JSON web token could not be decoded"}, {}
                return *github.token(int(found[1]), said), {}
            found = ANSWER.fullmatch(self.path)
            if not found:
                return 404, {"message": "Not Found"}, {}
            if github.weather:
                status, headers = github.weather.pop(0)
                return status, {"message": "weather"}, headers
            return *github.answer(word, found[1], int(found[2]), said), {}

        def log_message(self, *_: object) -> None:
            pass

    return Handler
