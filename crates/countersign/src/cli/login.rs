//! `countersign login`: from a token of the console, or a single-use link, to a saved token.
//!
//! In scope: reading it, exchanging a link, saving what comes back.
//! Out of scope: who gives out links, and the browser's sessions, which alone vote.
//! Invariant: a link is sent only to the gateway it names, and only its secret.

use std::{
    io::{BufRead, IsTerminal, Read},
    path::Path,
};

use reqwest::Url;

use super::{
    client::{At, Client},
    config::{self, Settings, Sources, TOKEN_VARIABLE, Token},
    failure::Failure,
    output::Output,
    text::shown,
};
use crate::api::types::{IssuedToken, LoginBody, WhoAmI};

const EXAMPLES: &str = "\
Examples:
  countersign login --url https://gate.example.com   # asks for a token from the console, or a link
  pass show countersign-link | countersign login -

Signed in to the console? Make a token under People and agents, Your command line, and paste it
here. Not signed in? An administrator makes a link: countersign people link NAME. Both stay out of
the shell's history when they are pasted.";

/// How the secret of a token begins.
const TOKEN_PREFIX: &str = "cst_";
/// The beginning of a link's secret.
const LINK_PREFIX: &str = "csl_";

/// The longest link, in bytes.
const MAX_LINK: u64 = 8 << 10;

/// Arguments of `countersign login`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The token, sign-in link or its secret; `-` or nothing reads it from standard input
    #[arg(value_name = "LINK")]
    link: Option<String>,
}

/// Signs in and saves the token.
///
/// # Errors
/// When the link is not accepted, or the token can't be saved.
pub(crate) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let text = match args.link.filter(|link| link != "-") {
        Some(link) => link,
        None => read(output)?,
    };
    let (url, secret) = take_apart(text.trim(), sources)?;
    let file = sources.file.as_ref().ok_or_else(|| {
        Failure::usage("there is no place for the configuration file")
            .next("set HOME or XDG_CONFIG_HOME")
    })?;
    let ca = sources.ca(&url)?;
    let issued = match secret.starts_with(TOKEN_PREFIX) {
        true => of_token(&url, secret, ca.as_deref()).await?,
        false => {
            let body = LoginBody { link: secret };
            let client = Client::anonymous(&url, ca.as_deref())?;
            client.post(At::new(&["login"]), &body).await?
        }
    };
    config::write(file, &url, &Token::new(&issued.token)?, ca.as_deref())?;
    // The token itself is saved, not shown.
    let value = serde_json::json!({
        "url": url.as_str(), "subject": issued.subject, "expires": issued.expires, "saved": file,
    });
    output.result(&value, |_, paint| {
        format!(
            "Signed in to {url} as {} until {}.\nSaved in {}.",
            paint.bold(&shown(&issued.subject)),
            issued.expires,
            file.display()
        )
    })?;
    if sources.token.is_some() {
        output.note(format!(
            "{TOKEN_VARIABLE} is set and counts before the file: unset it."
        ));
    }
    Ok(0)
}

/// A token that the console made, once the gateway has said whose it is.
async fn of_token(url: &Url, token: String, ca: Option<&Path>) -> Result<IssuedToken, Failure> {
    let client = Client::new(&Settings {
        url: url.clone(),
        identity: None,
        token: Some(Token::new(&token)?),
        url_from: "the command line".into(),
        token_from: "the command line".into(),
        ca: ca.map(Path::to_path_buf),
    })?;
    let who: WhoAmI = client.get(At::new(&["whoami"])).await?;
    Ok(IssuedToken {
        token,
        subject: who.subject,
        expires: who.expires,
    })
}

fn read(output: &mut Output) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output.note(
            "Paste a token from the console (People and agents, Your command line), or a sign-in \
             link, which an administrator makes with `countersign people link NAME`:",
        );
    }
    let mut text = String::new();
    stdin
        .lock()
        .take(MAX_LINK)
        .read_line(&mut text)
        .map_err(|error| Failure::usage(format!("the link can't be read: {error}")))?;
    Ok(text)
}

