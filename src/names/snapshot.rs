//! The table at one moment, for people and metrics. Pure.

use super::addresses::NameState;
use super::answer::LookupOutcome;
use super::learned::LearnedSnapshot;
use super::probes::ZoneState;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The table at one moment, sorted by name and by server.
#[derive(Clone, Debug, Default)]
pub struct NamesSnapshot {
    /// Every cached name.
    pub names: Vec<NameSnapshot>,
    /// Every server.
    pub servers: Vec<ServerSnapshot>,
    /// Names without room, over all resources, by [`Level`](crate::bound::Level).
    pub names_left_out: [usize; 3],
    /// Names without room for new addresses, by the bound that left them out.
    pub addresses_left_out: [usize; 3],
    /// How many names are learned.
    pub learned: usize,
    /// How many zones are in each state that is known.
    pub zones: BTreeMap<ZoneState, usize>,
    /// By what factor names are queried less often than their TTLs, at most; 1 if none is, 0 in an empty snapshot.
    pub stretch: f64,
}

/// One name at one moment.
#[derive(Clone, Debug)]
pub struct NameSnapshot {
    /// The name.
    pub name: DomainName,
    /// Its state.
    pub state: NameState,
    /// How long its addresses outlive their last answer: the longest retention of any subscriber.
    pub retention: Duration,
    /// How many addresses the newest round evicted.
    pub evicted: usize,
    /// How long until it is queried again, zero if that is overdue; none during a query.
    pub next_question: Option<Duration>,
    /// Its addresses, refused ones included.
    pub addresses: Vec<AddressSnapshot>,
    /// When and for whom it was learned, where it was.
    pub learned: Option<LearnedSnapshot>,
}

/// One address of a name at one moment.
#[derive(Clone, Debug)]
pub struct AddressSnapshot {
    /// The address.
    pub address: IpAddr,
    /// The server that gave it.
    pub server: SocketAddr,
    /// How long ago it was first answered.
    pub first_seen: Duration,
    /// How long ago it was last answered.
    pub last_seen: Duration,
    /// The TTL it was last answered with, of at most `--dns-max-ttl`.
    pub ttl: Duration,
    /// How long answers have lacked it, failures left out; none if the newest answer has it.
    pub missing: Option<Duration>,
    /// Why it is refused, if it is.
    pub refused: Option<Arc<str>>,
    /// For how long it has been in force; none where it is not, or nothing is forwarded, or all names are looked at.
    pub in_force: Option<Duration>,
}

/// One server at one moment.
#[derive(Clone, Debug)]
pub struct ServerSnapshot {
    /// The server.
    pub server: SocketAddr,
    /// How many queries it answered definitively.
    pub answered: u64,
    /// How many it failed.
    pub failed: u64,
    /// How many it has failed since it last answered.
    pub failing: u64,
    /// How long ago it last answered definitively.
    pub last_answer: Option<Duration>,
    /// Its last failure.
    pub error: Option<String>,
    /// How many queries wait for a place.
    pub waiting: usize,
}

/// The health of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerHealth {
    answered: u64,
    failed: u64,
    failing: u64,
    last_answer: Option<Instant>,
    error: Option<String>,
}

impl ServerHealth {
    pub(super) fn note(&mut self, outcome: &LookupOutcome, now: Instant) {
        match outcome {
            Ok(_) => {
                self.answered += 1;
                self.failing = 0;
                self.last_answer = Some(now);
            }
            Err(failure) => {
                self.failed += 1;
                self.failing += 1;
                self.error = Some(failure.to_string());
            }
        }
    }

    /// Whether it has failed this many queries in a row, and answered none for `silence`.
    pub(super) fn is_silent(&self, failures: u64, silence: Duration, now: Instant) -> bool {
        let answered = self.last_answer.map(|answer| now.saturating_duration_since(answer));
        self.failing >= failures && answered.is_none_or(|ago| ago >= silence)
    }

    pub(super) fn snapshot(&self, server: SocketAddr, waiting: usize, now: Instant) -> ServerSnapshot {
        ServerSnapshot {
            server,
            answered: self.answered,
            failed: self.failed,
            failing: self.failing,
            last_answer: self.last_answer.map(|answer| now.saturating_duration_since(answer)),
            error: self.error.clone(),
            waiting,
        }
    }
}
