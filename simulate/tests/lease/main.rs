//! Every behaviour of three candidates and a Lease, for any time: the election's own code, explored by stateright.
//!
//! In any order: a request is carried out late, or after its client has given up on it. It fails, or its answer is lost. A watch shows
//! the Lease late, skips versions, or shows nothing. A process pauses, dies, or releases the Lease. A clock loses a tick. The
//! assumptions: a clock loses no more than the distance between the fence and the end of the Lease, no two renewals carry the same
//! time, and nobody else writes or deletes the Lease.

mod key;

use citrix_allowlist::cluster::lease::election::{Election, ElectionStep, Record, Timing};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The operator's intervals of 15, 5 and 10 s, in ticks of 5 s; a pause after a failure takes a tick.
const TICK: Duration = Duration::from_secs(1);
const TIMING: Timing =
    Timing { duration: TICK.saturating_mul(3), renew: TICK, retry: TICK, fence: TICK.saturating_mul(2) };

fn instant(clock: u32) -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now) + TICK * clock
}

/// The Lease and its version.
type Stored = Option<(u32, Record)>;

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
    Lease(Stored),
    Written(u32, Record),
    Conflict,
}

#[derive(Clone, Debug)]
struct Call {
    request: Request,
    sent: u32,
    reply: Option<Reply>,
}

/// A process: the election, as `cluster/lease.rs` drives it.
#[derive(Clone, Debug)]
struct Candidate {
    number: usize,
    incarnation: u32,
    election: Election,
    /// The version that the next write replaces.
    known: Option<u32>,
    /// The version of the record that the election knows.
    seen: Option<u32>,
    /// The last version that its watch has shown.
    shown: u32,
    call: Option<Call>,
    /// Writes that their client has given up on, and that may still arrive.
    late: Vec<Request>,
    paused: bool,
    clock: u32,
}

/// What may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Faults {
    /// Processes that die or are stopped.
    ends: u8,
    /// Writes whose client has given up on them, or whose answers are lost.
    losses: u8,
    pauses: u8,
    /// Ticks that clocks lose.
    slow: u8,
}

/// States that behave alike from now on are one: see [`State::key`].
#[derive(Clone, Debug)]
struct State {
    lease: Stored,
    candidates: Vec<Candidate>,
    faults: Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Time passes; the clock of one may lose it.
    Tick(Option<usize>),
    /// A process does what the election decides.
    Decide(usize),
    /// It does nothing, until it goes on.
    Pause(usize),
    GoOn(usize),
    /// A request is carried out.
    Arrive(usize),
    /// So is the first that its client has given up on.
    ArriveLate(usize),
    /// An answer arrives.
    Answer(usize),
    /// A request fails.
    Fail(usize),
    /// Its client gives up; it may still arrive, or has arrived.
    GiveUp(usize),
    /// The watch shows the Lease as it is.
    Watch(usize),
    /// A process dies, and starts again.
    Die(usize),
    /// A process is asked to stop: it releases the Lease, and starts again.
    Stop(usize),
}

struct Lease {
    timing: Timing,
    candidates: usize,
    faults: Faults,
}

/// Carries out a request.
fn carry_out(lease: &mut Stored, request: Request) -> Reply {
    let Request::Write(replaced, record) = request else { return Reply::Lease(lease.clone()) };
    if lease.as_ref().map(|(version, _)| *version) != replaced {
        return Reply::Conflict;
    }
    let version = replaced.unwrap_or_default() + 1;
    // Every renewal carries another time.
    let record = Record { renewed: jiff::Timestamp::from_second(version.into()).ok(), ..record };
    *lease = Some((version, record.clone()));
    Reply::Written(version, record)
}

/// Each process has its own.
fn identity(number: usize, incarnation: u32) -> String {
    format!("{number}_{incarnation}")
}

impl Candidate {
    fn new(number: usize, incarnation: u32, timing: Timing, clock: u32, shown: u32) -> Self {
        let election = Election::new(identity(number, incarnation), timing, 0.0);
        let (late, paused) = (Vec::new(), false);
        Self { number, incarnation, election, known: None, seen: None, shown, call: None, late, paused, clock }
    }

