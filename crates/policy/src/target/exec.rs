//! A target that runs commands: which of them have names, and what they touch.
//!
//! In scope: the settings of an `exec` target; classifying an argument list.
//! Out of scope: running anything; finding programs; reading captured inputs.
//! Invariant: every pattern that matches contributes its effect, so a second pattern can only make
//! the answer stricter; a call that matches none is `exec:run` on the target.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use countersign_core::{
    action::{Effect, Resource, UNCLASSIFIED},
    id::{ActionName, TargetId},
    time::Span,
};
use serde_json::Value;

use super::pattern::{Captures, Template, Token};
use crate::masking::Masker;

/// The shortest piece of a secret that is not there by chance, in bytes.
const TELLING: usize = 8;

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A variable of the gateway's own environment.
    Env(String),
    /// A file the gateway can read.
    File(String),
    /// The standard output of a command.
    Command(Vec<String>),
}

/// Where a credential comes from, as reviewers read it and digests bind it.
impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "variable {}", name.escape_debug()),
            Self::File(path) => write!(f, "file {}", path.escape_debug()),
            // Quoted, so that no two commands read the same.
            Self::Command(argv) => write!(f, "command {argv:?}"),
        }
    }
}

/// A secret that the command sees and the caller does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Where it comes from.
    pub source: CredentialSource,
    /// The name of the variable in which the command finds it.
    pub as_env: String,
}

/// Which files of the caller may come along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Glob patterns of paths that are captured.
    pub keep: Vec<String>,
    /// The most bytes captured in all.
    pub max_bytes: Option<u64>,
    /// The directory over which the captured files are laid.
    pub overlay: Option<String>,
}

/// One named command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPattern {
    /// One token for each argument, the program first.
    pub argv: Vec<Token>,
    /// The action, `exec:NAME`.
    pub action: ActionName,
    /// The shared group the action belongs to.
    pub group: String,
    /// What it touches, below the target; the target itself when absent.
    pub resource: Option<Template>,
    /// Whether it may come with captured inputs.
    pub inputs_allowed: bool,
    /// The words of a command that shows reviewers what captured files would do; none when empty.
    pub preview: Vec<Template>,
    /// Whether approvers may grant no more than the one call.
    pub no_grant: bool,
    /// The line of `countersign.toml` that defines it.
    pub line: u32,
}

/// The settings of a target of kind `exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecTarget {
    /// The target's own name.
    pub target: TargetId,
    /// Named commands.
    pub commands: Vec<CommandPattern>,
    /// Where commands run.
    pub workdir: Option<String>,
    /// Names of variables that the caller may set.
    pub env_allow: BTreeSet<String>,
    /// Variables set by the gateway.
    pub variables: BTreeMap<String, String>,
    /// Secrets handed to the command.
    pub credentials: Vec<Credential>,
    /// Captured inputs, none when absent.
    pub inputs: Option<Inputs>,
    /// The system user that runs the command.
    pub run_as: Option<String>,
    /// How long a command may run.
    pub timeout: Option<Span>,
    /// The most bytes of output kept.
    pub output_limit: Option<u64>,
}

/// The effects of a call and what its placeholders took.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// At least one effect.
    pub effects: Vec<Effect>,
    /// The captures of every matching pattern.
    pub arguments: Captures,
    /// Commands that show reviewers what captured files would do, one for each matching pattern
    /// that has one; none without captured files.
    pub previews: Vec<Vec<String>>,
    /// The words that have placeholders, by number, and what those are called; none where several
    /// patterns match, so that no word has two meanings.
    pub places: BTreeMap<usize, String>,
}

