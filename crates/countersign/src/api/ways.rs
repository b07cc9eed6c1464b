//! With what people could vote on a case: the sessions, links and passkeys they have.
//!
//! In scope: whether a vote with them would be refused, and why; which passkeys signed what stands.
//! Out of scope: deciding. Every vote is judged again, by the same functions.
//! Invariant: nobody is said to be able to sign whose vote would be refused for what they sign in
//! with.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    approval::{
        Vote,
        myself::myself,
        rule::Assurance,
        vote::{Credential, Verdict},
    },
    id::{CredentialId, PersonId},
    lifecycle::{self, Refusal},
    request::{Case, Phase},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_store::{CredentialKind, StoredCredential};

use super::{
    deciding::needs_passkey,
    types::{Approvers, SignedWith},
};
use crate::{
    active::Active,
    engine::{EngineError, credential},
    gateway::Gateway,
    identity::{
        ended, lineage_of,
        passkey::{self, Enrolled},
    },
    names::Names,
};

/// The most people whose credentials are looked up for one case.
const LOOKED_UP: usize = 32;

/// What votes are judged by at one moment.
#[derive(Clone)]
pub struct Judge<'a> {
    /// Directory and rules.
    pub active: &'a Active,
    /// The host name that passkeys are for, where the gateway's address has one.
    pub site: Option<String>,
    /// When.
    pub now: Timestamp,
}

/// What a person has to vote with.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The session, or what would begin one.
    pub entry: Option<&'a StoredCredential>,
    /// Their passkeys.
    pub passkeys: &'a [StoredCredential],
}

impl<'a> Judge<'a> {
    /// By what is active.
    #[must_use]
    pub fn new(gateway: &Gateway, active: &'a Active, now: Timestamp) -> Self {
        let site = passkey::site(gateway.url()).ok();
        Self {
            active,
            site: site.map(|site| site.id),
            now,
        }
    }

    /// Why a verdict of a person would be refused, whatever they type with it.
    #[must_use]
    pub fn refusal(
        &self,
        case: &Case,
        person: &PersonId,
        means: Means<'_>,
        verdict: Verdict,
    ) -> Option<Refusal> {
        let from_side = means
            .entry
            .and_then(|entry| issuer_on_side(self.active, person, entry, case));
        if from_side.is_some() {
            return from_side;
        }
        let world = self.active.world();
        let judged = |with: &Credential| {
            lifecycle::would_refuse(case, world, self.now, (person, with), verdict)
        };
        let session = means.session();
        if verdict == Verdict::Deny || !needs_passkey(case, world) {
            return judged(&session);
        }
        let mut refused = None;
        for passkey in self.signing(means.passkeys) {
            let with = with_passkey(passkey, &session);
            refused = issuer_on_side(self.active, person, passkey, case).or_else(|| judged(&with));
            refused.as_ref()?;
        }
        refused.or_else(|| judged(&session))
    }

    /// The passkeys that sign votes here.
    fn signing<'p>(
        &self,
        passkeys: &'p [StoredCredential],
    ) -> impl Iterator<Item = &'p StoredCredential> {
        let here = |known: Enrolled| known.countersigned && Some(&known.site) == self.site.as_ref();
        passkeys
            .iter()
            .filter(move |one| passkey::enrolled(one).is_some_and(here))
    }
}

impl Means<'_> {
    fn session(&self) -> Credential {
        match self.entry {
            Some(entry) if entry.kind == CredentialKind::Account => {
                credential(entry, Assurance::Chat)
            }
            Some(entry) => credential(entry, Assurance::Session),
            None => Credential {
                id: CredentialId::from_bits(0),
                issued_by: None,
                lineage: BTreeSet::new(),
                assurance: Assurance::Session,
            },
        }
    }
}

/// The credential of a vote that a passkey signs in a session.
#[must_use]
pub fn with_passkey(passkey: &StoredCredential, session: &Credential) -> Credential {
    let mut with = credential(passkey, Assurance::Passkey);
    // Whoever made the session possible was there, too.
    with.lineage.extend(session.makers().cloned());
    with.issued_by = with.issued_by.or_else(|| session.issued_by.clone());
    with
}

/// A credential of a person in which somebody of the requester's side had a hand.
#[must_use]
pub fn issuer_on_side(
    active: &Active,
    person: &PersonId,
    credential: &StoredCredential,
    case: &Case,
) -> Option<Refusal> {
    let side = myself(case, &active.directory);
    let lineage = lineage_of(credential);
    let issuer = lineage
        .intersection(&side)
        .next()
        .filter(|_| !side.contains(person))?;
    Some(Refusal::CredentialFromRequester(issuer.clone()))
}

/// Who could sign a case now, who could not for what they have, and what signed its votes.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    able: BTreeMap<PersonId, Option<PersonId>>,
    hindered: BTreeMap<PersonId, Refusal>,
    signed_with: BTreeMap<PersonId, SignedWith>,
}

