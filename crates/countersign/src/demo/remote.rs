//! A git server that accepts pushes only with a password.
//!
//! In scope: git's own smart HTTP, served by git's own `git http-backend`, behind Basic
//! authentication.
//! Specification: <https://git-scm.com/docs/git-http-backend>, RFC 3875 (CGI), RFC 7617.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_core::canonical::Hash;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command};

use crate::{identity::same_secret, keys};

/// The largest push, in bytes.
const MAX_PUSH: usize = 64 << 20;

/// The server and what it knows.
#[derive(Clone)]
pub(super) struct Remote {
    /// The bare repository.
    pub(super) repository: PathBuf,
    /// Where it is served.
    pub(super) url: String,
    /// The one password.
    pub(super) password: String,
    root: PathBuf,
}

impl Remote {
    /// Makes a repository with a branch `release` and serves it.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<Self> {
        let root = dir.join("remote");
        let repository = root.join("release.git");
        std::fs::create_dir_all(&root)?;
        git(
            dir,
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=release",
                path(&repository)?,
            ],
        )
        .await?;
        for setting in [
            "http.receivepack",
            "receive.denyNonFastForwards",
            "receive.denyDeletes",
        ] {
            git(&repository, &["config", setting, "true"]).await?;
        }
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let remote = Self {
            repository,
            url: format!("http://{}/release.git", listener.local_addr()?),
            password: Hash(keys::random()?).to_hex(),
            root,
        };
        let app = Router::new().fallback(serve).with_state(remote.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        Ok(remote)
    }

    fn is_authorised(&self, request: &Request) -> bool {
        let expected = format!(
            "Basic {}",
            STANDARD.encode(format!("runner:{}", self.password))
        );
        let given = request.headers().get(header::AUTHORIZATION);
        given
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| same_secret(value, &expected))
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .context("the demo's directory has a name that is not UTF-8")
}

/// Runs git, failing with what it says.
pub(super) async fn git(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = command(dir, arguments)
        .output()
        .await
        .context("git is not installed")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Git without the settings of whoever runs the demo.
pub(super) fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    git
}

async fn serve(State(remote): State<Remote>, request: Request) -> Response {
    if !remote.is_authorised(&request) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"release\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    match backend(&remote, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

/// Hands the request to git and turns its CGI answer into HTTP.
async fn backend(remote: &Remote, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_PUSH).await?;
    let text = |name: HeaderName| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut git = command(&remote.root, &["http-backend"]);
    git.env("GIT_PROJECT_ROOT", &remote.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "runner")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text(header::CONTENT_ENCODING))
        .env(
            "GIT_PROTOCOL",
            text(HeaderName::from_static("git-protocol")),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = git.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let writing = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    // Git may answer without reading everything.
    let _closed_early = writing.await?;
    answer(&output.stdout)
}

fn answer(output: &[u8]) -> anyhow::Result<Response> {
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("no CGI header")?;
    let (head, body) = output.split_at(end);
    let mut response = Response::new(Body::from(body.get(4..).unwrap_or_default().to_vec()));
    for line in std::str::from_utf8(head)?.lines() {
        let (name, value) = line
            .split_once(": ")
            .context("a CGI header without a value")?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse()?;
        } else {
            let name: HeaderName = name.parse()?;
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(response)
}
