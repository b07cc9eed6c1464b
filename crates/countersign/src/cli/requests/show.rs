//! `countersign requests show`.

use countersign_core::{approval::vote::Verdict, id::RequestId, time::Timestamp};

use super::emergencies;
use crate::{
    api::types::{
        MessageLine, OutcomeLine, RequestDetail, RequestLine, RuleProgress, SignedWith, VoteLine,
    },
    cli::{
        client::{At, Client},
        clock::now,
        config::Sources,
        failure::Failure,
        output::Output,
        text::{self, Paint, shown},
    },
};

const EXAMPLES: &str = "\
Example:
  countersign requests show req_01j9…";

/// Arguments of `countersign requests show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let at = At::new(&["requests", args.request.as_str()]);
    let detail: RequestDetail = client.get(at).await?;
    output.result(&detail, |detail, paint| page(detail, now(), paint))?;
    Ok(0)
}

/// The whole request, the action first.
fn page(detail: &RequestDetail, now: Timestamp, paint: Paint) -> String {
    let mut parts = vec![head(detail, now, paint)];
    let mut part = |name: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            parts.push(format!("{}\n{}", paint.bold(name), lines.join("\n")));
        }
    };
    let mut rules: Vec<_> = detail.rules.iter().map(|r| rule(r, paint)).collect();
    if let Some(who) = &detail.can_sign {
        rules.push(format!("  can sign now: {}", shown(&who.to_string())));
    }
    let confirms = |rule: &RuleProgress| rule.confirmation;
    let confirmation = !detail.rules.is_empty() && detail.rules.iter().all(confirms);
    let name = if confirmation {
        "Confirmation"
    } else {
        "Approvals"
    };
    part(name, rules);
    let lifted = detail.lifted.iter();
    let lifted = lifted.map(|lift| emergencies::lift(lift, now, paint));
    part("Emergency", lifted.collect());
    part(
        "Votes",
        detail.votes.iter().map(|v| vote(v, now, paint)).collect(),
    );
    part(
        "Conversation",
        detail
            .conversation
            .iter()
            .map(|m| message(m, now))
            .collect(),
    );
    let policies = detail.policies.iter().map(|policy| {
        let place = policy.place.as_deref().unwrap_or("built in");
        let reason = policy.reason.as_deref().unwrap_or("no reason given");
        format!(
            "  {}  {}  ({})",
            shown(&policy.id),
            shown(reason),
            shown(place)
        )
    });
    part("Decided by", policies.collect());
    part("You can", next(detail));
    parts.join("\n\n")
}

/// When something happens without anybody, and what.
fn deadline(line: &RequestLine, now: Timestamp) -> String {
    let how = match line.state.as_str() {
        "held" => "ends unless somebody decides",
        "approved" => "the approval ends",
        _ => "changes by itself",
    };
    line.deadline.map_or_else(String::new, |at| {
        format!(", {how} {}", text::relative(at, now))
    })
}

fn head(detail: &RequestDetail, now: Timestamp, paint: Paint) -> String {
    let line = &detail.line;
    let deadline = deadline(line, now);
    let gate = if detail.advisory {
        "advisory: the requester itself executes"
    } else {
        "enforcing"
    };
    let mut values = vec![
        ("action", text::barred(&text::spelt(&detail.action))),
        (
            "target",
            format!("{} ({}, {gate})", shown(&line.target), shown(&detail.gate)),
        ),
        (
            "runs as",
            detail.runs_as.as_deref().map_or_else(|| "–".into(), shown),
        ),
        ("touches", text::spelt(&detail.blast_radius)),
        ("asked by", text::shown_lines(&detail.chain.join("\n"))),
    ];
    let origin = [
        ("model", &detail.origin.model),
        ("session", &detail.origin.session),
        ("task", &detail.origin.task),
    ];
    let stated: Vec<String> = origin
        .iter()
        .filter_map(|(name, value)| {
            value
                .as_ref()
                .map(|value| format!("{name} {}", shown(value)))
        })
        .chain(
            line.reason
                .as_ref()
                .map(|reason| format!("reason:\n{}", text::shown_lines(reason))),
        )
        .collect();
    if !detail.unusual.is_empty() {
        let warning = "contains invisible or look-alike characters:";
        let found: Vec<_> = detail.unusual.iter().map(|one| shown(one)).collect();
        values.push((
            "careful",
            format!("{}\n{}", paint.yellow(warning), found.join("\n")),
        ));
    }
    if !stated.is_empty() {
        values.push(("it says", text::barred(&stated.join("\n"))));
    }
    values.push((
        "asked",
        format!("{}{deadline}", text::relative(line.at, now)),
    ));
    if let Some(ended) = &detail.outcome {
        values.push(("outcome", outcome(ended, now, paint)));
    }
    if let Some(other) = &detail.amends {
        values.push(("amends", other.to_string()));
    }
    values.extend(grants(detail, now));
    values.push(("digest", digest(detail, paint)));
    values.push(("page", shown(&detail.url)));
    let title = format!(
        "{}  {}",
        paint.bold(line.id.as_str()),
        paint.state(&line.state)
    );
    format!("{title}\n{}", text::pairs(2, &values, paint))
}

