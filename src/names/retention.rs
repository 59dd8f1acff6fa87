//! What is cached of one name, and for how long. Pure: `now` is an argument.
//!
//! An address is cached from its first answer until it has been missing for a whole retention, and for its TTL (at most the
//! longest time between two queries). "Missing" is measured on a clock per family that runs only between definitive answers.
//! It starts with the first answer that lacks the address, and stops from a failure to the next answer. So neither a silent
//! server nor a sleeping process ever takes an address away. NXDOMAIN and an empty answer lack every address.
//!
//! A and AAAA are each queried by their own TTL: an answer that may not be kept speeds up its own family alone.
//!
//! Expired addresses are removed in sweeps, see [`sweep_interval`].

mod cached;
mod standing;

use super::NamesSettings;
use super::addresses::{NameAddresses, NameState, Reached, RefusedAddress};
use super::answer::{Answer, Failure, Family};
use crate::bound::{Bound, Full, Level};
use litemap::LiteMap;
pub use standing::FAILURES_TO_GIVE_UP_FAMILY;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest accepted TTL: seven days, as RFC 8767, section 4, recommends to caches.
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest time between two queries for a name, whatever the settings.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// How many refused addresses are kept to be reported.
const MOST_REFUSED: usize = 64;

/// Bounds on what is cached.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The shortest time between two queries, whatever the TTL.
    pub min_ttl: Duration,
    /// The longest time between two queries, whatever the TTL.
    pub max_ttl: Duration,
    /// How long failures may last before the name is flagged as stale.
    pub max_stale: Duration,
    /// How many addresses a name may have.
    pub addresses: usize,
    /// How many names there may be.
    pub names: Bound,
    /// How many addresses there may be of all names.
    pub addresses_in_all: Bound,
    /// The room for new addresses, and the bound that limits it.
    pub room: (usize, Level),
    /// The factor, of 1 or more, by which queries are further apart than TTLs.
    pub stretch: f64,
}

impl Bounds {
    /// The settings within reason: a name is queried at most ten times a second and at least once a week, and may have an
    /// address.
    #[must_use]
    pub fn within_reason(settings: &NamesSettings) -> Self {
        let min_ttl = settings.min_ttl.clamp(SHORTEST_WAIT, LONGEST_TTL);
        Self {
            min_ttl,
            max_ttl: settings.max_ttl.clamp(min_ttl, LONGEST_TTL),
            max_stale: settings.max_stale,
            addresses: settings.addresses_per_name.max(1),
            names: settings.names,
            addresses_in_all: settings.addresses,
            room: (usize::MAX, Level::Process),
            stretch: 1.0,
        }
    }
}

/// How far apart the sweeps are that remove expired addresses: an eighth of the retention. So a name that rotates through a
/// large pool costs at most eight removals per retention, and an address stays at most an eighth longer. Sweeps of all names
/// of one retention fall together, so that a resource is woken once.
#[must_use]
pub fn sweep_interval(retention: Duration) -> Duration {
    (retention / 8).max(Duration::from_secs(1))
}

/// A cached address of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAddress {
    /// The server that last answered it.
    pub server: SocketAddr,
    /// When it was first answered, since it is cached without a break.
    pub first_seen: Instant,
    /// When it was last answered.
    pub last_seen: Instant,
    /// The TTL of its last answer, at most the longest time between two queries.
    pub ttl: Duration,
    /// Why the guard refuses it, if it does.
    pub refused: Option<Arc<str>>,
    /// The round of its family that last answered it.
    round: u64,
    /// Its family's clock at the first answer that lacked it.
    missing_since: Option<Duration>,
    /// Whether policies are known to allow it.
    allowed: bool,
}

/// One family of a name.
#[derive(Clone, Debug, Default)]
struct CachedFamily {
    /// The newest definitive answer.
    definitive_at: Option<Instant>,
    /// The same, if no failure came after it: the clock below runs from there.
    clock_at: Option<Instant>,
    /// How long definitive answers have followed each other, failures left out.
    clock: Duration,
    /// How many rounds in a row every server has failed.
    failures: u32,
    /// How many rounds have queried it.
    rounds: u64,
    /// Whether the newest round of the name queried it.
    queried: bool,
    /// When it is due again; none for at once.
    due: Option<Instant>,
    /// What its newest round has brought so far.
    round: FamilyRound,
}

