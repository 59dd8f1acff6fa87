//! When a request may be sent to a host, and whose is first. Pure.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One in this many requests is reserved for an overdue refresh, however many new lists wait.
const KEPT_FOR_REFRESHES: u32 = 5;

/// Bounds the requests in any window of time.
///
/// A request counts from when it is sent until a window after it completed: the vendor counts it at an unknown moment in between.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    limit: usize,
    window: Duration,
    slots: VecDeque<Slot>,
    next_ticket: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    ticket: u64,
    /// When it completed; `None` while the request is in flight.
    completed: Option<Instant>,
}

/// A sent request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTicket(u64);

impl RateLimiter {
    /// A limiter without any request yet; a limit of zero counts as one.
    #[must_use]
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit: limit.max(1), window, slots: VecDeque::new(), next_ticket: 0 }
    }

    /// Whether a request may be sent now.
    #[must_use]
    pub fn is_open(&mut self, now: Instant) -> bool {
        let window = self.window;
        self.slots.retain(|slot| slot.completed.is_none_or(|at| now.saturating_duration_since(at) < window));
        self.slots.len() < self.limit
    }

    /// When a request may be sent, from what has completed so far; `None` while only requests in flight fill it.
    #[must_use]
    pub fn opens_at(&self, now: Instant) -> Option<Instant> {
        let in_flight = self.slots.iter().filter(|slot| slot.completed.is_none()).count();
        let frees = self.slots.iter().filter_map(|slot| slot.completed).map(|at| at + self.window);
        let mut frees: Vec<Instant> = frees.filter(|at| *at > now).collect();
        frees.sort_unstable();
        let taken = in_flight + frees.len();
        if taken < self.limit {
            return Some(now);
        }
        // This many have to leave before fewer than the limit remain.
        frees.get(taken - self.limit).copied()
    }

    /// Counts a request as sent.
    pub fn send(&mut self) -> RequestTicket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.slots.push_back(Slot { ticket, completed: None });
        RequestTicket(ticket)
    }

    /// Counts the request as completed at `now`, whatever its outcome.
    pub fn complete(&mut self, ticket: RequestTicket, now: Instant) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.ticket == ticket.0) {
            slot.completed = Some(now);
        }
    }

    /// Counts the request no more: it was never sent.
    pub fn cancel(&mut self, ticket: RequestTicket) {
        self.slots.retain(|slot| slot.ticket != ticket.0);
    }

    /// Counts one request at `now` that may have been sent by somebody unknown, unless the limit is one.
    pub fn presume_one(&mut self, now: Instant) {
        if self.limit > 1 {
            let ticket = self.send();
            self.complete(ticket, now);
        }
    }

    /// Counts every request in flight as completed: they were given up.
    pub fn abandon(&mut self, now: Instant) {
        for slot in &mut self.slots {
            slot.completed.get_or_insert(now);
        }
    }

    /// When the requests of the last window counted, as wall-clock times that survive a restart. Those in flight count now.
    #[must_use]
    pub fn log(&self, now: Instant, wall: Timestamp) -> Vec<Timestamp> {
        let age = |slot: &Slot| slot.completed.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let ages = self.slots.iter().map(age).filter(|age| *age < self.window);
        ages.map(|age| wall.saturating_sub(age).unwrap_or(Timestamp::MIN)).collect()
    }

    /// Restores the requests of an earlier process. A time in the future, after a clock was set back, counts now.
    pub fn restore(&mut self, log: &[Timestamp], now: Instant, wall: Timestamp) {
        for at in log {
            let age = wall.duration_since(*at).max(SignedDuration::ZERO);
            let age = Duration::try_from(age).unwrap_or(Duration::MAX);
            if age < self.window {
                let ticket = self.send();
                // Nothing can be subtracted from the machine's first moment: then it counts now.
                self.complete(ticket, now.checked_sub(age).unwrap_or(now));
            }
        }
    }

    /// Counts as if the limit had just been used up: for when earlier requests are not known.
    pub fn fill(&mut self, now: Instant) {
        for _ in 0..self.limit {
            let ticket = self.send();
            self.complete(ticket, now);
        }
    }
}

/// A request that is due.
#[derive(Clone, Debug)]
pub struct DueRequest {
    /// Whether it is for a first list.
    pub new: bool,
    /// How often it failed in a row: requests without failures are first.
    pub failures: u32,
    /// Since when it is due.
    pub due: Instant,
    /// The tenants that need it.
    pub tenants: Vec<Arc<str>>,
}

/// The order of due requests: new lists before refreshes, but one slot in five is reserved for refreshes. Within each kind, tenants
/// take turns, so that none can starve the rest. Within a tenant, the request that has waited longest is first.
#[derive(Clone, Debug, Default)]
pub struct FairOrder {
    served: BTreeMap<Arc<str>, u64>,
    count: u64,
    new_in_a_row: u32,
}

impl FairOrder {
    /// The index of the first request; `None` without any.
    #[must_use]
    pub fn choose(&self, due: &[DueRequest]) -> Option<usize> {
        let any_refresh = due.iter().any(|request| !request.new);
        let any_new = due.iter().any(|request| request.new);
        let new = any_new && !(any_refresh && self.new_in_a_row + 1 >= KEPT_FOR_REFRESHES);
        let of_kind = due.iter().enumerate().filter(|(_, request)| request.new == new);
        of_kind
            .min_by_key(|(index, request)| (self.last_served(request), request.failures, request.due, *index))
            .map(|(index, _)| index)
    }

    /// Counts a request as sent.
    pub fn serve(&mut self, request: &DueRequest) {
        self.count += 1;
        self.new_in_a_row = if request.new { self.new_in_a_row + 1 } else { 0 };
        let served = request.tenants.iter().min_by_key(|tenant| self.served.get(*tenant).copied().unwrap_or(0));
        if let Some(tenant) = served.cloned() {
            self.served.insert(tenant, self.count);
        }
    }

    /// Forgets tenants for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.served.retain(|tenant, _| keep(tenant));
    }

    fn last_served(&self, request: &DueRequest) -> u64 {
        request.tenants.iter().map(|tenant| self.served.get(tenant).copied().unwrap_or(0)).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
