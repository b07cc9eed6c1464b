//! The fields of a form or an address.
//!
//! In scope: reading them, each at most once.
//! Out of scope: what they mean.
//! Invariant: a form with a field twice is refused, so that no two readers of it differ.

use std::collections::BTreeMap;

use axum::{
    Form,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{StatusCode, request::Parts},
};

use super::words;
use crate::api::{Api, in_time, problem::ApiError};

/// Named texts.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, String>);

/// The fields of an address; the first of several with one name counts.
#[derive(Debug, Default)]
pub(super) struct Asked(pub(super) Fields);

impl Fields {
    /// A field's text; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A field's text without blanks around it.
    pub(super) fn name(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    /// The texts of fields whose names begin so.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self
            .0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix));
        fields.map(|(_, text)| text.as_str())
    }

    /// What somebody wrote, with line feeds; `None` when it is blank.
    pub(super) fn written(&self, name: &str) -> Option<String> {
        let text = words::line_feeds(self.text(name));
        (!text.trim().is_empty()).then_some(text)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Fields {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

impl FromRequest<Api> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let form = Form::<Vec<(String, String)>>::from_request(request, api);
        let Form(pairs) = in_time(form).await?.map_err(|error| {
            let title = format!("the form can't be read: {}", error.body_text());
            ApiError::new(error.status(), "invalid_form", title)
        })?;
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            if fields.insert(name, value).is_some() {
                let title = "the form has a field twice; nothing was done";
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_form",
                    title,
                ));
            }
        }
        Ok(Self(fields))
    }
}

impl FromRequestParts<Api> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Ok(Query(pairs)) = pairs else {
            return Ok(Self::default());
        };
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            fields.entry(name).or_insert(value);
        }
        Ok(Self(Fields(fields)))
    }
}
