//! Requests that could not be noted before they are sent: a process that takes over would not know of them.

use super::Started;
use crate::feed::table::Feeds;
use std::time::{Duration, Instant};

/// For how long notes have to fail before a request is sent without one, and how far apart such requests are: the vendor's window of a
/// minute, and five seconds for their way. A successor that cannot note either waits as long, so none of its own follows too soon.
const WINDOW: Duration = Duration::from_secs(65);
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

    /// Whether notes fail, as far as is known.
    pub fn is_failing(&self) -> bool {
        self.since.is_some()
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

impl Feeds {
    /// A former process that could not note its requests may have sent one just now.
    pub(super) fn presume_unnoted(&self) {
        let now = self.0.clock.instant();
        let mut table = self.0.lock();
        for host in table.hosts.values_mut().filter(|host| !host.noted.is_empty()) {
            host.limiter.presume_one(now);
        }
    }

    /// A request could not be noted. Returns whether it waits; then it counts as not begun.
    pub(super) fn waits_for_note(&self, started: &Started) -> bool {
        let now = self.0.clock.instant();
        let mut guard = self.0.lock();
        let table = &mut *guard;
        let Some(host) = table.hosts.get_mut(&started.host) else { return false };
        let Err(wait) = host.unnoted.send(now) else { return false };
        host.limiter.cancel(started.ticket);
        host.pause_until(now + wait);
        if let Some(entry) = table.entries.get_mut(&started.key) {
            (entry.in_flight, entry.begun) = (false, None);
        }
        true
    }

    /// Returns whether what was sent is saved.
    pub(super) async fn save_requests(&self) -> bool {
        let shared = &*self.0;
        let saving = async {
            let _one_at_a_time = shared.saving.lock().await;
            let (now, wall) = (shared.clock.instant(), shared.clock.now());
            let requests = shared.lock().requests(now, wall);
            shared.store.save_requests(requests).await
        };
        // Reported once, not at every try.
        let is_new = !shared.lock().hosts.values().any(|host| host.unnoted.is_failing());
        let consequence =
            "what was sent is not saved: requests wait, and after a minute one a minute is sent all the same";
        let is_saved = self.stored(saving, is_new.then_some(consequence)).await;
        if is_saved {
            shared.lock().hosts.values_mut().for_each(|host| host.unnoted.start_over());
        }
        is_saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_requests_are_sent_without_a_note_after_a_while() {
        let (start, mut unnoted) = (Instant::now(), Unnoted::default());
        let sent = |seconds: &u64| unnoted.send(start + Duration::from_secs(*seconds)).is_ok();
        assert_eq!((0..200).filter(sent).collect::<Vec<_>>(), [65, 130, 195]);
        unnoted.start_over();
        let sent = |seconds: &u64| unnoted.send(start + Duration::from_secs(*seconds)).is_ok();
        assert_eq!((200..300).filter(sent).collect::<Vec<_>>(), [265]);
    }

    #[test]
    fn noting_is_tried_again_while_a_request_waits() {
        let (start, mut unnoted) = (Instant::now(), Unnoted::default());
        assert_eq!(unnoted.send(start), Err(RETRY));
        assert_eq!(unnoted.send(start + Duration::from_secs(61)), Err(Duration::from_secs(4)));
    }
}
