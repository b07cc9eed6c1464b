#!/usr/bin/env python3
"""What a crash leaves, at every write: the log never forks and loses nothing that was acknowledged.

Runs a real gateway (the program's path is the first argument) under strace, gives it work, and notes
which answers came when and which checkpoints it published. From what it wrote, the data directory is
then made again as it was at many moments, in three ways:

- killed: everything written until then is there (the kernel still has it);
- power lost, all of it: only what was synced is there, names included;
- power lost, some of it: of what was not synced, a random part is there.

On each of them a new gateway must start, verify, continue every checkpoint that was published before
that moment, and have every request that was answered before it.

Then half of its journal is cut off, and `log new-epoch` goes through the same: wherever it stops,
running it again must finish it, keep the old log as it was, and leave a gateway that starts.

The second argument is how many moments are tried of each, chosen by chance (`SEED`); without it, all
are.

The simulated disk is worse than a real one where files are overwritten: each write that was not
synced arrives whole, in part or not at all. Where a file grows, its end arrives in order, as file
systems with a journal have it, which write a file's size after its content. Names arrive in any
order, but a rename arrives whole.
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CALLS = "openat,write,pwrite64,pwritev,writev,ftruncate,fdatasync,fsync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
FILES = {
    "countersign.toml": """
[server]
listen = "127.0.0.1:{port}"
[group.ops]
[person."ann@example.com"]
groups = ["ops"]
[person."bob@example.com"]
groups = ["ops"]
[target.tools]
kind = "exec"
environment = "production"
[[target.tools.command]]
argv = ["echo", "hold", "{number:number}"]
action = "hold"
group = "write"
[[target.tools.command]]
argv = ["true"]
action = "run-true"
group = "read"
""",
    "approvals.toml": '[approval.ops]\nstages = [{ from = ["group:ops"], count = 1 }]\n',
    "policies/all.cedar": """
@id("people-run")
permit (principal is Person, action, resource);
@id("writes-are-signed") @approval("ops")
forbid (principal, action in Action::"write", resource);
""",
}
PATIENCE = 60


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def configure(folder: pathlib.Path, port: int) -> str:
    """The same files everywhere: what was trusted once is served from the data, its port included."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{port}", str(port)))
    return f"http://127.0.0.1:{port}"


def ask(url: str, body=None, token: str = "") -> bytes:
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


