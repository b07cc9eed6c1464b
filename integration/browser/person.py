"""Somebody with a session in the console, without a browser."""

import http.cookiejar
import json
import re
import subprocess
import urllib.parse
import urllib.request

from gateway import Gateway


class Person:
    """Somebody with a session in the console."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.url, self.name = gateway.url, name
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        link = gateway.links[name]
        csrf = {"csrf": found[1]} if (found := re.search(r'name="csrf" value="([^"]+)"', self.get(link))) else {}
        self.form(link, **csrf)
        self.csrf = re.search(r'name="csrf" value="([^"]+)"', self.get("/accounts"))[1]

    def get(self, at: str) -> str:
        at = at if at.startswith("http") else self.url + at
        with self.opener.open(at, timeout=30) as answer:
            return answer.read().decode()

    def form(self, at: str, **fields: str) -> str:
        at = at if at.startswith("http") else self.url + at
        request = urllib.request.Request(at, urllib.parse.urlencode(fields).encode(),
                                         {"origin": self.url, "sec-fetch-site": "same-origin"})
        with self.opener.open(request, timeout=30) as answer:
            return answer.read().decode()

    def ask(self, at: str, body: dict | None = None) -> dict:
        headers = {"content-type": "application/json", "x-csrf-token": self.csrf, "origin": self.url}
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(urllib.request.Request(self.url + at, data, headers), timeout=30) as answer:
            return json.load(answer)

    def vote(self, request: str, verdict: str = "approve", **more) -> dict:
        seen = self.ask(f"/v1/requests/{request}")
        return self.ask(f"/v1/requests/{request}/votes",
                        {"verdict": verdict, "digest": seen["digest"], "act": seen["act"], **more})

    def code(self) -> str:
        page = self.form("/accounts/code", csrf=self.csrf)
        return re.search(r"([A-Z2-9]{4}-[A-Z2-9]{4}-[A-Z2-9]{4})", page)[1]


def ended(process: subprocess.Popen, status: int) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, (process.returncode, out, err)
    return out + err
