//! What a mail says.
//!
//! In scope: subject and parts, for one request or many, whole or as a mere pointer.
//! Out of scope: headers ([`post`](super::post)); HTML and text of the parts (`countersign_console::mail`).
//! Invariant: what others wrote is quoted, and no part of it reads as a link. The subject begins with
//! what the gateway says, and nothing in it stands for other words. With `content = "link"` a mail names no
//! person, target or action.

use countersign_console::mail::{Line, Link, Mail, Part, unlinked};
use countersign_core::{
    approval::vote::Verdict,
    count::counted,
    lifecycle,
    request::{Case, Message, Phase},
    time::Timestamp,
};
use countersign_policy::channel::MailContent;
use countersign_runner::quote::{reveal, reveal_lines};

use super::news::News;
use crate::{
    active::Active,
    api::detail::{is_advisory, unusual_in},
    channels::{
        alarm::review,
        telling::{cut, rules, state},
    },
    gateway::Gateway,
};

/// The most characters of an action.
const WHOLE: usize = 8_000;
/// The most characters of a longer text around it, of a shorter one, and of a title.
const LONG: usize = 4_000;
const SHORT: usize = 600;
const TITLE: usize = 100;
/// How many digits of the digest tell what was shown.
const DIGITS: usize = 16;
/// The latest votes that a mail has.
const VOTES: usize = 5;
/// The most requests that a list names.
const LISTED: usize = 50;
/// What begins every subject.
const MARK: &str = "[Countersign]";
const DECIDES_NOTHING: &str = "Nothing can be decided by mail: the link leads to a page that asks who you are. \
                               Replies are not read.";
const BRACKETS: &str = "So that nothing in what others wrote is a link, some of its dots, colons, slashes and \
                        at-signs stand in square brackets here. The page has it as it was written.";

/// A mail without its headers.
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) mail: Mail,
}

/// Others' words, and whether any were changed.
#[derive(Default)]
struct Words {
    changed: bool,
}

impl Words {
    fn of(&mut self, text: &str) -> String {
        let shown = unlinked(text);
        self.changed |= shown != text;
        shown
    }

    fn quoted(&mut self, label: &str, text: &str) -> Part {
        Part::Quoted {
            label: label.into(),
            text: self.of(text),
            code: false,
        }
    }
}

/// What is told of one request.
pub(super) fn of(
    gateway: &Gateway,
    active: &Active,
    content: MailContent,
    (case, news): (&Case, &News),
) -> Letter {
    let href = match news.is_alarm() {
        true => format!("{}#review", gateway.request_url(&case.request.id)),
        false => gateway.request_url(&case.request.id),
    };
    if content == MailContent::Link {
        return pointer(&case.request.id.to_string(), pointing(news), href);
    }
    let mut words = Words::default();
    let parts = match news {
        News::Waits | News::StillWaits => waits(active, case, &mut words),
        News::Asked(id) | News::Answered(id) => said(case, id.as_str(), &mut words),
        News::Approved | News::Over | News::Ended => over(case, news, &mut words),
        News::Lifted(nth) | News::Overdue(nth) => alarm(active, (case, *nth), &mut words),
    };
    let request = &case.request;
    let heading = match news {
        News::Asked(_) => "A reviewer asks you something".into(),
        News::Answered(_) => "Your question is answered".into(),
        News::StillWaits => "It still waits for you".into(),
        News::Lifted(_) => "EMERGENCY: a rule was lifted".into(),
        News::Overdue(_) => "Overdue: nobody has reviewed an emergency".into(),
        _ => state(case),
    };
    let digest: String = request.digest.to_string().chars().take(DIGITS).collect();
    let mut foot = vec![DECIDES_NOTHING.to_owned()];
    foot.extend(words.changed.then(|| BRACKETS.to_owned()));
    foot.push(format!("{} · digest {digest}", request.id));
    let text = match news {
        News::Waits | News::StillWaits => "Read it and decide, signed in",
        News::Lifted(_) | News::Overdue(_) => "Read it and review it, signed in",
        _ => "Open its page",
    };
    let title = cut(&line(&request.presentation.title), TITLE);
    let alarm = match news.is_alarm() {
        true => "EMERGENCY, ",
        false => "",
    };
    Letter {
        subject: subject(&format!("{alarm}{}: {title}", request.chain.requester.id)),
        mail: Mail {
            heading,
            parts,
            link: Link {
                text: text.into(),
                href,
            },
            foot,
        },
    }
}

/// A subject in which nothing is decoded to other words (RFC 2047): what is ASCII is sent as it is.
fn subject(text: &str) -> String {
    let text = text.replace("=?", "=[?]");
    format!("{MARK} {text}")
}

