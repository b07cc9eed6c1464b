//! Which file a command name means here, pinned by content.
//!
//! In scope: searching the runner's own fixed path, following links to the real file, scripts and
//! their interpreters, and verifying all of it again right before it runs.
//! Out of scope: the libraries, modules and other programs that the executable loads by itself.
//! Invariant: the caller's search path is never looked at. What is executed has the hash that was
//! shown, up to the window described at [`Verified`].
//! Specification: execve(2), "Interpreter scripts".

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_core::canonical::Hash;
use serde::{Deserialize, Serialize};

use crate::quote::reveal;
use crate::sha256::read_through;

/// How many scripts may interpret each other; Linux has a similar limit.
const MAX_INTERPRETERS: usize = 4;
/// What Linux reads of a script's first line.
const FIRST_LINE: u64 = 256;

/// A file to execute, named by its real path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executable {
    /// Absolute, without links.
    pub path: PathBuf,
    /// Of the content.
    pub sha256: Hash,
}

/// An executable and, for a script, everything that interprets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// The file that is executed.
    pub program: Executable,
    /// The interpreters in order: that of the script, then its own, and so on. For
    /// `#!/usr/bin/env NAME` first `env`, then what `NAME` means on the runner's path.
    pub interpreters: Vec<Executable>,
}

/// Why a name can't be executed.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such file.
    #[error("there is no file `{0}` where the command would run")]
    NotFound(String),
    /// No such executable in any directory that is searched.
    #[error(
        "`{name}` is not an executable where the command would run; it was searched in {searched}: \
         name one that is there, or give its absolute path"
    )]
    NotOnPath {
        /// The name, revealed.
        name: String,
        /// The directories, revealed.
        searched: String,
    },
    /// A relative path that leads out of the captured directory.
    #[error(
        "`{0}` lies outside of the captured directory: bind it, or name it by its absolute path"
    )]
    Outside(String),
    /// The path that is searched has a relative directory.
    #[error("the path has the relative directory `{0}`: absolute ones only are searched")]
    RelativePath(String),
    /// Not a plain file, or not executable.
    #[error("`{0}` is not an executable file")]
    NotExecutable(String),
    /// A first line that can't be followed.
    #[error("the first line of the script `{path}` can't be followed: {why}")]
    Script {
        /// The script, revealed.
        path: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Not what was resolved before.
    #[error(
        "`{path}` has changed since it was approved: it was {expected} and is {found}; ask again"
    )]
    Changed {
        /// The file, revealed.
        path: String,
        /// Its hash then.
        expected: Hash,
        /// Its hash now.
        found: Hash,
    },
    /// The system refused.
    #[error("can't read the executable `{path}`")]
    Io {
        /// The file, revealed.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Finds what `argv0` means.
///
/// A name without `/` is searched in `path`, whose directories must be absolute. A relative path
/// is taken from `captured`, the directory of unpacked inputs, and must stay inside after all links
/// are followed; an absolute path is taken as it is.
///
/// # Errors
/// [`ResolveError`], see its variants.
pub fn resolve(argv0: &str, path: &[PathBuf], captured: &Path) -> Result<Resolved, ResolveError> {
    let file = find(argv0, path, captured)?;
    let opened = Opened::new(&file)?;
    let program = Executable {
        path: file,
        sha256: opened.sha256,
    };
    let mut interpreters = Vec::new();
    let mut script = (program.path.clone(), opened.head);
    let mut scripts = 0;
    while let Some(line) = first_line(&script.0, &script.1)? {
        scripts += 1;
        if scripts > MAX_INTERPRETERS {
            return Err(script_error(
                &script.0,
                "too many scripts interpret each other",
            ));
        }
        let mut next = canonical(&line.interpreter)?;
        let mut opened = Opened::new(&next)?;
        interpreters.push(Executable {
            path: next.clone(),
            sha256: opened.sha256,
        });
        if let Some(name) = line.through_env {
            next = search(&name, path)?;
            opened = Opened::new(&next)?;
            interpreters.push(Executable {
                path: next.clone(),
                sha256: opened.sha256,
            });
        }
        script = (next, opened.head);
    }
    Ok(Resolved {
        program,
        interpreters,
    })
}

impl Resolved {
    /// Opens everything again and compares the hashes.
    ///
    /// # Errors
    /// [`ResolveError::Changed`] when content differs; [`ResolveError::Io`] and
    /// [`ResolveError::NotExecutable`] when a file is not what it was at all.
    pub fn verify_again(&self) -> Result<Verified, ResolveError> {
        let mut program = None;
        for executable in self.interpreters.iter().rev().chain([&self.program]) {
            let opened = Opened::new(&executable.path)?;
            if opened.sha256 != executable.sha256 {
                return Err(ResolveError::Changed {
                    path: shown(&executable.path),
                    expected: executable.sha256,
                    found: opened.sha256,
                });
            }
            program = Some(opened);
        }
        let Some(Opened { file, head, .. }) = program else {
            return Err(ResolveError::NotFound(shown(&self.program.path)));
        };
        Ok(Verified {
            file,
            is_elf: head.starts_with(b"\x7fELF"),
            path: self.program.path.clone(),
        })
    }
}

/// An executable that was just verified and is still held open.
///
/// For a binary, [`program`](Self::program) names the open file itself, so replacing the file under
/// its name changes nothing. What remains is a write *into* the same file between hashing and
/// execution, by somebody who may write to it. A script is read by its interpreter by name, because
/// many find their own files by that name; there, replacing the script or an interpreter in the
/// same moment (milliseconds) remains as well. Lists of processes show a binary that was started like
/// this under the number of the descriptor.
#[derive(Debug)]
pub struct Verified {
    file: File,
    is_elf: bool,
    path: PathBuf,
}

impl Verified {
    /// What to hand to `execve` while this value lives.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        if self.is_elf {
            PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
        } else {
            self.path.clone()
        }
    }
}

