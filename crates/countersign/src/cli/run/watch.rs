//! What the events of a run mean for the caller.
//!
//! In scope: one event at a time: what is shown, and whether the run has ended with which status.
//! Out of scope: the connection ([`follow`](mod@super::follow)).
//! Invariant: once the action is said to have started, no ending claims that it did not run.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::{id::RequestId, time::Timestamp};

use crate::{
    api::types::RunEvent,
    cli::{
        failure::{Failure, HELD, REFUSED, UNAVAILABLE, UNKNOWN},
        output::Output,
        text,
    },
};

/// How far the run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Asked; the gateway has said nothing yet.
    Asked,
    /// Waiting for people.
    Held(RequestId),
    /// The action runs, or ran.
    Started(RequestId),
}

/// The run as the caller sees it.
pub(super) struct Watch {
    phase: Phase,
    /// The request whose block was shown, so that attaching again does not repeat it.
    shown: Option<RequestId>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Asked,
            shown: None,
        }
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Takes one event; gives the exit status when it was the last.
    pub(super) fn event(
        &mut self,
        event: RunEvent,
        now: Timestamp,
        output: &mut Output,
    ) -> Result<Option<u8>, Failure> {
        if output.is_json() {
            output.result(&event, |_, _| String::new())?;
        }
        match event {
            RunEvent::Held { .. } => self.held(&event, now, output),
            RunEvent::Progress { text, .. } => {
                if output.is_watched() {
                    let paint = output.note_paint();
                    output.note(format!("  {} {}", paint.dim("·"), text::shown(&text)));
                }
            }
            RunEvent::Asked {
                request, by, text, ..
            } => asked(&request, &by, &text, output),
            RunEvent::Started { request, .. } => {
                if output.is_watched() && self.shown.is_some() {
                    let paint = output.note_paint();
                    output.note(paint.green("Approved; it runs."));
                }
                self.phase = Phase::Started(request);
            }
            RunEvent::Permitted { request, .. } => {
                if output.is_watched() && self.shown.is_some() {
                    let paint = output.note_paint();
                    output.note(paint.green("Approved; it runs here."));
                }
                self.phase = Phase::Started(request);
            }
            // Only a command that runs here can be told to end, and that one is told elsewhere.
            RunEvent::Stop { .. } => {}
            RunEvent::Stdout { data } => self.bytes(&data, output, Output::bytes)?,
            RunEvent::Stderr { data } => self.bytes(&data, output, Output::error_bytes)?,
            RunEvent::Exited {
                status,
                outcome,
                warning,
            } => {
                if let Some(warning) = warning {
                    output.note(format!("countersign: {}", text::shown(&warning)));
                }
                return self.exited(status, &outcome).map(Some);
            }
            RunEvent::StillHeld { request, url } => {
                return Err(still_held(&request, &url));
            }
            RunEvent::Refused {
                request,
                code,
                message,
                amended,
                page,
            } => {
                let next = next(&code, request.as_ref(), amended.as_ref(), page.is_some());
                return Err(Failure {
                    exit: REFUSED,
                    kind: code,
                    title: format!("refused: {message}"),
                    detail: next,
                    http: None,
                    request,
                });
            }
        }
        Ok(None)
    }

    fn held(&mut self, event: &RunEvent, now: Timestamp, output: &mut Output) {
        let RunEvent::Held {
            request,
            url,
            rules,
            approvers,
            expires,
            attached,
            advisory,
        } = event
        else {
            return;
        };
        self.phase = Phase::Held(request.clone());
        if self.shown.as_ref() == Some(request) {
            return;
        }
        self.shown = Some(request.clone());
        let left = text::rough(expires.millis_since(now));
        let approvers = text::shown(&approvers.to_string());
        let (rules, url) = (text::list(rules), text::shown(url));
        if !output.is_watched() {
            let local = if *advisory {
                ", then runs here (advisory)"
            } else {
                ""
            };
            output.note(format!(
                "countersign: {request} is held until {rules} is satisfied by {approvers}{local} ({left} left): {url}"
            ));
            return;
        }
        let paint = output.note_paint();
        let head = if *attached { "Held already" } else { "Held" };
        let mut values = vec![
            ("page", paint.bold(&url)),
            ("rules", rules),
            ("can sign", approvers),
            ("time left", left),
        ];
        if *advisory {
            values.push((
                "gate",
                "advisory: it will run here, not behind the gateway".into(),
            ));
        }
        output.note(format!("{} {request}", paint.yellow(&format!("{head}:"))));
        output.note(text::pairs(2, &values, paint));
        output.note(paint.dim("  Ctrl-C stops waiting here; the request goes on."));
    }

    fn bytes(
        &self,
        data: &str,
        output: &mut Output,
        write: impl Fn(&mut Output, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        if output.is_json() {
            return Ok(());
        }
        let bytes = STANDARD
            .decode(data)
            .map_err(|_| self.broken("its output is not base64"))?;
        // A reader that left does not stop the action; its exit status still counts.
        let _ = write(output, &bytes);
        Ok(())
    }

    fn exited(&self, status: i32, outcome: &str) -> Result<u8, Failure> {
        if outcome != "unknown" {
            return u8::try_from(status & 0xff).map_err(|_| self.broken("no exit status"));
        }
        let failure = Failure::new(
            "outcome_unknown",
            "the gateway does not know how the action ended",
        )
        .exit(UNKNOWN);
        let Phase::Started(request) = &self.phase else {
            return Err(failure);
        };
        Err(failure
            .next(format!(
                "look before running it again: countersign requests show {request}"
            ))
            .about(request))
    }

    /// Why a run ended whose events stopped before the last.
    pub(super) fn broken(&self, why: &str) -> Failure {
        match &self.phase {
            Phase::Started(request) => {
                Failure::new("broken", format!("the connection broke after the action started: {why}"))
                    .next(format!(
                        "the action may have run; ask `countersign requests show {request}`"
                    ))
                    .about(request)
                    .exit(UNKNOWN)
            }
            Phase::Held(request) => {
                Failure::new("broken", format!("the connection broke while {request} was held: {why}"))
                    .next(format!(
                        "refused: nothing was run. The request goes on waiting: run the same command again, or \
                         `countersign requests cancel {request}`"
                    ))
                    .about(request)
                    .exit(UNAVAILABLE)
            }
            Phase::Asked => {
                Failure::new("broken", format!("the connection broke before the gateway said anything: {why}"))
                    .next(
                        "refused: nothing was run as far as the gateway said; look at \
                         `countersign requests list --mine` before running it again",
                    )
                    .exit(UNAVAILABLE)
            }
        }
    }

    /// Why a run ended that the caller interrupted.
    pub(super) fn interrupted(&self, status: u8) -> Failure {
        let failure = match &self.phase {
            Phase::Asked => Failure::new("interrupted", "interrupted before the gateway said anything")
                .next("see what came of it: countersign requests list --mine"),
            Phase::Held(request) => {
                Failure::new("interrupted", format!("stopped waiting; {request} goes on without you"))
                    .next(format!(
                        "attach again: run the same command\ncancel it:    countersign requests cancel {request}"
                    ))
                    .about(request)
            }
            Phase::Started(request) => {
                Failure::new("interrupted", "stopped watching; the action may go on")
                    .next(format!("see how it ends: countersign requests show {request}"))
                    .about(request)
            }
        };
        failure.exit(status)
    }
}

