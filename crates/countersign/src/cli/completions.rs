//! `countersign completions`: what a shell needs to complete commands.

use clap_complete::Shell;

use super::{failure::Failure, line, output::Output};

const EXAMPLES: &str = "\
Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish";

/// Arguments of `countersign completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Writes the script.
///
/// # Errors
/// When it can't be written.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut line(), "countersign", &mut script);
    output.bytes(&script)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::capture::captured;

    #[test]
    fn every_shell_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let (mut output, out, _) = captured(false, false);
            run(&Args { shell }, &mut output).unwrap();
            assert!(
                out.text().contains("requests") && out.text().contains("whoami"),
                "{shell}"
            );
        }
    }
}