/// A file with its hash and first bytes.
struct Opened {
    file: File,
    sha256: Hash,
    head: Vec<u8>,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, ResolveError> {
        let failed = |source| ResolveError::Io {
            path: shown(path),
            source,
        };
        let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            return Err(ResolveError::NotExecutable(shown(path)));
        }
        let mut head = Vec::new();
        (&mut file)
            .take(FIRST_LINE)
            .read_to_end(&mut head)
            .map_err(failed)?;
        file.rewind().map_err(failed)?;
        let (sha256, _) = read_through(&mut file, |_| Ok(())).map_err(failed)?;
        Ok(Self { file, sha256, head })
    }
}

fn find(argv0: &str, path: &[PathBuf], captured: &Path) -> Result<PathBuf, ResolveError> {
    if !argv0.contains('/') {
        return search(argv0, path);
    }
    if argv0.starts_with('/') {
        return canonical(Path::new(argv0));
    }
    let root = canonical(captured)?;
    let file = canonical(&root.join(argv0))?;
    if file.starts_with(&root) {
        Ok(file)
    } else {
        Err(ResolveError::Outside(reveal(argv0)))
    }
}

fn search(name: &str, path: &[PathBuf]) -> Result<PathBuf, ResolveError> {
    let not_found = || ResolveError::NotOnPath {
        name: reveal(name),
        searched: match path.is_empty() {
            true => "no directory".into(),
            false => path
                .iter()
                .map(|one| shown(one))
                .collect::<Vec<_>>()
                .join(":"),
        },
    };
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(not_found());
    }
    if let Some(relative) = path.iter().find(|directory| !directory.is_absolute()) {
        return Err(ResolveError::RelativePath(shown(relative)));
    }
    let is_executable = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
    };
    let file = path
        .iter()
        .map(|directory| directory.join(name))
        .find(is_executable);
    canonical(&file.ok_or_else(not_found)?)
}

fn canonical(path: &Path) -> Result<PathBuf, ResolveError> {
    fs::canonicalize(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ResolveError::NotFound(shown(path)),
        _ => ResolveError::Io {
            path: shown(path),
            source,
        },
    })
}

/// What a script's first line asks for.
struct FirstLine {
    interpreter: PathBuf,
    /// The name that `env` is to look up.
    through_env: Option<String>,
}

fn first_line(path: &Path, head: &[u8]) -> Result<Option<FirstLine>, ResolveError> {
    let Some(line) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let refuse = |why| Err(script_error(path, why));
    let Some(line) = line
        .split(|byte| *byte == b'\n')
        .next()
        .filter(|line| line.len() + 2 < head.len())
    else {
        return refuse("it is longer than 254 bytes, or the script has nothing else");
    };
    let Ok(line) = std::str::from_utf8(line) else {
        return refuse("it is not UTF-8");
    };
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let interpreter = match words.next() {
        Some(word) if word.starts_with('/') => PathBuf::from(word),
        _ => return refuse("its interpreter is not an absolute path"),
    };
    if interpreter.file_name() != Some(OsStr::from_bytes(b"env")) {
        return Ok(Some(FirstLine {
            interpreter,
            through_env: None,
        }));
    }
    let name = match words.next() {
        Some("-S") => words.next(),
        other => other,
    };
    match name {
        Some(name)
            if !name.starts_with('-') && !name.contains(['=', '/', '\'', '"', '\\', '$']) =>
        {
            Ok(Some(FirstLine {
                interpreter,
                through_env: Some(name.to_owned()),
            }))
        }
        _ => refuse("after `env` only a program name is understood"),
    }
}

