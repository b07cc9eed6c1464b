//! Real processes: what they get, and what comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use countersign_core::canonical::Hash;
use countersign_runner::resolve::{ResolveError, resolve};
use countersign_runner::spawn::{
    Command, Environment, Exit, Finished, Output, Scratch, SpawnError, User, close_inherited, run,
};
use countersign_runner::vault::Secret;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn path() -> Vec<PathBuf> {
    vec!["/usr/bin".into(), "/bin".into()]
}

pub(crate) struct Place {
    _parent: TempDir,
    scratch: Scratch,
}

pub(crate) fn place() -> Place {
    let parent = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(parent.path(), None).unwrap();
    fs::create_dir(scratch.inputs()).unwrap();
    Place {
        _parent: parent,
        scratch,
    }
}

impl Place {
    pub(crate) fn dir(&self) -> PathBuf {
        self.scratch.inputs()
    }

    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        Command {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            resolved: resolve(argv[0], &path(), &self.dir()).unwrap(),
            dir: self.dir(),
            env: Environment::new(&path(), &self.scratch.home(), &self.scratch.temporary()),
            run_as: None,
            stdin: None,
            timeout: Duration::from_secs(20),
            output_limit: 1 << 20,
        }
    }

    pub(crate) fn shell(&self, script: &str) -> Command {
        self.command(&["bash", "-c", script])
    }
}

pub(crate) async fn collect(command: Command) -> (Finished, String, String) {
    let (sender, mut receiver) = mpsc::channel(4);
    let gather = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(output) = receiver.recv().await {
            match output {
                Output::Stdout(bytes) => out.extend_from_slice(&bytes),
                Output::Stderr(bytes) => err.extend_from_slice(&bytes),
            }
        }
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    };
    let (finished, (out, err)) =
        tokio::join!(run(command, sender, CancellationToken::new()), gather);
    (finished.unwrap(), out, err)
}

#[tokio::test]
async fn output_status_and_hashes_come_back() {
    let place = place();
    let (finished, out, err) = collect(place.shell("printf out; printf err >&2; exit 3")).await;
    assert_eq!(
        (finished.exit, out.as_str(), err.as_str()),
        (Exit::Code(3), "out", "err")
    );
    assert_eq!(
        (finished.stdout.bytes, finished.stdout.sha256),
        (3, Hash::of(b"out"))
    );
    assert_eq!(
        (finished.stderr.bytes, finished.stderr.sha256),
        (3, Hash::of(b"err"))
    );
    assert!(!finished.left_behind && finished.stdout.undelivered == 0);
    let (finished, ..) = collect(place.shell("kill -SEGV $$")).await;
    assert_eq!(finished.exit, Exit::Signal(11));
}