    fn now(&self) -> Instant {
        instant(self.clock)
    }

    fn leads(&self) -> bool {
        self.election.fence().is_some_and(|fence| self.now() < fence)
    }

    /// Whether there is something to do but wait.
    fn is_due(&self) -> bool {
        self.call.is_none() && !self.paused && !matches!(self.election.decide(self.now()), ElectionStep::Wait(_))
    }

    fn decide(&mut self, timing: Timing) {
        let request = match self.election.decide(self.now()) {
            ElectionStep::Wait(_) => return,
            ElectionStep::Lost => return self.election.stopped(),
            ElectionStep::Look => Request::Get,
            ElectionStep::Acquire | ElectionStep::Renew => {
                let (transitions, ours) = self.election.transitions();
                let transitions = if ours || self.known.is_none() { transitions } else { transitions + 1 };
                let holder = identity(self.number, self.incarnation);
                Request::Write(self.known, Record { holder, duration: timing.duration, renewed: None, transitions })
            }
        };
        self.call = Some(Call { request, sent: self.clock, reply: None });
    }

    fn answered(&mut self, call: Call) {
        match call.reply {
            Some(Reply::Lease(lease)) => {
                self.known = lease.as_ref().map(|(version, _)| *version);
                self.seen = self.known;
                self.election.read(lease.map(|(_, record)| record), self.now());
            }
            Some(Reply::Written(version, record)) => {
                (self.known, self.seen) = (Some(version), Some(version));
                self.election.written(record, instant(call.sent));
            }
            Some(Reply::Conflict) => self.election.outdated(),
            None => self.election.failed(self.now()),
        }
    }

    fn watched(&mut self, version: u32, record: Record) {
        self.shown = version;
        self.election.watched(Some(record), self.now());
        if self.election.fence().is_none() {
            (self.known, self.seen) = (Some(version), Some(version));
        }
    }
}

impl State {
    fn version(&self) -> u32 {
        self.lease.as_ref().map_or(0, |(version, _)| *version)
    }

