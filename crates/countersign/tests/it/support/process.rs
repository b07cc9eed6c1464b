//! The real binary as a server and as a command.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The binary.
pub(crate) fn countersign() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A running server; killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts.
    pub(crate) fn spawn(config: &Path, data: &Path) -> Self {
        Self::spawn_with(config, data, &[])
    }

    fn spawn_with(config: &Path, data: &Path, options: &[&str]) -> Self {
        let mut command = countersign();
        // What a killed server leaves behind goes with the rest.
        let temporary = data.with_extension("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        command.env("TMPDIR", temporary);
        command.arg("up").args(options).arg("--config").arg(config);
        command.arg("--data").arg(data).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// Starts and waits until it answers.
    pub(crate) async fn start(config: &Path, data: &Path, url: &str) -> Self {
        Self::start_with(config, data, url, &[]).await
    }

    /// The same with options of `up`.
    pub(crate) async fn start_with(
        config: &Path,
        data: &Path,
        url: &str,
        options: &[&str],
    ) -> Self {
        let mut server = Self::spawn_with(config, data, options);
        let http = super::client();
        let started = Instant::now();
        loop {
            if http.get(format!("{url}/v1/health")).send().await.is_ok() {
                return server;
            }
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(started.elapsed() < PATIENCE, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// `countersign run` with a token.
pub(crate) fn run(url: &str, token: &str, options: &[&str], argv: &[&str]) -> Command {
    let mut command = countersign();
    command
        .args(["run", "--target", "tools"])
        .args(options)
        .arg("--")
        .args(argv)
        .env("COUNTERSIGN_URL", url)
        .env("COUNTERSIGN_TOKEN", token)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end without blocking the test.
pub(crate) async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What a command wrote to its error output.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the command that stands behind `after` in what was said, as somebody who pastes it.
pub(crate) fn pasted(said: &str, after: &str) -> Output {
    let (_, command) = said
        .split_once(after)
        .unwrap_or_else(|| panic!("nothing stands behind {after:?}: {said}"));
    let command = command.lines().next().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_countersign"))
        .parent()
        .unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("PATH", path);
    shell.stdin(Stdio::null()).output().unwrap()
}
