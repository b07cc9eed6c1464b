//! What a stranger needs to decide the same question again.
//!
//! In scope: requests, contexts and entities in Cedar's JSON formats; the transformed policies.
//! Out of scope: signing and keeping them.
//! Invariant: stock Cedar, given these and the policies, returns Allow without errors exactly for
//! the asks that were permitted. Action entities are included, because without them a forbid on
//! an action group would silently not match.
//! Specification: <https://docs.cedarpolicy.com/auth/entities-syntax.html>.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::{
    Snapshot,
    asking::{self, Touched},
    question::Question,
};

impl Snapshot {
    /// `{ "asks": [{ member, effect, principal, action, resource, context }], "entities": […] }`.
    /// Asks that were refused without asking Cedar are left out.
    #[must_use]
    pub fn recorded_input(&self, question: &Question<'_>) -> Value {
        let mut asks = Vec::new();
        let mut entities = BTreeMap::new();
        if let Ok(taken) = asking::take(self, question) {
            for (member, principal) in &taken.members {
                for (effect, touched) in taken.effects.iter().enumerate() {
                    let (Ok(principal), Ok(touched)) = (principal, touched) else {
                        continue;
                    };
                    let Some(context) =
                        self.recorded_ask(question, principal, touched, &mut entities)
                    else {
                        continue;
                    };
                    asks.push(json!({
                        "member": member.to_string(),
                        "effect": effect,
                        "principal": principal.to_string(),
                        "action": touched.action.to_string(),
                        "resource": touched.resource.to_string(),
                        "context": context,
                    }));
                }
            }
        }
        json!({ "asks": asks, "entities": entities.into_values().collect::<Vec<_>>() })
    }

    fn recorded_ask(
        &self,
        question: &Question<'_>,
        principal: &cedar_policy::EntityUid,
        touched: &Touched,
        entities: &mut BTreeMap<String, Value>,
    ) -> Option<Value> {
        let context = asking::context(touched, question.approvals).ok()?;
        let slice = self.slice(principal, touched);
        let reached = self.reachable_entities(principal, touched, &slice, &mut HashSet::new())?;
        for entity in reached {
            entities.insert(entity.uid().to_string(), entity.to_json_value().ok()?);
        }
        context.to_json_value().ok()
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
