//! What reviewers of a change must not overlook: what becomes unreadable, who is told more, and who
//! says who people are.
//!
//! In scope: lines in front of a proposal's text, from the two configurations and from what is kept
//! here now.
//! Out of scope: what the change does to decisions; the text shows all of it.
//! Invariant: whatever is destroyed, or told to somebody who was not told it before, or believed of
//! somebody who was not believed before, has a line. They are part of what voters are shown, and so of
//! what they sign.

use std::collections::BTreeMap;

use countersign_core::{
    approval::{ApprovalRule, rule::Assurance},
    count::counted,
    id::{PersonId, ProviderId},
    provisioning::Provisioning,
    time::{Span, Timestamp},
};
use countersign_policy::{
    Bundle, Channel, Provider, Scim,
    channel::MailContent,
    stream::{Details, Stream, StreamKind},
};

use super::{Proposal, deploying, emergencies, erase, machines};
use crate::{active::Active, gateway::Gateway, vault::Class};

/// The lines in front of a proposal, each with a mark, and an empty one behind them. `counts` tells
/// what is kept of a person, which machines don't learn.
pub(super) async fn of(gateway: &Gateway, proposal: &Proposal, counts: bool) -> String {
    let lines = match proposal {
        Proposal::Bundle { files, .. } => match Bundle::from_files(files) {
            Ok(after) => {
                let mut lines = of_bundle(gateway, &after);
                lines.extend(unlinked(gateway, &after).await);
                lines
            }
            Err(_) => Vec::new(),
        },
        Proposal::Erase { person } if counts => of_erasure(gateway, person).await,
        _ => Vec::new(),
    };
    let marked: String = lines.iter().map(|line| format!("! {line}\n")).collect();
    match marked.is_empty() {
        true => marked,
        false => marked + "\n",
    }
}

fn of_bundle(gateway: &Gateway, after: &Bundle) -> Vec<String> {
    let before = gateway.active();
    let mut lines = of_retention(gateway, &before.bundle, after, gateway.clock.now());
    lines.extend(of_streams(before.bundle.streams(), after.streams()));
    lines.extend(of_channels(before.bundle.channels(), after.channels()));
    lines.extend(of_notify(&before.bundle, after));
    let due = gateway.engine.emergencies().due_reviews();
    lines.extend(emergencies::lines(&before.bundle, after, &due));
    lines.extend(of_providers(before.bundle.providers(), after.providers()));
    lines.extend(machines::lines(&before.bundle, after));
    lines.extend(deploying::lines(&before.bundle, after));
    lines.extend(signed_out(&before, after));
    lines.extend(of_provisioned(&before, after, gateway.clock.now()));
    lines
}

/// What is kept for less time than before.
fn of_retention(gateway: &Gateway, before: &Bundle, after: &Bundle, now: Timestamp) -> Vec<String> {
    let (was, is) = (before.retention(), after.retention());
    let classes = [
        (
            Class::Payload,
            "What was asked for, and what came of it,",
            was.payload,
            is.payload,
        ),
        (Class::Words, "What people said", was.words, is.words),
        (Class::Names, "Names of people", was.names, is.names),
    ];
    let shorter = classes
        .into_iter()
        .filter_map(|(class, what, was, is)| Some((class, what, was, shortened(was, is)?)));
    let mut lines: Vec<_> = shorter
        .map(|(class, what, was, is)| {
            let was = was.map_or_else(|| "for ever".into(), |was| format!("for {was}"));
            let from = Timestamp(now.0.saturating_sub(is.as_millis()));
            let keys = gateway.keys.vault.expired(class, from).len();
            let at_once = match keys {
                0 => "Nothing of today is that old.".into(),
                1 => "1 key of today is destroyed within a day.".into(),
                many => format!("{many} keys of today are destroyed within a day."),
            };
            format!(
                "{what} can be read for {is} and not {was}. Older parts are destroyed, and nothing \
                 brings them back. {at_once}"
            )
        })
        .collect();
    if let Some(is) = shortened(was.shortest(), is.shortest()) {
        lines.push(format!(
            "Requests that ended more than {is} ago are deleted from the database."
        ));
    }
    lines
}

/// How long something is kept from now on, when that is shorter.
fn shortened(was: Option<Span>, is: Option<Span>) -> Option<Span> {
    is.filter(|is| was.is_none_or(|was| *is < was))
}

/// Who is told more than before, or is told at all.
fn of_streams(before: &BTreeMap<String, Stream>, after: &BTreeMap<String, Stream>) -> Vec<String> {
    let told = after.iter().filter_map(|(name, stream)| {
        let known = before
            .get(name)
            .filter(|known| receiver(&known.kind) == receiver(&stream.kind));
        let more = known.is_none_or(|known| known.details < stream.details);
        let what = match stream.details {
            Details::Refs => return None,
            Details::Names => "the names of people and machines",
            Details::All => "names, arguments, reasons and texts",
        };
        let to = receiver(&stream.kind);
        more.then(|| {
            format!("The stream `{name}` tells {to} {what}. What was told can't be erased.")
        })
    });
    told.collect()
}

