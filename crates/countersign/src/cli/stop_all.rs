//! `countersign agent stop --all`: the kill switch for everything.
//!
//! In scope: stopping every agent that is active, each as a change of its own, and saying which go on.
//! Out of scope: what stopping one means; the gateway does that, and policy decides each.
//! Invariant: one that can't be stopped keeps no other from being stopped. It ends well only when a
//! fresh look finds nobody active.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    client::{At, Client},
    config::Sources,
    failure::{Failure, HELD},
    output::Output,
    proposal::{Waiting, ended, print},
    text::shown,
};
use crate::api::types::{DirectoryInfo, ProposalAnswer, ProposalBody};

/// Stops every agent.
///
/// # Errors
/// The gateway can't be reached, or some agents go on.
pub(crate) async fn run(
    waiting: Waiting,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let (mut asked, mut going_on) = (BTreeSet::new(), Vec::new());
    loop {
        // Anew, because somebody may add one meanwhile.
        let active = active(&client).await?;
        let mut next = active
            .iter()
            .filter(|name| !asked.contains(*name))
            .peekable();
        if next.peek().is_none() {
            break;
        }
        for name in next.cloned().collect::<Vec<_>>() {
            match stop(&client, &name, &waiting).await {
                Ok(answer) => print(&answer, output)?,
                Err(failure) => going_on.push((name.clone(), failure)),
            }
            asked.insert(name);
        }
    }
    if asked.is_empty() {
        output.note("No agent is active.");
    }
    match going_on.is_empty() {
        true => Ok(0),
        false => Err(some_go_on(&going_on)),
    }
}

/// The names of the agents that can act.
async fn active(client: &Client) -> Result<Vec<String>, Failure> {
    let directory: DirectoryInfo = client.get(At::new(&["directory"])).await?;
    let machines = directory.machines.iter().filter(|one| !one.disabled);
    let names = machines.filter_map(|one| one.id.strip_prefix("agent:"));
    Ok(names.map(str::to_owned).collect())
}

async fn stop(client: &Client, name: &str, waiting: &Waiting) -> Result<ProposalAnswer, Failure> {
    let body = ProposalBody {
        operation: "agent-stop".into(),
        arguments: json!({ "agent": name }),
        reason: waiting.reason.clone(),
    };
    let answer: ProposalAnswer = client.post_once(At::new(&["proposals"]), &body).await?;
    ended(&answer)?;
    Ok(answer)
}

/// Who goes on and why; what waits for people is less bad than what was refused.
fn some_go_on(going_on: &[(String, Failure)]) -> Failure {
    let lines = going_on
        .iter()
        .map(|(name, failure)| format!("  {}: {}", shown(name), shown(&failure.title)));
    let lines: Vec<_> = lines.collect();
    let worst = going_on
        .iter()
        .find(|(_, failure)| failure.exit != HELD)
        .or(going_on.first());
    let (exit, next) = match worst {
        Some((_, failure)) => (failure.exit, failure.detail.clone()),
        None => (super::failure::GENERAL, None),
    };
    let failure = Failure::new(
        "agents_go_on",
        format!("not every agent was stopped:\n{}", lines.join("\n")),
    );
    match next {
        Some(next) => failure.next(next),
        None => failure,
    }
    .exit(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, problem},
    };

    fn json(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn directory(machines: &[(&str, bool)]) -> String {
        let machines = machines.iter().map(|(id, disabled)| {
            json!({ "id": id, "owner": null, "groups": [], "disabled": disabled, "credentials": [] })
        });
        let machines: Vec<_> = machines.collect();
        let body = json!({ "people": [], "machines": machines, "groups": [] });
        json(&body.to_string())
    }

    fn stopped() -> String {
        let body = json!({
            "request": "req_00000000000000000000000007", "state": "succeeded", "message": "stopped",
            "url": "", "result": { "changed": true },
        });
        json(&body.to_string())
    }

    fn waiting() -> Waiting {
        Waiting {
            reason: Some("something is wrong".into()),
            wait: "0s".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn one_that_can_not_be_stopped_keeps_no_other() {
        let first = [
            ("agent:a", false),
            ("agent:b", false),
            ("agent:off", true),
            ("workload:w", false),
        ];
        let then = [("agent:a", false), ("agent:b", true), ("agent:late", false)];
        let last = [("agent:a", false), ("agent:b", true), ("agent:late", true)];
        let stub = Stub::start(vec![
            directory(&first),
            problem(403, "denied", "not yours"),
            stopped(),
            directory(&then),
            stopped(),
            directory(&last),
        ])
        .await;
        let (mut output, out, _) = captured(false, false);
        let failure = run(waiting(), &stub.sources(), &mut output)
            .await
            .unwrap_err();
        assert_eq!(failure.exit, 77, "{failure:?}");
        assert!(failure.title.contains("  a: not yours"), "{failure:?}");
        assert!(!failure.title.contains("late"), "{failure:?}");
        assert_eq!(out.text().matches("stopped").count(), 2);
        let asked: Vec<_> = stub
            .seen()
            .iter()
            .filter(|one| one.starts_with("POST"))
            .cloned()
            .collect();
        for (sent, name) in asked.iter().zip(["a", "b", "late"]) {
            assert!(sent.contains(&format!("\"agent\":\"{name}\"")), "{sent}");
            assert!(sent.contains("something is wrong"), "{sent}");
        }
        assert_eq!(asked.len(), 3);
    }

    #[tokio::test]
    async fn nobody_is_left() {
        let stub = Stub::start(vec![directory(&[("agent:off", true)])]).await;
        let (mut output, _, notes) = captured(false, false);
        assert_eq!(run(waiting(), &stub.sources(), &mut output).await, Ok(0));
        assert!(notes.text().contains("No agent is active"));
    }
}
