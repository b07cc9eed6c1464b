//! Lines out of a stream of bytes, and server-sent events out of lines.
//!
//! In scope: newline-delimited JSON and `text/event-stream` as they arrive, piece by piece.
//! Out of scope: the connection.
//! Invariant: memory is bounded: a line that never ends is an error.
//! Specification: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

/// The longest line, in bytes: a piece of output in base64 with room to spare.
const MAX_LINE: usize = 16 << 20;

/// A line longer than any the gateway sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway sent a line of more than 16 MiB")]
pub(crate) struct TooLong;

/// Bytes in, whole lines out.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    searched: usize,
}

impl Lines {
    /// Adds what arrived.
    ///
    /// # Errors
    /// [`TooLong`] when no line ends within the limit.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.bytes.extend_from_slice(bytes);
        let ends = bytes.contains(&b'\n');
        if self.bytes.len() > MAX_LINE && !ends {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    /// The next whole line without its end, with anything that is not UTF-8 replaced.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        let unseen = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(end) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(self.searched + end + 1);
        let line = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        let text = String::from_utf8_lossy(&line);
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; empty means `message`.
    pub(crate) kind: String,
    /// Its data.
    pub(crate) data: String,
    /// Its position, to go on from after a break.
    pub(crate) id: Option<String>,
}

/// Lines in, events out.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pending: Event,
    any: bool,
}

impl Events {
    /// Takes one line; an empty one ends an event.
    pub(crate) fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.pending);
            return std::mem::take(&mut self.any).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.pending.kind = value.to_owned(),
            "id" => self.pending.id = Some(value.to_owned()),
            "data" => {
                if self.any {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(value);
                self.any = true;
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = "one\r\n\ntwo é\nrest";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece).unwrap();
                found.extend(std::iter::from_fn(|| lines.next_line()));
            }
            assert_eq!(found, ["one", "", "two é"], "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]).unwrap();
        assert_eq!(lines.push(b"x"), Err(TooLong));
    }

    #[test]
    fn events_end_at_empty_lines() {
        let mut events = Events::default();
        let text =
            ": hello\nevent: request\nid: 7\ndata: {\"a\":\ndata: 1}\n\n\nevent: x\n\ndata:y\n\n";
        let found: Vec<Event> = text.lines().filter_map(|line| events.line(line)).collect();
        let event = |kind: &str, data: &str, id: Option<&str>| Event {
            kind: kind.into(),
            data: data.into(),
            id: id.map(str::to_owned),
        };
        assert_eq!(
            found,
            [
                event("request", "{\"a\":\n1}", Some("7")),
                event("", "y", None)
            ]
        );
    }
}
