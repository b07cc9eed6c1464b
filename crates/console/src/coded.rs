//! Messages as HTML: what they put in backticks is code.
//!
//! In scope: refusals and what to do next, as the gateway words them for every interface.
//! Out of scope: what people and machines wrote; that is shown as it is.
//! Invariant: every character is escaped; the markup is `code` elements only, each of them closed. A
//! backtick without another one stays what it is.

use std::fmt;

use askama::filters::{Escaper, Html, HtmlSafe};

/// A message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coded<'a>(pub(crate) &'a str);

impl fmt::Display for Coded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((before, quoted, after)) = first(rest) {
            Html.write_escaped_str(&mut *f, before)?;
            f.write_str("<code>")?;
            Html.write_escaped_str(&mut *f, quoted)?;
            f.write_str("</code>")?;
            rest = after;
        }
        Html.write_escaped_str(f, rest)
    }
}

impl HtmlSafe for Coded<'_> {}

/// What is before the first pair of backticks, between them, and behind.
fn first(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('`')?;
    let (quoted, after) = rest.split_once('`')?;
    Some((before, quoted, after))
}

#[cfg(test)]
mod tests {
    //! What becomes code.
    //!
    //! In scope: pairs, what is left over, escaping.
    //! Out of scope: pages.
    //! Invariant: see [`Coded`].

    use super::*;

    #[test]
    fn pairs_of_backticks_are_code_and_everything_is_escaped() {
        for (text, shown) in [
            ("", ""),
            ("plain", "plain"),
            ("`a` and `b`.", "<code>a</code> and <code>b</code>."),
            ("a ` b", "a ` b"),
            ("`a` b `c", "<code>a</code> b `c"),
            ("``", "<code></code>"),
            ("`<b>` & <i>", "<code>&#60;b&#62;</code> &#38; &#60;i&#62;"),
        ] {
            assert_eq!(Coded(text).to_string(), shown, "{text}");
        }
    }
}
