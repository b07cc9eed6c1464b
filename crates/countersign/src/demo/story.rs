//! What happens in the demo, step by step, and whether each step was as expected.

use std::time::Duration;

use anyhow::Context;
use countersign_core::{count::counted, lifecycle};
use countersign_evidence::verify::Area;
use countersign_store::CaseFilter;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Ran, finish},
    person::{Answer, Person},
    receipt,
    remote::{Remote, git},
    setup::{APPROVER, OWNER, Setup},
};
use crate::{gateway::Gateway, server::told_to_stop};

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit statuses of `countersign run`.
const HELD: i32 = 75;
const REFUSED: i32 = 77;

/// The demo under way.
pub(super) struct Story {
    pub(super) gateway: Gateway,
    pub(super) agent: Agent,
    pub(super) remote: Remote,
    pub(super) setup: Setup,
    pub(super) links: Vec<(String, String)>,
    pub(super) json: bool,
    pub(super) failed: bool,
}

impl Story {
    fn say(&self, text: &str) {
        match self.json {
            true => println!("{}", json!({ "note": text })),
            false => println!("{text}"),
        }
    }

    /// Reports one step.
    fn step(&mut self, expected: bool, what: &str, detail: &str) {
        self.failed |= !expected;
        let detail = detail.trim();
        if self.json {
            println!(
                "{}",
                json!({ "step": what, "as_expected": expected, "detail": detail })
            );
            return;
        }
        let mark = if expected { "ok  " } else { "FAIL" };
        println!("{mark}  {what}");
        for line in detail.lines().take(6) {
            println!("        {line}");
        }
    }

    fn link(&self, person: &str) -> anyhow::Result<&str> {
        let found = self.links.iter().find(|(name, _)| name == person);
        found
            .map(|(_, link)| link.as_str())
            .context("no sign-in link")
    }

    /// What the agent does before anybody is needed.
    async fn first_steps(&mut self) -> anyhow::Result<()> {
        let log = ["git", "log", "--oneline", "-n", "5", "release"];
        let read = self.agent.run(&[], &log).await?;
        let passed = read.status == 0 && read.output.contains("first release");
        self.step(
            passed,
            "deploy-bot reads the log: straight through",
            &shown(&read),
        );

        let around = self.agent.push_around_the_gate().await?;
        self.step(
            around.status != 0,
            "a push around the gate: the remote refuses it",
            &around.errors,
        );
        Ok(())
    }

    async fn force_push(&mut self, commit: &str, what: &str) -> anyhow::Result<()> {
        let refspec = format!("{commit}:refs/heads/release");
        let argv = ["git", "push", "--force", "origin", &refspec];
        let forced = self.agent.run(&["--bind", "."], &argv).await?;
        self.step(forced.status == REFUSED, what, &forced.errors);
        Ok(())
    }

