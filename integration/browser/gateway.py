"""A gateway of its own for a test in a browser."""

import pathlib
import re
import signal
import socket
import subprocess
import threading


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Gateway:
    """A gateway with its own configuration, and the links of its first start."""

    def __init__(self, program: str, folder: pathlib.Path, files: dict) -> None:
        self.program, self.folder = program, folder
        self.url = f"http://localhost:{free_port()}"
        port = self.url.rsplit(":", 1)[1]
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("{port}", port))
        self.process = subprocess.Popen(
            [program, "up", "--config", str(folder)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.links = {}
        for line in self.process.stderr:
            if link := re.search(r"sign-in link for (\S+), .*(http\S+)", line):
                self.links[link[1]] = link[2]
            if len(self.links) == files["countersign.toml"].count("[person."):
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def run(self, *words: str, **options) -> subprocess.CompletedProcess:
        return subprocess.run([self.program, *words], capture_output=True, text=True, timeout=60, **options)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0


def token(page, url: str) -> str:
    page.goto(f"{url}/people")
    page.get_by_role("button", name=re.compile("token for my command line", re.I)).click()
    return re.search(r"cst_[\w-]{43}", page.content())[0]