#[tokio::test]
async fn the_program_sees_the_name_it_was_called_by_and_scripts_find_themselves() {
    let place = place();
    let (_, out, _) = collect(place.command(&["bash", "-c", "echo \"$0 $PWD\""])).await;
    assert_eq!(out, format!("bash {}\n", place.dir().display()));
    let script = place.dir().join("where.sh");
    fs::write(
        &script,
        "#!/usr/bin/env bash\ncd \"$(dirname \"$0\")\" && cat data; echo \"$1\"\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.dir().join("data"), "found ").unwrap();
    let (finished, out, err) = collect(place.command(&["./where.sh", "a b"])).await;
    assert_eq!(
        (finished.exit, out.as_str(), err.as_str()),
        (Exit::Code(0), "found a b\n", "")
    );
}

#[tokio::test]
async fn nothing_is_inherited() {
    let place = place();
    let mut command = place.command(&["env"]);
    command
        .env
        .set_from_caller("VERSION", "1 2", &["VERSION".into()])
        .unwrap();
    for name in ["LD_PRELOAD", "PATH", "BASH_ENV", "GIT_SSH", "OTHER"] {
        assert!(
            command
                .env
                .set_from_caller(name, "x", &[name.replace("OTHER", "")])
                .is_err()
        );
    }
    let (_, out, _) = collect(command).await;
    let mut lines: Vec<&str> = out
        .lines()
        .filter(|line| !line.starts_with("COUNTERSIGN_RUN="))
        .collect();
    lines.sort_unstable();
    let home = format!("HOME={}", place.scratch.home().display());
    let temporary = format!("TMPDIR={}", place.scratch.temporary().display());
    assert_eq!(
        lines,
        [
            &home,
            "LANG=C.UTF-8",
            "PATH=/usr/bin:/bin",
            &temporary,
            "VERSION=1 2"
        ]
    );
}

#[tokio::test]
async fn no_open_file_is_inherited() {
    close_inherited().unwrap();
    let _open = fs::File::open("/etc/passwd").unwrap();
    let (_, out, _) = collect(place().command(&["ls", "/proc/self/fd"])).await;
    assert_eq!(
        out, "0\n1\n2\n3\n",
        "three streams and what `ls` itself opened"
    );
}

#[tokio::test]
async fn standard_input_is_given_or_empty() {
    let place = place();
    let (_, out, _) = collect(place.command(&["cat"])).await;
    assert_eq!(out, "");
    let input = "x".repeat(200_000);
    let (finished, out, _) = collect(Command {
        stdin: Some(Bytes::from(input.clone())),
        ..place.command(&["cat"])
    })
    .await;
    assert_eq!((finished.exit, out.len()), (Exit::Code(0), input.len()));
    let (finished, ..) = collect(Command {
        stdin: Some(Bytes::from(input)),
        ..place.command(&["true"])
    })
    .await;
    assert_eq!(
        finished.exit,
        Exit::Code(0),
        "input that nobody reads is no failure"
    );
}

#[tokio::test]
async fn a_replaced_executable_is_not_started() {
    let place = place();
    let tool = place.dir().join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    let command = place.command(&["./tool"]);
    fs::copy("/bin/false", &tool).unwrap();
    let (sender, _receiver) = mpsc::channel(1);
    let result = run(command, sender.clone(), CancellationToken::new()).await;
    assert!(matches!(
        result,
        Err(SpawnError::Resolve(ResolveError::Changed { .. }))
    ));

    // Replaced by a link to the same content: not the file that was approved.
    let command = place.command(&["./tool"]);
    fs::remove_file(&tool).unwrap();
    std::os::unix::fs::symlink("/bin/false", &tool).unwrap();
    let result = run(command, sender, CancellationToken::new()).await;
    assert!(matches!(
        result,
        Err(SpawnError::Resolve(ResolveError::Io { .. }))
    ));
}

#[test]
fn a_binary_that_was_verified_is_what_its_name_opens() {
    let place = place();
    let tool = place.dir().join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    let verified = resolve("./tool", &[], &place.dir())
        .unwrap()
        .verify_again()
        .unwrap();
    fs::remove_file(&tool).unwrap();
    fs::copy("/bin/false", &tool).unwrap();
    assert!(
        std::process::Command::new(verified.program())
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn commands_that_can_not_start_say_so() {
    let place = place();
    let (sender, _receiver) = mpsc::channel(1);
    let fails = async |change: fn(&mut Command)| {
        let mut command = place.command(&["true"]);
        change(&mut command);
        run(command, sender.clone(), CancellationToken::new())
            .await
            .unwrap_err()
    };
    assert!(matches!(fails(|c| c.argv.clear()).await, SpawnError::Empty));
    assert!(matches!(
        fails(|c| c.argv.push("a\0".into())).await,
        SpawnError::Nul
    ));
    assert!(matches!(
        fails(|c| c.dir = "/no/such".into()).await,
        SpawnError::Start(_)
    ));
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = run(place.command(&["true"]), sender, cancel).await;
    assert!(matches!(result, Err(SpawnError::Cancelled)));
}

#[tokio::test]
async fn output_has_a_limit() {
    let place = place();
    let started = Instant::now();
    let (finished, out, _) = collect(Command {
        output_limit: 1000,
        ..place.command(&["yes"])
    })
    .await;
    assert_eq!(
        (finished.exit, out.len(), finished.stdout.bytes),
        (Exit::OutputLimit, 1000, 1000)
    );
    assert_eq!(finished.stdout.sha256, Hash::of(out.as_bytes()));
    assert!(started.elapsed() < Duration::from_secs(5));
    let short = Command {
        output_limit: 3,
        ..place.shell("printf 1234")
    };
    let (finished, out, _) = collect(short).await;
    assert_eq!((finished.exit, out.as_str()), (Exit::OutputLimit, "123"));
    let exact = Command {
        output_limit: 4,
        ..place.shell("printf 12; printf 34 >&2")
    };
    assert_eq!(collect(exact).await.0.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_receiver_that_goes_away_stops_nothing() {
    let place = place();
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let command = place.shell("head -c 300000 /dev/zero; touch done");
    let finished = run(command, sender, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    assert_eq!(
        (finished.stdout.bytes, finished.stdout.undelivered),
        (300_000, 300_000)
    );
    assert_eq!(finished.stdout.sha256, Hash::of(&vec![0; 300_000]));
    assert!(place.dir().join("done").exists());
}

#[tokio::test]
async fn a_receiver_that_never_reads_holds_it_up_only_until_the_timeout() {
    let place = place();
    let (sender, _receiver) = mpsc::channel(1);
    let started = Instant::now();
    let command = Command {
        timeout: Duration::from_millis(500),
        ..place.shell("head -c 900000 /dev/zero")
    };
    let finished = run(command, sender, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(finished.exit, Exit::TimedOut);
    assert!(finished.stdout.undelivered > 0);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn secrets_reach_the_command_but_not_its_output() {
    let place = place();
    let mut command = place.shell(
        "printf %s \"$TOKEN\"; printf '%s' \"${TOKEN:0:5}\"; sleep 0.2; printf '%s!' \"${TOKEN:5}\"; \
         printf 'user:%s' \"$TOKEN\" | base64; printf %s \"$TOKEN\" >&2; [ \"$TOKEN\" = hunter2hunter3 ]",
    );
    command
        .env
        .set_secret("TOKEN", Secret::new(b"hunter2hunter3".to_vec()).unwrap())
        .unwrap();
    let (finished, out, err) = collect(command).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert_eq!((out.as_str(), err.as_str()), ("***!dXNlcjp***w==\n", "***"));
    assert_eq!(
        finished.stdout.sha256,
        Hash::of(out.as_bytes()),
        "the hash is of what left"
    );
}

#[tokio::test]
async fn another_user_runs_it() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let user = User {
        uid: 12_345,
        gid: 23_456,
        name: "agent".into(),
    };
    let scratch = Scratch::new(parent.path(), Some(user.owner())).unwrap();
    let command = Command {
        argv: vec![
            "bash".into(),
            "-c".into(),
            "id -u; id -g; id -G; echo $USER; touch $HOME/x; pwd".into(),
        ],
        resolved: resolve("bash", &path(), &scratch.home()).unwrap(),
        dir: scratch.home(),
        env: Environment::new(&path(), &scratch.home(), &scratch.temporary()),
        run_as: Some(user),
        stdin: None,
        timeout: Duration::from_secs(10),
        output_limit: 1000,
    };
    let (finished, out, err) = collect(command).await;
    assert_eq!(err, "");
    assert_eq!(
        out,
        format!("12345\n23456\n23456\nagent\n{}\n", scratch.home().display())
    );
    assert_eq!(finished.exit, Exit::Code(0));
    scratch.remove().unwrap();
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
