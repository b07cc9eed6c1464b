//! `countersign policy diff`: what a directory would change.

use countersign_policy::bundle::diff::BundleDiff;

use super::Directory;
use crate::{
    api::types::BundleInfo,
    cli::{
        client::{At, Client},
        config::Sources,
        failure::{Failure, GENERAL},
        output::Output,
        text::{Paint, shown_lines},
    },
};

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign policy diff
  countersign policy diff deploy/countersign --json    # one file a line

Exit status: 0 if nothing differs, 1 if something does.";

pub(super) async fn run(
    args: &Directory,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let files = super::read(&args.directory)?.files;
    let client = Client::new(&sources.settings()?)?;
    let active: BundleInfo = client.get(At::new(&["policy"])).await?;
    let diff = BundleDiff::between(&active.files, &files);
    if output.is_json() {
        for file in &diff.files {
            output.result(file, |_, _| String::new())?;
        }
    } else {
        output.people(|paint| page(&diff, paint))?;
    }
    Ok(if diff.is_empty() { 0 } else { GENERAL })
}

/// The difference in the usual colours.
pub(super) fn page(diff: &BundleDiff, paint: Paint) -> String {
    if diff.is_empty() {
        return "Nothing differs from the active policy.".into();
    }
    let text = shown_lines(&diff.to_string());
    let lines = text.lines().map(|line| match line.as_bytes().first() {
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => paint.bold(line),
        Some(b'+') => paint.green(line),
        Some(b'-') => paint.red(line),
        Some(b'@') => paint.dim(line),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;

    fn files(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("countersign.toml".to_owned(), text.to_owned())])
    }

    #[test]
    fn differences_read_like_a_patch() {
        let diff = BundleDiff::between(&files("a\nb\n"), &files("a\nc\n"));
        expect![[r#"
            --- countersign.toml
            +++ countersign.toml
            @@ -1,2 +1,2 @@
             a
            -b
            +c"#]]
        .assert_eq(&page(&diff, Paint::plain()));
        let none = BundleDiff::between(&files("a"), &files("a"));
        assert_eq!(
            page(&none, Paint::plain()),
            "Nothing differs from the active policy."
        );
    }
}