impl Ways {
    /// Looks at what everybody concerned has.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn of(gateway: &Gateway, case: &Case) -> Result<Self, EngineError> {
        let active = gateway.active();
        let judge = Judge::new(gateway, &active, gateway.clock.now());
        let mut ways = Self::default();
        if case.phase.is_open() {
            let people = lifecycle::eligible_voters(case, active.world(), judge.now);
            for (place, (person, away)) in people.into_iter().enumerate() {
                // Looking everybody up would take long where a rule names a large group.
                let refused = match place < LOOKED_UP {
                    true => hindrance(gateway, &judge, case, &person).await?,
                    false => None,
                };
                match refused {
                    Some(refusal) => drop(ways.hindered.insert(person, refusal)),
                    None => drop(ways.able.insert(person, away)),
                }
            }
        }
        for vote in &case.votes {
            if let Some(with) = signed_with(gateway, case, vote, judge.now).await? {
                ways.signed_with.insert(vote.voter.clone(), with);
            }
        }
        Ok(ways)
    }

    /// People who could sign an open stage now, each with the person in whose place they would.
    #[must_use]
    pub fn able(&self) -> &BTreeMap<PersonId, Option<PersonId>> {
        &self.able
    }

    /// The passkey that signed somebody's vote.
    #[must_use]
    pub fn signed_with(&self, voter: &PersonId) -> Option<&SignedWith> {
        self.signed_with.get(voter)
    }

    /// Who could countersign, as a caller may hear it.
    #[must_use]
    pub fn approvers(&self, case: &Case, names: Names) -> Approvers {
        let mut said = names.approvers(&case.request.rules, &self.able);
        if names == Names::Given {
            said.hindered = self.hindered();
        }
        said
    }

    /// Why people who could sign by the rules can't with what they have, a sentence each.
    #[must_use]
    pub fn hindered(&self) -> Vec<String> {
        let sentences: BTreeSet<String> = self
            .hindered
            .iter()
            .map(|(person, refusal)| of_others(person, refusal))
            .collect();
        sentences.into_iter().collect()
    }
}

/// Why nothing a person has would do; `None` when something would, or when they have nothing and a
/// new link would.
async fn hindrance(
    gateway: &Gateway,
    judge: &Judge<'_>,
    case: &Case,
    person: &PersonId,
) -> Result<Option<Refusal>, EngineError> {
    let holder = SubjectId::Person(person.clone()).to_string();
    let mut all = gateway.store.credentials(Some(&holder)).await?;
    all.retain(|one| one.kind != CredentialKind::Token && !ended(one, judge.now));
    let passkeys: Vec<_> = all
        .iter()
        .filter(|one| one.kind == CredentialKind::Passkey)
        .cloned()
        .collect();
    let refusal = |entry| {
        let means = Means {
            entry,
            passkeys: &passkeys,
        };
        judge.refusal(case, person, means, Verdict::Approve)
    };
    if all.is_empty() {
        return Ok(refusal(None));
    }
    let mut first = None;
    for entry in &all {
        match refusal(Some(entry)) {
            None => return Ok(None),
            Some(refused) => first = first.or(Some(refused)),
        }
    }
    Ok(first)
}

/// The passkey that signed a vote, and whether it still counts.
async fn signed_with(
    gateway: &Gateway,
    case: &Case,
    vote: &Vote,
    now: Timestamp,
) -> Result<Option<SignedWith>, EngineError> {
    if vote.signature.is_none() {
        return Ok(None);
    }
    let store = gateway.store.as_ref();
    let stored = store.credential(&vote.credential.id).await?;
    let known = stored.as_ref().and_then(passkey::enrolled);
    // What has run was claimed while it counted.
    let decided = !matches!(case.phase, Phase::Held { .. } | Phase::Approved { .. });
    let counts = decided || passkey::still_signs(store, &gateway.keys, vote, now).await?;
    Ok(Some(SignedWith {
        credential: vote.credential.id.clone(),
        label: known.as_ref().map(|known| known.label.clone()),
        fingerprint: known.as_ref().map(passkey::fingerprint),
        counts,
    }))
}

/// A refusal as it is told of somebody else.
fn of_others(person: &PersonId, refusal: &Refusal) -> String {
    match refusal {
        Refusal::AssuranceTooLow {
            needed: Assurance::Passkey,
            ..
        } => format!("needs a passkey; {person} has none that signs here"),
        Refusal::CredentialFromRequester(issuer) => format!(
            "{person} is signed in by a link that {issuer} had a hand in, who is on the requester's side"
        ),
        Refusal::SharedCredential(other) => {
            format!("{person} and {other} have their sessions from one person, and count as one")
        }
        Refusal::OutsideHours { rule, hours } => {
            format!("approvals for rule {rule} count only {hours}")
        }
        other => format!("{person}: {other}"),
    }
}
