//! Providers: who signs people in.
//!
//! In scope: the settings of one provider.
//! Out of scope: speaking to it; the gateway does that.
//! Invariant: who vouches for people, for whom, and for which groups is part of the bundle's hash,
//! so that it changes only through a request. Secrets are named, never held.

use std::collections::BTreeMap;

use countersign_core::{
    canonical::{Hash, NotCanonical, hash_in_domain},
    id::GroupId,
    provisioning::Named,
    time::Span,
};

use crate::target::exec::CredentialSource;

/// Somebody who signs people in with OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// What people call it.
    pub title: String,
    /// Its address, as it names itself: `https`, or `http` of this machine.
    pub issuer: String,
    /// How it knows this gateway.
    pub client_id: String,
    /// What proves to it that this gateway asks.
    pub client_secret: CredentialSource,
    /// A file of the only authorities that vouch for it.
    pub ca: Option<String>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Whether somebody with a new name becomes a person; otherwise only people who are known sign in.
    pub creates_people: bool,
    /// The claim that has the person's name.
    pub person_claim: String,
    /// The claim that has their groups.
    pub groups_claim: String,
    /// Its groups, and ours that their members are in.
    pub groups: BTreeMap<String, GroupId>,
    /// Claims that must have exactly this value.
    pub require: BTreeMap<String, String>,
    /// How long a session lasts.
    pub session: Span,
    /// How it provisions people; otherwise only their sign-ins say who they are.
    pub scim: Option<Scim>,
    /// Whether it only signs in people who have linked an account there: it says nothing about anybody.
    pub links: Option<Links>,
}

/// A provider of linked accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Links {
    /// How long ago, at most, somebody whom the provider who says who people are signs in has to have
    /// signed in there.
    pub signed_in_within: Span,
}

/// How a provider provisions people, with SCIM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scim {
    /// What proves that it is the provider who calls.
    pub token: CredentialSource,
    /// What names a person.
    pub person: Named,
}

impl Provider {
    /// What stands for how it is believed: whatever is signed in under other settings is not signed in
    /// any more. Its title, its secret and the groups it may give are not part of that.
    ///
    /// # Errors
    /// The settings have no canonical form, which those that were read have.
    pub fn settings(&self) -> Result<Hash, NotCanonical> {
        let asked = (&self.issuer, &self.client_id, &self.scopes, &self.ca);
        if let Some(links) = &self.links {
            let believed = (&self.person_claim, &self.require);
            let lasts = (self.session, links.signed_in_within);
            return hash_in_domain("linking-provider", &(asked, believed, lasts));
        }
        let believed = (&self.person_claim, &self.groups_claim, &self.require);
        let provisions = self.scim.as_ref().map(|scim| scim.person);
        let lasts = (self.creates_people, self.session, provisions);
        hash_in_domain("provider", &(asked, believed, lasts))
    }
}
