//! `countersign doctor`: whether this caller can use its gateway, and what to do if not.
//!
//! In scope: configuration, connection, gateway, token, clock; one line a check.
//! Out of scope: the gateway's own set-up, which it shows as notices.
//! Invariant: a check that can't be made is never reported as passed.

use countersign_core::{count::counted, time::Timestamp};
use reqwest::header::DATE;
use serde::Serialize;

use super::{
    client::{At, Client},
    clock::now,
    config::{Settings, Sources, is_loopback},
    failure::{Failure, GENERAL},
    identity::IDENTITY_VARIABLE,
    output::Output,
    text::{self, Paint, shown},
};
use crate::api::types::{BundleInfo, Health, StreamInfo, StreamList, WhoAmI};

pub(crate) const EXIT: &str = "\
Exit status: 0 nothing failed, whatever was warned about; 1 a check failed. Checks that need one
that failed are left out.";

/// The largest difference of clocks that is fine, in milliseconds.
const MAX_DIFFERENCE: u64 = 5_000;
/// A token with less left than this is worth a warning, in milliseconds …
const SOON: i64 = 3_600_000;
/// … and so is one with less than this part of its whole life.
const PART: i64 = 10;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Check {
    fn new(check: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            text: text.into(),
            next: None,
        }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self {
            next: Some(next.into()),
            ..self
        }
    }

    fn failed(check: &'static str, failure: Failure) -> Self {
        // Other commands send their readers here, where that helps nobody.
        let next = match failure.kind.as_str() {
            "unreachable" => Some(
                "start the gateway (`countersign up`), or correct the address: the line \
                 `configuration` says where it comes from"
                    .into(),
            ),
            "unexpected_answer" => Some(
                "check that the address is a gateway's, and that it has the version of this command"
                    .into(),
            ),
            _ => failure.detail,
        };
        Self {
            next,
            ..Self::new(check, Verdict::Fail, failure.title)
        }
    }

    fn line(&self, paint: Paint) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => paint.green("ok  "),
            Verdict::Warn => paint.yellow("warn"),
            Verdict::Fail => paint.red("fail"),
        };
        let mut line = format!("{verdict}  {:13}  {}", self.check, shown(&self.text));
        for next in self.next.iter().flat_map(|next| next.lines()) {
            line.push_str(&format!("\n{:21}{}", "", shown(next)));
        }
        line
    }
}

/// Makes every check it can and prints them.
///
/// # Errors
/// When the result can't be written; failing checks are the exit status 1.
pub(crate) async fn run(sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let checks = checks(sources).await;
    for check in &checks {
        output.result(check, Check::line)?;
    }
    let count = |verdict| checks.iter().filter(|one| one.verdict == verdict).count();
    let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
    if !output.is_json() {
        output.note(conclusion(failed, warned));
    }
    Ok(if failed > 0 { GENERAL } else { 0 })
}

/// What all of it means, as the exit status does.
fn conclusion(failed: usize, warned: usize) -> String {
    let warnings = match warned {
        0 => "no warnings".to_owned(),
        many => counted(many, "warning", "warnings"),
    };
    match failed {
        0 => format!("Nothing failed, {warnings}: this machine can use its gateway."),
        1 => format!("1 check failed, {warnings}: put that right first."),
        many => format!("{many} checks failed, {warnings}: put the first of them right first."),
    }
}

async fn checks(sources: &Sources) -> Vec<Check> {
    let settings = match sources.settings() {
        Ok(settings) => settings,
        Err(failure) => return vec![Check::failed("configuration", failure)],
    };
    let mut checks = vec![configuration(&settings), connection(&settings)];
    let (gateway, clock) = gateway(&settings).await;
    let reached = gateway.iter().all(|check| check.verdict != Verdict::Fail);
    checks.extend(gateway);
    checks.extend(clock);
    if reached {
        checks.extend(token(&settings).await);
    }
    checks
}

fn configuration(settings: &Settings) -> Check {
    let text = format!("{} from {}", settings.url, settings.url_from);
    Check::new("configuration", Verdict::Ok, text)
}

fn connection(settings: &Settings) -> Check {
    let text = match (settings.url.scheme(), &settings.ca) {
        ("https", None) => "TLS".to_owned(),
        ("https", Some(ca)) => format!("TLS, vouched for by {} alone", ca.display()),
        _ if is_loopback(&settings.url) => "without TLS, to this machine only".to_owned(),
        // Settings with such an address don't come about.
        _ => {
            return Check::new("connection", Verdict::Fail, "without TLS")
                .next("use the gateway's https address");
        }
    };
    Check::new("connection", Verdict::Ok, text)
}

/// Whether the gateway answers and is well, and how far its clock is from this one.
async fn gateway(settings: &Settings) -> (Vec<Check>, Option<Check>) {
    let answer = match Client::anonymous(&settings.url, settings.ca.as_deref()) {
        Ok(client) => client.answer(&At::new(&["health"])).await,
        Err(failure) => Err(failure),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return (vec![Check::failed("gateway", failure)], None),
    };
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .map(str::to_owned);
    let clock = clock(date.as_deref(), now());
    let Ok(health) = answer.json::<Health>().await else {
        let check = Check::new(
            "gateway",
            Verdict::Fail,
            "what answers is not a Countersign gateway",
        )
        .next("check the address: `countersign up` prints it, by default http://127.0.0.1:7780");
        return (vec![check], None);
    };
    (health_checks(&health), Some(clock))
}

