//! Numbers for monitoring, on a socket of their own.
//!
//! In scope: one page in the text format of Prometheus, made anew each time it is read.
//! Out of scope: who may connect; this machine and the proxies that the bundle names.
//! Invariant: no name of a person, agent or request, so that the page tells nobody what is done,
//! and so that the number of its lines is bounded by code and configuration.
//! Specification: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write;

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    api::Api,
    log::{Counts, Histogram},
    streams::Standing,
};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of that socket.
pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(api)
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut page = Page::default();
    gateway(&mut page, &api).await;
    emergencies(&mut page, &api);
    log(&mut page, &api).await;
    counts(&mut page, &api.gateway.log.tally().counts());
    streams(&mut page, &api.streams.standing());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.0).into_response()
}

async fn gateway(page: &mut Page, api: &Api) {
    let gateway = &api.gateway;
    page.family("countersign_build_info", "gauge", "The running version.");
    page.sample(
        "countersign_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    let held = gateway.store.open_in_all().await;
    let faults = [
        ("log", gateway.log.fault().is_some()),
        ("clock", gateway.clock.fault().is_some()),
        ("database", held.is_err()),
    ];
    let name = "countersign_fault";
    page.family(
        name,
        "gauge",
        "1 while something keeps actions from running.",
    );
    for (what, there) in faults {
        page.sample(name, &[("part", what)], u8::from(there));
    }
    if let Ok(held) = held {
        let name = "countersign_held";
        page.family(
            name,
            "gauge",
            "Requests that wait or are approved and not claimed.",
        );
        page.sample(name, &[], held);
    }
}

/// What was lifted in emergencies and nobody has reviewed.
fn emergencies(page: &mut Page, api: &Api) {
    let gateway = &api.gateway;
    let unreviewed = gateway.engine.emergencies().count(gateway.clock.now());
    let name = "countersign_unreviewed_emergencies";
    let help = "Rules that were lifted in an emergency and that nobody has reviewed.";
    page.family(name, "gauge", help);
    for (review, count) in [("due", unreviewed.due), ("overdue", unreviewed.overdue)] {
        page.sample(name, &[("review", review)], count);
    }
}

async fn log(page: &mut Page, api: &Api) {
    let end = *api.gateway.log.end().borrow();
    let name = "countersign_log_entries";
    page.family(name, "gauge", "Records in the log.");
    page.sample(name, &[], end.records);
    let name = "countersign_log_bytes";
    page.family(name, "gauge", "Bytes of the journal.");
    page.sample(name, &[], end.bytes);
    let path = api.gateway.data.join("log").join("checkpoint");
    let (text, metadata) = (
        tokio::fs::read_to_string(&path).await,
        tokio::fs::metadata(&path).await,
    );
    let size = text.ok().and_then(|text| {
        let line = text.lines().nth(1)?;
        line.parse::<u64>().ok()
    });
    if let Some(size) = size {
        let name = "countersign_log_unpublished_entries";
        page.family(
            name,
            "gauge",
            "Records that no signed checkpoint covers yet.",
        );
        page.sample(name, &[], end.records.saturating_sub(size));
    }
    let age = metadata.and_then(|found| found.modified());
    if let Some(age) = age.ok().and_then(|signed| signed.elapsed().ok()) {
        let name = "countersign_log_checkpoint_age_seconds";
        page.family(name, "gauge", "Since the newest checkpoint was signed.");
        page.sample(name, &[], age.as_secs_f64());
    }
}

fn counts(page: &mut Page, counts: &Counts) {
    let name = "countersign_decisions_total";
    page.family(name, "counter", "Answers of policy since the start.");
    for ((gate, phase, decision), count) in &counts.decisions {
        let labels = [
            ("gate", gate.as_str()),
            ("phase", phase),
            ("decision", decision),
        ];
        page.sample(name, &labels, count);
    }
    let name = "countersign_votes_total";
    page.family(name, "counter", "Votes since the start.");
    for (verdict, count) in &counts.votes {
        page.sample(name, &[("verdict", verdict)], count);
    }
    let name = "countersign_outcomes_total";
    page.family(
        name,
        "counter",
        "Outcomes of permitted actions since the start.",
    );
    for (status, count) in &counts.outcomes {
        page.sample(name, &[("status", status)], count);
    }
    for (name, label, help, words) in [
        (
            "countersign_closed_total",
            "reason",
            "Requests that ended without running since the start.",
            &counts.closed,
        ),
        (
            "countersign_refused_total",
            "code",
            "Refused attempts that were recorded since the start, credentials included.",
            &counts.refused,
        ),
        (
            "countersign_security_events_total",
            "code",
            "Security events since the start.",
            &counts.security,
        ),
    ] {
        page.family(name, "counter", help);
        for (word, count) in words {
            page.sample(name, &[(label, word)], count);
        }
    }
    page.histogram(
        "countersign_wait_seconds",
        "From being asked to being permitted or closed, of what was held.",
        &counts.waited,
    );
    page.histogram(
        "countersign_log_sync_seconds",
        "Writing a batch of records through to the disk.",
        &counts.synced,
    );
}

fn streams(page: &mut Page, standing: &[Standing]) {
    type Value = fn(&Standing) -> u64;
    let families: [(&str, &str, &str, Value); 5] = [
        (
            "countersign_stream_lag_entries",
            "gauge",
            "Records that a stream did not deliver yet.",
            |one| one.lag,
        ),
        (
            "countersign_stream_dead_letters",
            "gauge",
            "Events that a stream gave up.",
            |one| one.state.dead,
        ),
        (
            "countersign_stream_fault",
            "gauge",
            "1 while a stream does not go on.",
            |one| u64::from(one.state.fault.is_some()),
        ),
        (
            "countersign_stream_delivered_total",
            "counter",
            "Events delivered since the start.",
            |one| one.state.delivered,
        ),
        (
            "countersign_stream_failed_attempts_total",
            "counter",
            "Attempts that failed since the start.",
            |one| one.state.failed,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for one in standing {
            let labels = [
                ("stream", one.name.as_str()),
                ("kind", one.stream.kind.name()),
            ];
            page.sample(name, &labels, value(one));
        }
    }
}

/// A page in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _written = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _written = writeln!(self.0, "{name}{labels} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            self.sample(&bucket, &[("le", &bound.to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count);
        self.sample(&format!("{name}_sum"), &[], histogram.sum);
        self.sample(&format!("{name}_count"), &[], histogram.count);
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let mut page = Page::default();
        page.sample("a", &[("b", "c\"\\\nd")], 1);
        page.histogram(
            "h",
            "Help.",
            &Histogram {
                bounds: &[0.5, 10.0],
                counts: vec![2, 3],
                count: 6,
                sum: 70.25,
            },
        );
        let expected = "a{b=\"c\\\"\\\\\\nd\"} 1\n# HELP h Help.\n# TYPE h histogram\n\
                        h_bucket{le=\"0.5\"} 2\nh_bucket{le=\"10\"} 5\nh_bucket{le=\"+Inf\"} 6\n\
                        h_sum 70.25\nh_count 6\n";
        assert_eq!(page.0, expected);
    }
}
