//! Where a credential comes from.
//!
//! In scope: `credential = { env | file | command }` of a target's configuration.
//! Out of scope: the text of that configuration.
//! Invariant: no error and no log line holds any part of a value or of a command's output.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::Secret;
use crate::quote::{quote_argv, reveal};

/// No credential is larger than this, in bytes.
const MAX_SECRET: u64 = 64 * 1024;
/// How long a credential command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A place that holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A variable of the gateway's own environment.
    Env(String),
    /// A file that others on the machine can't read.
    File(PathBuf),
    /// The output of a command, which runs with the gateway's own environment.
    Command(Vec<String>),
}

/// Why a credential can't be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It could not be had a moment ago.
    #[error("it could not be had a moment ago")]
    Lately,
    /// It has no bytes.
    #[error("the credential is empty")]
    Empty,
    /// It has a zero byte.
    #[error("the credential has a zero byte, which an environment can't hold")]
    Nul,
    /// It can't sign webhooks.
    #[error("the secret can't sign: write `whsec_` and the base64 of 24 to 64 random bytes")]
    NotSigning,
    /// It is no private key.
    #[error("the secret can't sign: write a private RSA key in PEM (`BEGIN RSA PRIVATE KEY`)")]
    NotAKey,
    /// It can be guessed.
    #[error("the secret is short: use 16 random characters or more")]
    TooShort,
    /// It can't be the value of a header.
    #[error("the secret can't stand in a header: write one line of plain characters")]
    NotAHeader,
    /// The variable is not set.
    #[error("the gateway's environment has no variable `{0}`: set it where the gateway is started")]
    NoVariable(String),
    /// Others can read or write the file.
    #[error("everybody on this machine can access `{0}`: run `chmod o= {0}`")]
    Exposed(String),
    /// More than 64 KiB, or not a plain file.
    #[error("`{0}` doesn't hold a credential: it is not a plain file, or larger than 64 KiB")]
    NotACredential(String),
    /// The file can't be read.
    #[error("can't read the credential file `{path}`")]
    File {
        /// The file, revealed.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The command can't be started or read.
    #[error("can't run the credential command `{command}`")]
    Start {
        /// The command, quoted.
        command: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The command failed, or printed more than 64 KiB.
    #[error("the credential command `{0}` failed or printed too much: run it by hand to see why")]
    Failed(String),
    /// The command took too long.
    #[error("the credential command `{0}` took longer than 10 s")]
    TimedOut(String),
}

impl Source {
    /// Fetches the credential as it is now. One newline at the end is dropped, from files and
    /// commands only.
    ///
    /// # Errors
    /// [`VaultError`], see its variants.
    pub async fn fetch(&self) -> Result<Secret, VaultError> {
        match self {
            Self::Env(name) => {
                use std::os::unix::ffi::OsStringExt;
                let value =
                    std::env::var_os(name).ok_or_else(|| VaultError::NoVariable(reveal(name)))?;
                Secret::new(value.into_vec())
            }
            Self::File(path) => {
                let path = path.clone();
                // A file can lie on a network file system that doesn't answer.
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|_| VaultError::NotACredential("the file".to_owned()))?
            }
            Self::Command(argv) => read_command(argv, COMMAND_TIMEOUT).await,
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, VaultError> {
    let shown = reveal(&path.to_string_lossy());
    let failed = |source| VaultError::File {
        path: shown.clone(),
        source,
    };
    // Not to wait for a writer when somebody put a pipe there.
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_SECRET {
        return Err(VaultError::NotACredential(shown));
    }
    if metadata.mode() & 0o007 != 0 {
        return Err(VaultError::Exposed(shown));
    }
    // Large enough that the buffer is never moved, which would leave a copy behind.
    let mut value = Zeroizing::new(Vec::with_capacity(capacity()));
    file.take(MAX_SECRET)
        .read_to_end(&mut value)
        .map_err(failed)?;
    trimmed(&mut value)
}

async fn read_command(argv: &[String], limit: Duration) -> Result<Secret, VaultError> {
    let shown = quote_argv(argv);
    let failed = |source| VaultError::Start {
        command: shown.clone(),
        source,
    };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(VaultError::Failed(shown));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains about can quote the secret.
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let mut value = Zeroizing::new(Vec::with_capacity(capacity()));
    let finished = tokio::time::timeout(limit, async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_SECRET + 1).read_to_end(&mut value).await?;
        }
        child.wait().await
    })
    .await;
    match finished {
        Ok(Ok(status)) if status.success() && value.len() < capacity() - 1 => trimmed(&mut value),
        Ok(Ok(_)) => Err(VaultError::Failed(shown)),
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => {
            // Only while the child is not reaped is its number certainly the group's.
            if let Some(group) = group.filter(|_| child.id().is_some()) {
                let _ = killpg(group, Signal::SIGKILL);
            }
            Err(VaultError::TimedOut(shown))
        }
    }
}

fn trimmed(value: &mut Zeroizing<Vec<u8>>) -> Result<Secret, VaultError> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Secret::new(std::mem::take(&mut **value))
}

fn capacity() -> usize {
    usize::try_from(MAX_SECRET).unwrap_or(usize::MAX - 2) + 2
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn files_are_private_and_lose_one_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credential");
        let source = Source::File(path.clone());
        for (content, mode, expected) in [
            ("key\n", 0o600, Ok("key")),
            ("key\r\n", 0o640, Ok("key")),
            ("key\n\n", 0o600, Ok("key\n")),
            (" key ", 0o400, Ok(" key ")),
            ("key", 0o644, Err("everybody on this machine")),
            ("key", 0o602, Err("everybody on this machine")),
            ("\n", 0o600, Err("empty")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (source.fetch().await, expected) {
                (Ok(secret), Ok(value)) => assert_eq!(secret.expose(), value.as_bytes()),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (got, _) => panic!("{content:?} {mode:o}: {got:?}"),
            }
        }
        assert!(Source::File(dir.path().to_owned()).fetch().await.is_err());
        assert!(Source::File(dir.path().join("none")).fetch().await.is_err());
    }

    #[tokio::test]
    async fn commands_give_their_output_or_nothing() {
        assert_eq!(command("echo key").fetch().await.unwrap().expose(), b"key");
        for (script, text) in [
            ("echo key; exit 1", "failed"),
            ("head -c 70000 /dev/zero | tr '\\0' x", "failed"),
            ("true", "empty"),
        ] {
            let error = command(script).fetch().await.unwrap_err().to_string();
            assert!(error.contains(text), "{script}: {error}");
        }
        let missing = Source::Command(vec!["no-such-program".into()])
            .fetch()
            .await;
        assert!(matches!(missing, Err(VaultError::Start { .. })));
        assert!(Source::Command(Vec::new()).fetch().await.is_err());
        assert!(matches!(
            Source::Env("COUNTERSIGN_NOT_SET".into()).fetch().await,
            Err(VaultError::NoVariable(_))
        ));
        assert!(
            !Source::Env("PATH".into())
                .fetch()
                .await
                .unwrap()
                .expose()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("(sleep 1; touch {}) & sleep 60", mark.display());
        let started = Instant::now();
        let argv = ["sh", "-c", &script].map(str::to_owned);
        let result = read_command(&argv, Duration::from_millis(200)).await;
        assert!(matches!(result, Err(VaultError::TimedOut(_))));
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!mark.exists());
    }
}
