//! `approvals.toml`: who must countersign what.
//!
//! In scope: reading rules and checking that the people and groups they name exist.
//! Out of scope: which votes satisfy a rule; the core decides that.
//! Invariant: a rule has stages or is a confirmation, never both and never neither.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    approval::{
        hours::Hours,
        rule::{
            ApprovalRule, Approver, Assurance, DEFAULT_EXPIRES, DEFAULT_VALID_FOR, Emergency,
            Escalation, GrantLimits, ReasonRequirement, Stage,
        },
    },
    count::counted,
    id::{PersonId, RuleName},
    lifecycle::REPEAT_AFTER_UNKNOWN,
    time::Span,
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    channels::check_notify,
    config::Configuration,
    reading::{Entry, Reader},
};
use crate::problem::{Problem, shown};

/// The longest time that a review of an emergency may take: what waits longer is not a review.
const MAX_REVIEW: Span = Span::minutes(30 * 24 * 60);
/// The longest time that a grant can be for.
const MAX_GRANT: Span = Span::minutes(24 * 60);

/// The path of the rules within a bundle.
pub const APPROVALS_FILE: &str = "approvals.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    stages: Option<Vec<Spanned<RawStage>>>,
    #[serde(default)]
    confirmation: bool,
    expires: Option<Spanned<Span>>,
    valid_for: Option<Spanned<Span>>,
    assurance: Option<Assurance>,
    #[serde(default)]
    reason: ReasonRequirement,
    #[serde(default)]
    escalate: Vec<RawEscalation>,
    #[serde(default)]
    notify: Vec<String>,
    remind: Option<Spanned<Span>>,
    hours: Option<Hours>,
    grants: Option<Spanned<GrantLimits>>,
    emergency: Option<Spanned<RawEmergency>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStage {
    from: Vec<Spanned<Approver>>,
    #[serde(default = "one")]
    count: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEscalation {
    after: Span,
    to: Vec<Spanned<Approver>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEmergency {
    from: Vec<Spanned<Approver>>,
    review_within: Span,
}

/// A rule with the line that defines it.
#[derive(Debug, Clone)]
pub(crate) struct RuleEntry {
    pub(crate) rule: ApprovalRule,
    pub(crate) line: u32,
}

/// Reads the rules, noting every problem.
pub(crate) fn read(
    text: &str,
    config: &Configuration,
    problems: &mut Vec<Problem>,
) -> BTreeMap<RuleName, RuleEntry> {
    let mut reader = Reader {
        file: APPROVALS_FILE,
        text,
        problems,
    };
    let mut rules = BTreeMap::new();
    for section in reader.top_level() {
        if section.name != "approval" {
            let message = format!("unknown table `{}`", shown(&section.name));
            reader.error(section.line, message, "write `[approval.NAME]`");
            continue;
        }
        for entry in reader.named::<RawRule>(section) {
            let line = entry.line;
            if let Some(rule) = read_rule(&mut reader, config, entry) {
                rules.insert(rule.name.clone(), RuleEntry { rule, line });
            }
        }
    }
    rules
}

fn read_rule(
    reader: &mut Reader<'_>,
    config: &Configuration,
    entry: Entry<RawRule>,
) -> Option<ApprovalRule> {
    let Entry {
        name,
        line,
        value: raw,
    } = entry;
    let name: RuleName = reader.identifier(&name, line)?;
    if name.as_str().contains(',') {
        reader.error(
            line,
            format!("`{name}` cannot name a rule"),
            "leave out the comma",
        );
    }
    let stages = read_stages(reader, config, line, raw.stages, raw.confirmation);
    for span in raw.expires.iter().chain(&raw.valid_for) {
        if span.get_ref().as_millis() == 0 {
            let line = reader.line(span.span().start);
            reader.error(
                line,
                format!("`{}` is no time at all", span.get_ref()),
                "write `30m`",
            );
        }
    }
    if let Some(grants) = &raw.grants {
        check_grants(reader, &name, grants);
    }
    let escalate = raw
        .escalate
        .into_iter()
        .map(|e| Escalation {
            after: e.after,
            to: approvers(reader, config, line, e.to),
        })
        .collect();
    let emergency = raw
        .emergency
        .map(|emergency| read_emergency(reader, config, line, raw.confirmation, emergency));
    let mut rule = ApprovalRule::new(name, stages);
    rule.expires = raw.expires.map_or(DEFAULT_EXPIRES, Spanned::into_inner);
    rule.valid_for = raw.valid_for.map_or(DEFAULT_VALID_FOR, Spanned::into_inner);
    rule.assurance = raw.assurance.unwrap_or(rule.assurance);
    rule.reason = raw.reason;
    rule.escalate = escalate;
    rule.notify = raw.notify;
    rule.remind = raw
        .remind
        .and_then(|remind| read_remind(reader, &rule, remind));
    rule.hours = raw.hours;
    rule.grants = raw.grants.map(Spanned::into_inner);
    rule.emergency = emergency;
    rule.confirmation = raw.confirmation;
    check_notify(reader, line, &rule, &config.channels);
    warn_unreachable(reader, config, line, &rule);
    warn_unreviewed(reader, config, line, &rule);
    Some(rule)
}

/// When people are reminded; noted where that is at once, too late, or nowhere.
fn read_remind(
    reader: &mut Reader<'_>,
    rule: &ApprovalRule,
    remind: Spanned<Span>,
) -> Option<Span> {
    let line = reader.line(remind.span().start);
    let remind = remind.into_inner();
    if remind.as_millis() == 0 || remind >= rule.expires {
        let message = format!(
            "a reminder after {remind} of the {} that it waits",
            rule.expires
        );
        let help = "write a time before `expires`, for example half of it";
        reader.error(line, message, help);
        return None;
    }
    if rule.notify.is_empty() {
        let help = "name a channel in `notify`: people are reminded in private there";
        reader.error(line, "a reminder that goes nowhere", help);
        return None;
    }
    Some(remind)
}

fn read_emergency(
    reader: &mut Reader<'_>,
    config: &Configuration,
    line: u32,
    confirmation: bool,
    raw: Spanned<RawEmergency>,
) -> Emergency {
    let at = reader.line(raw.span().start);
    let raw = raw.into_inner();
    let from = approvers(reader, config, line, raw.from);
    if raw.review_within.as_millis() == 0 {
        let help = "write how long somebody else has to look at it: `review_within = \"24h\"`";
        reader.error(at, "an emergency that is overdue at once", help);
    }
    if raw.review_within > MAX_REVIEW {
        let help = "let somebody else look at it within 30 days at most";
        reader.error(at, "an emergency that nobody has to review soon", help);
    }
    if confirmation {
        let help = "remove `emergency`: whoever confirms needs nobody else";
        reader.error(at, "a confirmation has nothing to lift", help);
    }
    Emergency {
        from,
        review_within: raw.review_within,
    }
}

/// Warns when nobody could review an emergency: whoever lifts a rule does not review that. Only an
/// estimate, as for [`warn_unreachable`].
fn warn_unreviewed(
    reader: &mut Reader<'_>,
    config: &Configuration,
    line: u32,
    rule: &ApprovalRule,
) {
    let Some(emergency) = &rule.emergency else {
        return;
    };
    let named = rule.stages.iter().flat_map(|stage| &stage.from);
    let named = named.chain(rule.escalate.iter().flat_map(|later| &later.to));
    let named: Vec<_> = named.chain(&emergency.from).cloned().collect();
    let relation = |one: &Approver| {
        matches!(
            one,
            Approver::OwnerOfResource | Approver::ManagerOfRequester
        )
    };
    if named.iter().any(relation) || people_of(config, &named).len() > 1 {
        return;
    }
    let problem = Problem::warning(
        APPROVALS_FILE,
        line,
        format!("nobody could review an emergency use of `{}`", rule.name),
        "name somebody else in the rule; an overdue review suspends its emergencies",
    );
    // Who can't be read is not there.
    reader.problems.push(problem.following());
}

fn read_stages(
    reader: &mut Reader<'_>,
    config: &Configuration,
    line: u32,
    written: Option<Vec<Spanned<RawStage>>>,
    confirmation: bool,
) -> Vec<Stage> {
    let written = match (written, confirmation) {
        (None, true) => return Vec::new(),
        (Some(stages), false) if !stages.is_empty() => stages,
        (_, true) => {
            reader.error(
                line,
                "a confirmation has no stages",
                "remove `stages` or `confirmation`",
            );
            return Vec::new();
        }
        (_, false) => {
            let help = "write `stages = [{ from = [\"group:NAME\"], count = 1 }]`";
            reader.error(line, "the rule has no stages", help);
            return Vec::new();
        }
    };
    let mut stages = Vec::new();
    for stage in written {
        let line = reader.line(stage.span().start);
        let raw = stage.into_inner();
        if raw.count == 0 {
            reader.error(
                line,
                "a stage with `count = 0` asks nobody",
                "write at least 1",
            );
        }
        let from = approvers(reader, config, line, raw.from);
        stages.push(Stage {
            from,
            count: raw.count,
        });
    }
    stages
}

fn approvers(
    reader: &mut Reader<'_>,
    config: &Configuration,
    line: u32,
    written: Vec<Spanned<Approver>>,
) -> Vec<Approver> {
    if written.is_empty() {
        reader.error(
            line,
            "nobody is named",
            "name a group, a person or a relation",
        );
    }
    for approver in &written {
        let line = reader.line(approver.span().start);
        match approver.get_ref() {
            Approver::Group(group) if !config.groups.contains_key(group) => reader.unknown(
                line,
                format!("unknown group `{group}`"),
                format!("add `[group.{group}]` to `countersign.toml`"),
            ),
            Approver::User(person) if !config.people.contains_key(person) => reader.unknown(
                line,
                format!("unknown person `{person}`"),
                format!("add `[person.\"{person}\"]` to `countersign.toml`"),
            ),
            _ => {}
        }
    }
    written.into_iter().map(Spanned::into_inner).collect()
}

/// Warns when the people of the file cannot be enough. Only an estimate: who is *self* differs
/// from request to request, and the core counts exactly.
fn warn_unreachable(
    reader: &mut Reader<'_>,
    config: &Configuration,
    line: u32,
    rule: &ApprovalRule,
) {
    let relations = |stage: &Stage| {
        stage
            .from
            .iter()
            .any(|a| matches!(a, Approver::OwnerOfResource | Approver::ManagerOfRequester))
    };
    if rule.stages.iter().any(relations) {
        return;
    }
    let mut everybody = BTreeSet::new();
    let mut needed: u64 = 0;
    let mut short = false;
    for stage in &rule.stages {
        let people = people_of(config, &stage.from);
        short |= u64::try_from(people.len()).unwrap_or(u64::MAX) < u64::from(stage.count);
        needed = needed.saturating_add(stage.count.into());
        everybody.extend(people);
    }
    if short || u64::try_from(everybody.len()).unwrap_or(u64::MAX) < needed {
        let problem = Problem::warning(
            APPROVALS_FILE,
            line,
            format!(
                "`{}` needs {} and there are not enough",
                rule.name,
                counted(needed, "person", "people")
            ),
            "add people to its groups, or ask for fewer",
        );
        // Who can't be read is not there.
        reader.problems.push(problem.following());
    }
}

fn check_grants(reader: &mut Reader<'_>, name: &RuleName, grants: &Spanned<GrantLimits>) {
    let (line, limits) = (reader.line(grants.span().start), grants.get_ref());
    if limits.uses < 2 || limits.max.as_millis() == 0 {
        let help =
            "write at least two uses, of which the approved action is the first, and some time";
        reader.error(line, "a grant of nothing", help);
    }
    if limits.max > MAX_GRANT {
        let message = format!("a grant of {} is not for the moment any more", limits.max);
        let help = "write at most 24h; what may always run is for a policy to permit";
        reader.error(line, message, help);
    }
    if name.as_str() == REPEAT_AFTER_UNKNOWN {
        let message = format!("`{REPEAT_AFTER_UNKNOWN}` grants, but every repetition is its own");
        reader.error(line, message, "leave out `grants`");
    }
}

fn people_of<'a>(config: &'a Configuration, from: &[Approver]) -> BTreeSet<&'a PersonId> {
    config
        .people
        .iter()
        .filter(|(id, person)| {
            from.iter().any(|approver| match approver {
                Approver::Group(group) => person.groups.contains(group),
                Approver::User(user) => user == *id,
                Approver::OwnerOfResource | Approver::ManagerOfRequester => false,
            })
        })
        .map(|(id, _)| id)
        .collect()
}