fn health_checks(health: &Health) -> Vec<Check> {
    let ours = env!("CARGO_PKG_VERSION");
    let text = format!(
        "{}, version {}, {} log entries, {} waiting",
        health.status, health.version, health.log_size, health.held
    );
    let first = if health.status != "ok" {
        Check::new("gateway", Verdict::Fail, text)
            .next("tell whoever runs the gateway; its log says what is wrong")
    } else if health.version != ours {
        Check::new("gateway", Verdict::Warn, text).next(format!(
            "this command has version {ours}; install the gateway's version here"
        ))
    } else {
        Check::new("gateway", Verdict::Ok, text)
    };
    let notices = health.notices.iter().map(|notice| {
        Check::new("notice", Verdict::Warn, notice)
            .next("every page of the console shows this, too; tell whoever runs the gateway")
    });
    std::iter::once(first).chain(notices).collect()
}

fn clock(date: Option<&str>, now: Timestamp) -> Check {
    let parsed = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(theirs) = parsed else {
        return Check::new(
            "clock",
            Verdict::Warn,
            "the gateway does not say what time it has",
        )
        .next("a proxy may drop its `Date` header; compare the clocks by hand");
    };
    // The header has whole seconds, so the middle of its second is the best guess.
    let difference = now.millis_since(Timestamp(theirs.timestamp().as_millisecond())) - 500;
    if difference.unsigned_abs() <= MAX_DIFFERENCE {
        return Check::new("clock", Verdict::Ok, "agrees with the gateway's");
    }
    let side = if difference > 0 { "ahead of" } else { "behind" };
    let text = format!("{} {side} the gateway's", text::rough(difference.abs()));
    Check::new("clock", Verdict::Fail, text)
        .next("set both clocks by NTP; times and expiries shown here are wrong until then")
}

/// Whether the token is good, whose it is, and what it can see.
async fn token(settings: &Settings) -> Vec<Check> {
    let client = match Client::new(settings) {
        Ok(client) => client,
        Err(failure) => return vec![Check::failed("token", failure)],
    };
    let who = match client.get::<WhoAmI>(At::new(&["whoami"])).await {
        Ok(who) => who,
        Err(failure) => return vec![Check::failed("token", failure)],
    };
    let mut checks = vec![token_check(&who, &settings.token_from, now())];
    checks.push(match client.get::<BundleInfo>(At::new(&["policy"])).await {
        Ok(active) => {
            let hash: String = active.hash.chars().take(12).collect();
            let since = text::relative(active.activated, now());
            Check::new("policy", Verdict::Ok, format!("{hash}… activated {since}"))
        }
        Err(failure) if failure.http == Some(403) => Check::new(
            "policy",
            Verdict::Ok,
            "not shown to you; only administrators and auditors read it",
        ),
        Err(failure) => Check::failed("policy", failure),
    });
    // Nobody else may know where the record goes.
    if who.subject.starts_with("person:") {
        match client.get::<StreamList>(At::new(&["streams"])).await {
            Ok(list) => checks.extend(list.streams.iter().map(stream)),
            Err(failure) if failure.http == Some(403) => {}
            Err(failure) => checks.push(Check::failed("stream", failure)),
        }
    }
    checks
}

/// Whether a stream delivers.
fn stream(one: &StreamInfo) -> Check {
    let text = format!(
        "{} ({}) is {} behind and gave up {}",
        one.name,
        one.kind,
        counted(one.lag, "record", "records"),
        one.dead
    );
    match &one.fault {
        Some(fault) => Check::new("stream", Verdict::Warn, format!("{text}; {fault}"))
            .next("nothing is lost: it goes on once that is put right"),
        None if one.dead > 0 => Check::new("stream", Verdict::Warn, text)
            .next(format!("`countersign stream retry {}`", one.name)),
        None => Check::new("stream", Verdict::Ok, text),
    }
}

fn token_check(who: &WhoAmI, from: &str, now: Timestamp) -> Check {
    let left = who.expires.millis_since(now);
    let text = format!(
        "{} from {from}, ends {}",
        who.subject,
        text::relative(who.expires, now)
    );
    let machine = !who.subject.starts_with("person:");
    if machine && who.owner.is_none() {
        return Check::new("token", Verdict::Fail, text).next(
            "nobody answers for it, so everything is denied; have an administrator name an owner",
        );
    }
    let life = who
        .issued
        .map_or(0, |issued| who.expires.millis_since(issued));
    // What is exchanged is exchanged again.
    if from != IDENTITY_VARIABLE && left < SOON.max(life / PART) {
        let next = match machine {
            true => "have a new one made: `countersign agent token NAME`",
            false => {
                "get a new one in the console (People and agents, Your command line), then \
                 `countersign login`"
            }
        };
        return Check::new("token", Verdict::Warn, text).next(next);
    }
    Check::new("token", Verdict::Ok, text)
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