    /// The request that waits now.
    async fn waiting(&self) -> anyhow::Result<String> {
        let filter = CaseFilter {
            phases: vec!["held".into()],
            limit: 1,
            ..CaseFilter::default()
        };
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let page = self.gateway.store.list(&filter).await?;
                if let Some(first) = page.items.first() {
                    return anyhow::Ok(first.id.to_string());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        found.await.context("nothing waits")?
    }

    async fn head_of_remote(&self) -> anyhow::Result<String> {
        git(&self.remote.repository, &["rev-parse", "release"]).await
    }

    /// Lets a person at the browser decide.
    pub(super) async fn invite(&mut self) -> anyhow::Result<()> {
        self.say(&format!(
            "Gateway at {}, configuration in {}\n",
            self.gateway.url(),
            self.setup.config.display()
        ));
        self.first_steps().await?;
        let commit = self.agent.commit("second release").await?;
        self.force_push(&commit, "a force push: denied by policy")
            .await?;
        let refspec = format!("{commit}:refs/heads/release");
        let reason = "ship the second release";
        let child = self.agent.start(
            &["--bind", ".", "--reason", reason, "--wait", "30m"],
            &["git", "push", "origin", &refspec],
        )?;
        let id = self.waiting().await?;
        self.say(&format!(
            "\ndeploy-bot's push to the release branch waits.\n\n  \
             sign in as rene, who may approve it:      {}\n  \
             sign in as olga, who owns the agent:      {}\n  \
             the request:                              {}/requests/{id}\n\n\
             Use two browsers, or a private window. Press Ctrl-C to end.\n",
            self.link(APPROVER)?,
            self.link(OWNER)?,
            self.gateway.url(),
        ));
        let ran = tokio::select! {
            ran = finish(child) => ran?,
            () = told_to_stop() => return Ok(()),
        };
        self.step(
            ran.status == 0,
            "deploy-bot's own command ended",
            &shown(&ran),
        );
        self.show_receipt(&id).await?;
        self.say(&format!(
            "\nThe console stays at {}. Press Ctrl-C to end.",
            self.gateway.url()
        ));
        told_to_stop().await;
        Ok(())
    }

    /// Plays both people, and tries the forbidden ways too.
    pub(super) async fn play(&mut self) -> anyhow::Result<()> {
        self.first_steps().await?;
        let commit = self.agent.commit("second release").await?;
        self.force_push(&commit, "a force push: denied by policy")
            .await?;

        let url = self.gateway.url().to_owned();
        let olga = Person::sign_in(&url, self.link(OWNER)?).await?;
        let rene = Person::sign_in(&url, self.link(APPROVER)?).await?;

        let refspec = format!("{commit}:refs/heads/release");
        let push = ["git", "push", "origin", refspec.as_str()];
        let options = [
            "--bind",
            ".",
            "--reason",
            "ship the second release",
            "--wait",
            "1m",
        ];
        let child = self.agent.start(&options, &push)?;
        let id = self.waiting().await?;
        self.step(
            true,
            "deploy-bot's push to the release branch: held",
            &format!("request {id}"),
        );

        self.forbidden_votes(&olga, &id).await?;
        let seen = rene.request(&id).await?;
        let approved = rene.vote(&id, "approve").await?;
        self.step(approved.status == 200, "rene approves", &state(&approved));
        let again = rene.vote_again(&id, &seen).await?;
        self.refused(
            &again,
            &["not_open", "already_voted"],
            "a second click counts for nothing",
        );
        let pushed = finish(child).await?;
        let arrived = pushed.status == 0 && self.head_of_remote().await? == commit;
        self.step(
            arrived,
            "deploy-bot's own waiting command finished: the commit is on the remote",
            &shown(&pushed),
        );

        self.replay(&id, &push).await?;
        self.changed_commit(&rene).await?;
        self.edited_policy(&commit).await?;
        self.show_receipt(&id).await
    }

    async fn forbidden_votes(&mut self, olga: &Person, id: &str) -> anyhow::Result<()> {
        let seen = olga.request(id).await?;
        let digest = seen
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (status, body) = self.agent.vote(id, digest).await?;
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let answer = Answer {
            status,
            body: problem,
        };
        self.refused(
            &answer,
            &["not_a_session"],
            "the agent votes for itself: refused",
        );
        let owner = olga.vote(id, "approve").await?;
        self.refused(&owner, &["own_request"], "its owner votes: refused");
        Ok(())
    }

    fn refused(&mut self, answer: &Answer, kinds: &[&str], what: &str) {
        let expected = answer.status >= 400 && kinds.contains(&answer.kind());
        self.step(
            expected,
            what,
            &format!("{}: {}", answer.kind(), answer.title()),
        );
    }

    /// The used approval is good for nothing more.
    async fn replay(&mut self, id: &str, push: &[&str]) -> anyhow::Result<()> {
        let claim = ["--bind", ".", "--claim", id, "--wait", "0s"];
        let claimed = self.agent.run(&claim, push).await?;
        self.step(
            claimed.status == REFUSED,
            "the used approval is claimed again: refused",
            &claimed.errors,
        );
        let again = self
            .agent
            .run(&["--bind", ".", "--wait", "0s"], push)
            .await?;
        self.step(
            again.status == HELD,
            "the same push again: a new request, held",
            &again.errors,
        );
        self.cancel_waiting().await
    }

    async fn cancel_waiting(&self) -> anyhow::Result<()> {
        let filter = CaseFilter {
            phases: vec!["held".into()],
            limit: 200,
            ..CaseFilter::default()
        };
        for line in self.gateway.store.list(&filter).await?.items {
            let Some(stored) = self.gateway.store.case(&line.id).await? else {
                continue;
            };
            let by = stored.case.request.chain.requester.id;
            let cancel = lifecycle::Event::Cancel { by };
            self.gateway
                .engine
                .step(line.id, crate::engine::Input::Event(cancel))
                .await?;
        }
        Ok(())
    }

    /// An approval is for one commit; another one does not ride on it.
    async fn changed_commit(&mut self, rene: &Person) -> anyhow::Result<()> {
        let third = self.agent.commit("third release").await?;
        let refspec = format!("{third}:refs/heads/release");
        let push = ["git", "push", "origin", refspec.as_str()];
        let options = [
            "--bind",
            ".",
            "--reason",
            "ship the third release",
            "--wait",
            "0s",
        ];
        let held = self.agent.run(&options, &push).await?;
        let id = self.waiting().await?;
        let approved = rene.vote(&id, "approve").await?;
        let ready = held.status == HELD && approved.status == 200;
        self.step(
            ready,
            "another push is held; rene approves it while nobody waits",
            &state(&approved),
        );

        let slipped = self.agent.commit("something else").await?;
        let other = format!("{slipped}:refs/heads/release");
        let changed = self
            .agent
            .run(&options, &["git", "push", "origin", &other])
            .await?;
        let still = self.head_of_remote().await?;
        let refused = changed.status == HELD && still != slipped;
        self.step(
            refused,
            "a changed commit does not use that approval: held anew",
            &changed.errors,
        );
        self.cancel_waiting().await
    }

    /// Files on disk are proposals, not policy.
    async fn edited_policy(&mut self, commit: &str) -> anyhow::Result<()> {
        let path = self.setup.config.join("policies/release.cedar");
        let text = std::fs::read_to_string(&path)?;
        let open = text
            .replace("forbid (", "permit (")
            .replace("@approval(\"release\")\n", "");
        std::fs::write(&path, open)?;
        self.force_push(
            commit,
            "a policy file edited on disk changes nothing: still denied",
        )
        .await?;
        std::fs::write(&path, text)?;
        Ok(())
    }

    async fn show_receipt(&mut self, id: &str) -> anyhow::Result<()> {
        self.gateway.log.checkpoint().await;
        let lines = receipt::receipt(&self.setup.data.join("log"), id)?;
        let complete = [
            "action.requested",
            "policy.decided",
            "approval.decided",
            "action.permitted",
            "action.outcome",
        ];
        let all = complete
            .iter()
            .all(|kind| lines.iter().any(|line| line.kind == *kind));
        let shown: Vec<_> = lines
            .iter()
            .map(|line| {
                format!(
                    "{}  #{:<4} {} (proven by {})",
                    line.at,
                    line.index,
                    line.kind,
                    counted(line.proof, "hash", "hashes")
                )
            })
            .collect();
        self.step(all, &format!("the receipt of {id}"), "");
        self.say(
            &shown
                .iter()
                .map(|line| format!("        {line}"))
                .collect::<Vec<_>>()
                .join("\n"),
        );
        Ok(())
    }

    /// Verifies the log offline and sums up.
    pub(super) async fn finish(mut self, kept: bool) -> anyhow::Result<bool> {
        self.gateway.log.checkpoint().await;
        let report = receipt::verify(&self.setup.data.join("log"))?;
        let found: Vec<_> = report.failures().map(ToString::to_string).collect();
        let verdict = |area, name: &str| {
            format!(
                "{name} {}",
                if report.holds(area) { "holds" } else { "FAILS" }
            )
        };
        let summary = format!(
            "{}, {}: {}, {}, {}\n{}",
            counted(report.entries, "record", "records"),
            counted(report.requests, "request", "requests"),
            verdict(Area::Integrity, "integrity"),
            verdict(Area::Completeness, "completeness"),
            verdict(Area::Rules, "rules"),
            found.join("\n"),
        );
        self.step(report.passed(), "the log verifies offline", &summary);
        if kept {
            self.say(&format!(
                "\nkept: {} and {}",
                self.setup.config.display(),
                self.setup.data.display()
            ));
        }
        Ok(!self.failed)
    }
}

fn shown(ran: &Ran) -> String {
    format!("{}{}", ran.output, ran.errors)
}

fn state(answer: &Answer) -> String {
    match answer.body.get("state").and_then(Value::as_str) {
        Some(state) => format!("state: {state}"),
        None => format!("{}: {}", answer.kind(), answer.title()),
    }
}
