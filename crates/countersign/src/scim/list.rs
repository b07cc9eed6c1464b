//! Lists of resources, and which of their attributes are told.
//!
//! In scope: the query, pages, attributes that are wanted or not.
//! Invariant: an answer has at most [`MAX_COUNT`] resources and [`MAX_MEMBERS`] members.
//! Specification: RFC 7644, sections 3.4.2 and 3.9.

use std::collections::BTreeSet;

use axum::{extract::Query, http::Uri};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{error::ScimError, filter::Filter};

/// The most resources of an answer.
pub(super) const MAX_COUNT: usize = 1_000;
/// Resources of an answer when nobody says.
const COUNT: usize = 100;
/// The most members in an answer with several groups.
pub(super) const MAX_MEMBERS: usize = 20_000;
/// The most attributes in a query.
const MAX_ATTRIBUTES: usize = 100;
const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Which resources.
    pub(super) filter: Option<Filter>,
    start: usize,
    count: usize,
    wanted: Option<BTreeSet<String>>,
    unwanted: BTreeSet<String>,
}

impl Asked {
    /// Reads a query.
    ///
    /// # Errors
    /// It can't be understood.
    pub(super) fn of(uri: &Uri) -> Result<Self, ScimError> {
        let raw = Query::<Raw>::try_from_uri(uri);
        let Query(raw) = raw.map_err(|_| ScimError::value("the query can't be read"))?;
        let at_least = |value: Option<i64>, least: i64, usual: usize| match value {
            None => usual,
            Some(value) => usize::try_from(value.max(least)).unwrap_or(usual),
        };
        Ok(Self {
            filter: raw.filter.as_deref().map(Filter::parse).transpose()?,
            start: at_least(raw.start_index, 1, 1),
            count: at_least(raw.count, 0, COUNT).min(MAX_COUNT),
            wanted: raw.attributes.as_deref().map(names).transpose()?,
            unwanted: raw
                .excluded_attributes
                .as_deref()
                .map_or_else(|| Ok(BTreeSet::new()), names)?,
        })
    }

    /// Whether an attribute is told.
    pub(super) fn wants(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match &self.wanted {
            _ if ["schemas", "id"].contains(&name.as_str()) => true,
            Some(wanted) => wanted.contains(&name),
            None => !self.unwanted.contains(&name),
        }
    }

    /// Whether somebody chose attributes.
    pub(super) fn chooses(&self) -> bool {
        self.wanted.is_some() || !self.unwanted.is_empty()
    }

    /// A resource with what is told of it.
    pub(super) fn told(&self, mut fields: Map<String, Value>) -> Value {
        fields.retain(|name, _| self.wants(name));
        Value::Object(fields)
    }

    /// A page of all that is meant, each made by `make`.
    ///
    /// # Errors
    /// What `make` says.
    pub(super) fn page<T>(
        &self,
        meant: &[T],
        mut make: impl FnMut(&T) -> Result<Map<String, Value>, ScimError>,
    ) -> Result<Value, ScimError> {
        let page = meant
            .iter()
            .skip(self.start.saturating_sub(1))
            .take(self.count);
        let resources = page.map(|one| Ok(self.told(make(one)?)));
        let resources = resources.collect::<Result<Vec<_>, ScimError>>()?;
        Ok(json!({
            "schemas": [SCHEMA],
            "totalResults": meant.len(),
            "startIndex": self.start,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        }))
    }
}

/// All of a short list.
pub(super) fn whole(resources: &[Value]) -> Value {
    json!({
        "schemas": [SCHEMA],
        "totalResults": resources.len(),
        "startIndex": 1,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

/// The attributes that a list names, each by its first name.
fn names(list: &str) -> Result<BTreeSet<String>, ScimError> {
    let all = list.split(',').map(|name| {
        let name = name.trim();
        // Behind the schema, if one is named.
        let name = name.rsplit(':').next().unwrap_or(name);
        let first = name.split('.').next().unwrap_or(name);
        first.to_ascii_lowercase()
    });
    let all: BTreeSet<_> = all.take(MAX_ATTRIBUTES + 1).collect();
    match all.len() > MAX_ATTRIBUTES {
        true => Err(ScimError::value(format!(
            "at most {MAX_ATTRIBUTES} attributes are named"
        ))),
        false => Ok(all),
    }
}