/// What one round has brought for one family.
#[derive(Clone, Debug, Default)]
struct FamilyRound {
    answered: bool,
    has_addresses: bool,
    ttl: Option<Duration>,
    /// Boxed, since a round without one is the rule.
    failure: Option<Box<(SocketAddr, Failure)>>,
    evicted: BTreeSet<IpAddr>,
    left_out: Option<Full>,
}

impl CachedAddress {
    const fn new(server: SocketAddr, round: u64, now: Instant) -> Self {
        Self {
            server,
            first_seen: now,
            last_seen: now,
            ttl: Duration::ZERO,
            refused: None,
            round,
            missing_since: None,
            allowed: false,
        }
    }
}

/// Everything cached of one name.
#[derive(Clone, Debug, Default)]
pub struct CachedName {
    /// Most names have few: a tree would take the room of eleven for each.
    cached: LiteMap<IpAddr, CachedAddress>,
    families: [CachedFamily; 2],
    state: NameState,
    ever_answered: bool,
    /// When the first round ended, answered or not.
    first_round_at: Option<Instant>,
    evicted: usize,
    left_out: Option<Full>,
    /// Whether it is queried notably later than its TTL allows.
    pub(super) late: bool,
}

/// Judges an address: why it is refused, or nothing.
pub type Judge<'a> = &'a dyn Fn(IpAddr) -> Option<Arc<str>>;

impl CachedName {
    fn family(&mut self, family: Family) -> &mut CachedFamily {
        &mut self.families[family as usize]
    }

    /// A round starts: these families are queried at every server. The other keeps what is known.
    pub fn begin(&mut self, families: &[Family]) {
        for family in Family::ALL {
            let cached = self.family(family);
            cached.queried = families.contains(&family);
            if cached.queried {
                cached.rounds += 1;
                cached.round = FamilyRound::default();
            }
        }
    }

    /// A server answered. Its addresses join those of other servers; refused ones are returned.
    pub fn answered(
        &mut self,
        family: Family,
        server: SocketAddr,
        answer: &Answer,
        judge: Judge<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let cached = self.family(family);
        if let Some(before) = cached.clock_at {
            cached.clock += now.saturating_duration_since(before);
        }
        cached.clock_at = Some(now);
        cached.definitive_at = Some(now);
        cached.round.answered = true;
        let ttl = match answer {
            Answer::Addresses { ttl, .. } => *ttl,
            Answer::Absent { ttl, .. } => ttl.unwrap_or_default(),
        };
        cached.round.ttl = Some(cached.round.ttl.map_or(ttl, |least| least.min(ttl)));
        cached.round.has_addresses |= matches!(answer, Answer::Addresses { .. });
        let refusals = self.answered_late(family, server, answer, judge, bounds, now);
        self.settle_early();
        refusals
    }

    /// Whether the newest round of a family has brought a definitive answer.
    #[must_use]
    pub fn is_answered(&self, family: Family) -> bool {
        self.families[family as usize].round.answered
    }

    /// Whether the newest round of a family has brought a failure.
    #[must_use]
    pub fn is_failed(&self, family: Family) -> bool {
        self.families[family as usize].round.failure.is_some()
    }

    /// A server failed to answer. Nothing is taken away.
    pub fn failed(&mut self, family: Family, server: SocketAddr, failure: Failure) {
        self.family(family).round.failure.get_or_insert_with(|| Box::new((server, failure)));
    }

