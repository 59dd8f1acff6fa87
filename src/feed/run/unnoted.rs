//! Requests that could not be noted before they are sent: a process that takes over would not know of them. Pure.

use std::time::{Duration, Instant};

/// For how long notes have to fail before a request is sent without one, and how far apart such requests are: the vendor's window.
/// A successor that cannot note either then waits for a window itself, so that it never follows one of ours too soon.
const WINDOW: Duration = Duration::from_secs(60);
/// How soon noting is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What is known of notes that fail.
#[derive(Debug, Default)]
pub struct Unnoted {
    since: Option<Instant>,
    sent: Option<Instant>,
}

impl Unnoted {
    /// A note was saved, or another process may have led since.
    pub fn start_over(&mut self) {
        self.since = None;
    }

    /// A note has failed: whether its request may be sent all the same. If not, returns how long to wait for the next try.
    ///
    /// # Errors
    /// Where it has to wait.
    pub fn send(&mut self, now: Instant) -> Result<(), Duration> {
        let since = *self.since.get_or_insert(now);
        let free = self.sent.map_or(since, |sent| sent.max(since)) + WINDOW;
        if now < free {
            return Err(free.saturating_duration_since(now).min(RETRY));
        }
        self.sent = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_a_minute_is_sent_without_a_note_after_a_minute() {
        let (start, mut unnoted) = (Instant::now(), Unnoted::default());
        let sent = |seconds: &u64| unnoted.send(start + Duration::from_secs(*seconds)).is_ok();
        assert_eq!((0..200).filter(sent).collect::<Vec<_>>(), [60, 120, 180]);
        unnoted.start_over();
        let sent = |seconds: &u64| unnoted.send(start + Duration::from_secs(*seconds)).is_ok();
        assert_eq!((200..300).filter(sent).collect::<Vec<_>>(), [260]);
    }

    #[test]
    fn noting_is_tried_again_while_a_request_waits() {
        let (start, mut unnoted) = (Instant::now(), Unnoted::default());
        assert_eq!(unnoted.send(start), Err(RETRY));
        assert_eq!(unnoted.send(start + Duration::from_secs(55)), Err(Duration::from_secs(5)));
    }
}
