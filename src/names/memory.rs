//! The addresses that one resource recovered from its objects after a restart. Pure.
//!
//! They stay that resource's own. Its objects lie in its namespace, where other writers can use any field manager's name.
//! In the shared table, one tenant's forgery would be opened to every other.

use super::addresses::{Addresses, NameState};
use super::retention::sweep_interval;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many addresses are recovered of one name: as many as the table caches of one by default.
const MOST_ADDRESSES: usize = 1000;

/// Time that passes only while DNS answers: the silence of a server does not show that an address is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnsweredTime {
    passed: Duration,
    since: Option<Instant>,
}

impl AnsweredTime {
    /// Returns how much has passed until `now`, and counts on from here if DNS answers.
    pub fn look(&mut self, answers: bool, now: Instant) -> Duration {
        if let Some(since) = self.since {
            self.passed = self.passed.saturating_add(now.saturating_duration_since(since));
        }
        self.since = answers.then_some(now);
        self.passed
    }

    /// How long after the last look `retention` will have passed, plus a margin in which common ends are seen together; `None`
    /// while nothing passes.
    #[must_use]
    pub fn left(&self, retention: Duration) -> Option<Duration> {
        self.since?;
        Some(retention.saturating_sub(self.passed).saturating_add(sweep_interval(retention)))
    }
}

/// The recovered addresses of one resource. Each counts as seen at start, and expires once answers have lacked it for a whole
/// retention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredAddresses {
    names: BTreeMap<DomainName, Recovered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Recovered {
    addresses: Vec<IpAddr>,
    missing: AnsweredTime,
}