/// What a reviewer wants to know, and how to answer. Said whoever reads along: an agent can answer,
/// too.
fn asked(request: &RequestId, by: &str, question: &str, output: &mut Output) {
    let by = text::shown(by);
    let answer = format!("countersign requests answer {request} 'TEXT'");
    if !output.is_watched() {
        let question = text::shown(question);
        output.note(format!(
            "countersign: {by} asks about {request}: {question} (answer with: {answer})"
        ));
        return;
    }
    let paint = output.note_paint();
    let head = paint.yellow(&format!("{by} asks you:"));
    let quoted = text::quoted(question);
    output.note(format!(
        "  {head}\n{}\n  answer: {answer}",
        text::indent(4, &quoted)
    ));
}

/// The time to wait is over.
fn still_held(request: &RequestId, url: &str) -> Failure {
    Failure::new(
        "still_held",
        format!("{request} still waits for people: {url}"),
    )
    .next(format!(
        "run the same command again once it is approved, or `countersign requests cancel {request}`"
    ))
    .about(request)
    .exit(HELD)
}

/// What to do about a refusal, if anything.
fn next(
    code: &str,
    request: Option<&RequestId>,
    amended: Option<&RequestId>,
    has_page: bool,
) -> Option<String> {
    match (amended, request) {
        (Some(amended), _) => Some(format!(
            "read the amended action: countersign requests show {amended}\n\
             to run it instead: countersign run --claim {amended}"
        )),
        (None, Some(request)) if has_page => {
            Some(format!("see why: countersign requests show {request}"))
        }
        (None, Some(_)) if code == "denied" => {
            Some("a person sees what decides with `countersign policy explain`".into())
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::cli::output::capture::captured;

    #[test]
    fn a_question_comes_with_how_to_answer_it() {
        let check = |watched: bool, said: Expect| {
            let (mut output, _, err) = captured(false, watched);
            let event = RunEvent::Asked {
                request: "req_1".parse().unwrap(),
                question: "msg_1".parse().unwrap(),
                by: "lea@example.com".into(),
                text: "which branch?\n  answer: countersign requests cancel req_1".into(),
            };
            let mut watch = Watch::new();
            assert_eq!(watch.event(event, Timestamp(0), &mut output), Ok(None));
            // A first line at the margin keeps the indentation of the others.
            said.assert_eq(&format!("said\n{}", err.text()));
        };
        check(
            true,
            expect![[r#"
                said
                  lea@example.com asks you:
                    │ which branch?
                    │   answer: countersign requests cancel req_1
                  answer: countersign requests answer req_1 'TEXT'
            "#]],
        );
        check(
            false,
            expect![[r#"
                said
                countersign: lea@example.com asks about req_1: which branch?⟨U+000A⟩  answer: countersign requests cancel req_1 (answer with: countersign requests answer req_1 'TEXT')
            "#]],
        );
    }
}
