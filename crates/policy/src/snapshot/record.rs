//! What a stranger needs to decide the same question again.
//!
//! In scope: requests, contexts and entities in Cedar's JSON formats; the transformed policies.
//! Out of scope: signing and keeping them.
//! Invariant: stock Cedar, given these and the policies, returns Allow without errors exactly for
//! the asks that were permitted. Action entities are included, because without them a forbid on
//! an action group would silently not match.
//! Specification: <https://docs.cedarpolicy.com/auth/entities-syntax.html>.

use std::{borrow::Cow, collections::BTreeMap};

use countersign_core::canonical::object;
use serde_json::Value;

use super::{
    Snapshot,
    entities::Recorded,
    fast::{Prepared, PreparedAsk, Ready},
    question::Question,
};

impl Prepared<'_> {
    /// `{ "asks": [{ member, effect, principal, action, resource, context }], "entities": […] }`.
    /// Asks that were refused without asking Cedar are left out.
    #[must_use]
    pub fn recorded_input(&self) -> Value {
        let mut entities = BTreeMap::new();
        let asks: Vec<Value> = self
            .asks
            .iter()
            .filter_map(|ask| self.recorded_ask(ask, &mut entities))
            .collect();
        let entities: Vec<Value> = entities.into_values().map(Cow::into_owned).collect();
        object([("asks", asks.into()), ("entities", entities.into())])
    }

    fn recorded_ask<'a>(
        &'a self,
        ask: &PreparedAsk,
        entities: &mut BTreeMap<Cow<'a, str>, Cow<'a, Value>>,
    ) -> Option<Value> {
        let ready: &Ready = ask.ready.as_ref().ok()?;
        for entity in &ready.reached {
            match self.snapshot.base.recorded(entity) {
                Some(Recorded { name, value }) => {
                    entities.insert(Cow::Borrowed(name), Cow::Borrowed(value));
                }
                None => {
                    let name = entity.uid().to_string();
                    let value = entity.to_json_value().ok()?;
                    entities.insert(Cow::Owned(name), Cow::Owned(value));
                }
            }
        }
        let [principal, action, resource] = ready.names();
        Some(object([
            ("member", ask.member.to_string().into()),
            ("effect", ask.effect.into()),
            ("principal", principal.into()),
            ("action", action.into()),
            ("resource", resource.into()),
            ("context", ready.context.to_json_value().ok()?),
        ]))
    }
}

impl Snapshot {
    /// [`Prepared::recorded_input`] of a question that is not asked otherwise.
    #[must_use]
    pub fn recorded_input(&self, question: &Question<'_>) -> Value {
        self.prepare(question).recorded_input()
    }

    /// The transformed policies in Cedar's JSON format, the same for every question of a bundle.
    ///
    /// # Errors
    /// Cedar's own text when the set cannot be written.
    pub fn cedar_policies_json(&self) -> Result<Value, String> {
        self.bundle
            .set
            .clone()
            .to_json()
            .map_err(|error| crate::schema::report(&error))
    }

    /// The schema as Cedar reads it.
    #[must_use]
    pub fn schema_text(&self) -> &str {
        self.bundle.schema_text()
    }
}