/// The gateway and the secret of a link. A bare secret belongs to the configured gateway.
fn take_apart(text: &str, sources: &Sources) -> Result<(Url, String), Failure> {
    let nothing = || {
        Failure::usage("that is neither a sign-in link nor a token").next(
            "take a token from the console (People and agents, Your command line), or ask an \
             administrator for a link (`countersign people link NAME`); give it whole",
        )
    };
    if !text.contains("://") {
        let known = [TOKEN_PREFIX, LINK_PREFIX]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let fits = known && text.bytes().all(|c| c.is_ascii_graphic());
        let secret = fits.then(|| text.to_owned()).ok_or_else(nothing)?;
        return Ok((sources.settings()?.url, secret));
    }
    let link = Url::parse(text).map_err(|_| nothing())?;
    let named = |name: &str| {
        let found = link.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let secret = link
        .fragment()
        .map(str::to_owned)
        .or_else(|| named("link"))
        .or_else(|| {
            link.path_segments()
                .and_then(Iterator::last)
                .map(str::to_owned)
        })
        .filter(|secret| !secret.is_empty() && !matches!(secret.as_str(), "sign-in" | "login"))
        .ok_or_else(nothing)?;
    let mut base = link.clone();
    base.set_fragment(None);
    base.set_query(None);
    // Everything before the page's own path is where the gateway lives.
    let path = link.path();
    let own = path.rfind("/sign-in").or_else(|| path.rfind("/login"));
    let prefix = own.and_then(|at| path.get(..at)).unwrap_or_default();
    base.set_path(prefix);
    Ok((config::gateway(base.as_str())?, secret))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, json_answer},
    };

    #[test]
    fn links_name_gateway_and_secret() {
        let configured = Sources {
            url: Some("https://here.example".into()),
            identity: Default::default(),
            ..Sources::default()
        };
        for (link, url, secret) in [
            (
                "https://gate.example.com/sign-in/abc",
                "https://gate.example.com/",
                "abc",
            ),
            (
                "https://gate.example.com/sign-in#abc",
                "https://gate.example.com/",
                "abc",
            ),
            (
                "https://gate.example.com/sign-in?link=a%2Bc",
                "https://gate.example.com/",
                "a+c",
            ),
            (
                "https://example.com/cs/sign-in/abc",
                "https://example.com/cs/",
                "abc",
            ),
            (
                "http://127.0.0.1:8372/sign-in/abc",
                "http://127.0.0.1:8372/",
                "abc",
            ),
            ("csl_abc", "https://here.example/", "csl_abc"),
            ("cst_abc", "https://here.example/", "cst_abc"),
        ] {
            let (found_url, found) = take_apart(link, &configured).unwrap();
            assert_eq!(
                (found_url.as_str(), found.as_str()),
                (url, secret),
                "{link}"
            );
        }
        for bad in [
            "",
            "a b",
            "abc",
            "csl_ a",
            "http://gate.example.com/sign-in/abc",
            "https://x.example/sign-in/",
            "https://x.example/sign-in",
        ] {
            assert!(take_apart(bad, &configured).is_err(), "{bad}");
        }
        assert!(take_apart("csl_abc", &Sources::default()).is_err());
    }

    #[tokio::test]
    async fn a_login_saves_the_token_and_does_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let token = r#"{"token":"cst_hush","subject":"person:dana@example.com","expires":0}"#;
        let stub = Stub::start(vec![json_answer(token)]).await;
        let file = folder.path().join("client.toml");
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let (mut output, out, err) = captured(false, true);
        let args = Args {
            link: Some(format!("{}sign-in/one-time", stub.settings().url)),
        };
        assert_eq!(run(args, &sources, &mut output).await, Ok(0));
        let url = stub.settings().url;
        expect![[r#"
            Signed in to URL as person:dana@example.com until 1970-01-01T00:00:00.000Z.
            Saved in FILE.
        "#]]
        .assert_eq(
            &out.text()
                .replace(url.as_str(), "URL")
                .replace(&file.display().to_string(), "FILE"),
        );
        assert_eq!(err.text(), "");
        let seen = stub.seen().pop().unwrap();
        assert!(
            seen.ends_with(r#"{"link":"one-time"}"#) && !seen.contains("authorization"),
            "{seen}"
        );
        let saved = sources.settings().unwrap();
        assert_eq!(
            (saved.url, saved.token.unwrap().secret()),
            (url, "cst_hush")
        );
    }
}
