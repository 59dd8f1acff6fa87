//! Whether the first policy of a resource may appear yet. Pure.
//!
//! It isolates the pods it selects: from then on whatever it does not list is cut. So it waits until every name has
//! had a definitive answer; for names that fail in passing it waits so long and no longer; and where no name has been
//! answered at all, it waits on.

use crate::names::Addresses;
use std::time::{Duration, Instant};

/// Whether the first policy may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// It waits.
    Held {
        /// Names without a definitive answer.
        waiting: usize,
        /// When it stops waiting for them; `None` where no name has been answered at all.
        until: Option<Instant>,
    },
}

/// Decides from what is known of the names, since when the resource has waited, and how long it may.
#[must_use]
pub fn gate(addresses: &Addresses, since: Instant, longest: Duration, now: Instant) -> Gate {
    let total = addresses.by_name.len();
    let waiting = addresses.by_name.values().filter(|name| !name.state.is_definitive()).count();
    if waiting == 0 {
        return Gate::Open;
    }
    if waiting == total {
        return Gate::Held { waiting, until: None };
    }
    // A wait beyond the clock's end is one that is never over.
    match since.checked_add(longest) {
        Some(until) if now >= until => Gate::Open,
        until => Gate::Held { waiting, until },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NameAddresses, NameState};
    use crate::net::DomainName;
    use std::sync::Arc;

    fn known(states: &[NameState]) -> Addresses {
        let by_name = states.iter().enumerate().map(|(index, state)| {
            let name = DomainName::parse(&format!("name{index}.example.com")).expect("a name");
            let known = NameAddresses { addresses: vec![], state: state.clone(), refused: vec![], evicted: 0 };
            (name, Arc::new(known))
        });
        Addresses { by_name: by_name.collect() }
    }

    fn failing(ever_answered: bool) -> NameState {
        NameState::Failing { error: "SERVFAIL".into(), stale: false, ever_answered }
    }

    #[test]
    fn it_opens_when_every_name_is_answered_and_holds_for_so_long_otherwise() {
        let start = Instant::now();
        let longest = Duration::from_secs(300);
        let gate_of = |states: &[NameState], passed| gate(&known(states), start, longest, start + passed);
        let held = |waiting, until| Gate::Held { waiting, until };
        assert_eq!(gate_of(&[], Duration::ZERO), Gate::Open);
        assert_eq!(gate_of(&[NameState::Answered, NameState::Absent, failing(true)], Duration::ZERO), Gate::Open);
        let some = [NameState::Answered, failing(false), NameState::Waiting];
        assert_eq!(gate_of(&some, Duration::from_secs(299)), held(2, Some(start + longest)));
        assert_eq!(gate_of(&some, longest), Gate::Open);
        let forever = gate(&known(&some), start, Duration::MAX, start);
        assert_eq!(forever, held(2, None));
        let none = [failing(false), NameState::Waiting];
        assert_eq!(gate_of(&none, Duration::from_secs(86_400)), held(2, None));
    }
}
