//! What a command works on, captured here and sent before it is asked for.
//!
//! In scope: reading `--bind`, capturing, sending.
//! Out of scope: how content is captured, which is the runner's.
//! Invariant: nothing is captured unless it was bound.

use std::path::{Path, PathBuf};

use countersign_runner::inputs::{Bind, Glob, Keep, Limits, Packed, pack};

use crate::{
    api::types::{InputsReceived, TargetInfo},
    cli::{
        client::{At, Client},
        failure::Failure,
    },
};

/// Captures and sends `binds`; gives the digest under which the gateway has them.
pub(super) async fn send(
    client: &Client,
    target: &str,
    binds: &[PathBuf],
) -> Result<Option<String>, Failure> {
    if binds.is_empty() {
        return Ok(None);
    }
    let binds = binds
        .iter()
        .map(|path| bind(path))
        .collect::<Result<Vec<_>, _>>()?;
    let info: TargetInfo = client.get(At::new(&["targets", target])).await?;
    if info.max_input_bytes == 0 {
        return Err(
            Failure::usage(format!("the target `{}` takes no files", info.name)).next(
                "run it without `--bind`, or have an administrator allow inputs for the target",
            ),
        );
    }
    let keep = keep(&info.keep)?;
    let limits = Limits {
        total_bytes: info.max_input_bytes,
    };
    let packing = tokio::task::spawn_blocking(move || pack(&binds, &keep, &limits));
    let packed: Packed = packing
        .await
        .map_err(|error| Failure::new("inputs", format!("capturing stopped: {error}")))?
        .map_err(|error| {
            let mut text = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                text = format!("{text}: {cause}");
            }
            Failure::usage(text).next("nothing was sent; correct what is bound and run it again")
        })?;
    let ours = packed.manifest.digest().to_hex();
    let received: InputsReceived = client.upload(At::new(&["inputs"]), packed.archive).await?;
    if received.digest != ours {
        return Err(
            Failure::usage("the gateway received other inputs than were sent")
                .next("run it again; if it stays so, something changes them on the way"),
        );
    }
    Ok(Some(received.digest))
}

fn keep(patterns: &[String]) -> Result<Keep, Failure> {
    if patterns.is_empty() {
        return Ok(Keep::Everything);
    }
    let globs = patterns.iter().map(|pattern| pattern.parse::<Glob>());
    globs
        .collect::<Result<_, _>>()
        .map(Keep::Matching)
        .map_err(|error| {
            Failure::usage(format!("the target's pattern is not understood: {error}"))
                .next("use a `countersign` of the gateway's version")
        })
}

/// Reads `PATH` or `PATH=NAME`. Without a name, a relative path keeps its own, so that the command
/// finds it where it is here; any other keeps its last part.
fn bind(given: &Path) -> Result<Bind, Failure> {
    let refuse = |why: &str| {
        Failure::usage(format!(
            "`--bind {}` can't be captured: {why}",
            given.display()
        ))
        .next("write `--bind PATH=NAME`, where NAME is relative")
    };
    let text = given
        .to_str()
        .ok_or_else(|| refuse("the name is not UTF-8"))?;
    // A file that has `=` in its name is meant as it is.
    if let Some((source, name)) = text.rsplit_once('=').filter(|_| !given.exists()) {
        return Ok(Bind {
            source: source.into(),
            name: name.into(),
        });
    }
    let plain: Vec<&str> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let name = match (given.is_absolute() || plain.contains(&".."), plain.last()) {
        (_, None) if !given.is_absolute() => ".".to_owned(),
        (false, Some(_)) => plain.join("/"),
        (true, Some(last)) if *last != ".." => (*last).to_owned(),
        _ => return Err(refuse("it has no name of its own")),
    };
    Ok(Bind {
        source: given.to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_keep_their_relative_place() {
        for (given, source, name) in [
            ("src", "src", "src"),
            ("./src/a.rs", "./src/a.rs", "src/a.rs"),
            (".", ".", "."),
            ("src/", "src/", "src"),
            ("/etc/hosts.none", "/etc/hosts.none", "hosts.none"),
            ("../other", "../other", "other"),
            ("/tmp/x-none=data/x", "/tmp/x-none", "data/x"),
        ] {
            let expected = Bind {
                source: source.into(),
                name: name.into(),
            };
            assert_eq!(bind(Path::new(given)), Ok(expected), "{given}");
        }
        for bad in ["..", "/", "a/.."] {
            assert!(bind(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
