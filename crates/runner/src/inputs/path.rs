//! Names inside captured inputs.
//!
//! In scope: which texts are names; nothing is normalised, what is not exact is refused.
//! Out of scope: files.
//! Invariant: a checked path is relative, has only plain components, and stays below its root.

use super::error::InputError;

/// The most components a path can have.
pub const MAX_DEPTH: usize = 64;

/// Linux limits of one component and of a whole path, in bytes.
const MAX_COMPONENT: usize = 255;
pub(super) const MAX_PATH: usize = 4095;

/// Refuses every text that is not an exact relative path below the root.
pub(super) fn check(path: &str) -> Result<(), InputError> {
    let refuse = |why| Err(InputError::path(path, why));
    if path.is_empty() {
        return refuse("the name is empty");
    }
    if path.starts_with('/') {
        return refuse("the path is absolute");
    }
    if path.len() > MAX_PATH {
        return refuse("the path is longer than 4095 bytes");
    }
    if path.split('/').count() > MAX_DEPTH {
        return refuse("it is more than 64 directories deep");
    }
    for component in path.split('/') {
        match component {
            "" => return refuse("a part of the path is empty"),
            "." | ".." => return refuse("the path has `.` or `..` in it"),
            _ if component.len() > MAX_COMPONENT => {
                return refuse("a name in the path is longer than 255 bytes");
            }
            _ if component.chars().any(char::is_control) => {
                return refuse("the name has control characters");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The directory that holds `path`; nothing for one directly below the root.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// `name` inside `directory`, where the root is the empty text.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_relative_paths_pass() {
        let deep = vec!["d"; 64].join("/");
        for good in [
            "a",
            "a/b.c",
            ".git/objects",
            "ü/漢",
            "a b",
            "..a",
            "-rf",
            deep.as_str(),
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        let too_deep = format!("{deep}/d");
        let long = "x".repeat(256);
        for bad in [
            "", "/", "/a", "a//b", "a/", "./a", "a/.", "..", "a/../b", "a\nb", "a\0b", "a\u{1b}",
            "\u{85}", &too_deep, &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
