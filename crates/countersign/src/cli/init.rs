//! `countersign init`: a configuration to begin with.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use countersign_core::id::PersonId;
use serde_json::json;

use super::{failure::Failure, output::Output};
use crate::sample;

const EXAMPLES: &str = "\
Examples:
  countersign init --person dana@example.com --person eli@example.com
  countersign init /etc/countersign --person dana@example.com   # one person: confirmations only

Then read the files, change them, check them with `countersign policy check`, and start the
gateway with `countersign up`.";

/// What `init` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to write
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// An administrator; give two or more, so that each other's changes can be countersigned
    #[arg(long, required = true, value_name = "NAME")]
    person: Vec<PersonId>,
}

/// Writes the files.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    write(args, output)
        .map(|()| 0)
        .map_err(|error| Failure::new("init", format!("{error:#}")))
}

fn write(args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let mut files = sample::starting_point(&args.person);
    // A directory that is under git already knows what to leave out.
    files.retain(|(name, _)| *name != ".gitignore" || !args.dir.join(name).exists());
    for (name, _) in &files {
        let path = args.dir.join(name);
        if path.exists() {
            bail!(
                "`{}` exists; choose another directory, nothing was written",
                path.display()
            );
        }
    }
    for (name, text) in &files {
        let path = args.dir.join(name);
        let parent = path.parent().unwrap_or(&args.dir);
        fs::create_dir_all(parent).with_context(|| format!("can't make `{}`", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("can't write `{}`", path.display()))?;
        output.note(format!("wrote {}", path.display()));
    }
    if output.is_json() {
        let paths = files.iter().map(|(name, _)| args.dir.join(name));
        let made = json!({ "directory": args.dir, "wrote": paths.collect::<Vec<_>>() });
        output.result(&made, |_, _| String::new())?;
    }
    if args.person.len() == 1 {
        output.note("One person can't countersign their own requests: this installation only has confirmations.");
    }
    output.note(format!(
        "next: countersign policy check {0}; countersign up --config {0}",
        args.dir.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture::captured;

    #[test]
    fn json_names_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args {
            dir: dir.path().join("gate"),
            person: vec!["dana@example.com".parse().unwrap()],
        };
        let (mut output, out, _) = captured(true, false);
        assert_eq!(run(&args, &mut output), Ok(0));
        let made: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        let wrote: Vec<PathBuf> = serde_json::from_value(made["wrote"].clone()).unwrap();
        assert!(wrote.contains(&dir.path().join("gate/countersign.toml")));
        assert!(wrote.iter().all(|path| path.exists()), "{wrote:?}");
    }
}