/// The grant it runs under, and the one that was given with it.
fn grants(detail: &RequestDetail, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    if let Some(under) = &detail.granted {
        let voters = text::list(&under.voters);
        let words = format!("under the grant of {} by {voters}", under.request);
        values.push(("runs", words));
    }
    if let Some(grant) = &detail.grant {
        let until = text::relative(grant.until, now);
        let (label, ended) = match (&grant.ended_by, grant.live) {
            (Some(by), _) => ("was granted", format!(", ended by {}", shown(by))),
            (None, true) => ("granted", format!(", ends {until}")),
            (None, false) => ("was granted", ", over".into()),
        };
        let words = shown(&grant.words);
        values.push((label, format!("{words}\n{} used{ended}", grant.used)));
    }
    values
}

/// The digest, and that its beginning is typed where one click is not enough.
fn digest(detail: &RequestDetail, paint: Paint) -> String {
    let digest = shown(&detail.digest);
    match detail.needs_typed_digest && detail.line.state == "held" {
        true => format!(
            "{digest}\n{} whoever approves it types the first 8 of these digits on its page:\n\
             countersign requests approve {}",
            paint.yellow("One click is not enough;"),
            detail.line.id
        ),
        false => digest,
    }
}

/// `failed, exit status 3, 2m ago, under permit …`.
fn outcome(ended: &OutcomeLine, now: Timestamp, paint: Paint) -> String {
    let exit = ended
        .exit
        .map_or_else(String::new, |status| format!(", exit status {status}"));
    let since = match ended.state.as_str() {
        "running" => ", since ",
        _ => ", ",
    };
    let permit = ended
        .permit
        .as_deref()
        .map_or_else(String::new, |permit| format!(", under {}", shown(permit)));
    let why = ended
        .why
        .as_deref()
        .map_or_else(String::new, |why| format!("\n{}", text::quoted(why)));
    format!(
        "{}{exit}{since}{} ({}){permit}{why}",
        paint.state(&ended.state),
        text::relative(ended.at, now),
        ended.at
    )
}

fn rule(rule: &RuleProgress, paint: Paint) -> String {
    let what = if rule.confirmation {
        " (confirmation by the requester's own side)"
    } else {
        ""
    };
    let stages = rule.stages.iter().map(|stage| {
        let done = u32::try_from(stage.signed.len()).unwrap_or(u32::MAX) >= stage.count;
        let mark = if done {
            paint.green("✓")
        } else {
            paint.yellow("·")
        };
        let signed = if stage.signed.is_empty() {
            String::new()
        } else {
            format!("; signed by {}", text::list(&stage.signed))
        };
        let count = stage.count;
        format!("    {mark} {count} of {}{signed}", text::list(&stage.from))
    });
    let lines: Vec<String> = stages.collect();
    let emergency = rule.emergency.as_ref().map_or_else(String::new, |terms| {
        let from = text::list(&terms.from);
        let within = shown(&terms.review_within);
        format!("\n    in an emergency lifted by {from}, reviewed within {within}")
    });
    format!(
        "  {}{what}\n{}{emergency}",
        shown(&rule.name),
        lines.join("\n")
    )
}

fn vote(vote: &VoteLine, now: Timestamp, paint: Paint) -> String {
    let verdict = match vote.verdict {
        Verdict::Approve if vote.confirmation => paint.green("confirmed"),
        Verdict::Approve => paint.green("approved"),
        Verdict::Deny => paint.red("denied"),
    };
    let reason = vote.reason.as_ref().map_or_else(String::new, |reason| {
        format!(":\n{}", text::indent(4, &text::quoted(reason)))
    });
    let with = match (&vote.passkey, vote.assurance.as_str()) {
        (Some(with), _) => with_passkey(with),
        (None, "passkey") => ", signed by a passkey".into(),
        _ => String::new(),
    };
    let void = match vote.counts {
        true => String::new(),
        false => paint.red(" (does not count any more: the passkey was removed since)"),
    };
    let in_place = vote.in_place_of.as_deref().map(shown);
    let in_place = in_place.map_or_else(String::new, |away| format!(" in the place of {away}"));
    format!(
        "  {} {verdict}{in_place} {}{with}{void}{reason}",
        shown(&vote.voter),
        text::relative(vote.at, now)
    )
}

fn with_passkey(with: &SignedWith) -> String {
    let called = with.label.as_deref().map_or_else(String::new, shown);
    let fingerprint = with.fingerprint.as_deref().map_or_else(String::new, shown);
    let known = format!("{called} ({fingerprint}, {})", with.credential);
    format!(", signed by the passkey {known}")
}

fn message(message: &MessageLine, now: Timestamp) -> String {
    let to = message
        .to
        .as_ref()
        .map_or_else(String::new, |to| format!(" to {to}"));
    let text = text::indent(4, &text::quoted(&message.text));
    format!(
        "  {} {} {} ({}{to})\n{text}",
        message.id,
        text::relative(message.at, now),
        shown(&message.by),
        shown(&message.kind)
    )
}

