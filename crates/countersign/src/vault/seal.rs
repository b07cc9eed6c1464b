//! A record's evidence, divided and sealed.
//!
//! In scope: what of it is needed by a gateway that starts again, whose the rest is, and who is
//! mentioned in it.
//! Invariant: nobody who has an alias is named in anything but a part sealed with their own key.

use anyhow::Context;
use countersign_core::{
    canonical::Hash,
    id::PersonId,
    subject::{Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_evidence::evidence::{Evidence, Kind, Part, names::take_out};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Class, Vault};
use crate::keys;

/// What a gateway that starts again reads; nothing in it is about anybody.
const CONTROL: [&str; 5] = ["attach", "held", "outbox", "world", "world_before"];

/// Whose evidence it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// The installation's.
    #[default]
    Operation,
    /// This person said it.
    Words(PersonId),
    /// It was asked for in this person's name.
    Payload(PersonId),
}

impl Of {
    /// What was asked for by this chain: in the name of its nearest person.
    #[must_use]
    pub fn asked(chain: &SubjectChain) -> Self {
        let mut people = chain.members().flat_map(Subject::people);
        people
            .next()
            .cloned()
            .map_or(Self::Operation, Self::Payload)
    }

    /// What a subject said: a person their own words, a machine what was asked of it.
    #[must_use]
    pub fn said(by: &SubjectId, chain: &SubjectChain) -> Self {
        match by {
            SubjectId::Person(person) => Self::Words(person.clone()),
            SubjectId::Agent(_) | SubjectId::Workload(_) => Self::asked(chain),
        }
    }

    fn key(&self) -> (Option<&PersonId>, Class) {
        match self {
            Self::Operation => (None, Class::Operation),
            Self::Words(person) => (Some(person), Class::Words),
            Self::Payload(person) => (Some(person), Class::Payload),
        }
    }
}

/// Evidence as it is kept.
#[derive(Debug)]
pub struct Sealed {
    /// What the leaf holds; nothing where there is no evidence.
    pub commitment: Option<Hash>,
    /// The stored form.
    pub stored: Vec<u8>,
    /// What a gateway that starts again reads.
    pub control: Value,
}

/// Salts of parts, made some at a time; each is given once.
#[derive(Default)]
struct Salts(Vec<[u8; 32]>);

impl Salts {
    fn fresh(&mut self) -> anyhow::Result<[u8; 32]> {
        if let Some(salt) = self.0.pop() {
            return Ok(salt);
        }
        let bytes = keys::random_bytes::<128>()?;
        self.0.extend(bytes.as_chunks().0);
        self.0.pop().context("there are no random bytes")
    }
}

impl Vault {
    /// Divides and seals the fields of a record's evidence.
    ///
    /// # Errors
    /// They are not JSON, or a key can't be made.
    pub fn seal(&self, of: &Of, at: Timestamp, fields: Value) -> anyhow::Result<Sealed> {
        let mut details = match fields {
            Value::Object(fields) => fields,
            other => Map::from_iter([("value".into(), other)]),
        };
        let control = CONTROL
            .iter()
            .filter_map(|name| details.remove_entry(*name));
        let control = Value::Object(control.collect());
        let (mut parts, mut salts) = (Vec::new(), Salts::default());
        if control.as_object().is_some_and(|fields| !fields.is_empty()) {
            parts.push(Part::new(Kind::Control, salts.fresh()?, &control)?);
        }
        if !details.is_empty() {
            let details = Value::Object(details);
            self.seal_details(of, at, details, (&mut parts, &mut salts))?;
        }
        if parts.is_empty() {
            return Ok(Sealed {
                commitment: None,
                stored: Vec::new(),
                control,
            });
        }
        let evidence = Evidence::new(parts);
        Ok(Sealed {
            commitment: Some(evidence.commitment()),
            stored: evidence.to_bytes(),
            control,
        })
    }

    fn seal_details(
        &self,
        of: &Of,
        at: Timestamp,
        mut details: Value,
        (parts, salts): (&mut Vec<Part>, &mut Salts),
    ) -> anyhow::Result<()> {
        let people = self.known().people.clone();
        let taken = take_out(&mut details, people.as_ref());
        let (person, class) = of.key();
        let mut add = |kind, person: Option<&PersonId>, class, value: &Value| {
            let (id, key) = self.key_for(person, class, at)?;
            let part = Part::new(kind, salts.fresh()?, value)?;
            parts.push(part.sealed_with(id, &key)?);
            anyhow::Ok(())
        };
        add(Kind::Details, person, class, &details)?;
        for (person, names) in taken {
            add(
                Kind::Names,
                Some(&person),
                Class::Names,
                &Value::Object(names),
            )?;
        }
        Ok(())
    }
}
