//! The `[channel.NAME]` tables, and the `notify` of rules that names them.
//!
//! In scope: reading a channel's settings; refusing what nobody could be told through.
//! Out of scope: whether the other side knows them.
//! Invariant: a channel says whom it believes: which workspace, which app, and by which secret.

use std::collections::BTreeMap;

use countersign_core::{approval::ApprovalRule, time::Span};
use serde::Deserialize;
use toml::{Spanned, de::DeValue};

use super::{
    email::{self, RawEmail},
    reading::{Entry, Reader},
    streams::refused_url,
    targets::RawSecret,
    teams::{self, RawTeams},
};
use crate::{
    channel::{Channel, Notify, Reached, Slack, is_id},
    problem::shown,
    target::exec::CredentialSource,
};

/// The longest name of a channel; it is part of an address.
const MAX_NAME: usize = 64;
/// Slack's Web API.
const SLACK: &str = "https://slack.com/api";
/// How long ago somebody has to have signed in, unless configured otherwise, and at most.
const SIGNED_IN: Span = Span::from_millis(7 * 86_400_000);
const MAX_SIGNED_IN: Span = Span::from_millis(90 * 86_400_000);

/// The table of one channel, by its kind.
pub(super) enum RawChannel {
    Slack(RawSlack),
    Teams(RawTeams),
    Email(RawEmail),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSlack {
    #[serde(rename = "kind")]
    _kind: String,
    team: Spanned<String>,
    enterprise: Option<Spanned<String>>,
    app: Spanned<String>,
    bot_token: Spanned<RawSecret>,
    signing_secret: Option<Spanned<RawSecret>>,
    app_token: Option<Spanned<RawSecret>>,
    signed_in_within: Option<Spanned<Span>>,
    api: Option<Spanned<String>>,
}

/// The tables below `[channel]`, each as its kind has it.
pub(super) fn entries<'a>(
    reader: &mut Reader<'a>,
    section: Entry<Spanned<DeValue<'a>>>,
) -> Vec<Entry<RawChannel>> {
    let tables = reader.tables(section).into_iter();
    tables.filter_map(|table| entry(reader, table)).collect()
}

fn entry<'a>(
    reader: &mut Reader<'a>,
    table: Entry<Spanned<DeValue<'a>>>,
) -> Option<Entry<RawChannel>> {
    let fields = table.value.get_ref().as_table();
    let kind = fields.and_then(|fields| {
        let mut fields = fields.iter();
        fields.find(|(key, _)| key.get_ref() == "kind")
    });
    let Some((kind, at)) = kind.and_then(|(_, kind)| {
        let text = kind.get_ref().as_str()?;
        Some((text.to_owned(), kind.span().start))
    }) else {
        let message = format!("the channel `{}` has no `kind`", shown(&table.name));
        reader.error(
            table.line,
            message,
            "add `kind = \"slack\"`, `\"teams\"` or `\"email\"`",
        );
        return None;
    };
    match kind.as_str() {
        "slack" => Some(reader.read(table)?.map(RawChannel::Slack)),
        "teams" => Some(reader.read(table)?.map(RawChannel::Teams)),
        "email" => Some(reader.read(table)?.map(RawChannel::Email)),
        other => {
            let message = format!("there are no channels of kind `{}`", shown(other));
            let line = reader.line(at);
            let help = "use `slack`, `teams` or `email`; others are not available yet";
            reader.error(line, message, help);
            None
        }
    }
}

/// Reads one channel; `None` when it cannot be used.
pub(super) fn read(reader: &mut Reader<'_>, entry: Entry<RawChannel>) -> Option<(String, Channel)> {
    let Entry {
        name,
        line,
        value: raw,
    } = entry;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        let message = format!("`{}` cannot name a channel", shown(&name));
        let help = "use 1 to 64 lower-case letters, digits and `-`";
        reader.error(line, message, help);
        return None;
    }
    let channel = match raw {
        RawChannel::Slack(raw) => Channel::Slack(Box::new(slack(reader, line, raw)?)),
        RawChannel::Teams(raw) => Channel::Teams(Box::new(teams::read(reader, raw)?)),
        RawChannel::Email(raw) => Channel::Email(Box::new(email::read(reader, line, raw)?)),
    };
    Some((name, channel))
}