impl RecoveredAddresses {
    /// Recovers these addresses, at most a thousand of each name.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (DomainName, Vec<IpAddr>)>) -> Self {
        let recovered = |(name, mut addresses): (DomainName, Vec<IpAddr>)| {
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(MOST_ADDRESSES);
            (name, Recovered { addresses, missing: AnsweredTime::default() })
        };
        Self { names: names.into_iter().map(recovered).collect() }
    }

    /// The known addresses with the recovered ones. Forgets what was answered again, what answers lacked for a whole
    /// `retention`, what is no longer `allowed`, and unused names.
    pub fn join(
        &mut self,
        known: &Arc<Addresses>,
        retention: Duration,
        allowed: impl Fn(IpAddr) -> bool,
        now: Instant,
    ) -> Arc<Addresses> {
        self.names.retain(|name, recovered| {
            let Some(known) = known.by_name.get(name) else { return false };
            // An answer that a bound cut short may contain the recovered addresses: none of them is missing.
            let is_whole = known.reached.left_out.is_none();
            let missing = recovered.missing.look(known.state.is_settled() && is_whole, now);
            recovered.addresses.retain(|address| known.addresses.binary_search(address).is_err() && allowed(*address));
            missing < retention && !recovered.addresses.is_empty()
        });
        if self.names.is_empty() {
            return Arc::clone(known);
        }
        let mut joined = Addresses::clone(known);
        for (name, recovered) in &self.names {
            let Some(known) = joined.by_name.get_mut(name) else { continue };
            let both = Arc::make_mut(known);
            both.addresses.extend(&recovered.addresses);
            both.addresses.sort_unstable();
            if let NameState::Failing { ever_answered, .. } = &mut both.state {
                *ever_answered = true;
            }
        }
        Arc::new(joined)
    }

    /// Whether a name has recovered addresses.
    #[must_use]
    pub fn knows(&self, name: &DomainName) -> bool {
        self.names.contains_key(name)
    }

    /// How long after the last [`Self::join`] the next recovered address expires; `None` if none does.
    #[must_use]
    pub fn left(&self, retention: Duration) -> Option<Duration> {
        self.names.values().filter_map(|recovered| recovered.missing.left(retention)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NameAddresses;

    const RETENTION: Duration = Duration::from_secs(3600);

    fn name() -> DomainName {
        DomainName::parse("a.example.com").expect("a name")
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([20, 0, 0, last])
    }

    fn known(state: NameState, addresses: &[IpAddr]) -> Arc<Addresses> {
        let known = NameAddresses { addresses: addresses.to_vec(), state, ..NameAddresses::default() };
        Arc::new(Addresses { by_name: BTreeMap::from([(name(), Arc::new(known))]) })
    }

    fn failing() -> NameState {
        NameState::Failing { error: "SERVFAIL".into(), stale: false, ever_answered: false }
    }

    #[test]
    fn restored_addresses_outlive_a_dns_outage_and_a_retention() {
        let start = Instant::now();
        let mut memory = RecoveredAddresses::new([(name(), vec![ip(2), ip(1), ip(2), ip(9)])]);
        let mut seen = |known: &Arc<Addresses>, passed: Duration| {
            let joined = memory.join(known, RETENTION, |address| address != ip(9), start + passed);
            (joined.by_name[&name()].addresses.clone(), memory.left(RETENTION))
        };
        let hour = RETENTION;
        let later = Some(RETENTION + RETENTION / 8);
        assert_eq!(seen(&known(NameState::Waiting, &[]), Duration::ZERO), (vec![ip(1), ip(2)], None));
        assert_eq!(seen(&known(failing(), &[]), 30 * hour), (vec![ip(1), ip(2)], None));
        let answered = known(NameState::Answered, &[ip(1), ip(3)]);
        assert_eq!(seen(&answered, 31 * hour), (vec![ip(1), ip(2), ip(3)], later));
        assert_eq!(seen(&known(failing(), &[ip(1), ip(3)]), 31 * hour + hour / 2).0, [ip(1), ip(2), ip(3)]);
        assert_eq!(seen(&answered, 90 * hour).0, [ip(1), ip(2), ip(3)], "an outage is no part of the retention");
        assert_eq!(seen(&answered, 90 * hour + hour / 2), (vec![ip(1), ip(3)], None));
    }

    /// A restart fills the table in another order: an applied address that DNS always gave found no room any more, and was
    /// taken from policies after a retention.
    #[test]
    fn an_address_that_a_bound_leaves_out_is_not_missing() {
        let start = Instant::now();
        let mut memory = RecoveredAddresses::new([(name(), vec![ip(1), ip(2)])]);
        let mut seen = |known: &Arc<Addresses>, passed: Duration| {
            memory.join(known, RETENTION, |_| true, start + passed).by_name[&name()].addresses.clone()
        };
        let whole = known(NameState::Answered, &[ip(1)]);
        let mut cut = Addresses::clone(&whole);
        let full = crate::bound::Full { level: crate::bound::Level::Process, bound: 80_000 };
        let entry = Arc::make_mut(cut.by_name.get_mut(&name()).expect("an entry"));
        entry.reached.left_out = Some(full);
        let cut = Arc::new(cut);
        for hours in [0, 1, 2, 30] {
            assert_eq!(seen(&cut, hours * RETENTION), [ip(1), ip(2)]);
        }
        assert_eq!(seen(&whole, 31 * RETENTION), [ip(1), ip(2)]);
        assert_eq!(seen(&whole, 32 * RETENTION), [ip(1)], "with room it expires after a retention");
    }

    #[test]
    fn unused_names_are_forgotten_and_restored_ones_gain_nothing() {
        let mut memory = RecoveredAddresses::new([(name(), vec![ip(1)])]);
        let others = Arc::new(Addresses::default());
        let joined = memory.join(&others, RETENTION, |_| true, Instant::now());
        assert!(Arc::ptr_eq(&joined, &others));
        assert_eq!(memory, RecoveredAddresses::default());
        let many = (0..2000u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
        assert_eq!(RecoveredAddresses::new([(name(), many)]).names[&name()].addresses.len(), MOST_ADDRESSES);
    }
}
