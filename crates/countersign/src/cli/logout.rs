//! `countersign logout`: forgets the saved token.

use std::io::ErrorKind;

use super::{config::Sources, failure::Failure, output::Output};

/// Deletes the configuration file.
///
/// # Errors
/// When it can't be deleted.
pub(crate) fn run(sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let file = sources.file.as_ref().ok_or_else(|| {
        Failure::usage("there is no configuration file").next("set HOME or XDG_CONFIG_HOME")
    })?;
    let removed = match std::fs::remove_file(file) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            let title = format!("`{}` can't be deleted: {error}", file.display());
            return Err(Failure::new("configuration", title).next("delete it yourself"));
        }
    };
    let value = serde_json::json!({ "removed": removed });
    output.result(&value, |_, _| {
        if removed {
            "Signed out: the saved token is deleted here. If somebody may have copied it, have it revoked: \
             `countersign agent revoke CREDENTIAL`."
                .into()
        } else {
            "Nobody was signed in.".into()
        }
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture::captured;

    #[test]
    fn signing_out_twice_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.toml");
        std::fs::write(&file, "x").unwrap();
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let (mut output, out, _) = captured(true, false);
        assert_eq!(run(&sources, &mut output), Ok(0));
        assert_eq!(run(&sources, &mut output), Ok(0));
        assert_eq!(out.text(), "{\"removed\":true}\n{\"removed\":false}\n");
        assert!(!file.exists());
    }
}
