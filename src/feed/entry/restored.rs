//! Takes over a list or a begun fetch of an earlier process. Pure.

use super::{CachedList, Entry, ResponseMetadata, moment, usable_condition};
use connectivity_allowlist::older::{self, Recency};
use connectivity_allowlist::schedule::{CompletedRequest, FetchOutcome};
use jiff::Timestamp;
use std::time::Duration;

/// A saved list, read.
#[derive(Clone, Debug)]
pub(in crate::feed) struct Restored {
    pub(in crate::feed) accepted: CachedList,
    pub(in crate::feed) previous: Option<CachedList>,
    pub(in crate::feed) fetched_at: Timestamp,
    pub(in crate::feed) confirmations: u32,
    pub(in crate::feed) stale_answers: u32,
    pub(in crate::feed) older_since: Option<Timestamp>,
    pub(in crate::feed) from_elsewhere: bool,
}

impl Entry {
    /// Whether what is known is newer than a saved list: by the versions of the lists, where they are times, and otherwise by when they
    /// were fetched. Clocks of two processes differ, and a clock may be set back between two fetches.
    pub(in crate::feed) fn is_newer_than(&self, saved: &Restored, now: Timestamp) -> bool {
        let fetched_later = self.fetched_at.is_some_and(|known| known >= saved.fetched_at);
        let Some(known) = self.accepted.as_ref().filter(|_| !saved.from_elsewhere) else { return fetched_later };
        let is_older = |one: &CachedList, other: &CachedList| {
            older::judge(&other.allowlist, &one.allowlist, None, now) != Recency::Follow
        };
        is_older(&saved.accepted, known) || (fetched_later && !is_older(known, &saved.accepted))
    }

    /// Takes over a saved list.
    pub(in crate::feed) fn restore(&mut self, restored: Restored, arrival: &ResponseMetadata) {
        let passed = Duration::try_from(arrival.at.duration_since(restored.fetched_at)).unwrap_or(Duration::ZERO);
        let valid_until = restored.accepted.allowlist.valid_until;
        self.last = Some(CompletedRequest {
            outcome: FetchOutcome::Usable { valid_until, changed: false },
            at: restored.fetched_at,
            stale_answers: restored.stale_answers,
            failures: 0,
        });
        (self.anchor, self.passed, self.fraction) = (arrival.instant, passed, arrival.fraction);
        self.confirmations = restored.confirmations;
        self.fetched_at = Some(restored.fetched_at);
        self.transaction_id.clone_from(&arrival.transaction_id);
        self.condition = usable_condition(&restored.accepted.allowlist, restored.fetched_at);
        self.accepted = Some(restored.accepted);
        self.previous = restored.previous;
        self.held_back = None;
        self.older_since = restored.older_since;
        self.from_elsewhere = restored.from_elsewhere;
        self.rendered.clear();
    }

    /// Takes over that a fetch was begun, for the `times`-th time in a row, and never completed: the next one waits. `begun` is by
    /// our clock, `noted` by that of the process that began it, which dated its list too. Returns a message; none if the list has
    /// come since.
    pub(in crate::feed) fn interrupt(
        &mut self,
        (begun, noted): (Timestamp, Timestamp),
        times: u32,
        arrival: &ResponseMetadata,
    ) -> Option<String> {
        if self.fetched_at.is_some_and(|fetched| fetched >= noted) || self.in_flight {
            return None;
        }
        let (stale_answers, at) = (self.last.map_or(0, |last| last.stale_answers), arrival.at.min(begun));
        self.interrupted = times;
        self.last = Some(CompletedRequest { outcome: FetchOutcome::Interrupted, at, stale_answers, failures: times });
        let passed = Duration::try_from(arrival.at.duration_since(at)).unwrap_or(Duration::ZERO);
        (self.anchor, self.passed, self.fraction) = (arrival.instant, passed, arrival.fraction);
        let message = format!(
            "the fetch of {} was begun and the process ended before it completed, {times} times in a row: the list is asked for \
             again at {}",
            moment(Some(begun)),
            moment(self.next_fetch())
        );
        if self.accepted.is_none() {
            self.condition.message = format!("the first list has not arrived yet; {message}");
        }
        Some(message)
    }
}