    /// Every server has answered or failed: settles the name's state, and returns the time until the next round. `random`,
    /// between 0 and 1, is for its jitter.
    pub fn finish(&mut self, bounds: &Bounds, random: f64, now: Instant) -> Duration {
        for family in self.families.iter_mut().filter(|family| family.queried) {
            if family.round.answered {
                family.failures = 0;
            } else {
                family.failures = family.failures.saturating_add(1);
                family.clock_at = None;
            }
        }
        for (address, cached) in &mut self.cached {
            let family = &self.families[Family::of(*address) as usize];
            if family.round.answered && cached.round != family.rounds {
                cached.missing_since.get_or_insert(family.clock);
            }
        }
        self.evicted = self.families.iter().map(|family| family.round.evicted.len()).sum();
        self.left_out = self.families.iter().find_map(|family| family.round.left_out);
        self.give_back_room();
        self.settle(bounds, now);
        self.schedule(bounds, random, now);
        self.next_question(now)
    }

    /// No query is sent for a while, or those in flight are given up: time that passes now does not count.
    pub fn interrupt(&mut self) {
        for family in &mut self.families {
            family.clock_at = None;
        }
    }

    /// How long answers have lacked an address, failures left out; `None` if the newest answer of its family has it.
    #[must_use]
    pub fn missing(&self, address: IpAddr, cached: &CachedAddress) -> Option<Duration> {
        let clock = self.families[Family::of(address) as usize].clock;
        cached.missing_since.map(|since| clock.saturating_sub(since))
    }

    fn is_expired(&self, address: IpAddr, cached: &CachedAddress, retention: Duration, now: Instant) -> bool {
        self.missing(address, cached).is_some_and(|missing| missing >= retention)
            && now.saturating_duration_since(cached.last_seen) >= cached.ttl
    }

    /// Whether a sweep now would remove anything.
    #[must_use]
    pub fn needs_sweep(&self, retention: Duration, now: Instant) -> bool {
        self.cached.iter().any(|(address, cached)| self.is_expired(*address, cached, retention, now))
    }

    /// Removes expired addresses: those missing for a whole retention, and for their TTL.
    pub fn sweep(&mut self, retention: Duration, now: Instant) {
        let mut cached = std::mem::take(&mut self.cached);
        cached.retain(|address, cached| !self.is_expired(*address, cached, retention, now));
        self.cached = cached;
    }

    /// Judges every cached address again, by a new guard: addresses become refused, and refused ones allowed.
    pub fn judge_again(&mut self, judge: Judge<'_>, bounds: &Bounds) {
        for (address, cached) in &mut self.cached {
            cached.refused = judge(*address);
        }
        self.evict(bounds.addresses);
    }

    /// Notes that policies now allow `addresses`, and returns for each new one how long it had been answered before.
    pub fn allowed(&mut self, addresses: &[IpAddr], now: Instant) -> Vec<Duration> {
        let pending = self.cached.iter_mut().filter(|(_, cached)| !cached.allowed);
        pending
            .filter(|(address, _)| addresses.binary_search(address).is_ok())
            .map(|(_, cached)| {
                cached.allowed = true;
                now.saturating_duration_since(cached.first_seen)
            })
            .collect()
    }

    /// Whether some cached address is not yet known to be allowed.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.cached.values().any(|cached| !cached.allowed && cached.refused.is_none())
    }

    /// The addresses to allow, and the name's state.
    #[must_use]
    pub fn view(&self) -> NameAddresses {
        let (mut addresses, mut refused) = (Vec::with_capacity(self.cached.len()), Vec::new());
        for (&address, CachedAddress { server, refused: reason, .. }) in &self.cached {
            match reason.clone() {
                None => addresses.push(address),
                Some(reason) => refused.push(RefusedAddress { address, server: *server, reason }),
            }
        }
        let reached = Reached { left_out: self.left_out, late: self.late };
        NameAddresses { addresses, state: self.state.clone(), refused, evicted: self.evicted, reached }
    }

    /// One cached address, refused or not.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&CachedAddress> {
        self.cached.get(&address)
    }

    /// Each cached address, refused ones included.
    pub fn cached(&self) -> impl ExactSizeIterator<Item = (IpAddr, &CachedAddress)> {
        self.cached.iter().map(|(address, cached)| (*address, cached))
    }
}

#[cfg(test)]
mod tests;
