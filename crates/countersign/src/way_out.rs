//! The ways on after a start that was refused, as commands that work when pasted.
//!
//! In scope: which refusal has which way out; the command with the directories that were given.
//! Out of scope: going it ([`epoch`](crate::gateway::epoch), [`cli`](crate::cli)).
//! Invariant: a way is named only where it leads out of what was refused.

use std::path::{Path, PathBuf};

use countersign_runner::quote::quote_argv;

/// What leads out of a start that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayOut {
    /// A new log, where the one that is there can't be continued.
    NewLog,
    /// Trusting the files again.
    TrustFiles,
}

/// A start that was refused, and what to do if no newer copy can be restored.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Stuck {
    why: String,
    way: WayOut,
}

impl Stuck {
    /// Refused for this reason.
    pub(crate) fn err(way: WayOut, why: String) -> anyhow::Error {
        Self { why, way }.into()
    }
}

/// The directories that a gateway was started with.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) config: PathBuf,
    /// The data directory, where it was named.
    pub(crate) data: Option<PathBuf>,
}

impl Given {
    /// The same error, with the command that leads on at its end, where there is one. `data` is the
    /// directory that was opened.
    pub(crate) fn name(&self, error: anyhow::Error, data: &Path) -> anyhow::Error {
        let Some(stuck) = error.downcast_ref::<Stuck>() else {
            return error;
        };
        let way = match stuck.way {
            WayOut::NewLog => format!(
                "if there is no newer copy, begin a new log: {}",
                command(&["log", "new-epoch", &text(data)])
            ),
            WayOut::TrustFiles => {
                format!("or trust the files again: {}", self.recover(&["--bundle"]))
            }
        };
        anyhow::anyhow!("{error:#}; {way}")
    }

    /// `countersign recover` for this installation.
    pub(crate) fn recover(&self, what: &[&str]) -> String {
        let config = text(&self.config);
        let data = self.data.as_deref().map(text);
        let mut words = vec!["recover"];
        if config != "." {
            words.extend(["--config", &config]);
        }
        if let Some(data) = &data {
            words.extend(["--data", data]);
        }
        words.extend(what);
        command(&words)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn command(words: &[&str]) -> String {
    let words = std::iter::once(&"countersign").chain(words);
    quote_argv(&words.map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn given(config: &str, data: Option<&str>) -> Given {
        Given {
            config: config.into(),
            data: data.map(PathBuf::from),
        }
    }

    #[test]
    fn commands_have_the_directories_that_were_given() {
        for (config, data, expected) in [
            (".", None, "countersign recover --bundle"),
            (
                "/etc/c",
                None,
                "countersign recover --config /etc/c --bundle",
            ),
            (
                "./my gate",
                Some("it's"),
                r"countersign recover --config './my gate' --data 'it'\''s' --bundle",
            ),
        ] {
            assert_eq!(given(config, data).recover(&["--bundle"]), expected);
        }
    }

    #[test]
    fn a_way_is_named_only_where_it_leads_out() {
        let said = |error| format!("{:#}", given("/c", None).name(error, Path::new("/c/d")));
        assert_eq!(said(anyhow::anyhow!("full")), "full");
        let stuck = |way| Err::<(), _>(Stuck::err(way, "older".into())).context("no log");
        assert_eq!(
            said(stuck(WayOut::NewLog).unwrap_err()),
            "no log: older; if there is no newer copy, begin a new log: countersign log new-epoch /c/d"
        );
        assert_eq!(
            said(stuck(WayOut::TrustFiles).unwrap_err()),
            "no log: older; or trust the files again: countersign recover --config /c --bundle"
        );
    }
}