fn script_error(path: &Path, why: &'static str) -> ResolveError {
    ResolveError::Script {
        path: shown(path),
        why,
    }
}

fn shown(path: &Path) -> String {
    reveal(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(path: PathBuf, content: &str) -> PathBuf {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn names_mean_what_the_runner_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (bin, work) = (root.join("bin"), root.join("work"));
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&work).unwrap();
        put(bin.join("tool"), "real");
        put(work.join("tool"), "captured");
        fs::write(bin.join("data"), "not executable").unwrap();
        symlink("tool", bin.join("alias")).unwrap();
        symlink(bin.join("tool"), work.join("out")).unwrap();
        let path = [bin.clone()];
        let absolute = bin.join("tool").display().to_string();
        for (argv0, found) in [
            ("tool", Ok("real")),
            ("alias", Ok("real")),
            ("./tool", Ok("captured")),
            (absolute.as_str(), Ok("real")),
            ("../bin/tool", Err("outside of the captured")),
            ("./out", Err("outside of the captured")),
            ("data", Err("searched in /")),
            ("./missing", Err("there is no file")),
            ("", Err("not an executable where")),
            ("..", Err("not an executable where")),
            ("./", Err("not an executable file")),
        ] {
            match (resolve(argv0, &path, &work), found) {
                (Ok(resolved), Ok(content)) => {
                    assert_eq!(
                        resolved.program.sha256,
                        Hash::of(content.as_bytes()),
                        "{argv0}"
                    );
                }
                (Err(error), Err(text)) => {
                    assert!(error.to_string().contains(text), "{argv0}: {error}")
                }
                (got, _) => panic!("{argv0}: {got:?}"),
            }
        }
        let relative = resolve("tool", &[PathBuf::from("bin")], &work).unwrap_err();
        assert!(matches!(relative, ResolveError::RelativePath(_)));
    }

    #[test]
    fn scripts_pin_their_interpreters() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let interpreter = put(root.join("lang"), "binary");
        let names = |first_line: &str| {
            put(root.join("script"), first_line);
            resolve(
                "./script",
                &[root.clone(), PathBuf::from("/usr/bin")],
                &root,
            )
            .map(|resolved| {
                let name =
                    |e: &Executable| e.path.file_name().unwrap().to_string_lossy().into_owned();
                resolved
                    .interpreters
                    .iter()
                    .map(name)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        let at = interpreter.display();
        assert_eq!(names("plain").unwrap(), "");
        assert_eq!(names(&format!("#!{at}\n")).unwrap(), "lang");
        assert_eq!(names(&format!("#! {at} -x\n")).unwrap(), "lang");
        assert_eq!(names("#!/usr/bin/env lang\n").unwrap(), "env lang");
        assert_eq!(names("#!/usr/bin/env -S lang -x\n").unwrap(), "env lang");
        put(root.join("outer"), &format!("#!{at}\n"));
        assert_eq!(names("#!/usr/bin/env outer\n").unwrap(), "env outer lang");
        for bad in [
            "#!lang\n",
            "#!\n",
            "#!/usr/bin/env -i lang\n",
            "#!/usr/bin/env A=b lang\n",
            "#!/bin/sh",
        ] {
            assert!(
                matches!(names(bad), Err(ResolveError::Script { .. })),
                "{bad}"
            );
        }
        let script = root.join("script").display().to_string();
        assert!(matches!(
            names(&format!("#!{script}\n")),
            Err(ResolveError::Script { .. })
        ));
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let interpreter = put(root.join("lang"), "binary");
        let script = put(
            root.join("script"),
            &format!("#!{}\n", interpreter.display()),
        );
        let resolved = resolve("./script", &[], &root).unwrap();
        resolved.verify_again().unwrap();
        put(interpreter.clone(), "other");
        assert!(matches!(
            resolved.verify_again(),
            Err(ResolveError::Changed { .. })
        ));
        put(interpreter, "binary");
        fs::remove_file(&script).unwrap();
        symlink("/bin/true", &script).unwrap();
        assert!(matches!(
            resolved.verify_again(),
            Err(ResolveError::Io { .. })
        ));
    }
}