impl ExecTarget {
    /// Names what `argv` does. `has_inputs` says whether captured files come along: they can change
    /// what a command means, so only patterns that allow them match.
    ///
    /// When two patterns take different values for one name, the call is not understood and gets
    /// the effect `unclassified` as well. No placeholder takes a secret, or a piece of one: effects and
    /// arguments are told to policy and recorded, and policy must not be dodged by a name in a secret's
    /// form.
    #[must_use]
    pub fn classify(&self, argv: &[String], has_inputs: bool, masker: &Masker) -> Classified {
        let secrets = secrets(argv, masker);
        let mut effects = Vec::new();
        let mut arguments = Captures::new();
        let mut previews = Vec::new();
        let mut matching = Vec::new();
        let mut ambiguous = false;
        for pattern in &self.commands {
            let found = pattern.matches(argv, has_inputs);
            let found = found.filter(|found| !has_secret(found, &secrets, masker));
            let Some(found) = found else {
                continue;
            };
            matching.push(pattern);
            let words = pattern.preview.iter().map(|word| word.render(&found));
            match words.collect::<Option<Vec<_>>>() {
                Some(words) if has_inputs && !words.is_empty() && !previews.contains(&words) => {
                    previews.push(words);
                }
                _ => {}
            }
            match pattern.effect(&self.target, &found) {
                Some(effect) if !effects.contains(&effect) => effects.push(effect),
                Some(_) => {}
                None => ambiguous = true,
            }
            for (name, value) in found {
                ambiguous |= arguments.get(&name).is_some_and(|known| *known != value);
                arguments.insert(name, value);
            }
        }
        if ambiguous {
            effects.extend(whole_target(&self.target, UNCLASSIFIED));
        }
        if effects.is_empty() {
            effects.extend(whole_target(&self.target, "exec:run"));
        }
        Classified {
            effects,
            arguments,
            previews,
            places: match matching.as_slice() {
                [only] => only.places(),
                _ => BTreeMap::new(),
            },
        }
    }
}

impl CommandPattern {
    /// The captures, when every argument matches and none is left over.
    fn matches(&self, argv: &[String], has_inputs: bool) -> Option<Captures> {
        if argv.len() != self.argv.len() || (has_inputs && !self.inputs_allowed) {
            return None;
        }
        let mut found = Captures::new();
        let all = self
            .argv
            .iter()
            .zip(argv)
            .all(|(token, text)| token.matches(text, &mut found));
        all.then_some(found)
    }

    fn places(&self) -> BTreeMap<usize, String> {
        let names = |token: &Token| {
            let names: Vec<_> = token.placeholders().map(|(name, _)| name).collect();
            names.join(", ")
        };
        let words = self.argv.iter().map(names).enumerate();
        words.filter(|(_, names)| !names.is_empty()).collect()
    }

    fn effect(&self, target: &TargetId, found: &Captures) -> Option<Effect> {
        let resource = match &self.resource {
            Some(template) => Resource {
                kind: "Resource".into(),
                id: format!("{target}/{}", template.render(found)?),
                target: target.clone(),
                attributes: BTreeMap::new(),
            },
            None => target_resource(target),
        };
        Some(Effect {
            action: self.action.clone(),
            resource,
        })
    }
}

/// The secrets in the words of a call.
fn secrets(argv: &[String], masker: &Masker) -> Vec<String> {
    let within = |word: &String| {
        let found = masker.find(word).into_iter();
        let texts = found.filter_map(|one| word.get(one.range).map(str::to_owned));
        texts.collect::<Vec<_>>()
    };
    argv.iter().flat_map(within).collect()
}

/// Whether a placeholder took a secret, or a piece of one.
fn has_secret(found: &Captures, secrets: &[String], masker: &Masker) -> bool {
    !secrets.is_empty()
        && found.values().any(|value| {
            let text = match value {
                Value::String(text) => Cow::Borrowed(text),
                other => Cow::Owned(other.to_string()),
            };
            let tells = secrets.iter().any(|secret| tells(&text, secret));
            tells || !masker.find(&text).is_empty()
        })
}

/// Whether a text tells a secret or a good piece of it, rather than has a few letters of it by chance.
fn tells(text: &str, secret: &str) -> bool {
    text == secret
        || (secret.len() >= TELLING && text.contains(secret))
        || (text.len() >= TELLING && secret.contains(text))
}

/// The target itself as a resource.
#[must_use]
pub fn target_resource(target: &TargetId) -> Resource {
    Resource {
        kind: "Target".into(),
        id: target.to_string(),
        target: target.clone(),
        attributes: BTreeMap::new(),
    }
}