fn slack(reader: &mut Reader<'_>, line: u32, raw: RawSlack) -> Option<Slack> {
    let team = id(reader, raw.team, "team", "T");
    let enterprise = raw.enterprise.map(|one| id(reader, one, "enterprise", "E"));
    let app = id(reader, raw.app, "app", "A");
    let bot_token = secret(reader, raw.bot_token, "bot_token");
    let reached = match (raw.signing_secret, raw.app_token) {
        (Some(signed), None) => secret(reader, signed, "signing_secret").map(Reached::Signed),
        (None, Some(socket)) => secret(reader, socket, "app_token").map(Reached::Socket),
        _ => {
            let message = "a Slack channel has either `signing_secret` or `app_token`";
            let help = "give `signing_secret` where Slack can reach the gateway, `app_token` \
                        (Socket Mode) where it can't";
            reader.error(line, message, help);
            None
        }
    };
    Some(Slack {
        team: team?,
        enterprise: match enterprise {
            Some(enterprise) => Some(enterprise?),
            None => None,
        },
        app: app?,
        bot_token: bot_token?,
        reached: reached?,
        signed_in_within: signed_in(reader, raw.signed_in_within),
        api: address(reader, ("api", raw.api), SLACK)?,
    })
}

pub(super) fn secret(
    reader: &mut Reader<'_>,
    raw: Spanned<RawSecret>,
    what: &str,
) -> Option<CredentialSource> {
    let line = reader.line(raw.span().start);
    raw.into_inner().source(reader, line, what)
}

fn id(reader: &mut Reader<'_>, raw: Spanned<String>, key: &str, first: &str) -> Option<String> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner();
    if is_id(&text, &[first]) {
        return Some(text);
    }
    let message = format!("`{}` is no `{key}` of Slack's", shown(&text));
    let help = format!("write its id: `{first}` and capital letters and digits");
    reader.error(line, message, help);
    None
}

pub(super) fn signed_in(reader: &mut Reader<'_>, raw: Option<Spanned<Span>>) -> Span {
    let Some(raw) = raw else {
        return SIGNED_IN;
    };
    let line = reader.line(raw.span().start);
    let span = raw.into_inner();
    if span > MAX_SIGNED_IN || span.as_millis() == 0 {
        let message = format!("`signed_in_within` is {span}");
        reader.error(line, message, "use up to `90d`");
    }
    span
}

/// An address that is spoken to over TLS, or is this machine's.
pub(super) fn address(
    reader: &mut Reader<'_>,
    (key, raw): (&str, Option<Spanned<String>>),
    default: &str,
) -> Option<String> {
    let Some(raw) = raw else {
        return Some(default.into());
    };
    let line = reader.line(raw.span().start);
    let url = raw.into_inner();
    if let Some(why) = refused_url(&url) {
        reader.error(line, format!("`{key}` {why}"), "leave it out");
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Reads what a rule's `notify` names, noting what is there nowhere.
pub(super) fn check_notify(
    reader: &mut Reader<'_>,
    line: u32,
    rule: &ApprovalRule,
    channels: &BTreeMap<String, Channel>,
) {
    for entry in &rule.notify {
        let Ok(notify) = entry.parse::<Notify>() else {
            let message = format!("`{}` can't be told anything", shown(entry));
            reader.error(line, message, crate::channel::NotNotify.to_string());
            continue;
        };
        let Some(channel) = channels.get(&notify.channel) else {
            let message = format!("there is no channel `{}`", shown(&notify.channel));
            reader.error(line, message, "add its `[channel.NAME]` table");
            continue;
        };
        let place = notify.place.as_deref();
        if let Some(why) = place.and_then(|place| channel.refuses(place)) {
            reader.error(line, format!("`{}` names no place", shown(entry)), why);
        }
    }
}
