//! Every behaviour of three candidates and a Lease through two terms: the election's own code, explored by stateright.
//!
//! In any order: a request is carried out late, or after its client has given up on it. Its answer is lost, or is a failure. A watch
//! shows the Lease late, in the order of its versions, or never. A process pauses, dies, or releases the Lease. A clock runs slow. The
//! assumptions: no clock loses more than a tick in [`SLOW_EVERY`], no two renewals carry the same time, and nobody deletes the Lease.

use citrix_allowlist::cluster::lease::election::{Election, ElectionStep, Record, Timing};
use stateright::{Checker as _, HasDiscoveries, Model, Property};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A tick of true time. The intervals below are those of the operator, in ticks of two and a half seconds.
const TICK: Duration = Duration::from_secs(1);
const TIMING: Timing = Timing {
    duration: TICK.saturating_mul(6),
    renew: TICK.saturating_mul(2),
    retry: TICK,
    fence: TICK.saturating_mul(4),
};
/// A clock loses at most one tick in so many.
const SLOW_EVERY: u32 = 4;

fn instant(clock: u32) -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now) + TICK * clock
}

/// A request about the Lease.
#[derive(Clone, Debug)]
enum Request {
    Get,
    /// Replaces this version, or creates the Lease.
    Write(Option<u32>, Record),
}

/// What the API server answers.
#[derive(Clone, Debug)]
enum Reply {
    Lease(Option<(u32, Record)>),
    Written(u32, Record),
    Conflict,
}

#[derive(Clone, Debug)]
struct Call {
    request: Request,
    sent: u32,
    limit: u32,
    reply: Option<Reply>,
}

/// A process: the election, as `cluster/lease.rs` drives it.
#[derive(Clone, Debug)]
struct Candidate {
    identity: String,
    election: Election,
    /// The version that the next write replaces.
    known: Option<u32>,
    call: Option<Call>,
    /// Writes that their client has given up on, and that may still arrive.
    late: Vec<Request>,
    /// How many versions its watch has shown.
    shown: usize,
    clock: u32,
    /// When its clock last lost a tick.
    slow_at: u32,
    incarnation: u32,
}

#[derive(Clone, Debug)]
struct State {
    time: u32,
    /// The Lease and its version.
    lease: Option<(u32, Record)>,
    /// Every version so far.
    versions: Vec<(u32, Record)>,
    candidates: Vec<Candidate>,
    /// How many processes may still die or be stopped.
    ends: u32,
    /// How many writes may still arrive after their client has given up on them.
    losses: u32,
}