class Witness:
    """What somebody outside saw, and when."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, str]] = []
        self.checkpoints: list[tuple[float, bytes]] = []


def traced(command: list[str], trace: pathlib.Path) -> list[str]:
    return ["strace", "-f", "-ttt", "-y", "-xx", "-s", "100000000", "-o", str(trace), "-e", f"trace={CALLS}"] + command


def work(program: str, folder: pathlib.Path, trace: pathlib.Path, port: int) -> Witness:
    """Lives through a first start and some actions, under strace."""
    url, seen = configure(folder, port), Witness()
    command = traced([program, "up", "--config", str(folder)], trace)
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    links = []
    for line in server.stderr:
        links += re.findall(r"csl_[\w-]{43}", line)
        if len(links) == 2:
            break
    assert len(links) == 2, server.stderr.read()
    threading.Thread(target=server.stderr.read, daemon=True).start()
    for _ in range(200):
        try:
            ask(f"{url}/v1/health")
            break
        except OSError:
            time.sleep(0.1)
    token = json.loads(ask(f"{url}/v1/login", {"link": links[0]}))["token"]

    def run(words: list[str]) -> None:
        body = {"target": "tools", "argv": words, "wait_ms": 0}
        lines = ask(f"{url}/v1/run", body, token).decode().splitlines()
        ids = {json.loads(line).get("request") for line in lines} - {None}
        seen.requests += [(time.time(), one) for one in ids]

    for number in range(24):
        run(["true"] if number % 3 else ["echo", "hold", str(number)])
        if number % 6 == 5:
            time.sleep(1.1)
            seen.checkpoints.append((time.time(), ask(f"{url}/v1/log/checkpoint")))
    children = subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[0]), signal.SIGTERM)
    server.wait(timeout=PATIENCE)
    return seen


class Inode:
    """A file: as it is, as it was synced last, and what was done to it since."""

    def __init__(self, content: bytes = b"") -> None:
        self.data = bytearray(content)
        self.synced = content
        self.since: list[tuple[str, int, bytes]] = []

    def do(self, how: str, at: int, data: bytes = b"") -> None:
        change(self.data, how, at, data)
        self.since.append((how, at, data))

    def sync(self) -> None:
        self.synced = bytes(self.data)
        self.since.clear()

    def torn(self, dice: random.Random) -> bytes:
        """Some of what was not synced arrived. Of what grows a file, a beginning did: its size comes last."""
        found, cut = bytearray(self.synced), False
        for how, at, data in self.since:
            fate = dice.choice(("whole", "torn", "lost"))
            if how == "append" and cut:
                continue
            if fate == "whole" or (fate == "torn" and how == "size"):
                change(found, how, at, data)
            elif fate == "torn":
                change(found, how, at, data[: dice.randint(0, len(data))])
            cut = cut or fate != "whole"
        return bytes(found)


def change(content: bytearray, how: str, at: int, data: bytes) -> None:
    if how == "size":
        del content[at:]
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Folder:
    """A directory: its names as they are, and as they are certain to be after a loss of power."""

    def __init__(self) -> None:
        self.names: dict[str, Inode | Folder] = {}
        self.durable: dict[str, Inode | Folder] = {}


class Disk:
    """Files under one directory, as they are and as they would be after a loss of power."""

    def __init__(self, root: str, before: dict[str, bytes | None]) -> None:
        self.root = root
        self.top = Folder()
        # What happened to names and is not certain to last: what each act changes, in order.
        self.since: list[list[tuple[Folder, str, Inode | Folder | None]]] = []
        self.places: dict[int, list] = {}
        for path in sorted(before):
            self.name({path: Folder() if before[path] is None else Inode(before[path])})
        for act in self.since:
            self.last(act)
        self.since = []

    def inside(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def find(self, path: str) -> "Inode | Folder | None":
        found = self.top
        for name in pathlib.PurePath(path).relative_to(self.root).parts if self.inside(path) else ("",):
            found = found.names.get(name) if isinstance(found, Folder) else None
        return found

    def name(self, changes: dict[str, "Inode | Folder | None"]) -> None:
        """Gives names to files and directories, or takes them away, in one act."""
        act = []
        for path, one in changes.items():
            folder, name = self.find(os.path.dirname(path)), os.path.basename(path)
            act.append((folder, name, one))
            change_name(folder.names, name, one)
        self.since.append(act)

    def last(self, act) -> None:
        for folder, name, one in act:
            change_name(folder.durable, name, one)

    def sync(self, one: "Inode | Folder") -> None:
        if isinstance(one, Inode):
            one.sync()
            return
        touches = lambda act: any(folder is one for folder, _, _ in act)
        for act in filter(touches, self.since):
            self.last(act)
        self.since = [act for act in self.since if not touches(act)]

    def state(self, lost: str, dice: random.Random) -> dict[str, bytes | None]:
        kept: dict[Folder, dict] = {}
        if lost == "some":
            for act in self.since:
                if dice.random() < 0.5:
                    for folder, name, one in act:
                        change_name(kept.setdefault(folder, dict(folder.durable)), name, one)
        found: dict[str, bytes | None] = {}

        def walk(folder: Folder, path: str) -> None:
            found[path] = None
            names = folder.names if lost == "nothing" else kept.get(folder, folder.durable)
            for name, one in sorted(names.items()):
                inner = f"{path}/{name}"
                if isinstance(one, Folder):
                    walk(one, inner)
                elif lost == "nothing":
                    found[inner] = bytes(one.data)
                else:
                    found[inner] = one.torn(dice) if lost == "some" else one.synced

        walk(self.top, self.root)
        return found


def change_name(names: dict, name: str, one) -> None:
    if one is None:
        names.pop(name, None)
    else:
        names[name] = one


LINE = re.compile(r"^\d+ +(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def text(encoded: str) -> bytes:
    return bytes.fromhex(encoded.replace("\\x", ""))


def whole_lines(trace: pathlib.Path):
    """Lines of the trace, with calls that other threads interrupted put together."""
    begun = {}
    for line in trace.open():
        thread = line.split(" ", 1)[0]
        if " <unfinished ...>" in line:
            begun[thread] = line.split(" <unfinished ...>")[0]
        elif match := re.match(r"^\d+ +(\d+\.\d+) <\.\.\. \w+ resumed>(.*)", line):
            first = begun.pop(thread, None)
            if first:
                # It took effect before it returned: its end is its moment.
                yield re.sub(r"^(\d+ +)\d+\.\d+", lambda m: m[1] + match[1], first) + match[2] + "\n"
        else:
            yield line


def path_of(descriptor: str) -> str:
    found = re.search(r"<((?:\\x[0-9a-f]{2})*|[^>]*)>", descriptor)
    if not found:
        return ""
    name = found[1]
    name = text(name).decode(errors="replace") if name.startswith("\\x") else name
    return name.removesuffix("(deleted)").rstrip()


def number_of(descriptor: str) -> int:
    return int(re.match(r"-?\d+", descriptor)[0])


def absolute(argument: str, folder: str) -> str:
    name = text(STRING.search(argument)[1]).decode()
    return os.path.normpath(os.path.join(folder, name))


def read_all(root: str) -> dict[str, bytes | None]:
    """Everything below a directory, by name."""
    there = sorted(pathlib.Path(root).rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else None for path in there}


def replay(trace: pathlib.Path, root: str, cwd: str, before: dict[str, bytes | None]):
    """Yields the disk after each call that changed something below `root`, with its moment."""
    disk = Disk(root, before)
    for line in whole_lines(trace):
        match = LINE.match(line)
        if not match or int(match[4]) < 0:
            continue
        moment, call, arguments, result = float(match[1]), match[2], match[3], int(match[4])
        changed = False
        if call == "openat":
            path = absolute(arguments, path_of(arguments.split(",")[0]) or cwd)
            if not disk.inside(path) or "O_DIRECTORY" in arguments:
                continue
            inode = disk.find(path)
            if "O_CREAT" in arguments and inode is None:
                inode, changed = Inode(), True
                disk.name({path: inode})
            if not isinstance(inode, Inode):
                continue
            if "O_TRUNC" in arguments and inode.data:
                inode.do("size", 0)
                changed = True
            disk.places[result] = [inode, 0, "O_APPEND" in arguments]
        elif call in ("write", "pwrite64"):
            inode = disk.find(path_of(arguments))
            if not isinstance(inode, Inode):
                continue
            data = text(STRING.search(arguments)[1])[:result]
            place = disk.places.get(number_of(arguments))
            if call == "pwrite64":
                at = int(arguments.rsplit(",", 1)[1])
            else:
                at = len(inode.data) if place is None or place[2] else place[1]
            inode.do("append" if call == "write" else "write", at, data)
            if place is not None and call == "write":
                place[1] = at + len(data)
            changed = True
        elif call == "ftruncate":
            inode = disk.find(path_of(arguments))
            if isinstance(inode, Inode):
                inode.do("size", int(arguments.rsplit(",", 1)[1]))
                changed = True
        elif call in ("fdatasync", "fsync"):
            one = disk.find(path_of(arguments))
            if one is not None:
                disk.sync(one)
                changed = True
        elif call.startswith("rename"):
            parts = STRING.findall(arguments)
            old, new = (os.path.normpath(os.path.join(cwd, text(one).decode())) for one in parts)
            if disk.find(old) is not None:
                disk.name({old: None, new: disk.find(old)})
                changed = True
        elif call in ("link", "linkat"):
            old, new = (os.path.normpath(os.path.join(cwd, text(one).decode())) for one in STRING.findall(arguments))
            if disk.find(old) is not None:
                disk.name({new: disk.find(old)})
                changed = True
        elif call in ("unlink", "unlinkat", "rmdir"):
            path = absolute(arguments, path_of(arguments) or cwd)
            if disk.find(path) is not None:
                disk.name({path: None})
                changed = True
        elif call in ("mkdir", "mkdirat"):
            path = absolute(arguments, cwd)
            if disk.inside(path) and path != root:
                disk.name({path: Folder()})
                changed = True
        elif disk.inside(path_of(arguments)):
            raise AssertionError(f"a call that is not replayed: {line[:200]}")
        if changed:
            yield moment, call, disk


def put(state: dict[str, bytes | None], root: str, to: pathlib.Path) -> None:
    for name in sorted(state):
        path = to / os.path.relpath(name, root)
        if state[name] is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(state[name])
            path.chmod(0o600)


def check(program: str, data: pathlib.Path, port: int, moment: float, seen: Witness, what: str) -> None:
    """A new gateway starts on `data` and has everything that was seen before `moment`."""
    home = data.parent / "home"
    home.mkdir(exist_ok=True)
    config = data.parent / "config"
    url = configure(config, port)
    server = subprocess.Popen(
        [program, "up", "--config", str(config), "--data", str(data)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(home)},
    )
    started = time.time()
    while True:
        try:
            ask(f"{url}/v1/health")
            break
        except OSError:
            if server.poll() is not None or time.time() - started > PATIENCE:
                raise AssertionError(f"{what}: it does not start: {server.stderr.read()[-2000:]}") from None
            time.sleep(0.02)
    server.kill()
    server.wait(timeout=PATIENCE)
    server.stderr.close()
    command = [program, "log", "verify", str(data)]
    for number, (at, checkpoint) in enumerate(seen.checkpoints):
        if at < moment:
            kept = data.parent / f"kept.{number}"
            kept.write_bytes(checkpoint)
            command += ["--checkpoint", str(kept)]
    verified = subprocess.run(command, capture_output=True, text=True)
    assert verified.returncode == 0, f"{what}: {verified.stdout} {verified.stderr}"
    listed = subprocess.run(
        [program, "--json", "log", "list", str(data), "--last", "0"], capture_output=True, text=True, check=True
    ).stdout
    for at, request in seen.requests:
        assert at >= moment or request in listed, f"{what}: {request} was answered and is gone"


def check_epoch(program: str, data: pathlib.Path, port: int, old: bytes, done: bool, what: str) -> None:
    """A new log is begun or finished, once, and a gateway starts on it."""
    begun, rest = data / "log.1", data / "epoch"
    assert not done or (begun.is_dir() and not rest.exists()), f"{what}: it had finished, and is not done"
    if not begun.is_dir() or rest.exists():
        command = [program, "log", "new-epoch", str(data), "--yes"]
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 0, f"{what}: it can't be run again: {again.stderr}"
    assert (begun / "journal").is_file() and (begun / "journal").read_bytes() == old, f"{what}: the old log was changed"
    assert not (data / "log.2").exists() and not rest.exists(), f"{what}: it was done twice"
    check(program, data, port, 0, Witness(), what)


def crashes(name: str, trace: pathlib.Path, root: str, before, wanted, seed: int, each) -> list[str]:
    """Makes the data again as crashes at some moments left it. Gives what was wrong with some."""
    cwd, dice, tried, wrong = os.getcwd(), random.Random(seed), 0, []
    moments = sum(1 for _ in replay(trace, root, cwd, before))
    chosen = set(range(moments)) if wanted is None else set(dice.sample(range(moments), min(wanted, moments)))
    for number, (moment, call, disk) in enumerate(replay(trace, root, cwd, before)):
        if number not in chosen:
            continue
        for lost in ("nothing", "all", "some"):
            with tempfile.TemporaryDirectory() as again:
                data = pathlib.Path(again) / "data"
                put(disk.state(lost, dice), root, data)
                what = f"{name}, seed {seed}, after call {number} ({call}), {lost} lost"
                try:
                    each(data, moment, number == moments - 1, what)
                except AssertionError as error:
                    wrong.append(str(error))
                    print(error, file=sys.stderr, flush=True)
            tried += 1
    print(f"{name}: seed {seed}, {tried} crashes at {len(chosen)} of {moments} calls, {len(wrong)} wrong", flush=True)
    return wrong


def main() -> None:
    program, wanted = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder).resolve()
        trace, config = folder / "trace", folder / "first"
        config.mkdir()
        port = free_port()
        seen = work(program, config, trace, port)
        root = str(config / "data")
        each = lambda data, moment, _, what: check(program, data, port, moment, seen, what)
        wrong = crashes("a gateway", trace, root, {}, wanted, seed, each)

        journal = config / "data/log/journal"
        old = journal.read_bytes()[: journal.stat().st_size // 2]
        journal.write_bytes(old)
        before = read_all(root)
        command = traced([program, "log", "new-epoch", root, "--yes"], trace)
        subprocess.run(command, check=True, capture_output=True)
        each = lambda data, _, done, what: check_epoch(program, data, port, old, done, what)
        wrong += crashes("a new log", trace, root, before, wanted, seed, each)
    if wrong:
        sys.exit(f"{len(wrong)} crashes lost or broke something")


if __name__ == "__main__":
    main()