/// What the caller can do next, as commands.
fn next(detail: &RequestDetail) -> Vec<String> {
    let id = &detail.line.id;
    let confirmation =
        !detail.rules.is_empty() && detail.rules.iter().all(|rule| rule.confirmation);
    let mut lines: Vec<String> = detail
        .can
        .iter()
        .filter_map(|verb| match verb.as_str() {
            "vote" => Some(match confirmation {
                true => format!("  countersign requests approve {id}   (to confirm it, or deny)"),
                false => format!("  countersign requests approve {id}   (or deny)"),
            }),
            "withdraw" => Some(format!("  countersign requests withdraw {id}")),
            "comment" => Some(format!("  countersign requests comment {id} TEXT")),
            "ask" => Some(format!("  countersign requests ask {id} TEXT")),
            "answer" => Some(format!("  countersign requests answer {id} TEXT")),
            "amend" => Some(format!("  countersign requests amend {id}")),
            "cancel" => Some(format!("  countersign requests cancel {id}")),
            "claim" => Some(format!("  countersign requests apply {id}")),
            _ => None,
        })
        .collect();
    lines.extend(detail.can_review.iter().map(|rule| {
        let rule = shown(rule);
        format!("  countersign requests review {id} --rule {rule}")
    }));
    lines.extend(detail.can_lift.iter().map(|lift| {
        let rule = shown(&lift.rule);
        format!("  countersign requests emergency {id} --rule {rule}   (no approval; only in an emergency)")
    }));
    if let Some(why) = &detail.why_not_vote {
        lines.push(format!("  not vote here: {}", shown(why)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn how_it_ended_is_said() {
        let ended = |state: &str, exit, why: Option<&str>| OutcomeLine {
            state: state.into(),
            at: Timestamp(1_060_000),
            exit,
            permit: exit.map(|_| "prm_1".to_owned()),
            why: why.map(str::to_owned),
        };
        let said = |line| outcome(&line, Timestamp(1_120_000), Paint::plain());
        expect!["failed, exit status 3, 60s ago (1970-01-01T00:17:40.000Z), under prm_1"]
            .assert_eq(&said(ended("failed", Some(3), None)));
        expect![[r#"
            denied, 60s ago (1970-01-01T00:17:40.000Z)
            │ by dana@example.com: no"#]]
        .assert_eq(&said(ended(
            "denied",
            None,
            Some("by dana@example.com: no"),
        )));
    }

    #[test]
    fn what_signed_a_vote_and_whether_it_counts_is_said() {
        let with = SignedWith {
            credential: "crd_1".parse().unwrap(),
            label: Some("laptop".into()),
            fingerprint: Some("3f1c 09ab 77d2 e410".into()),
            counts: false,
        };
        let line = VoteLine {
            voter: "lea@example.com".into(),
            in_place_of: None,
            verdict: Verdict::Approve,
            reason: None,
            at: Timestamp(1_060_000),
            assurance: "passkey".into(),
            grant: None,
            passkey: Some(with),
            counts: false,
            confirmation: false,
        };
        expect!["  lea@example.com approved 60s ago, signed by the passkey laptop (3f1c 09ab 77d2 e410, crd_1) (does not count any more: the passkey was removed since)"]
        .assert_eq(&vote(&line, Timestamp(1_120_000), Paint::plain()));
    }

    #[test]
    fn it_is_said_where_the_digest_is_typed() {
        let said = |state: &str, needed| {
            let text = crate::cli::testing::detail(state);
            let mut detail: RequestDetail = serde_json::from_str(&text).unwrap();
            detail.needs_typed_digest = needed;
            digest(&detail, Paint::plain())
        };
        expect![[r#"
            ab12
            One click is not enough; whoever approves it types the first 8 of these digits on its page:
            countersign requests approve req_1"#]].assert_eq(&said("held", true));
        // Nobody approves it any more, or one click is enough.
        assert_eq!(said("approved", true), "ab12");
        assert_eq!(said("held", false), "ab12");
    }

    #[test]
    fn a_request_is_shown_whole() {
        let detail: RequestDetail =
            serde_json::from_str(&crate::cli::testing::detail("held")).unwrap();
        expect![[r#"
            req_1  held
              action    │ git push origin main
              target    release (exec, enforcing)
              runs as   –
              touches   branch main of release
              asked by  agent:bot (owner olga@example.com)
              it says   │ model m-1
                        │ reason:
                        │ ship 1.2
              asked     2m ago, ends unless somebody decides in 28m
              digest    ab12
              page      https://gate.example.com/requests/req_1

            Approvals
              dba
                ✓ 1 of group:dba; signed by dana@example.com
                · 1 of group:security

            Votes
              dana@example.com approved 60s ago:
                │ fine

            Conversation
              msg_1 30s ago lea@example.com (question)
                │ which⟨U+001B⟩ branch?

            Decided by
              prod  Releases need a DBA  (policies/prod.cedar:3)

            You can
              countersign requests approve req_1   (or deny)
              countersign requests answer req_1 TEXT
              countersign requests cancel req_1"#]]
        .assert_eq(&page(&detail, Timestamp(1_120_000), Paint::plain()));
    }
}
