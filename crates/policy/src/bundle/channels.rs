//! The `[channel.NAME]` tables, and the `notify` of rules that names them.
//!
//! In scope: reading a channel's settings; refusing what nobody could be told through.
//! Out of scope: whether the other side knows them.
//! Invariant: a channel says whom it believes: which workspace, which app, and by which secret.

use std::collections::BTreeMap;

use countersign_core::{approval::ApprovalRule, time::Span};
use serde::Deserialize;
use toml::Spanned;

use super::{
    reading::{Entry, Reader},
    streams::refused_url,
    targets::RawSecret,
};
use crate::{
    channel::{Channel, Notify, Reached, Slack, Teams, is_guid, is_id},
    problem::shown,
    target::exec::CredentialSource,
};

/// The longest name of a channel; it is part of an address.
const MAX_NAME: usize = 64;
/// Who makes the tokens of what comes from Teams, unless configured otherwise.
const ISSUER: &str = "https://api.botframework.com";
/// Where that issuer says which keys it signs with.
const METADATA: &str = "https://login.botframework.com/v1/.well-known/openidconfiguration";
/// Where messages to Teams are sent, unless configured otherwise: the one address for all regions.
const SERVICE: &str = "https://smba.trafficmanager.net/teams";
/// Slack's Web API.
const SLACK: &str = "https://slack.com/api";
/// How long ago somebody has to have signed in, unless configured otherwise, and at most.
const SIGNED_IN: Span = Span::from_millis(7 * 86_400_000);
const MAX_SIGNED_IN: Span = Span::from_millis(90 * 86_400_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChannel {
    kind: Spanned<String>,
    app: Option<Spanned<String>>,
    signed_in_within: Option<Spanned<Span>>,
    team: Option<Spanned<String>>,
    enterprise: Option<Spanned<String>>,
    bot_token: Option<Spanned<RawSecret>>,
    signing_secret: Option<Spanned<RawSecret>>,
    app_token: Option<Spanned<RawSecret>>,
    api: Option<Spanned<String>>,
    tenant: Option<Spanned<String>>,
    secret: Option<Spanned<RawSecret>>,
    issuer: Option<Spanned<String>>,
    metadata_url: Option<Spanned<String>>,
    token_url: Option<Spanned<String>>,
    service_url: Option<Spanned<String>>,
}

impl RawChannel {
    /// The keys that only some kinds of channels have: which kind, and whether it is there.
    fn keys(&self) -> [(&'static str, &'static str, bool); 12] {
        [
            ("slack", "team", self.team.is_some()),
            ("slack", "enterprise", self.enterprise.is_some()),
            ("slack", "bot_token", self.bot_token.is_some()),
            ("slack", "signing_secret", self.signing_secret.is_some()),
            ("slack", "app_token", self.app_token.is_some()),
            ("slack", "api", self.api.is_some()),
            ("teams", "tenant", self.tenant.is_some()),
            ("teams", "secret", self.secret.is_some()),
            ("teams", "issuer", self.issuer.is_some()),
            ("teams", "metadata_url", self.metadata_url.is_some()),
            ("teams", "token_url", self.token_url.is_some()),
            ("teams", "service_url", self.service_url.is_some()),
        ]
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
    let kind = raw.kind.get_ref().clone();
    if !["slack", "teams"].contains(&kind.as_str()) {
        let message = format!("there are no channels of kind `{}`", shown(&kind));
        let line = reader.line(raw.kind.span().start);
        let help = "use `slack` or `teams`; others are not available yet";
        reader.error(line, message, help);
        return None;
    }
    for (_, key, _) in raw.keys().iter().filter(|(of, _, has)| *has && *of != kind) {
        let message = format!("a channel of kind `{kind}` has no `{key}`");
        reader.error(line, message, "remove it, or change the kind");
    }
    let channel = match kind.as_str() {
        "slack" => Channel::Slack(Box::new(slack(reader, line, raw)?)),
        _ => Channel::Teams(Box::new(teams(reader, line, raw)?)),
    };
    Some((name, channel))
}

/// What a channel can't do without, noting where it is missing.
fn needed<T>(reader: &mut Reader<'_>, line: u32, key: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        let help = "add it; docs/configuration.md says what it is";
        reader.error(line, format!("missing field `{key}`"), help);
    }
    value
}

fn slack(reader: &mut Reader<'_>, line: u32, raw: RawChannel) -> Option<Slack> {
    let team = needed(reader, line, "team", raw.team);
    let app = needed(reader, line, "app", raw.app);
    let bot_token = needed(reader, line, "bot_token", raw.bot_token);
    let team = id(reader, team?, "team", "T");
    let enterprise = raw.enterprise.map(|one| id(reader, one, "enterprise", "E"));
    let app = id(reader, app?, "app", "A");
    let bot_token = secret(reader, bot_token?, "bot_token");
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

fn teams(reader: &mut Reader<'_>, line: u32, raw: RawChannel) -> Option<Teams> {
    let tenant = needed(reader, line, "tenant", raw.tenant);
    let app = needed(reader, line, "app", raw.app);
    let proof = needed(reader, line, "secret", raw.secret);
    let tenant = guid(reader, tenant?, "tenant")?;
    let app = guid(reader, app?, "app");
    let proof = secret(reader, proof?, "secret");
    let token = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
    Some(Teams {
        app: app?,
        secret: proof?,
        signed_in_within: signed_in(reader, raw.signed_in_within),
        issuer: address(reader, ("issuer", raw.issuer), ISSUER)?,
        metadata: address(reader, ("metadata_url", raw.metadata_url), METADATA)?,
        token: address(reader, ("token_url", raw.token_url), &token)?,
        service: address(reader, ("service_url", raw.service_url), SERVICE)?,
        tenant,
    })
}

fn guid(reader: &mut Reader<'_>, raw: Spanned<String>, key: &str) -> Option<String> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner().to_ascii_lowercase();
    if is_guid(&text) {
        return Some(text);
    }
    let message = format!("`{}` is no `{key}` of Microsoft's", shown(&text));
    let help = "write its id, like `00000000-0000-0000-0000-000000000000`: names change hands";
    reader.error(line, message, help);
    None
}

fn secret(
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

fn signed_in(reader: &mut Reader<'_>, raw: Option<Spanned<Span>>) -> Span {
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
fn address(
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
