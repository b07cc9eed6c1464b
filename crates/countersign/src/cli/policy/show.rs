//! `countersign policy show`: the active policy.

use countersign_core::time::Timestamp;

use crate::{
    api::types::BundleInfo,
    cli::{
        client::{At, Client},
        clock::now,
        config::Sources,
        failure::Failure,
        output::Output,
        text::{self, Paint, shown, shown_lines},
    },
};

const EXAMPLES: &str = "\
Examples:
  countersign policy show
  countersign policy show --file policies/prod.cedar";

/// Arguments of `countersign policy show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the text of this file
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let active: BundleInfo = client.get(At::new(&["policy"])).await?;
    match &args.file {
        None => output.result(&active, |active, paint| page(active, now(), paint))?,
        Some(path) => {
            let text = active.files.get(path).ok_or_else(|| {
                let known = active.files.keys().cloned().collect::<Vec<_>>().join(", ");
                Failure::usage(format!("the active policy has no `{}`", shown(path)))
                    .next(format!("it has {known}"))
            })?;
            output.result(text, |text, _| shown_lines(text.trim_end()))?;
        }
    }
    Ok(0)
}

fn page(active: &BundleInfo, now: Timestamp, paint: Paint) -> String {
    let request = active
        .request
        .as_ref()
        .map_or_else(|| "first start".into(), ToString::to_string);
    let values = [
        ("hash", shown(&active.hash)),
        (
            "active",
            format!(
                "{} ({})",
                text::relative(active.activated, now),
                active.activated
            ),
        ),
        ("approved in", request),
    ];
    let mut parts = vec![text::pairs(0, &values, paint)];
    for (path, text) in &active.files {
        parts.push(format!(
            "{}\n{}",
            paint.bold(&shown(path)),
            shown_lines(text.trim_end())
        ));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn files_follow_the_facts() {
        let active: BundleInfo = serde_json::from_str(
            r#"{"hash":"ab","files":{"countersign.toml":"[server]\n","policies/a.cedar":"permit(…);\n"},"activated":0,"request":null}"#,
        )
        .unwrap();
        expect![[r#"
            hash         ab
            active       2m ago (1970-01-01T00:00:00.000Z)
            approved in  first start

            countersign.toml
            [server]

            policies/a.cedar
            permit(…);"#]]
        .assert_eq(&page(&active, Timestamp(120_000), Paint::plain()));
    }
}
