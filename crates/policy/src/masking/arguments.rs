//! Taking the secrets out of an action's arguments.
//!
//! In scope: every text at any depth; a member of an object is looked at as `NAME=value`, so that a
//! pattern can go by its name.
//! A number that is a secret is refused: it has no place for a mask.
//! Invariant: what is taken out, put back where it was taken from, gives the arguments again. No name
//! of a member holds a secret.

use serde_json::Value;

use super::{Found, Masker, masked};

/// The most secrets of one action; more are no arguments but a list of secrets.
const MAX_SECRETS: usize = 256;

/// A secret that was taken out.
#[derive(Clone, PartialEq, Eq)]
pub struct Taken {
    /// The text that it was in, as an RFC 6901 pointer.
    pub at: String,
    /// Where its mask begins there, in bytes.
    pub start: usize,
    /// What it is.
    pub kind: String,
    /// The secret.
    pub secret: String,
    /// Whether it can't be anything else.
    pub verified: bool,
}

/// Never shows the secret.
impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Taken({} at {})", self.kind, self.at)
    }
}

/// Why arguments can't be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMasked {
    /// A name.
    #[error("the name of an argument holds a secret; pass it as a value")]
    InName,
    /// A number has no place for a mask.
    #[error("a number among the arguments is a secret; pass it as a text")]
    Number,
    /// Too many.
    #[error("the arguments hold more than {MAX_SECRETS} secrets, which is the limit")]
    TooMany,
}

impl Masker {
    /// Takes the secrets out of arguments, leaving a mask for each.
    ///
    /// # Errors
    /// [`NotMasked`]; then the arguments are neither shown nor kept.
    pub fn take_out(&self, arguments: &mut Value) -> Result<Vec<Taken>, NotMasked> {
        let mut taken = Vec::new();
        self.within(arguments, &mut String::new(), "", &mut taken)?;
        Ok(taken)
    }

    fn within(
        &self,
        value: &mut Value,
        at: &mut String,
        name: &str,
        taken: &mut Vec<Taken>,
    ) -> Result<(), NotMasked> {
        let here = at.len();
        match value {
            Value::String(text) => self.of_text(text, at, name, taken)?,
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    at.push_str(&format!("/{index}"));
                    self.within(item, at, "", taken)?;
                    at.truncate(here);
                }
            }
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if !self.find(name).is_empty() {
                        return Err(NotMasked::InName);
                    }
                    at.push('/');
                    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.within(member, at, name, taken)?;
                    at.truncate(here);
                }
            }
            Value::Number(number) => {
                if !self.find_named(name, &number.to_string()).is_empty() {
                    return Err(NotMasked::Number);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        Ok(())
    }

    fn of_text(
        &self,
        text: &mut String,
        at: &str,
        name: &str,
        taken: &mut Vec<Taken>,
    ) -> Result<(), NotMasked> {
        let found = self.find_named(name, text);
        if found.is_empty() {
            return Ok(());
        }
        if taken.len() + found.len() > MAX_SECRETS {
            return Err(NotMasked::TooMany);
        }
        let out = masked(text, &found, |one, secret, start| {
            taken.push(Taken {
                at: at.into(),
                start,
                kind: one.kind.into(),
                secret: secret.into(),
                verified: one.verified,
            });
        });
        *text = out;
        Ok(())
    }

    /// The secrets in the value of a member, or in a text without a name.
    fn find_named(&self, name: &str, text: &str) -> Vec<Found<'_>> {
        if name.is_empty() {
            return self.find(text);
        }
        let named = format!("{name}={text}");
        let value = name.len() + 1;
        let found = self.find(&named).into_iter();
        let inside = found.filter(|one| one.range.end > value);
        inside
            .map(|mut one| {
                one.range = one.range.start.saturating_sub(value)..one.range.end - value;
                one
            })
            .collect()
    }
}