/// Who is told.
fn receiver(kind: &StreamKind) -> String {
    match kind {
        StreamKind::Ocsf(file) => format!("whoever reads the file `{}`", file.path),
        StreamKind::Webhook(hook) => format!("`{}`", hook.url),
        StreamKind::Otlp(collector) => format!("`{}`", collector.url),
    }
}

/// Who is believed about who clicked, where that is more than before.
fn of_channels(
    before: &BTreeMap<String, Channel>,
    after: &BTreeMap<String, Channel>,
) -> Vec<String> {
    let new = after
        .iter()
        .filter(|(name, channel)| before.get(*name) != Some(*channel));
    let told = new.map(|(name, channel)| match channel {
        Channel::Slack(slack) => format!(
            "`{name}` believes the Slack workspace {} and its app {}, at `{}`. Whoever administers \
             either can click as anybody who has linked an account there.",
            slack.team, slack.app, slack.api
        ),
        Channel::Teams(teams) => format!(
            "`{name}` believes tokens of `{}` for the Teams bot {} (keys from `{}`), and the tenant {}. \
             It sends messages to `{}` and its secret to `{}`. Whoever administers the tenant or the \
             bot can click as anybody who has linked an account there.",
            teams.issuer, teams.app, teams.metadata, teams.tenant, teams.service, teams.token
        ),
        Channel::Email(email) => {
            let what = match email.content {
                MailContent::Full => "names, arguments, reasons and texts",
                MailContent::Link => "that something waits, and for whom",
            };
            format!(
                "`{name}` sends mails through `{}:{}`. Whoever keeps that server, or the mailboxes \
                 of people, reads {what}. What was sent can't be erased.",
                email.host, email.port
            )
        }
    });
    told.collect()
}

/// Who is told of requests, and where a click in a chat is enough, where that was not so before.
fn of_notify(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rule) in after.rules() {
        let known = before.rules().get(name);
        let new = |entry: &&String| known.is_none_or(|known| !known.notify.contains(entry));
        let places = rule
            .notify
            .iter()
            .filter(new)
            .filter(|entry| entry.contains(':'));
        lines.extend(places.map(|place| {
            format!(
                "Everybody in `{place}` reads what waits for the rule `{name}`, arguments included."
            )
        }));
        let chat = |rule: &ApprovalRule| rule.assurance == Assurance::Chat;
        if chat(rule) && !known.is_some_and(chat) {
            lines.push(format!(
                "A click in a chat is enough for the rule `{name}`."
            ));
        }
    }
    lines
}

/// Who is believed about people, and about which groups, where that is more than before.
fn of_providers(
    before: &BTreeMap<ProviderId, Provider>,
    after: &BTreeMap<ProviderId, Provider>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, provider) in after {
        let names = |one: &&Provider| {
            (
                &one.issuer,
                &one.client_id,
                &one.ca,
                &one.person_claim,
                &one.require,
            ) == (
                &provider.issuer,
                &provider.client_id,
                &provider.ca,
                &provider.person_claim,
                &provider.require,
            )
        };
        let known = before.get(name).filter(names);
        if provider.links.is_some() {
            lines.extend(of_linking(before.get(name), (name, provider)));
            continue;
        }
        let known = known.filter(|known| known.links.is_none());
        if known.is_none() {
            lines.push(format!(
                "`{}` says who people are, by `{}`. Whoever administers it can be anybody here.",
                provider.issuer, provider.person_claim
            ));
        }
        if provider.creates_people && known.is_none_or(|known| !known.creates_people) {
            lines.push("Whomever it signs in becomes a person here.".into());
        }
        if let Some(scim) = &provider.scim {
            lines.extend(of_provisioning(
                known.and_then(|known| known.scim.as_ref()),
                scim,
            ));
        }
        if known.is_some_and(|known| known.session < provider.session) {
            lines.push(format!(
                "Whoever is removed there can act here for up to {} more.",
                provider.session
            ));
        }
        // The same name in another claim, or said in another way, is another group.
        let way = |one: &Provider| match &one.scim {
            None => Some(one.groups_claim.clone()),
            Some(_) => None,
        };
        let known = known.filter(|known| way(known) == way(provider));
        let mapped = provider.groups.iter();
        let new = mapped.filter(|(theirs, ours)| {
            known.is_none_or(|known| known.groups.get(*theirs) != Some(*ours))
        });
        lines.extend(new.map(|(theirs, ours)| {
            format!("Whoever it says is in {theirs:?} is in the group `{ours}` here.")
        }));
    }
    lines
}

