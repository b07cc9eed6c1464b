//! Who looks, at what moment, at which state: what every page is made from.
//!
//! In scope: one consistent look at directory and rules, what surrounds a page, moments and
//! parties as pages show them.
//! Invariant: one page is made of one state of policy and directory and one moment.

use std::sync::Arc;

use countersign_console::{
    part::{Deadline, Moment, Party, PartyKind},
    shell::{Banner, Gravity, Live, Place, Shell, SignedIn},
};
use countersign_core::{
    subject::{Subject, SubjectId},
    time::Timestamp,
};

use super::{emergencies, session::Session, waiting, words};
use crate::{
    active::Active,
    admin,
    api::{Api, ways::Judge},
};

/// Where changes are announced.
const EVENTS: &str = "/v1/events";

/// A person's look at the gateway.
pub(super) struct Viewer<'a> {
    /// The interface.
    pub(super) api: &'a Api,
    /// Who looks.
    pub(super) session: &'a Session,
    /// What decides.
    pub(super) active: Arc<Active>,
    /// When.
    pub(super) now: Timestamp,
}

impl<'a> Viewer<'a> {
    /// A look at what is now.
    pub(super) fn new(api: &'a Api, session: &'a Session) -> Self {
        let (active, now) = (api.gateway.active(), api.gateway.clock.now());
        Self {
            api,
            session,
            active,
            now,
        }
    }

    /// What votes are judged by at this look.
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge::new(&self.api.gateway, &self.active, self.now)
    }

    /// A moment by its age.
    pub(super) fn moment(&self, at: Timestamp) -> Moment {
        Moment::ago(at.to_string(), (self.now.millis_since(at) / 1_000).max(0))
    }

    /// A moment by which something ends.
    pub(super) fn deadline(&self, at: Timestamp) -> Deadline {
        deadline(at, self.now)
    }

    /// The surroundings of a page; `page` is the address that shows it again, empty where it does
    /// not refresh itself.
    pub(super) async fn shell(&self, place: Place, page: &str, waiting: usize) -> Shell {
        let (gateway, caller) = (&self.api.gateway, &self.session.caller);
        let auditor = admin::may_audit(&self.active, caller, self.now);
        let live = (!page.is_empty()).then(|| Live {
            events: EVENTS.into(),
            page: page.into(),
        });
        let (emergencies, overdue) = emergencies::unreviewed(self).await;
        Shell {
            emergencies: words::count(emergencies),
            overdue,
            installation: installation(self.api),
            person: Some(SignedIn {
                name: self.session.person.to_string(),
                roles: auditor
                    .then(|| "reads everything".to_owned())
                    .into_iter()
                    .collect(),
                until: Some(Moment::new(caller.credential.expires.to_string())),
            }),
            waiting: words::count(waiting),
            csrf: gateway.identity.acts().csrf(&caller.credential.id),
            place,
            banners: self.banners().await,
            live,
            ..Shell::default()
        }
    }

    /// The surroundings with a count of their own. A count that can't be had is left out; the page
    /// it stands on says what is wrong.
    pub(super) async fn counted_shell(&self, place: Place, page: &str) -> Shell {
        let waiting = waiting::count(self).await.unwrap_or(0);
        self.shell(place, page, waiting).await
    }

    async fn banners(&self) -> Vec<Banner> {
        let gateway = &self.api.gateway;
        let mut banners = Vec::new();
        if let Some(fault) = gateway.clock.fault() {
            banners.push(Banner::clock_fault(format!("{}.", words::sentence(&fault))));
        }
        if let Some(fault) = gateway.log.fault() {
            banners.push(Banner {
                gravity: Gravity::Danger,
                title: format!("Nothing is done: {fault}."),
                text: "The gateway's own log says more; tell whoever runs it.".into(),
                link: None,
            });
        }
        for change in self.active.stops.unrecorded() {
            let who = admin::subject_of(change);
            banners.push(Banner {
                gravity: Gravity::Danger,
                title: format!("{who} is stopped, which is not recorded yet."),
                text: "A restart would undo it. Free space, so that it can be recorded.".into(),
                link: None,
            });
        }
        for title in gateway.local_acts().await {
            banners.push(Banner {
                gravity: Gravity::Danger,
                title,
                text: String::new(),
                link: None,
            });
        }
        for title in self.api.notices_of_parts() {
            banners.push(Banner {
                gravity: Gravity::Warning,
                title,
                text: "The gateway's own log says why; tell whoever runs it.".into(),
                link: None,
            });
        }
        let people = self.active.directory.people.values();
        if people.filter(|person| person.acts()).count() < 2 {
            banners.push(Banner::single_person());
        }
        banners
    }
}

/// The surroundings for nobody: nothing about the installation but its name.
pub(super) fn strangers_shell(api: &Api) -> Shell {
    Shell {
        installation: installation(api),
        ..Shell::default()
    }
}

/// The host of the configured address, never of the request.
fn installation(api: &Api) -> String {
    let url = api.gateway.url();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().into()
}

/// A deadline as seen at `now`.
pub(super) fn deadline(at: Timestamp, now: Timestamp) -> Deadline {
    Deadline::new(at.to_string(), at.millis_since(now) / 1_000)
}

/// Somebody without an owner to show.
pub(super) fn party_of(id: &SubjectId) -> Party {
    let kind = PartyKind::from_name(id.kind()).unwrap_or_default();
    Party {
        kind,
        name: id.name().into(),
        owner: None,
    }
}

/// A member of a chain.
pub(super) fn party(subject: &Subject) -> Party {
    let owner = subject.owner.as_ref().map(ToString::to_string);
    Party {
        owner,
        ..party_of(&subject.id)
    }
}
