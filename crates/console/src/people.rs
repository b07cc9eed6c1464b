//! People, agents and workloads: who there is, what they hold, and proposals to change it.
//!
//! In scope: the directory as a table, pending changes, and a form for each kind of change.
//! Out of scope: making changes; every form becomes a request that others countersign.
//! Invariant: no form here changes anything by itself, and each says so.

use askama::Template;

use crate::{
    part::{Moment, Party, PartyKind},
    shell::{Link, Shell},
};

/// People and agents, at `GET /people`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "people.html", whitespace = "minimize")]
pub struct PeoplePage {
    /// The surroundings.
    pub shell: Shell,
    /// Everybody.
    pub people: Vec<PersonRow>,
    /// Agents and workloads.
    pub machines: Vec<MachineRow>,
    /// Every group's name, to choose from.
    pub groups: Vec<String>,
    /// The provider who provisions people, with a token that does not end; empty for none.
    pub provisioner: String,
    /// Changes that wait for a countersignature.
    pub pending: Vec<PendingChange>,
    /// Whether the viewer may propose changes.
    pub can_propose: bool,
    /// Why not, in words.
    pub cannot_propose: String,
    /// Chosen beforehand in every form: the value of `pick` in the query.
    pub pick: String,
}

/// One person.
#[derive(Debug, Clone, Default)]
pub struct PersonRow {
    /// Their name.
    pub name: String,
    /// Whether it is the viewer.
    pub me: bool,
    /// Roles, for example `administrator`.
    pub roles: Vec<String>,
    /// Their groups.
    pub groups: Vec<Membership>,
    /// The providers that they have an account with.
    pub accounts: Vec<String>,
    /// Their manager; empty for none.
    pub manager: String,
    /// Whether they are disabled.
    pub disabled: bool,
    /// Whether that is because the provider who provisions people lets them do nothing.
    pub inactive: bool,
    /// Whether a provider provisions them.
    pub provisioned: bool,
    /// That they are away, or will be.
    pub absence: Option<Absence>,
    /// When they last signed in.
    pub last_seen: Option<Moment>,
    /// Their passkeys.
    pub passkeys: Vec<Passkey>,
}

/// That somebody is away.
#[derive(Debug, Clone, Default)]
pub struct Absence {
    /// From when, for example `2026-12-21`; empty when it has begun.
    pub from: String,
    /// `through 2027-01-03 (UTC)`, or `until` a time.
    pub end: String,
    /// Who signs in their place.
    pub stand_in: String,
    /// Whether somebody else countersigned it.
    pub countersigned: bool,
}

/// A passkey of somebody.
#[derive(Debug, Clone, Default)]
pub struct Passkey {
    /// The name under which it can be revoked.
    pub id: String,
    /// What its holder called it.
    pub label: String,
    /// Whether it signs nothing, because nobody countersigned it.
    pub only_signs_in: bool,
}

/// A membership and how it came to be.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// Since when.
    pub since: Moment,
    /// Whether somebody else countersigned it, or it was there at first start.
    pub countersigned: bool,
}

/// One agent or workload.
#[derive(Debug, Clone, Default)]
pub struct MachineRow {
    /// `Agent` or `Workload`.
    pub kind: PartyKind,
    /// Its name.
    pub name: String,
    /// The person answerable; without one it is denied everything.
    pub owner: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// Whether it is stopped.
    pub stopped: bool,
    /// How long its tokens can last, where that is longer than a day; shown in red.
    pub long_lived: String,
    /// Its tokens, newest first.
    pub tokens: Vec<TokenRow>,
}

/// One token; never its secret.
#[derive(Debug, Clone, Default)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// When it was issued.
    pub issued: Moment,
    /// Who issued it.
    pub issued_by: String,
    /// When it ends; `None` means never.
    pub expires: Option<Moment>,
    /// How it came about and what it gives; empty where it was simply issued.
    pub acts: String,
    /// Whether it was issued for longer than a day; shown in red.
    pub long_lived: bool,
    /// Whether it was revoked or has expired.
    pub dead: bool,
}

/// A proposed change that waits.
#[derive(Debug, Clone, Default)]
pub struct PendingChange {
    /// What it changes, as a link to its request.
    pub link: Link,
    /// Who proposed it.
    pub by: Party,
    /// When.
    pub at: Moment,
    /// Whether the viewer may countersign it.
    pub mine: bool,
}

impl PeoplePage {
    fn encoded(&self, name: &str) -> String {
        crate::inbox::encode(name)
    }

    fn is_picked(&self, name: &str) -> bool {
        !self.pick.is_empty() && self.pick == name
    }

    /// People and machines, for choosing whose membership changes.
    fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let people = self.people.iter().map(|row| ("person", row.name.as_str()));
        let machines = self.machines.iter();
        people.chain(machines.map(|row| (row.kind.name(), row.name.as_str())))
    }

    fn away_people(&self) -> impl Iterator<Item = &PersonRow> {
        self.active_people().filter(|row| row.absence.is_some())
    }

    fn active_people(&self) -> impl Iterator<Item = &PersonRow> {
        self.people.iter().filter(|row| !row.disabled)
    }

    fn active_machines(&self) -> impl Iterator<Item = &MachineRow> {
        self.machines.iter().filter(|row| !row.stopped)
    }
}
