//! How many mails one recipient gets of one requester.
//!
//! In scope: whether there is room for a mail, a list, or nothing yet.
//! Out of scope: what is in them.
//! Invariant: whoever asks for however much fills nobody's mailbox: within [`WINDOW`] it is [`SINGLE`] mails
//! and a list every [`LISTS`] at the most.

use std::time::Duration;

use tokio::time::Instant;

/// More than this at once of one requester for one recipient is one list.
const AT_ONCE: usize = 5;
/// Mails that one recipient gets of one requester within [`WINDOW`]; what comes on top is in lists.
const SINGLE: usize = 20;
const WINDOW: Duration = Duration::from_secs(600);
/// How often there is a list of one requester for one recipient.
const LISTS: Duration = Duration::from_secs(60);

/// What went to one recipient lately, of one requester's.
#[derive(Default)]
pub(super) struct Sent {
    single: Vec<Instant>,
    list: Option<Instant>,
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// A mail each.
    Single,
    /// One for all.
    List,
    /// Nothing for so long.
    Later(Duration),
}

impl Sent {
    /// What there is room for now, for something about so many requests.
    pub(super) fn room(&self, many: usize, now: Instant) -> Room {
        let lately = |at: &&Instant| now.saturating_duration_since(**at) < WINDOW;
        let left = SINGLE.saturating_sub(self.single.iter().filter(lately).count());
        if many <= AT_ONCE.min(left) {
            return Room::Single;
        }
        let since = self.list.map(|at| now.saturating_duration_since(at));
        match since.filter(|since| *since < LISTS) {
            Some(since) => Room::Later(LISTS.saturating_sub(since)),
            None => Room::List,
        }
    }

    /// Counts a mail about so many requests that was taken.
    pub(super) fn count(&mut self, many: usize, now: Instant) {
        match many {
            1 if self.single.len() < SINGLE => self.single.push(now),
            _ => self.list = Some(now),
        }
    }

    /// Whether any of it still counts; the rest is let go.
    pub(super) fn is_recent(&mut self, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        self.single.retain(lately);
        self.list = self.list.filter(lately);
        self.list.is_some() || !self.single.is_empty()
    }
}

#[cfg(test)]
mod tests {
    //! Room for mails.
    //!
    //! In scope: how many go out, whatever is asked for.
    //! Out of scope: sending.
    //! Invariant: there is always room again.

    use super::*;

    /// Asks for a mail every `each` for an hour, and says how many went out.
    fn sent_within_an_hour(each: Duration, many: usize) -> usize {
        let (mut sent, begin) = (Sent::default(), Instant::now());
        let (mut went, mut at) = (0, Duration::ZERO);
        while at < Duration::from_secs(3_600) {
            let now = begin + at;
            sent.is_recent(now);
            match sent.room(many, now) {
                Room::Single => (0..many).for_each(|_| sent.count(1, now)),
                Room::List => sent.count(many, now),
                Room::Later(left) => {
                    assert!(left <= LISTS);
                    at += each;
                    continue;
                }
            }
            went += if many <= AT_ONCE { many } else { 1 };
            at += each;
        }
        went
    }

    #[test]
    fn nobody_is_buried() {
        let second = Duration::from_secs(1);
        // A quiet requester has a mail each.
        assert_eq!(sent_within_an_hour(60 * second, 1), 60);
        // A noisy one has as many as there is room for: 6 times 20, and 60 lists.
        assert!(sent_within_an_hour(second, 1) <= 6 * SINGLE + 60);
        assert!(sent_within_an_hour(second, 1_000) <= 60);
    }

    #[test]
    fn much_at_once_is_one_list() {
        let (mut sent, now) = (Sent::default(), Instant::now());
        assert_eq!(sent.room(AT_ONCE, now), Room::Single);
        assert_eq!(sent.room(AT_ONCE + 1, now), Room::List);
        sent.count(AT_ONCE + 1, now);
        assert_eq!(sent.room(AT_ONCE + 1, now), Room::Later(LISTS));
        assert_eq!(sent.room(1, now), Room::Single);
        assert_eq!(sent.room(AT_ONCE + 1, now + LISTS), Room::List);
        assert!(!Sent::default().is_recent(now));
    }
}
