//! The Countersign gateway: a library, and the one binary around it.
//!
//! In scope: serving gates, holding actions, executing permits, keeping the record, talking to
//! people. See ARCHITECTURE.md for the map.
//! Invariant: a target is reached only through [`runner::execute`], which takes a permit by value.

pub mod active;
pub mod admin;
pub mod api;
mod backup;
pub mod bundle_files;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod console;
mod days;
pub mod demo;
mod durable;
pub mod engine;
pub mod gates;
pub mod gateway;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod log;
pub mod names;
pub(crate) mod outbound;
pub mod runner;
pub mod sample;
mod scim;
pub mod secrets;
pub mod server;
mod status;
pub mod streams;
pub mod uploads;
pub mod vault;
mod way_out;

/// An error with everything that caused it, in one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Sends diagnostics to standard error: warnings, or what `RUST_LOG` says.
pub fn start_tracing() {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let already_started = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Telling standard error that it is closed would end the gateway.
        .log_internal_errors(false)
        .try_init()
        .is_err();
    if already_started {
        tracing::debug!("diagnostics were started before");
    }
}
