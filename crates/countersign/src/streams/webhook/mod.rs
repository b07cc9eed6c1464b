//! CloudEvents posted to somebody, signed as Standard Webhooks.
//!
//! In scope: which records are told, the signature, what an answer means.
//! Out of scope: the form of an event ([`event`]); order, retries and what is kept
//! ([`delivery`](super::delivery)).
//! Invariant: each event is about one record and nothing else. What a receiver says beyond its
//! status and `Retry-After` is not kept.
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

mod event;

use countersign_policy::stream::Webhook;
use countersign_runner::vault::Secret;
use reqwest::StatusCode;

use super::{
    Own, Parts,
    delivery::{
        self, Message, Telling,
        client::{self, Answer, Answered, Client},
    },
    follow::{Entry, Place},
    view::View,
};

/// Follows the record until told to stop.
///
/// # Errors
/// Journal, files, secret or receiver can't be used; trying again is safe.
pub(super) async fn follow(parts: &Parts, own: &mut Own, webhook: &Webhook) -> anyhow::Result<()> {
    let settings = webhook.clone();
    let events = move |config: &std::path::Path| {
        let Webhook {
            url, secret, ca, ..
        } = &settings;
        Client::new(url, Some(secret), ca.as_deref(), config).map(Events)
    };
    delivery::follow(parts, own, webhook.retry_for, events).await
}

/// Events, and who is told of them.
struct Events(Client);

impl Telling for Events {
    const FILE: &'static str = "webhook.json";
    const WAITING: usize = 10_000;
    const DEAD: u64 = 100_000;

    fn take(&self, entry: &Entry) -> Option<Vec<Place>> {
        event::is_told(&entry.leaf.body).then(Vec::new)
    }

    fn since(&self) -> Option<Place> {
        None
    }

    async fn secret(&self) -> anyhow::Result<Option<Secret>> {
        self.0.secret(Secret::check_webhook).await
    }

    fn message(
        &self,
        about: &mut dyn Iterator<Item = anyhow::Result<Entry>>,
        origin: &str,
        view: &View,
    ) -> anyhow::Result<Option<Message>> {
        // Whatever else is there belongs to a stream of another kind that had this one's name.
        let Some(entry) = about.last().transpose()? else {
            return Ok(None);
        };
        Ok(Some(Message {
            id: event::id(&entry),
            body: serde_json::to_vec(&event::event(&entry, origin, view))?,
        }))
    }

    async fn post(&self, secret: Option<&Secret>, message: Message, now: i64) -> Answer {
        let Message { id, body } = message;
        let signature = secret.map(|secret| secret.sign_webhook(&id, now, &body));
        let signature = match signature.transpose() {
            Ok(signature) => signature.unwrap_or_default(),
            Err(error) => {
                return Answer::Failed {
                    why: error.to_string(),
                    after: None,
                    all: false,
                };
            }
        };
        let post = self
            .0
            .post(event::CONTENT_TYPE, body)
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature);
        client::send(post)
            .await
            .map_or_else(|failed| failed, answer)
    }
}

fn answer(answered: Answered) -> Answer {
    let Answered { status, after, .. } = answered;
    if status.is_success() {
        return Answer::Delivered;
    }
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    Answer::Failed {
        why: format!("status {}", status.as_u16()),
        after,
        all: matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_delivered() {
        for (status, expected) in [
            (200, "Delivered"),
            (204, "Delivered"),
            (301, "status 301"),
            (400, "status 400"),
            (410, "Gone"),
            (429, "all: true"),
            (500, "all: false"),
            (503, "all: true"),
        ] {
            let answered = Answered {
                status: StatusCode::from_u16(status).unwrap(),
                after: None,
                body: Vec::new(),
            };
            let answer = format!("{:?}", answer(answered));
            assert!(answer.contains(expected), "{status}: {answer}");
        }
    }
}
