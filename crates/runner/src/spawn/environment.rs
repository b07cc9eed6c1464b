//! What a command finds in its environment.
//!
//! In scope: which variables a caller may set, and the few that every command gets.
//! Out of scope: which names a target's configuration allows callers to set.
//! Invariant: a caller's variable passes two lists, the target's allow-list and our never-list, and
//! replaces nothing that the runner or the target set.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::quote::reveal;
use crate::vault::{Masker, Secret};

/// Names through which a caller could run code of its own, read other configuration, or redirect a
/// connection that carries the target's credential. Compared in upper case.
#[rustfmt::skip]
const NEVER: &[&str] = &[
    "ALL_PROXY", "BASHOPTS", "BASH_ENV", "BROWSER", "CDPATH", "CLASSPATH", "CURL_CA_BUNDLE",
    "CURL_HOME", "EDITOR", "ENV", "FPATH", "FTP_PROXY", "GCONV_PATH", "GETCONF_DIR",
    "GLIBC_TUNABLES", "GLOBIGNORE", "HOME", "HOSTALIASES", "HTTPS_PROXY", "HTTP_PROXY", "IFS",
    "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "LANG", "LESSCLOSE", "LESSOPEN", "LOCALDOMAIN",
    "LOCPATH", "LOGNAME", "MANPAGER", "NIS_PATH", "NLSPATH", "NODE_EXTRA_CA_CERTS", "NODE_OPTIONS",
    "NODE_PATH", "NODE_TLS_REJECT_UNAUTHORIZED", "NO_PROXY", "OLDPWD", "OPENSSL_CONF",
    "OPENSSL_ENGINES", "OPENSSL_MODULES", "PAGER", "PATH", "PERLLIB", "PGPASSFILE",
    "PGSERVICEFILE", "PGSYSCONFDIR", "PROMPT_COMMAND", "PS4", "PSQLRC", "PSQL_EDITOR", "PWD",
    "REQUESTS_CA_BUNDLE", "RESOLV_HOST_CONF", "RES_OPTIONS", "RUBYLIB", "RUBYOPT", "SHELL",
    "SHELLOPTS", "SSH_ASKPASS", "SSH_AUTH_SOCK", "SSLKEYLOGFILE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "SUDO_ASKPASS", "TERMCAP", "TERMINFO", "TERMINFO_DIRS", "TMPDIR", "TZDIR", "USER", "VISUAL",
    "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_DATA_DIRS", "XDG_DATA_HOME", "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Beginnings of names that are refused for the same reasons.
#[rustfmt::skip]
const NEVER_PREFIXES: &[&str] = &[
    "BASH_FUNC_", "COMPLUS_", "CORECLR_", "COUNTERSIGN_", "DOTNET_", "DYLD_", "GIT_", "LD_",
    "LUA_", "MALLOC_", "NPM_CONFIG_", "PERL5", "PYTHON",
];

/// Why a variable is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Not a name: letters, digits and `_`, not starting with a digit.
    #[error("`{0}` is not the name of an environment variable")]
    Name(String),
    /// A value that no environment can hold.
    #[error("the value of `{0}` has a zero byte, which an environment can't hold")]
    Value(String),
    /// Not on the target's list.
    #[error(
        "`{0}` is not among the variables that callers may set for this target: leave it out, or have it added"
    )]
    NotListed(String),
    /// On our list of names that no caller may set.
    #[error(
        "`{0}` can change what a command does beyond what a reviewer sees; no caller may set it"
    )]
    Never(String),
    /// Set by the runner or the target already.
    #[error("`{0}` is set by the target; a caller can't replace it")]
    Taken(String),
}

/// Whether a caller may set `name`: exactly listed in `allow_list`, and not one of the names that
/// no list can allow (search paths, preloading, interpreters' options, proxies, trusted
/// certificates, `GIT_*` and the like).
///
/// # Errors
/// [`EnvError::Name`], [`EnvError::Never`], [`EnvError::NotListed`].
pub fn caller_env_allowed(name: &str, allow_list: &[String]) -> Result<(), EnvError> {
    check_name(name)?;
    let upper = name.to_ascii_uppercase();
    if NEVER.contains(&upper.as_str())
        || NEVER_PREFIXES
            .iter()
            .any(|prefix| upper.starts_with(prefix))
    {
        return Err(EnvError::Never(name.to_owned()));
    }
    if allow_list.iter().any(|listed| listed == name) {
        Ok(())
    } else {
        Err(EnvError::NotListed(name.to_owned()))
    }
}

/// The environment of one command. Nothing is inherited.
#[derive(Debug, Clone)]
pub struct Environment {
    base: BTreeMap<String, Vec<u8>>,
    caller: BTreeMap<String, String>,
    target: BTreeMap<String, String>,
    secrets: BTreeMap<String, Secret>,
}

