//! `countersign policy explain`: what the active policy would say.

use countersign_policy::ExplainedAsk;
use countersign_runner::quote::quote_argv;

use crate::{
    api::{
        explaining::{Explained, Signers},
        types::ExplainBody,
    },
    cli::{
        client::{At, Client},
        config::Sources,
        failure::Failure,
        output::Output,
        text::{self, Paint, shown},
    },
};

const EXAMPLES: &str = "\
Examples:
  countersign policy explain agent:deploy-bot --target release -- git push origin main
  countersign policy explain agent:deploy-bot --for person:dana@example.com --target db --inputs -- psql

What of a command would be masked as a secret says `countersign policy mask`.";

/// Arguments of `countersign policy explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Who asks: `agent:NAME`, `workload:NAME` or `person:NAME`
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Whom they ask for, nearest first
    #[arg(long = "for", value_name = "SUBJECT")]
    on_behalf_of: Vec<String>,
    /// The target
    #[arg(long, short, env = "COUNTERSIGN_TARGET", value_name = "TARGET")]
    target: Option<String>,
    /// As if files were bound
    #[arg(long)]
    inputs: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let body = ExplainBody {
        subject: args.subject,
        on_behalf_of: args.on_behalf_of,
        target: args.target,
        argv: (!args.argv.is_empty()).then_some(args.argv),
        inputs: args.inputs,
    };
    let explained: Explained = client.post(At::new(&["policy", "explain"]), &body).await?;
    output.result(&explained, |explained, paint| page(&body, explained, paint))?;
    Ok(0)
}

/// Who asks what, the decision, what decided each part, and who could countersign.
fn page(asked: &ExplainBody, explained: &Explained, paint: Paint) -> String {
    let mut who = vec![asked.subject.clone()];
    who.extend(asked.on_behalf_of.iter().map(|one| format!("for {one}")));
    let explanation = &explained.explanation;
    let values = [
        ("who", shown(&who.join(", "))),
        (
            "what",
            quote_argv(asked.argv.as_deref().unwrap_or_default()),
        ),
        ("target", shown(asked.target.as_deref().unwrap_or_default())),
        (
            "decision",
            format!(
                "{}: {}",
                verdict(explanation.decision.name(), paint),
                shown(&explanation.summary)
            ),
        ),
    ];
    let mut parts = vec![text::pairs(0, &values, paint)];
    parts.extend(
        explanation
            .asks
            .iter()
            .map(|ask| part(ask, explained, paint)),
    );
    if !explained.signers.is_empty() {
        let rules: Vec<_> = explained.signers.iter().map(rule).collect();
        parts.push(format!(
            "{}\n{}",
            paint.bold("Who could countersign"),
            rules.join("\n")
        ));
    }
    parts.join("\n\n")
}

fn verdict(answer: &str, paint: Paint) -> String {
    match answer {
        "permit" => paint.green(answer),
        "hold" => paint.yellow(answer),
        _ => paint.red(answer),
    }
}

/// One member and one effect, with the statements that decided.
fn part(ask: &ExplainedAsk, explained: &Explained, paint: Paint) -> String {
    let effect = explained.effects.get(ask.effect).map_or("", String::as_str);
    let head = format!(
        "{}  {}",
        paint.bold(&shown(&format!("{}: {effect}", ask.member))),
        verdict(&ask.answer, paint)
    );
    if ask.statements.is_empty() {
        return format!("{head}\n  no statement decided, so the answer is no");
    }
    let lines = ask.statements.iter().map(|statement| {
        let failed = if statement.failed { " (failed)" } else { "" };
        let place = shown(&format!("{}:{}", statement.file, statement.line));
        let head = format!(
            "  {}  {}  {}{failed}",
            statement.effect,
            shown(statement.id.as_str()),
            paint.dim(&place)
        );
        let lifts: Vec<_> = statement
            .approvals
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut more = Vec::new();
        more.extend(statement.reason.as_ref().map(|reason| shown(reason)));
        if !lifts.is_empty() {
            more.push(format!(
                "lifted by approval rule {}",
                shown(&lifts.join(", "))
            ));
        }
        let more: Vec<_> = more
            .iter()
            .map(|line| format!("\n          {line}"))
            .collect();
        format!("{head}{}", more.concat())
    });
    format!("{head}\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn rule(signers: &Signers) -> String {
    let name = shown(&signers.rule);
    if signers.confirmation {
        return format!("  {name}  a confirmation by whoever it acts for, not a countersignature");
    }
    let stages = signers.stages.iter().map(|stage| {
        let people = match stage.people.is_empty() {
            true => "nobody whom policy knows beforehand".into(),
            false => text::list(&stage.people),
        };
        let without = match stage.without_passkey.is_empty() {
            true => String::new(),
            false => format!(
                "; needs a passkey, which {} lacks",
                text::list(&stage.without_passkey)
            ),
        };
        format!(
            "  {name}  {} of {}: {people}{without}",
            stage.count,
            text::list(&stage.from)
        )
    });
    stages.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_explanation_says_who_what_why_and_who_could_sign() {
        let explained: Explained = serde_json::from_value(serde_json::json!({
            "decision": { "decision": "hold", "rules": ["administrator"], "policies": ["runs"] },
            "summary": "it waits until `administrator` is satisfied",
            "effects": ["exec:run on tools"],
            "asks": [{
                "member": { "type": "agent", "id": "helper" }, "effect": 0, "answer": "hold",
                "summary": "", "rules": ["administrator"],
                "statements": [{
                    "id": "runs", "effect": "forbid", "file": "policies/tools.cedar", "line": 9,
                    "source": "", "reason": "Could do anything", "approvals": ["administrator"],
                    "failed": false
                }]
            }],
            "signers": [{ "rule": "administrator", "confirmation": false, "stages": [
                { "count": 1, "from": ["group:admins"], "people": ["eli@example.com"],
                  "without_passkey": ["lea@example.com"] }
            ]}]
        }))
        .unwrap();
        let asked = ExplainBody {
            subject: "agent:helper".into(),
            on_behalf_of: Vec::new(),
            target: Some("tools".into()),
            argv: Some(vec!["df".into(), "a b".into()]),
            inputs: false,
        };
        expect![[r#"
            who       agent:helper
            what      df 'a b'
            target    tools
            decision  hold: it waits until `administrator` is satisfied

            agent:helper: exec:run on tools  hold
              forbid  runs  policies/tools.cedar:9
                      Could do anything
                      lifted by approval rule administrator

            Who could countersign
              administrator  1 of group:admins: eli@example.com; needs a passkey, which lea@example.com lacks"#]]
        .assert_eq(&page(&asked, &explained, Paint::plain()));
    }
}
