//! `countersign policy schema`: what policies of a directory can be written with.

use countersign_policy::bundle::Bundle;
use serde_json::json;

use super::{Directory, check};
use crate::cli::{
    failure::{Failure, GENERAL},
    output::Output,
    text,
};

pub(super) const EXAMPLES: &str = "\
Example:
  countersign policy schema deploy/countersign > policies.cedarschema   # for an editor

The schema follows from the targets in countersign.toml and from schema/*.cedarschema.";

pub(super) fn run(args: &Directory, output: &mut Output) -> Result<u8, Failure> {
    let read = super::read(&args.directory)?;
    match Bundle::schema_of(&read.files) {
        Ok(schema) => {
            output.result(&json!({ "schema": schema }), |_, _| {
                text::shown_lines(schema.trim_end())
            })?;
            Ok(0)
        }
        Err(problems) => {
            for problem in &problems {
                output.result(problem, |problem, paint| {
                    check::line(problem, &args.directory, paint)
                })?;
            }
            Ok(GENERAL)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle_files;
    use crate::cli::output::capture::captured;

    #[test]
    fn the_schema_names_actions_even_where_policies_are_broken() {
        let mut all = bundle_files::example::GOOD.to_vec();
        all.push(("policies/broken.cedar", "permit ("));
        let directory = bundle_files::example::directory(&all);
        let (mut output, out, _) = captured(false, false);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(run(&args, &mut output), Ok(0), "{}", out.text());
        assert!(out.text().contains("action"), "{}", out.text());
    }
}
