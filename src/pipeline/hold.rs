//! When the first policy of a direction may appear. Pure.
//!
//! A first policy isolates the pods it selects: from then on everything it does not list is cut. So it waits until every name
//! has a definitive answer. For names whose servers fail it waits a bounded time. If no name has been answered at all, it
//! waits without a bound.

use super::carry::Carry;
use crate::engines::Layout;
use crate::memory::Pressure;
use crate::names::{Addresses, NameState};
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::plan::{EmptyReason, Plan};
use crate::status::Outcome;
use connectivity_allowlist::net::Direction;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Why first policies may not appear yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The outcome meanwhile.
    pub outcome: Outcome,
    /// When the wait ends by itself; `None` where only an answer ends it.
    pub until: Option<Instant>,
    /// The directions that wait.
    pub directions: Vec<Direction>,
}

/// The directions that a plan wants and that have no policy yet.
#[must_use]
pub(super) fn first_policies(plan: &Plan, applied: Layout) -> Vec<Direction> {
    let is_wanted = |direction: Direction| plan.direction(direction).is_some() || plan.absence(direction).is_some();
    let mut directions = Direction::ALL.to_vec();
    directions.retain(|direction| is_wanted(*direction) && applied.direction(*direction) == 0);
    directions
}

/// The message of a resource that has to wait for memory: one that has no policy, and that this process has not decided on.
/// Existing policies are always kept current. A resource decided on before goes on: its names are in memory already.
#[must_use]
pub fn waits_for_memory(
    carry: &Carry,
    existing: &BTreeMap<ObjectKey, Observed>,
    pressure: &Pressure,
) -> Option<String> {
    let is_known = carry.accepted.is_some() || existing.keys().any(ObjectKey::is_policy);
    (!is_known && pressure.is_high()).then(|| pressure.in_words("the first policy"))
}

/// Whether first policies in these directions have to wait. They wait for names without a definitive answer, at most for
/// `longest`. They also wait while one of the directions has no usable address at all, since both appear or none.
#[must_use]
pub(super) fn hold(
    plan: &Plan,
    first: &[Direction],
    addresses: &Addresses,
    since: Instant,
    longest: Duration,
    now: Instant,
) -> Option<Wait> {
    if first.is_empty() {
        return None;
    }
    // A name that is left out is not waited for, and is no answer either.
    let total = addresses.by_name.values().filter(|name| !matches!(name.state, NameState::LeftOut(_))).count();
    let waiting = addresses.by_name.values().filter(|name| !name.state.is_definitive()).count();
    let none_answered = waiting == total;
    // A wait beyond the clock's end never ends.
    let until = since.checked_add(longest).filter(|_| !none_answered);
    if waiting > 0 && until.is_none_or(|until| now < until) {
        let outcome = Outcome::WaitingForNames { waiting, none_answered };
        return Some(Wait { outcome, until, directions: first.to_vec() });
    }
    let failed = |direction: &&Direction| plan.absence(**direction).is_some_and(EmptyReason::is_failure);
    let outcome = Outcome::NothingUsable(*first.iter().find(failed)?);
    Some(Wait { outcome, until: None, directions: first.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NameAddresses;
    use connectivity_allowlist::net::DomainName;
    use std::sync::Arc;

    const LONGEST: Duration = Duration::from_secs(300);

    fn known(states: &[NameState]) -> Addresses {
        let by_name = states.iter().enumerate().map(|(index, state)| {
            let name = DomainName::parse(&format!("name{index}.example.com")).expect("a name");
            (name, Arc::new(NameAddresses { state: state.clone(), ..NameAddresses::default() }))
        });
        Addresses { by_name: by_name.collect() }
    }

    fn failing(ever_answered: bool) -> NameState {
        NameState::Failing { error: "SERVFAIL".into(), stale: false, ever_answered }
    }

    fn wait(states: &[NameState], passed: Duration) -> Option<Wait> {
        let start = Instant::now();
        let mut hold = hold(&Plan::default(), &[Direction::Outbound], &known(states), start, LONGEST, start + passed);
        if let Some(until) = hold.as_mut().and_then(|hold| hold.until.as_mut()) {
            assert_eq!(*until, start + LONGEST);
        }
        hold
    }

    fn waits_for(waiting: usize, none_answered: bool) -> Outcome {
        Outcome::WaitingForNames { waiting, none_answered }
    }

    #[test]
    fn it_opens_once_names_are_answered_or_the_time_is_over() {
        assert_eq!(wait(&[], Duration::ZERO), None);
        assert_eq!(wait(&[NameState::Answered, NameState::Absent, failing(true)], Duration::ZERO), None);
        let some = [NameState::Answered, failing(false), NameState::Waiting];
        let waiting = wait(&some, LONGEST - Duration::from_secs(1)).expect("a wait");
        assert_eq!((waiting.outcome, waiting.until.is_some()), (waits_for(2, false), true));
        assert_eq!(wait(&some, LONGEST), None);
        let none = wait(&[failing(false), NameState::Waiting], Duration::from_secs(86_400)).expect("a wait");
        assert_eq!((none.outcome, none.until), (waits_for(2, true), None));
        let now = Instant::now();
        let forever = hold(&Plan::default(), &[Direction::Outbound], &known(&some), now, Duration::MAX, now);
        let (outcome, directions) = (waits_for(2, false), vec![Direction::Outbound]);
        assert_eq!(forever, Some(Wait { outcome, until: None, directions }));
    }

    #[test]
    fn a_direction_without_any_address_holds_both() {
        let plan = Plan { absences: vec![(Direction::Inbound, EmptyReason::Unresolved)], ..Plan::default() };
        let now = Instant::now();
        let of = |first: &[Direction]| hold(&plan, first, &known(&[NameState::Absent]), now, LONGEST, now);
        let outcome = Outcome::NothingUsable(Direction::Inbound);
        assert_eq!(of(&Direction::ALL), Some(Wait { outcome, until: None, directions: Direction::ALL.to_vec() }));
        assert_eq!(of(&[Direction::Outbound]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn only_a_wanted_unapplied_direction_has_a_first_policy() {
        let absences = vec![(Direction::Outbound, EmptyReason::NoMatch), (Direction::Inbound, EmptyReason::NoMatch)];
        let plan = Plan { absences, ..Plan::default() };
        let applied = Layout { outbound: 1, inbound: 0 };
        assert_eq!(first_policies(&plan, applied), [Direction::Inbound]);
        assert_eq!(first_policies(&Plan::default(), Layout::default()), []);
    }
}