/// A text on one line.
fn line(text: &str) -> String {
    reveal_lines(text).replace(['\n', '\t'], " ")
}

/// A time, to the second.
fn moment(at: Timestamp) -> String {
    let text = at.to_string().replace('T', " ");
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds} UTC"),
        None => text,
    }
}

/// That there is something, and where.
fn pointer(name: &str, heading: &str, href: String) -> Letter {
    Letter {
        subject: subject(name),
        mail: Mail {
            heading: heading.into(),
            parts: Vec::new(),
            link: Link {
                text: "Open its page, signed in".into(),
                href,
            },
            foot: vec![DECIDES_NOTHING.into()],
        },
    }
}

fn pointing(news: &News) -> &'static str {
    match news {
        News::Waits => "A request waits for your signature",
        News::StillWaits => "A request still waits for your signature",
        News::Asked(_) => "A reviewer asks you something",
        News::Answered(_) => "Your question is answered",
        News::Approved => "A request of yours is approved",
        News::Over => "A request does not wait for your signature any more",
        News::Ended => "A request of yours is over",
        News::Lifted(_) => "EMERGENCY: a rule was lifted, and somebody must review it",
        News::Overdue(_) => "Overdue: nobody has reviewed an emergency",
    }
}

/// Everything that somebody needs who is to decide.
fn waits(active: &Active, case: &Case, words: &mut Words) -> Vec<Part> {
    let request = &case.request;
    let mut facts = who(case, words);
    facts.push(("State".into(), line(&rules(active, case))));
    if let Some(until) = lifecycle::deadline(case) {
        facts.push(("Waits until".into(), moment(until)));
    }
    let mut parts = vec![Part::Facts(facts)];
    if is_advisory(&request.action.gate) {
        parts.push(Part::Note(
            "The caller runs it itself; nothing here can stop it from doing more.".into(),
        ));
    }
    parts.extend(action(case, words));
    let unusual = unusual_in(case);
    if !unusual.is_empty() {
        parts.push(words.quoted("Beware", &cut(&line(&unusual.join("; ")), LONG)));
    }
    if let Some(reason) = &request.reason {
        parts.push(words.quoted("Why, in its own words", &cut(&reveal_lines(reason), LONG)));
    }
    let radius = cut(&reveal_lines(&request.presentation.blast_radius), SHORT);
    parts.push(words.quoted("Blast radius", &radius));
    let masked = request.action.masked.len();
    if masked > 0 {
        let secrets = counted(masked, "secret", "secrets");
        parts.push(Part::Note(format!("Left out of what is shown: {secrets}.")));
    }
    parts.extend(votes(case, words));
    parts
}

/// The latest votes, each in its voter's words where there are any.
fn votes(case: &Case, words: &mut Words) -> Vec<Part> {
    let latest = case.votes.len().saturating_sub(VOTES);
    let votes = case.votes.iter().skip(latest).map(|vote| {
        let did = match vote.verdict {
            Verdict::Approve => "approved",
            Verdict::Deny => "denied",
        };
        match &vote.reason {
            Some(why) => words.quoted(
                &format!("{} {did}, and writes", vote.voter),
                &cut(&reveal_lines(why), SHORT),
            ),
            None => Part::Note(format!("{} {did}.", vote.voter)),
        }
    });
    votes.collect()
}

/// Who asks, for whom, of what.
fn who(case: &Case, words: &mut Words) -> Vec<(String, String)> {
    let request = &case.request;
    let members = request.chain.members().map(|member| match &member.owner {
        Some(owner) => format!("{} (owner {owner})", member.id),
        None => member.id.to_string(),
    });
    let members: Vec<String> = members.collect();
    let mut facts = vec![
        ("Who".to_owned(), members.join(", on behalf of ")),
        ("Target".to_owned(), request.action.target.to_string()),
    ];
    let origin = &request.chain.origin;
    for (name, value) in [
        ("model", &origin.model),
        ("session", &origin.session),
        ("task", &origin.task),
    ] {
        if let Some(value) = value {
            let value = words.of(&format!("{:?}", cut(&reveal(value), SHORT)));
            facts.push((format!("It says of itself, {name}"), value));
        }
    }
    facts
}

/// The action as far as a mail has room for it.
fn action(case: &Case, words: &mut Words) -> Vec<Part> {
    let presentation = &case.request.presentation;
    let body = &presentation.body;
    let fits = body.chars().count() <= WHOLE;
    let mut parts = vec![Part::Quoted {
        label: "What it would do".into(),
        text: words.of(&cut(body, WHOLE)),
        code: true,
    }];
    if !fits || !presentation.complete {
        parts.push(Part::Note(
            "Not all of this action is shown here; its page says what there is.".into(),
        ));
    }
    parts
}

