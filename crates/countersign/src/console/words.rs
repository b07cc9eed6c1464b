//! Small texts that several pages use.
//!
//! In scope: sentences out of refusals, lists of names, counts.

/// A text of the gateway as a sentence: with a capital letter, unless it begins with a name.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `rule dba` or `rules dba and security`.
pub(super) fn rules(names: &[String]) -> String {
    let word = if names.len() == 1 { "rule" } else { "rules" };
    format!("{word} {}", list(names))
}

/// A count for a page's model.
pub(super) fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Text of a field with line feeds only; browsers send `\r\n`.
pub(super) fn line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed() {
        for (names, expected) in [
            (vec![], ""),
            (vec!["a"], "a"),
            (vec!["a", "b"], "a and b"),
            (vec!["a", "b", "c"], "a, b and c"),
        ] {
            let names: Vec<String> = names.into_iter().map(String::from).collect();
            assert_eq!(list(&names), expected);
        }
        assert_eq!(sentence("the page"), "The page");
        assert_eq!(sentence("`x`"), "`x`");
    }
}
