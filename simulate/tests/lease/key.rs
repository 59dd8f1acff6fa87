//! What tells one state from another, so that time has no bound: states that behave alike from now on are one.

use super::{Candidate, Faults, Reply, Request, State, Stored, identity, instant};
use citrix_allowlist::cluster::lease::election::{Election, ElectionStep, Record};
use std::hash::{Hash, Hasher};
use std::time::Instant;

/// In so many ticks every interval is over.
const LONG: u32 = 4;

/// What an election does from `now` on if nothing happens, in times relative to `now`. Its times that are long past make no difference.
fn prospect(election: &Election, clock: u32) -> Vec<(u8, i64)> {
    let now = instant(clock);
    let relative = |then: Instant| match then.checked_duration_since(now) {
        Some(later) => i64::try_from(later.as_secs()).unwrap_or(i64::MAX),
        None => -1,
    };
    let steps = (0..=LONG).map(|ticks| match election.decide(instant(clock + ticks)) {
        ElectionStep::Acquire => (0, 0),
        ElectionStep::Renew => (1, 0),
        ElectionStep::Look => (2, 0),
        ElectionStep::Lost => (3, 0),
        ElectionStep::Wait(then) => (4, relative(then)),
    });
    steps.chain([(5, election.fence().map_or(-2, relative))]).collect()
}

/// A kind of request or answer, whether the version that it names is the newest, and whom its record names.
type RequestKey = (u8, bool, Holder);
type CallKey = (RequestKey, u32, Option<(u8, bool, Holder)>);
type CandidateKey = (Vec<(u8, i64)>, Vec<(u8, i64)>, [bool; 4], Option<CallKey>, Vec<RequestKey>, bool, Holder);

/// Whom a record names, as one process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Holder {
    Nobody,
    Itself,
    Another,
}

impl Candidate {
    fn holder(&self, record: &Record) -> Holder {
        match &record.holder {
            none if none.is_empty() => Holder::Nobody,
            own if *own == identity(self.number, self.incarnation) => Holder::Itself,
            _ => Holder::Another,
        }
    }

    fn key(&self, lease: &Stored) -> CandidateKey {
        let newest = lease.as_ref().map(|(version, _)| *version);
        let request = |request: &Request| match request {
            Request::Get => (0, false, Holder::Nobody),
            Request::Write(replaced, record) => (1, *replaced == newest, self.holder(record)),
        };
        let mut stopped = self.election.clone();
        stopped.stopped();
        let mut same = false;
        let call = self.call.as_ref().map(|call| {
            let reply = call.reply.as_ref().map(|reply| match reply {
                Reply::Lease(None) => (0, false, Holder::Nobody),
                Reply::Lease(Some((version, record))) => {
                    same = self.seen == Some(*version);
                    (1, Some(*version) == newest, self.holder(record))
                }
                Reply::Written(version, record) => (2, Some(*version) == newest, self.holder(record)),
                Reply::Conflict => (3, false, Holder::Nobody),
            });
            (request(&call.request), (self.clock - call.sent).min(LONG), reply)
        });
        let late = self.late.iter().map(request).collect();
        let versions = [self.known == newest, self.seen == newest, Some(self.shown) == newest, same];
        let holder = lease.as_ref().map_or(Holder::Nobody, |(_, record)| self.holder(record));
        (
            prospect(&self.election, self.clock),
            prospect(&stopped, self.clock),
            versions,
            call,
            late,
            self.paused,
            holder,
        )
    }
}

impl State {
    /// What tells this state from others: what each process will do, in times relative to its clock, and which versions are the newest:
    /// no other is ever written over. Which process has which number makes no difference, nor how often the holder has changed.
    fn key(&self) -> (bool, Vec<CandidateKey>, Faults) {
        let mut candidates: Vec<_> = self.candidates.iter().map(|candidate| candidate.key(&self.lease)).collect();
        candidates.sort();
        (self.lease.is_some(), candidates, self.faults)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key().hash(hasher);
    }
}