    /// What may happen around a process that is not about to decide.
    fn around(&self, candidate: &Candidate, actions: &mut Vec<Action>) {
        let number = candidate.number;
        if !candidate.late.is_empty() {
            actions.push(Action::ArriveLate(number));
        }
        if candidate.call.as_ref().is_some_and(|call| call.reply.is_none()) {
            actions.push(Action::Arrive(number));
        }
        if candidate.paused {
            actions.push(Action::GoOn(number));
            return;
        }
        match &candidate.call {
            Some(call) => {
                actions.push(if call.reply.is_some() { Action::Answer(number) } else { Action::Fail(number) });
                if self.faults.losses > 0 {
                    actions.push(Action::GiveUp(number));
                }
            }
            None if candidate.shown < self.version() => actions.push(Action::Watch(number)),
            None => {}
        }
        if self.faults.ends > 0 {
            actions.push(Action::Die(number));
            if candidate.election.fence().is_some() && candidate.call.is_none() {
                actions.push(Action::Stop(number));
            }
        }
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let candidates = (0..self.candidates).map(|number| Candidate::new(number, 0, self.timing, 0, 0)).collect();
        vec![State { lease: None, candidates, faults: self.faults }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What a process decides is its own, so the order among processes does not matter.
        if let Some(due) = state.candidates.iter().find(|candidate| candidate.is_due()) {
            actions.push(Action::Decide(due.number));
            if state.faults.pauses > 0 {
                actions.push(Action::Pause(due.number));
            }
            return;
        }
        actions.push(Action::Tick(None));
        if state.faults.slow > 0 {
            actions.extend((0..state.candidates.len()).map(|number| Action::Tick(Some(number))));
        }
        state.candidates.iter().for_each(|candidate| state.around(candidate, actions));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick(slow) => {
                state.faults.slow -= u8::from(slow.is_some());
                for candidate in &mut state.candidates {
                    candidate.clock += u32::from(slow != Some(candidate.number));
                }
            }
            Action::Decide(number) => state.candidates[number].decide(self.timing),
            Action::Pause(number) => {
                state.faults.pauses -= 1;
                state.candidates[number].paused = true;
            }
            Action::GoOn(number) => state.candidates[number].paused = false,
            Action::Arrive(number) => {
                let call = state.candidates[number].call.as_mut()?;
                call.reply = Some(carry_out(&mut state.lease, call.request.clone()));
            }
            Action::ArriveLate(number) => {
                let late = state.candidates[number].late.remove(0);
                carry_out(&mut state.lease, late);
            }
            Action::Answer(number) => {
                let call = state.candidates[number].call.take()?;
                state.candidates[number].answered(call);
            }
            Action::Fail(number) => {
                let call = state.candidates[number].call.take()?;
                state.candidates[number].answered(call);
            }
            Action::GiveUp(number) => {
                state.faults.losses -= 1;
                let mut call = state.candidates[number].call.take()?;
                if call.reply.take().is_none() && matches!(call.request, Request::Write(..)) {
                    state.candidates[number].late.push(call.request.clone());
                }
                state.candidates[number].answered(call);
            }
            Action::Watch(number) => {
                let (version, record) = state.lease.clone()?;
                state.candidates[number].watched(version, record);
            }
            Action::Die(number) | Action::Stop(number) => {
                state.faults.ends -= 1;
                let version = state.version();
                let candidate = &mut state.candidates[number];
                let fresh = Candidate::new(number, candidate.incarnation + 1, self.timing, candidate.clock, version);
                let mut ended = std::mem::replace(candidate, fresh);
                if action == Action::Stop(number) {
                    let (transitions, _) = ended.election.transitions();
                    let released = Record { duration: TICK, transitions, ..Record::default() };
                    ended.late.push(Request::Write(ended.known, released));
                }
                // What it had sent may still arrive.
                ended.late.extend(ended.call.filter(|call| call.reply.is_none()).map(|call| call.request));
                candidate.late = ended.late;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leader", |_, state: &State| {
                state.candidates.iter().filter(|candidate| candidate.leads()).count() <= 1
            }),
            Property::sometimes("a successor", |_, state: &State| {
                let transitions = state.lease.as_ref().map_or(0, |(_, record)| record.transitions);
                transitions > 0 && state.candidates.iter().any(Candidate::leads)
            }),
        ]
    }
}

const NO_FAULTS: Faults = Faults { ends: 0, losses: 0, pauses: 0, slow: 0 };

fn explored(candidates: usize, timing: Timing, faults: Faults) -> impl Checker<Lease> {
    let model = Lease { timing, candidates, faults };
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{candidates} candidates, {faults:?}: {} states", checker.unique_state_count());
    checker
}

#[test]
fn candidates_never_lead_at_once() {
    explored(3, TIMING, Faults { slow: 1, ..NO_FAULTS }).assert_properties();
    explored(2, TIMING, Faults { ends: 1, losses: 1, slow: 1, ..NO_FAULTS }).assert_properties();
}

/// Some five million states; `make soak LONG=1` runs it.
#[test]
#[ignore = "minutes, and some GiB"]
fn candidates_never_lead_at_once_whatever_fails() {
    for faults in [
        Faults { ends: 1, slow: 1, ..NO_FAULTS },
        Faults { losses: 1, slow: 1, ..NO_FAULTS },
        Faults { pauses: 1, slow: 1, ..NO_FAULTS },
    ] {
        explored(3, TIMING, faults).assert_properties();
    }
    explored(2, TIMING, Faults { ends: 1, losses: 1, pauses: 1, slow: 1 }).assert_properties();
}

/// What the fence is for: at the end of the Lease it is too late for a slow clock.
#[test]
fn a_fence_at_the_end_of_the_lease_is_too_late() {
    let timing = Timing { fence: TIMING.duration, ..TIMING };
    assert!(explored(2, timing, Faults { slow: 1, ..NO_FAULTS }).discovery("one leader").is_some());
}

/// The bound of what is assumed of clocks: one that loses all that the fence leaves leads too long.
#[test]
fn a_clock_that_loses_two_ticks_is_too_slow() {
    assert!(explored(2, TIMING, Faults { slow: 2, ..NO_FAULTS }).discovery("one leader").is_some());
}