fn whole_target(target: &TargetId, action: &str) -> Option<Effect> {
    let action = ActionName::new(action).ok()?;
    Some(Effect {
        action,
        resource: target_resource(target),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_credential_comes_from_is_read_without_doubt() {
        let command = |argv: &[&str]| {
            CredentialSource::Command(argv.iter().map(|word| (*word).to_owned()).collect())
        };
        for (source, text) in [
            (CredentialSource::Env("KEY".into()), "variable KEY"),
            (CredentialSource::File("a\nb".into()), "file a\\nb"),
            (command(&["a", "b c"]), "command [\"a\", \"b c\"]"),
            (command(&["a", "b", "c"]), "command [\"a\", \"b\", \"c\"]"),
        ] {
            assert_eq!(source.to_string(), text);
        }
    }

    fn pattern(
        argv: &[&str],
        action: &str,
        resource: Option<&str>,
        inputs: bool,
    ) -> CommandPattern {
        CommandPattern {
            argv: argv
                .iter()
                .map(|token| Token::parse(token).unwrap())
                .collect(),
            action: action.parse().unwrap(),
            group: "write".into(),
            resource: resource.map(|text| Template::parse(text).unwrap()),
            inputs_allowed: inputs,
            preview: Vec::new(),
            no_grant: false,
            line: 1,
        }
    }

    fn target(commands: Vec<CommandPattern>) -> ExecTarget {
        ExecTarget {
            target: "release".parse().unwrap(),
            commands,
            workdir: None,
            env_allow: BTreeSet::new(),
            variables: BTreeMap::new(),
            credentials: Vec::new(),
            inputs: None,
            run_as: None,
            timeout: None,
            output_limit: None,
        }
    }

    fn summary(target: &ExecTarget, argv: &[&str], inputs: bool) -> Vec<String> {
        let argv = argv.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        target
            .classify(&argv, inputs, &Masker::default())
            .effects
            .iter()
            .map(|e| format!("{} {}", e.action, e.resource.id))
            .collect()
    }

    #[test]
    fn exact_calls_are_named_and_the_rest_is_plain_execution() {
        let release = target(vec![
            pattern(
                &["git", "push", "origin", "{branch:word}"],
                "exec:git-push",
                Some("branch/{branch}"),
                false,
            ),
            pattern(&["make", "{goal:word}"], "exec:make", None, true),
        ]);
        let push = vec!["exec:git-push release/branch/main".to_owned()];
        let run = vec!["exec:run release".to_owned()];
        for (argv, inputs, expected) in [
            (&["git", "push", "origin", "main"][..], false, &push),
            (&["git", "push", "origin", "main"], true, &run),
            (&["git", "push", "origin", "main", "--force"], false, &run),
            (&["git", "push", "origin", "--force"], false, &run),
            (&["git", "push", "origin", "+main"], false, &run),
            (&["git", "push", "origin", ":main"], false, &run),
            (&["git", "push", "origin", "main:prod"], false, &run),
            (&["git", "push", "origin"], false, &run),
            (&["git", "push", "origin", ""], false, &run),
            (&["git", "push", "", "origin", "main"], false, &run),
            (&["git", "push", "origin", "main\n"], false, &run),
            (&["git", "push", "origin", "ma\u{0456}n"], false, &run),
            (&["GIT", "push", "origin", "main"], false, &run),
            (&["/usr/bin/git", "push", "origin", "main"], false, &run),
            (&["git", "-c", "x=y", "push", "origin", "main"], false, &run),
            (&[], false, &run),
        ] {
            assert_eq!(&summary(&release, argv, inputs), expected, "{argv:?}");
        }
        assert_eq!(
            summary(&release, &["make", "all"], true),
            ["exec:make release"]
        );
    }

    #[test]
    fn every_matching_pattern_contributes() {
        let both = target(vec![
            pattern(
                &["kubectl", "{verb:word}", "{what:word}"],
                "exec:kubectl",
                None,
                false,
            ),
            pattern(
                &["kubectl", "delete", "{what:word}"],
                "exec:kubectl-delete",
                Some("{what}"),
                false,
            ),
        ]);
        assert_eq!(
            summary(&both, &["kubectl", "delete", "pod"], false),
            ["exec:kubectl release", "exec:kubectl-delete release/pod"]
        );
        let argv = ["kubectl", "delete", "pod"].map(str::to_owned);
        assert_eq!(
            both.classify(&argv, false, &Masker::default())
                .arguments
                .len(),
            2
        );
    }

    #[test]
    fn captures_that_contradict_each_other_are_not_understood() {
        let odd = target(vec![
            pattern(&["x", "{a:word}", "{b:word}"], "exec:one", None, false),
            pattern(&["x", "{b:word}", "{a:word}"], "exec:two", None, false),
        ]);
        assert!(summary(&odd, &["x", "1a", "2b"], false).contains(&"unclassified release".into()));
        assert!(!summary(&odd, &["x", "1a", "1a"], false).contains(&"unclassified release".into()));
    }
}