/// What somebody asks or answers.
fn said(case: &Case, id: &str, words: &mut Words) -> Vec<Part> {
    let message = case.conversation.iter().find(|one| one.id.as_str() == id);
    let mut parts = vec![Part::Facts(who(case, words)), title(case, words)];
    parts.extend(message.map(|Message { by, text, .. }| {
        words.quoted(&format!("{by} writes"), &cut(&reveal_lines(text), LONG))
    }));
    parts
}

fn title(case: &Case, words: &mut Words) -> Part {
    let title = line(&case.request.presentation.title);
    words.quoted("What", &cut(&title, SHORT))
}

/// How it went on.
fn over(case: &Case, news: &News, words: &mut Words) -> Vec<Part> {
    let mut facts = who(case, words);
    if let Phase::Approved { until } = &case.phase {
        facts.push(("The approval lapses".into(), moment(*until)));
    }
    let mut parts = vec![Part::Facts(facts), title(case, words)];
    if *news == News::Approved {
        parts.push(Part::Note(
            "Whoever asked for it asks for the same again, and it runs.".into(),
        ));
    }
    parts.extend(votes(case, words));
    parts
}

/// That a rule was lifted, why, and who looks at it.
fn alarm(active: &Active, (case, nth): (&Case, usize), words: &mut Words) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(lift) = case.lifted.get(nth) {
        parts.push(Part::Note(format!(
            "{} lifted rule {}. Nobody countersigned for it.",
            lift.by(),
            lift.rule
        )));
        let why = cut(&reveal_lines(lift.reason()), LONG);
        parts.push(words.quoted("Why, in their own words", &why));
        parts.push(Part::Note(review(active, case, lift)));
    }
    let mut facts = who(case, words);
    facts.push(("State".into(), line(&state(case))));
    parts.push(Part::Facts(facts));
    parts.extend(action(case, words));
    parts
}

/// One mail about many requests of one requester.
pub(super) fn list(gateway: &Gateway, content: MailContent, told: &[(&Case, &News)]) -> Letter {
    let requests = counted(told.len(), "request", "requests");
    let inbox = format!("{}/inbox", gateway.url());
    if content == MailContent::Link {
        return pointer(&requests, "There is something new in your inbox", inbox);
    }
    let mut words = Words::default();
    let lines = told.iter().take(LISTED).map(|(case, news)| Line {
        title: words.of(&cut(&line(&case.request.presentation.title), SHORT)),
        state: match news {
            News::Asked(_) | News::Answered(_) | News::Lifted(_) | News::Overdue(_) => {
                pointing(news).into()
            }
            _ => state(case),
        },
        name: case.request.id.to_string(),
        href: gateway.request_url(&case.request.id),
    });
    let mut parts = vec![Part::Requests(lines.collect())];
    if told.len() > LISTED {
        let more = told.len() - LISTED;
        parts.push(Part::Note(format!("And {more} more.")));
    }
    let who = told
        .first()
        .map(|(case, _)| &case.request.chain.requester.id);
    let who = who.map(ToString::to_string).unwrap_or_default();
    let mut foot = vec![DECIDES_NOTHING.to_owned()];
    foot.extend(words.changed.then(|| BRACKETS.to_owned()));
    Letter {
        subject: subject(&format!("{who}: {requests}")),
        mail: Mail {
            heading: format!("{who}: {requests}"),
            parts,
            link: Link {
                text: "Open the inbox, signed in".into(),
                href: inbox,
            },
            foot,
        },
    }
}

#[cfg(test)]
mod tests {
    //! Subjects.
    //!
    //! In scope: words that stand for others.
    //! Out of scope: the rest of a mail; `integration/email` has real servers and readers.
    //! Invariant: a mail program shows the characters that were written.

    use super::*;

    #[test]
    fn no_subject_is_decoded_to_other_words() {
        for (title, shown) in [
            (
                "echo =?utf-8?B?QXBwcm92ZWQ=?= x",
                "echo =[?]utf-8?B?QXBwcm92ZWQ=[?]= x",
            ),
            ("==?=?x", "==[?]=[?]x"),
            ("a = b ? c", "a = b ? c"),
        ] {
            let subject = subject(title);
            assert_eq!(subject, format!("[Countersign] {shown}"));
            let mail = lettre::Message::builder()
                .from("a@example.com".parse().unwrap())
                .to("b@example.com".parse().unwrap())
                .subject(subject.clone())
                .body(String::new())
                .unwrap();
            let mail = String::from_utf8(mail.formatted()).unwrap();
            assert!(mail.contains(&format!("Subject: {subject}\r\n")), "{mail}");
        }
    }
}
