//! What a person or a metric may want to know of the table at one moment. Pure.

use super::addresses::NameState;
use super::answer::LookupOutcome;
use connectivity_allowlist::net::DomainName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The table at one moment, sorted by name and by server.
#[derive(Clone, Debug, Default)]
pub struct NamesSnapshot {
    /// Every name held.
    pub names: Vec<NameSnapshot>,
    /// Every server asked.
    pub servers: Vec<ServerSnapshot>,
    /// Names that there is no room for, over all resources, by [`Level`](crate::bound::Level).
    pub names_left_out: [usize; 3],
    /// Names of which new addresses are left out, by the bound that has no room for them.
    pub addresses_left_out: [usize; 3],
    /// By what factor names are asked less often than their TTLs say, at most; 1 where none is, 0 in an empty snapshot.
    pub stretch: f64,
}

/// One name at one moment.
#[derive(Clone, Debug)]
pub struct NameSnapshot {
    /// The name.
    pub name: DomainName,
    /// Where it stands.
    pub state: NameState,
    /// How long its addresses outlive their last sighting: the longest that any subscriber asks for.
    pub retention: Duration,
    /// How many addresses the newest round of answers cost.
    pub evicted: usize,
    /// How long until it is asked again; none while it is being asked, zero where that is overdue.
    pub next_question: Option<Duration>,
    /// What is known of its addresses, refused ones included.
    pub addresses: Vec<AddressSnapshot>,
}

/// One address of a name at one moment.
#[derive(Clone, Debug)]
pub struct AddressSnapshot {
    /// The address.
    pub address: IpAddr,
    /// The server that said it.
    pub server: SocketAddr,
    /// How long ago it was first answered.
    pub first_seen: Duration,
    /// How long ago it was last answered.
    pub last_seen: Duration,
    /// The TTL it was last answered with, of at most `--dns-max-ttl`.
    pub ttl: Duration,
    /// For how long it has been missing from answers, failures left out; none where the newest answer has it.
    pub missing: Option<Duration>,
    /// Why it is refused, where it is.
    pub refused: Option<Arc<str>>,
}

/// One server at one moment.
#[derive(Clone, Debug)]
pub struct ServerSnapshot {
    /// The server.
    pub server: SocketAddr,
    /// How many questions it answered definitively.
    pub answered: u64,
    /// How many it failed.
    pub failed: u64,
    /// How many it has failed since it last answered.
    pub failing: u64,
    /// How long ago it last answered definitively.
    pub last_answer: Option<Duration>,
    /// Its last failure.
    pub error: Option<String>,
    /// How many questions wait for a place.
    pub waiting: usize,
}

/// How a server has done so far.
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

    /// Whether it has failed so many questions in a row, and answered none for `silence`.
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