impl State {
    fn key(&self) -> String {
        let mut key = String::new();
        let _ = write!(key, "{self:?}");
        key
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key().hash(hasher);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Time passes; the clock of one may lose it.
    Tick(Option<usize>),
    /// A process does what the election decides.
    Decide(usize),
    /// A request is carried out.
    Arrive(usize),
    /// So is the first that its client has given up on.
    ArriveLate(usize),
    /// An answer arrives.
    Answer(usize),
    /// A request fails at once, or its client gives up; whether it may still arrive.
    Fail(usize, bool),
    /// The watch shows the next version.
    Watch(usize),
    /// A process dies, and starts again.
    Die(usize),
    /// A process is asked to stop: it releases the Lease, and starts again.
    Stop(usize),
}

struct Lease {
    timing: Timing,
    candidates: usize,
    ticks: u32,
    ends: u32,
    losses: u32,
}

impl Lease {
    fn candidate(&self, number: usize, incarnation: u32, clock: u32) -> Candidate {
        let identity = format!("{number}_{incarnation}");
        let election = Election::new(identity.clone(), self.timing, 0.0);
        Candidate {
            identity,
            election,
            known: None,
            call: None,
            late: Vec::new(),
            shown: 0,
            clock,
            slow_at: 0,
            incarnation,
        }
    }
}

fn leads(candidate: &Candidate) -> bool {
    candidate.election.fence().is_some_and(|fence| instant(candidate.clock) < fence)
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Carries out a request; the next version counts every write.
fn carry_out(lease: &mut Option<(u32, Record)>, versions: &mut Vec<(u32, Record)>, request: &Request) -> Reply {
    let Request::Write(replaced, record) = request else { return Reply::Lease(lease.clone()) };
    if lease.as_ref().map(|(version, _)| *version) != *replaced {
        return Reply::Conflict;
    }
    let version = replaced.unwrap_or_default() + 1;
    let renewed = jiff::Timestamp::from_second(version.into()).ok();
    let record = Record { renewed, ..record.clone() };
    *lease = Some((version, record.clone()));
    versions.push((version, record.clone()));
    Reply::Written(version, record)
}

impl Candidate {
    fn now(&self) -> Instant {
        instant(self.clock)
    }

    fn send(&mut self, request: Request, timing: Timing) {
        // As `call_limit`: a leader's call ends at the fence at the latest.
        let left = self.election.fence().map(|fence| fence.saturating_duration_since(self.now()));
        let limit = ticks(left.map_or(timing.call(), |left| left.min(timing.call())));
        self.call = Some(Call { request, sent: self.clock, limit, reply: None });
    }

    /// Returns whether it did anything.
    fn decide(&mut self, timing: Timing) -> bool {
        match self.election.decide(self.now()) {
            ElectionStep::Wait(_) => return false,
            ElectionStep::Look => self.send(Request::Get, timing),
            ElectionStep::Lost => self.election.stopped(),
            ElectionStep::Acquire | ElectionStep::Renew => {
                let (transitions, ours) = self.election.transitions();
                let transitions = if ours || self.known.is_none() { transitions } else { transitions + 1 };
                let holder = self.identity.clone();
                let record = Record { holder, duration: timing.duration, renewed: None, transitions };
                self.send(Request::Write(self.known, record), timing);
            }
        }
        true
    }

    fn answered(&mut self, call: Call) {
        match call.reply {
            Some(Reply::Lease(lease)) => {
                self.known = lease.as_ref().map(|(version, _)| *version);
                self.election.read(lease.map(|(_, record)| record), self.now());
            }
            Some(Reply::Written(version, record)) => {
                self.known = Some(version);
                self.election.written(record, instant(call.sent));
            }
            Some(Reply::Conflict) => self.election.outdated(),
            None => self.election.failed(self.now()),
        }
    }

    fn watched(&mut self, lease: Option<(u32, Record)>) {
        let version = lease.as_ref().map(|(version, _)| *version);
        self.election.watched(lease.map(|(_, record)| record), self.now());
        if self.election.fence().is_none() {
            self.known = version;
        }
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let candidates = (0..self.candidates).map(|number| self.candidate(number, 0, 0)).collect();
        vec![State { time: 0, lease: None, versions: Vec::new(), candidates, ends: self.ends, losses: self.losses }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.time < self.ticks {
            actions.push(Action::Tick(None));
        }
        for (number, candidate) in state.candidates.iter().enumerate() {
            if state.time < self.ticks && state.time >= candidate.slow_at + SLOW_EVERY {
                actions.push(Action::Tick(Some(number)));
            }
            match &candidate.call {
                None => {
                    actions.push(Action::Decide(number));
                    if candidate.shown < state.versions.len() {
                        actions.push(Action::Watch(number));
                    }
                    if state.ends > 0 {
                        actions.push(Action::Die(number));
                    }
                    if state.ends > 0 && candidate.election.fence().is_some() {
                        actions.push(Action::Stop(number));
                    }
                }
                Some(call) => {
                    // A process that paused finds the answer, however late.
                    match &call.reply {
                        None => actions.extend([Action::Arrive(number), Action::Fail(number, false)]),
                        Some(_) => actions.push(Action::Answer(number)),
                    }
                    if candidate.clock >= call.sent + call.limit && state.losses > 0 {
                        actions.push(Action::Fail(number, true));
                    }
                }
            }
            if !candidate.late.is_empty() {
                actions.push(Action::ArriveLate(number));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick(slow) => {
                state.time += 1;
                for (number, candidate) in state.candidates.iter_mut().enumerate() {
                    if slow == Some(number) {
                        candidate.slow_at = state.time;
                    } else {
                        candidate.clock += 1;
                    }
                }
            }
            Action::Decide(number) => {
                if !state.candidates[number].decide(self.timing) {
                    return None;
                }
            }
            Action::Arrive(number) => {
                let call = state.candidates[number].call.as_mut()?;
                call.reply = Some(carry_out(&mut state.lease, &mut state.versions, &call.request));
            }
            Action::ArriveLate(number) => {
                let late = state.candidates[number].late.remove(0);
                carry_out(&mut state.lease, &mut state.versions, &late);
            }
            Action::Answer(number) => {
                let call = state.candidates[number].call.take()?;
                state.candidates[number].answered(call);
            }
            Action::Fail(number, may_arrive) => {
                let candidate = &mut state.candidates[number];
                let mut call = candidate.call.take()?;
                if call.reply.take().is_none() && may_arrive && matches!(call.request, Request::Write(..)) {
                    state.losses -= 1;
                    candidate.late.push(call.request.clone());
                }
                candidate.answered(call);
            }
            Action::Watch(number) => {
                let candidate = &mut state.candidates[number];
                let version = state.versions[candidate.shown].clone();
                candidate.shown += 1;
                candidate.watched(Some(version));
            }
            Action::Die(number) | Action::Stop(number) => {
                state.ends -= 1;
                let Candidate { clock, incarnation, slow_at, known, mut late, election, .. } =
                    state.candidates[number].clone();
                if action == Action::Stop(number) {
                    let (transitions, _) = election.transitions();
                    let released = Record { duration: TICK, transitions, ..Record::default() };
                    late.push(Request::Write(known, released));
                }
                let (fresh, shown) = (self.candidate(number, incarnation + 1, clock), state.versions.len());
                state.candidates[number] = Candidate { late, slow_at, shown, ..fresh };
            }
        }
        (state.key() != before.key()).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leader", |_, state: &State| {
                state.candidates.iter().filter(|one| leads(one)).count() <= 1
            }),
            Property::sometimes("a successor", |_, state: &State| {
                let transitions = state.lease.as_ref().map_or(0, |(_, record)| record.transitions);
                transitions > 0 && state.candidates.iter().any(leads)
            }),
        ]
    }
}

const TWO: Lease = Lease { timing: TIMING, candidates: 2, ticks: 9, ends: 1, losses: 1 };

fn explored(model: Lease) -> impl stateright::Checker<Lease> {
    model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join()
}

#[test]
fn two_candidates_never_lead_at_once_through_two_terms() {
    let checker = explored(TWO);
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn three_candidates_never_lead_at_once_through_a_term() {
    let checker = explored(Lease { candidates: 3, ticks: 6, ends: 0, losses: 0, ..TWO });
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

/// What the fence is for: without the distance to the lease's end, two lead at once.
#[test]
fn a_fence_at_the_end_of_the_lease_is_too_late() {
    let timing = Timing { fence: TIMING.duration, ..TIMING };
    assert!(explored(Lease { timing, ..TWO }).discovery("one leader").is_some());
}
