//! Where a command writes: results on standard output, everything else on standard error.
//!
//! In scope: both streams, whether they take colours, text or JSON.
//! Out of scope: the words ([`text`](super::text)).
//! Invariant: with `--json` standard output holds one JSON object a line and nothing else.
//! Specification: <https://no-color.org>.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::{failure::Failure, text::Paint};

/// Both streams of one command.
pub(crate) struct Output {
    json: bool,
    out_paint: Paint,
    err_paint: Paint,
    on_terminal: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

impl Output {
    /// The streams of this process.
    #[must_use]
    pub(crate) fn of_process(json: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            json,
            out_paint: Paint::new(wanted && out.is_terminal()),
            err_paint: Paint::new(wanted && err.is_terminal()),
            on_terminal: err.is_terminal(),
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Whether results are JSON.
    #[must_use]
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads along: standard error is a terminal and results are not JSON.
    #[must_use]
    pub(crate) fn is_watched(&self) -> bool {
        self.on_terminal && !self.json
    }

    /// Colours for notes.
    #[must_use]
    pub(crate) fn note_paint(&self) -> Paint {
        self.err_paint
    }

    /// Writes one result: `value` with `--json`, otherwise what `text` makes of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn result<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let line = if self.json {
            to_line(value)?
        } else {
            text(value, self.out_paint)
        };
        self.line(&line)
    }

    /// Writes one result for people; nothing with `--json`.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn people(&mut self, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let line = text(self.out_paint);
        self.line(&line)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Writes bytes as they are to standard error.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn error_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.err.write_all(bytes)?;
        self.err.flush()
    }

    /// Tells people something beside the result; nothing with `--json`. Nobody listening is no
    /// reason to stop.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(self.err, "{}", text.as_ref());
        }
    }

    /// Tells why the command ended without doing what was asked.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let text = if self.json {
            failure.to_json().to_string()
        } else {
            failure.to_text(self.err_paint)
        };
        let _ = writeln!(self.err, "{text}");
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }
}

fn to_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::new("output", format!("the result has no JSON form: {error}")))
}

#[cfg(test)]
pub(crate) mod capture {
    //! Output kept in memory.

    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written to one stream.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.bytes()).unwrap()
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output without colours, and what is written to its two streams.
    pub(crate) fn captured(json: bool, on_terminal: bool) -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let output = Output {
            json,
            out_paint: Paint::plain(),
            err_paint: Paint::plain(),
            on_terminal,
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
        };
        (output, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::{capture::captured, *};

    #[test]
    fn json_keeps_standard_output_clean() {
        for (json, expected_out, expected_err) in [
            (false, "seven\nmore\n", "note\ncountersign: no\n"),
            (
                true,
                "7\n",
                "{\"exit\":1,\"title\":\"no\",\"type\":\"x\"}\n",
            ),
        ] {
            let (mut output, out, err) = captured(json, true);
            output.result(&7, |_, _| "seven".into()).unwrap();
            output.people(|_| "more".into()).unwrap();
            output.note("note");
            output.failure(&Failure::new("x", "no"));
            assert_eq!(
                (out.text().as_str(), err.text().as_str()),
                (expected_out, expected_err)
            );
            assert_eq!(output.is_watched(), !json);
        }
    }
}
