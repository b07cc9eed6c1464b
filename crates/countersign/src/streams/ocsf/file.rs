//! A file of lines that is put aside when it is full.
//!
//! In scope: appending whole lines durably, putting full files aside, keeping some of them.
//! Out of scope: what the lines say.
//! Invariant: every line in the file is whole, whatever crashed. Nothing of the gateway's own is
//! ever written to or renamed, and no link is followed in the file's place.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// How far back the last whole line is looked for.
const TAIL: u64 = 1 << 20;

/// The file, open for appending.
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    keep: u32,
}

impl Lines {
    /// Opens or makes the file. `data` is the gateway's own directory, of which only `own` may be
    /// written to.
    ///
    /// # Errors
    /// It is no plain file, belongs to somebody else, lies among the gateway's own data, or can't
    /// be written.
    pub(super) fn open(
        path: &Path,
        own: &Path,
        data: &Path,
        max_bytes: u64,
        keep: u32,
    ) -> anyhow::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let parent = parent
            .canonicalize()
            .with_context(|| format!("`{}` is no directory", parent.display()))?;
        let (own, data) = (own.canonicalize()?, data.canonicalize()?);
        if parent.starts_with(&data) && !parent.starts_with(own.join("files")) {
            bail!(
                "`{}` is among the gateway's own data; use a relative path or another directory",
                path.display()
            );
        }
        let name = path.file_name().context("the path names no file")?;
        let path = parent.join(name);
        let (file, bytes) = open(&path)?;
        let mut lines = Self {
            path,
            file,
            bytes,
            max_bytes,
            keep,
        };
        lines.drop_torn()?;
        Ok(lines)
    }

    /// Cuts the beginning of a line off that a crash left; its record was not noted as delivered.
    fn drop_torn(&mut self) -> anyhow::Result<()> {
        let from = self.bytes.saturating_sub(TAIL);
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        Read::by_ref(&mut self.file)
            .take(TAIL)
            .read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n');
        let whole = match whole {
            Some(at) => from + u64::try_from(at)? + 1,
            None if from == 0 => 0,
            None => bail!("`{}` holds something else than lines", self.path.display()),
        };
        if whole < self.bytes {
            if whole == 0 && tail.first() != Some(&b'{') {
                bail!("`{}` holds something else than events", self.path.display());
            }
            self.file.set_len(whole)?;
            self.bytes = whole;
        }
        Ok(())
    }

    /// Appends whole lines, which are on the disk when it returns.
    ///
    /// # Errors
    /// They can't be written; the beginning of one may then be there, until the file is opened
    /// again.
    pub(super) fn append(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        if !self.is_in_place() {
            // Somebody else put it aside.
            (self.file, self.bytes) = open(&self.path)?;
            self.drop_torn()?;
        }
        let mut part = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let with_it = self.bytes + u64::try_from(part.len() + line.len())?;
            if with_it > self.max_bytes {
                self.write(&part)?;
                part.clear();
                if self.bytes > 0 {
                    self.put_aside()?;
                }
            }
            part.extend_from_slice(line);
        }
        self.write(&part)
    }

    fn write(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        self.file
            .write_all(lines)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("`{}` can't be written", self.path.display()))?;
        self.bytes += u64::try_from(lines.len())?;
        Ok(())
    }

    /// `x.2` becomes `x.3`, `x.1` becomes `x.2`, `x` becomes `x.1`.
    fn put_aside(&mut self) -> anyhow::Result<()> {
        let failed = || format!("`{}` can't be put aside", self.path.display());
        if self.keep == 0 {
            fs::remove_file(&self.path).with_context(failed)?;
        }
        for number in (1..=self.keep).rev() {
            let from = match number {
                1 => self.path.clone(),
                more => self.aside(more - 1),
            };
            match fs::rename(&from, self.aside(number)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                renamed => renamed.with_context(failed)?,
            }
        }
        (self.file, self.bytes) = open(&self.path)?;
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Whether the file is still in its place.
    fn is_in_place(&self) -> bool {
        let there = fs::symlink_metadata(&self.path);
        let ours = self.file.metadata();
        matches!((there, ours), (Ok(there), Ok(ours))
            if there.ino() == ours.ino() && there.dev() == ours.dev())
    }
}

fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let failed = || format!("`{}` can't be written", path.display());
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)
        .with_context(failed)?;
    let metadata = file.metadata().with_context(failed)?;
    if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        bail!(
            "`{}` is no plain file of the user that the gateway runs as",
            path.display()
        );
    }
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok((file, metadata.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn lines(dir: &Path, name: &str, max: u64, keep: u32) -> anyhow::Result<Lines> {
        let (data, own) = (dir.join("data"), dir.join("data/streams/x"));
        fs::create_dir_all(own.join("files")).unwrap();
        fs::create_dir_all(dir.join("out")).unwrap();
        Lines::open(&dir.join(name), &own, &data, max, keep)
    }

    #[test]
    fn full_files_are_put_aside_and_some_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = lines(dir.path(), "out/e.jsonl", 20, 2).unwrap();
        for number in 0..7 {
            file.append(format!("{{\"n\":{number}}}\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join("out").join(name));
        assert_eq!(read("e.jsonl").unwrap(), "{\"n\":6}\n");
        assert_eq!(read("e.jsonl.1").unwrap(), "{\"n\":4}\n{\"n\":5}\n");
        assert_eq!(read("e.jsonl.2").unwrap(), "{\"n\":2}\n{\"n\":3}\n");
        assert!(read("e.jsonl.3").is_err());
        let mode = fs::metadata(dir.path().join("out/e.jsonl"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        fs::rename(dir.path().join("out/e.jsonl"), dir.path().join("out/y")).unwrap();
        // However much comes at once, and even where a line alone is too long.
        let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(30));
        file.append(
            ["{\"n\":7}\n", "{\"n\":8}\n", "{\"n\":9}\n", &long, "{}\n"]
                .concat()
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(read("y").unwrap(), "{\"n\":6}\n");
        assert_eq!(read("e.jsonl.2").unwrap(), "{\"n\":9}\n");
        assert_eq!(read("e.jsonl.1").unwrap(), long);
        assert_eq!(read("e.jsonl").unwrap(), "{}\n");
    }

    #[test]
    fn the_beginning_of_a_line_goes() {
        let dir = tempfile::tempdir().unwrap();
        lines(dir.path(), "out/e", 1_000, 1).unwrap();
        for (before, after) in [
            ("{}\n{\"half", "{}\n"),
            ("{\"half", ""),
            ("{}\n", "{}\n"),
            ("", ""),
        ] {
            fs::write(dir.path().join("out/e"), before).unwrap();
            lines(dir.path(), "out/e", 1_000, 1).unwrap();
            let found = fs::read_to_string(dir.path().join("out/e")).unwrap();
            assert_eq!(found, after, "{before:?}");
        }
    }

    #[test]
    fn nothing_of_the_gateway_and_no_link_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        lines(dir.path(), "data/streams/x/files/e", 1_000, 1).unwrap();
        fs::create_dir_all(dir.path().join("data/keys")).unwrap();
        symlink(dir.path().join("data/keys"), dir.path().join("way")).unwrap();
        symlink("e", dir.path().join("out/link")).unwrap();
        fs::write(dir.path().join("out/key"), "0123").unwrap();
        for name in [
            "data/keys/log.key",
            "data/streams/x/state.json",
            "way/log.key",
            "out/link",
            "out/key",
            "out",
            "nowhere/e",
        ] {
            assert!(lines(dir.path(), name, 1_000, 1).is_err(), "{name}");
        }
        assert_eq!(
            fs::read_to_string(dir.path().join("out/key")).unwrap(),
            "0123"
        );
    }
}