impl Environment {
    /// `PATH`, `HOME`, `TMPDIR` and `LANG=C.UTF-8`.
    ///
    /// Give the `path` with which the command was resolved. `home` and `temporary` should be empty
    /// directories of this run (see [`Scratch`](super::Scratch)), and `home` not the inputs, or
    /// a caller's `.psqlrc` would be read.
    #[must_use]
    pub fn new(path: &[PathBuf], home: &Path, temporary: &Path) -> Self {
        let path: Vec<&[u8]> = path
            .iter()
            .map(|directory| directory.as_os_str().as_bytes())
            .collect();
        let base = [
            ("PATH", path.join(&b':')),
            ("HOME", home.as_os_str().as_bytes().to_vec()),
            ("TMPDIR", temporary.as_os_str().as_bytes().to_vec()),
            ("LANG", b"C.UTF-8".to_vec()),
        ];
        Self {
            base: base.map(|(name, value)| (name.to_owned(), value)).into(),
            caller: BTreeMap::new(),
            target: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Adds a variable that the caller asked for.
    ///
    /// # Errors
    /// Those of [`caller_env_allowed`]; [`EnvError::Taken`] when the target sets it;
    /// [`EnvError::Value`].
    pub fn set_from_caller(
        &mut self,
        name: &str,
        value: &str,
        allow_list: &[String],
    ) -> Result<(), EnvError> {
        caller_env_allowed(name, allow_list)?;
        if self.target.contains_key(name) || self.secrets.contains_key(name) {
            return Err(EnvError::Taken(name.to_owned()));
        }
        check_value(name, value)?;
        self.caller.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Adds a variable of the target's configuration, which may be any; it replaces a caller's.
    ///
    /// # Errors
    /// [`EnvError::Name`], [`EnvError::Value`].
    pub fn set_from_target(&mut self, name: &str, value: &str) -> Result<(), EnvError> {
        check_name(name)?;
        check_value(name, value)?;
        self.target.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Adds a credential; it replaces every other value of that name, and is masked in the output.
    ///
    /// # Errors
    /// [`EnvError::Name`].
    pub fn set_secret(&mut self, name: &str, secret: Secret) -> Result<(), EnvError> {
        check_name(name)?;
        self.secrets.insert(name.to_owned(), secret);
        Ok(())
    }

    /// The variables, each name as it finally is; later ones replace earlier ones.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let base = self
            .base
            .iter()
            .map(|(name, value)| (name, value.as_slice()));
        let caller = self
            .caller
            .iter()
            .map(|(name, value)| (name, value.as_bytes()));
        let target = self
            .target
            .iter()
            .map(|(name, value)| (name, value.as_bytes()));
        let secrets = self
            .secrets
            .iter()
            .map(|(name, secret)| (name, secret.expose()));
        base.chain(caller)
            .chain(target)
            .chain(secrets)
            .map(|(name, value)| (OsStr::new(name), OsStr::from_bytes(value)))
    }

    /// A masker for one stream of output.
    pub(super) fn masker(&self) -> Masker {
        Masker::new(self.secrets.values())
    }
}

fn check_name(name: &str) -> Result<(), EnvError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(EnvError::Name(reveal(name)));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), EnvError> {
    if value.contains('\0') {
        Err(EnvError::Value(name.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_set_only_harmless_listed_names() {
        let dangerous = [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PATH",
            "IFS",
            "BASH_ENV",
            "ENV",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5OPT",
            "RUBYOPT",
            "NODE_OPTIONS",
            "GIT_SSH_COMMAND",
            "GCONV_PATH",
            "https_proxy",
            "HOME",
            "npm_config_script_shell",
            "ld_preload",
            "GLIBC_TUNABLES",
            "COUNTERSIGN_TOKEN",
        ];
        let list: Vec<String> = dangerous
            .iter()
            .copied()
            .chain(["VERSION", "lower"])
            .map(str::to_owned)
            .collect();
        for name in dangerous {
            assert_eq!(
                caller_env_allowed(name, &list),
                Err(EnvError::Never(name.into())),
                "{name}"
            );
        }
        assert_eq!(caller_env_allowed("VERSION", &list), Ok(()));
        assert_eq!(caller_env_allowed("lower", &list), Ok(()));
        assert_eq!(
            caller_env_allowed("VERSION2", &list),
            Err(EnvError::NotListed("VERSION2".into()))
        );
        assert_eq!(
            caller_env_allowed("version", &list),
            Err(EnvError::NotListed("version".into()))
        );
        for name in ["", "A=B", "1A", "A B", "Ä", "A\n", "BASH_FUNC_x%%"] {
            assert!(
                matches!(caller_env_allowed(name, &list), Err(EnvError::Name(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn the_lists_are_written_as_they_are_compared() {
        for name in NEVER.iter().chain(NEVER_PREFIXES) {
            assert_eq!(name.to_ascii_uppercase(), *name);
        }
        assert!(NEVER.is_sorted() && NEVER_PREFIXES.is_sorted());
    }

    #[test]
    fn the_target_wins() {
        let list = ["A".to_owned(), "B".to_owned(), "C".to_owned()];
        let mut env = Environment::new(
            &["/bin".into(), "/usr/bin".into()],
            Path::new("/h"),
            Path::new("/t"),
        );
        env.set_from_caller("A", "caller", &list).unwrap();
        env.set_from_caller("B", "caller", &list).unwrap();
        env.set_from_target("A", "target").unwrap();
        env.set_secret("C", Secret::new(b"key".to_vec()).unwrap())
            .unwrap();
        assert_eq!(
            env.set_from_caller("A", "x", &list),
            Err(EnvError::Taken("A".into()))
        );
        assert_eq!(
            env.set_from_caller("C", "x", &list),
            Err(EnvError::Taken("C".into()))
        );
        assert_eq!(
            env.set_from_caller("B", "x\0", &list),
            Err(EnvError::Value("B".into()))
        );
        let last: BTreeMap<&OsStr, &OsStr> = env.variables().collect();
        let shown: Vec<String> = last
            .iter()
            .map(|(n, v)| format!("{}={}", n.display(), v.display()))
            .collect();
        assert_eq!(
            shown.join(" "),
            "A=target B=caller C=key HOME=/h LANG=C.UTF-8 PATH=/bin:/usr/bin TMPDIR=/t"
        );
        assert!(!format!("{env:?}").contains("key"));
    }
}
