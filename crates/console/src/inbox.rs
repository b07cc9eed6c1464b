//! The inbox: what waits for me, what I or my agents asked, and what was decided.
//!
//! In scope: one tab of it at a time, its filter, and the way to further pages.
//! Out of scope: finding requests; rows come sorted and cut to a page.
//! Invariant: the filter lives in the address alone, so a view can be bookmarked and sent.

use askama::Template;

use crate::{
    part::{Deadline, Moment, Party, Phase},
    shell::Shell,
};

/// The inbox, at `GET /inbox?tab=…&state=…&agent=…&target=…&from=…&to=…&q=…&after=…`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "inbox.html", whitespace = "minimize")]
pub struct InboxPage {
    /// The surroundings.
    pub shell: Shell,
    /// Which tab is open.
    pub tab: Tab,
    /// How many requests each tab has without the filter.
    pub counts: Counts,
    /// The filter in force.
    pub filter: Filter,
    /// Agents and workloads to suggest in the filter.
    pub agents: Vec<String>,
    /// Targets to suggest in the filter.
    pub targets: Vec<String>,
    /// The requests of this page.
    pub rows: Vec<Row>,
    /// The cursor of the next page, for `after`.
    pub next: Option<String>,
    /// Whether this is a further page, so that a link leads back to the first.
    pub further: bool,
}

/// Which part of the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tab {
    /// `waiting`: questions to me, approved requests of mine to use, and signatures.
    #[default]
    Waiting,
    /// `mine`: asked by me, or by agents that act for me or that I own.
    Mine,
    /// `decided`: over, as far as I may see them.
    Decided,
}

impl Tab {
    const ALL: [Self; 3] = [Self::Waiting, Self::Mine, Self::Decided];

    /// Reads the value of `tab`; anything else is the first tab.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|tab| tab.name() == name)
            .unwrap_or_default()
    }

    /// The value of `tab`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Mine => "mine",
            Self::Decided => "decided",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Waiting => "Waits for me",
            Self::Mine => "Asked by me",
            Self::Decided => "Decided",
        }
    }
}

/// How many requests each tab has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for me.
    pub waiting: u64,
    /// Asked by me or my agents and not over.
    pub mine: u64,
    /// Decided; not counted where that is slow.
    pub decided: Option<u64>,
}

/// What to show; empty fields don't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A phase's name, field `state`.
    pub state: String,
    /// An agent's, workload's or person's name, field `agent`.
    pub agent: String,
    /// A target's name, field `target`.
    pub target: String,
    /// Asked on this day (UTC, `2026-11-03`) or later, field `from`.
    pub from: String,
    /// Asked on this day or earlier, field `to`.
    pub to: String,
    /// Words of the action or reason, field `q`.
    pub text: String,
}

impl Filter {
    /// Whether it restricts anything.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// The query of an inbox address with this filter, starting with `?`.
    #[must_use]
    pub fn query(&self, tab: Tab, after: Option<&str>) -> String {
        let fields = [
            ("tab", tab.name()),
            ("state", &self.state),
            ("agent", &self.agent),
            ("target", &self.target),
            ("from", &self.from),
            ("to", &self.to),
            ("q", &self.text),
            ("after", after.unwrap_or_default()),
        ];
        let set = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<_> = set
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        format!("?{}", pairs.join("&"))
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// One request in the list.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// The request's id; the row leads to `/requests/ID`.
    pub id: String,
    /// What, in one line.
    pub title: String,
    /// Who asks.
    pub requester: Party,
    /// For whom, nearest first.
    pub on_behalf_of: Vec<String>,
    /// The target's name.
    pub target: String,
    /// Its environment; empty when it has none to show.
    pub environment: String,
    /// Why, as the requester states it.
    pub why: Option<String>,
    /// When it was asked.
    pub asked: Moment,
    /// Where it stands.
    pub phase: Phase,
    /// Time left, while it is open.
    pub left: Option<Deadline>,
    /// When it ended, once it is over.
    pub ended: Option<Moment>,
    /// What is expected of me, or who decided, for example `your signature: rule dba`.
    pub note: String,
    /// Signatures given.
    pub signed: u32,
    /// Signatures needed; 0 shows no progress.
    pub needed: u32,
    /// Whether they are confirmations, which are no countersignatures.
    pub confirmation: bool,
    /// Whether a rule was lifted in an emergency.
    pub lifted: bool,
    /// Whether the gate is advisory.
    pub advisory: bool,
    /// Whether somebody waits for the viewer's answer.
    pub asks_you: bool,
    /// Whether a question to the requester's side is open.
    pub question_open: bool,
}

/// One tab as the page links to it.
struct TabLink {
    label: &'static str,
    /// The rest of the label, where there is room.
    more: &'static str,
    href: String,
    count: Option<u64>,
    current: bool,
}

impl InboxPage {
    fn tabs(&self) -> Vec<TabLink> {
        let link = |tab: Tab| TabLink {
            label: tab.label(),
            more: if tab == Tab::Mine { "or my agents" } else { "" },
            href: self.filter.query(tab, None),
            count: match tab {
                Tab::Waiting => Some(self.counts.waiting),
                Tab::Mine => Some(self.counts.mine),
                Tab::Decided => self.counts.decided,
            },
            current: tab == self.tab,
        };
        Tab::ALL.into_iter().map(link).collect()
    }

    fn next_href(&self) -> Option<String> {
        let next = self.next.as_deref()?;
        Some(self.filter.query(self.tab, Some(next)))
    }

    fn first_href(&self) -> String {
        self.filter.query(self.tab, None)
    }

    fn unfiltered_href(&self) -> String {
        Filter::default().query(self.tab, None)
    }

    /// The phases this tab can contain, and whether the filter names them.
    fn states(&self) -> Vec<(Phase, bool)> {
        let fits = |phase: &Phase| match self.tab {
            Tab::Waiting => phase.is_open(),
            Tab::Mine => true,
            Tab::Decided => *phase != Phase::Held,
        };
        let chosen = |phase: Phase| (phase, phase.name() == self.filter.state);
        Phase::ALL.into_iter().filter(fits).map(chosen).collect()
    }

    fn is_waiting(&self) -> bool {
        self.tab == Tab::Waiting
    }

    fn is_mine(&self) -> bool {
        self.tab == Tab::Mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_keeps_the_filter_and_encodes_it() {
        let filter = Filter {
            agent: "deploy-bot".into(),
            text: "drop & \"é\"".into(),
            ..Filter::default()
        };
        assert_eq!(
            filter.query(Tab::Mine, Some("c+1")),
            "?tab=mine&agent=deploy-bot&q=drop%20%26%20%22%C3%A9%22&after=c%2B1"
        );
        assert_eq!(Filter::default().query(Tab::Waiting, None), "?tab=waiting");
    }
}