/// Who is believed about which linked account it is, where that is not as it was.
fn of_linking(
    before: Option<&Provider>,
    (name, after): (&ProviderId, &Provider),
) -> Option<String> {
    let as_it_was = before.is_some_and(|before| before.settings() == after.settings());
    (!as_it_was).then(|| {
        format!(
            "People can link an account with `{name}`, and sign in with it then for {} at a time. \
             Whoever administers `{}` can be anybody who has linked one.",
            after.session, after.issuer
        )
    })
}

/// Whose linked accounts are over under other settings of their provider.
async fn unlinked(gateway: &Gateway, after: &Bundle) -> Vec<String> {
    let active = gateway.active();
    let Ok(all) = gateway.identity.further_accounts(None).await else {
        return vec!["Whose linked accounts end can't be told now.".into()];
    };
    let mut counts: BTreeMap<ProviderId, u64> = BTreeMap::new();
    for (_, _, known) in all {
        let provider = known.account.provider;
        let settings = |bundle: &Bundle| {
            let provider = bundle.providers().get(&provider);
            provider.map(Provider::settings)
        };
        if settings(&active.bundle) != settings(after) {
            let count = counts.entry(provider).or_default();
            *count = count.saturating_add(1);
        }
    }
    let lines = counts.into_iter().map(|(name, count)| {
        let accounts = counted(count, "linked account", "linked accounts");
        format!("Over for good, with whatever was signed in with: {accounts} with `{name}`.")
    });
    lines.collect()
}

/// What whoever has the token of a provider can do, where that token is another one than before.
fn of_provisioning(before: Option<&Scim>, after: &Scim) -> Option<String> {
    (before.map(|before| &before.token) != Some(&after.token)).then(|| {
        "Whoever has the token of `scim`, which never ends by itself, can provision people, put them in \
         the groups below, and keep anybody whom the provider can name from acting, administrators \
         included."
            .to_owned()
    })
}

/// Who is not provisioned any more, and so can do nothing, or can act although they were made to go.
fn of_provisioned(before: &Active, after: &Bundle, now: Timestamp) -> Vec<String> {
    let Some(was) = before.directory.provisioning.as_deref() else {
        return Vec::new();
    };
    let stays = after.still_provisioned((&before.bundle, Some(was)), now);
    let users = |all: &Provisioning| u64::try_from(all.users.len()).unwrap_or(u64::MAX);
    let mut lines = Vec::new();
    if users(was) > 0 && stays.as_ref().is_none_or(|stays| stays.users.is_empty()) {
        let users = counted(users(was), "user", "users");
        lines.push(format!("What was provisioned is forgotten: {users}."));
    }
    let people = before.directory.people.values();
    let kept_out = people.filter(|one| one.inactive && !one.provided).count();
    if kept_out > 0 && stays.is_none() {
        let people = counted(
            u64::try_from(kept_out).unwrap_or(u64::MAX),
            "person",
            "people",
        );
        lines.push(format!(
            "{people} whom the provider made inactive can act again."
        ));
    }
    lines
}

/// Who is signed out by other settings of their provider, and has nothing of it until they sign in anew.
fn signed_out(before: &Active, after: &Bundle) -> Vec<String> {
    let changed = before.bundle.providers().iter().filter_map(|(name, was)| {
        let now = after.providers().get(name);
        (now.map(Provider::settings) != Some(was.settings())).then_some((name, now.is_some()))
    });
    let told = changed.filter_map(|(name, stays)| {
        let people = before.directory.people.values();
        let count = people.filter(|one| one.accounts.contains_key(name)).count();
        let who = counted(u64::try_from(count).ok()?, "person is", "people are");
        let until = match stays {
            true => "until they sign in anew",
            false => "for good",
        };
        (count > 0)
            .then(|| format!("{who} signed out of `{name}`, and lose what it gave them {until}."))
    });
    told.collect()
}

/// Where somebody who is erased would come back from.
fn comes_back(gateway: &Gateway, person: &PersonId) -> Option<String> {
    let active = gateway.active();
    let known = active.directory.people.get(person)?;
    if active.directory.provisioning.is_some() {
        return known.standing.is_some().then(|| {
            "If the provider provisions them again, they are somebody new here, even if they are \
             disabled now: take them away there first."
                .to_owned()
        });
    }
    let (provider, _) = known.accounts.first_key_value()?;
    Some(format!(
        "Their next sign-in with `{provider}` makes them somebody new here, even if they are disabled \
         now: take their account away there first."
    ))
}

/// How much an erasure makes unreadable, as far as it is known without reading the whole log.
async fn of_erasure(gateway: &Gateway, person: &PersonId) -> Vec<String> {
    match erase::size(gateway, person).await {
        Ok(size) => [format!(
            "As of now {} keys would be destroyed, and with them everything in the log that they \
             seal; {} requests and {} credentials would be deleted from the database.",
            size.keys, size.requests, size.credentials
        )]
        .into_iter()
        .chain(comes_back(gateway, person))
        .collect(),
        // It was possible a moment ago; applying it says what is in the way.
        Err(error) => vec![format!(
            "How much this destroys can't be told now: {error:#}."
        )],
    }
}
