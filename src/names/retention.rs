//! What is held of one name, and for how long. Pure: `now` is an argument.
//!
//! An address is held from its first answer until it has been missing for a whole retention, and for its TTL, of which
//! no more is believed than the longest time between two questions. Missing is measured on a
//! clock of its own, one per family, that runs only between definitive answers: it starts with the first answer that
//! lacks the address, stands still from a failure to the next answer, and so neither a silent server nor a sleeping
//! process ever takes an address away. NXDOMAIN and an empty answer are answers that lack every address.
//!
//! A and AAAA are asked each by its own TTL: an answer that may not be kept has only its own family asked again soon.
//!
//! Removal is not done here and there but in sweeps, see [`sweep_interval`].

mod cached;
mod standing;

use super::NamesSettings;
use super::addresses::{NameAddresses, NameState, Reached, RefusedAddress};
use super::answer::{Answer, Failure, Family};
use crate::bound::{Bound, Full, Level};
pub use standing::FAILURES_TO_GIVE_UP_FAMILY;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest a TTL is believed: seven days, as RFC 8767, section 4, recommends to caches.
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest time between two questions for a name that settings can bring about.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// How many refused addresses are kept to be reported.
const MOST_REFUSED: usize = 64;

/// Bounds on what is believed and held.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The shortest time between two questions, whatever the TTL.
    pub min_ttl: Duration,
    /// The longest time between two questions, whatever the TTL.
    pub max_ttl: Duration,
    /// How long failures may last before the name is flagged as stale.
    pub max_stale: Duration,
    /// How many addresses a name may have.
    pub addresses: usize,
    /// How many names there may be.
    pub names: Bound,
    /// How many addresses there may be of all names.
    pub addresses_in_all: Bound,
    /// How many new addresses there is room for now, and which bound has no more.
    pub room: (usize, Level),
    /// By what factor questions are further apart than TTLs say.
    pub stretch: f64,
}

impl Bounds {
    /// The bounds that are set, where they make sense: no name is asked more than ten times a second, nor less than
    /// once a week, and each may have an address.
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

    /// The same, with questions further apart by a factor of 1 or more.
    #[must_use]
    pub fn stretched(&self, factor: f64) -> Self {
        Self { stretch: factor.max(1.0), ..*self }
    }

    /// The same, with room for so many new addresses.
    #[must_use]
    pub fn with_room(&self, room: usize, level: Level) -> Self {
        Self { room: (room, level), ..*self }
    }
}

/// How far apart the sweeps are that remove what is no longer held: an eighth of the retention. A name whose
/// addresses rotate through a large pool so costs at most eight removals per retention, and an address stays at most
/// an eighth longer than it must. Sweeps of all names of one retention fall together, so that a resource hears of
/// them once.
#[must_use]
pub fn sweep_interval(retention: Duration) -> Duration {
    (retention / 8).max(Duration::from_secs(1))
}

/// What is known of an address of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAddress {
    /// The server that last answered it.
    pub server: SocketAddr,
    /// When it was first answered, of this unbroken time of holding it.
    pub first_seen: Instant,
    /// When it was last answered.
    pub last_seen: Instant,
    /// The TTL it was last answered with, no longer than the longest time between two questions.
    pub ttl: Duration,
    /// Why the guard refuses it, where it does.
    pub refused: Option<Arc<str>>,
    /// The round of its family that it was last answered in.
    round: u64,
    /// Where its family's clock stood at the first answer that lacked it.
    missing_since: Option<Duration>,
    /// Whether policies are known to allow it.
    allowed: bool,
}

/// What is known of one family of a name.
#[derive(Clone, Debug, Default)]
struct CachedFamily {
    /// The newest definitive answer.
    definitive_at: Option<Instant>,
    /// The same, where no failure came after it: the clock below runs from there.
    clock_at: Option<Instant>,
    /// How long definitive answers have followed each other, failures left out.
    clock: Duration,
    /// How many questions in a row every server has failed.
    failures: u32,
    /// How many rounds have asked for it.
    rounds: u64,
    /// Whether the newest round of the name asked for it.
    asked: bool,
    /// When it is to be asked again; none for at once.
    due: Option<Instant>,
    /// What the newest round that asked for it has brought so far.
    round: FamilyRound,
}

/// What one round of questions has brought for one family.
#[derive(Clone, Debug, Default)]
struct FamilyRound {
    answered: bool,
    has_addresses: bool,
    ttl: Option<Duration>,
    failure: Option<(SocketAddr, Failure)>,
    evicted: BTreeSet<IpAddr>,
    left_out: Option<Full>,
}

/// Everything held of one name.
#[derive(Clone, Debug)]
pub struct CachedName {
    cached: BTreeMap<IpAddr, CachedAddress>,
    families: [CachedFamily; 2],
    state: NameState,
    ever_answered: bool,
    /// When the first question ended, answered or not.
    first_round_at: Option<Instant>,
    evicted: usize,
    left_out: Option<Full>,
    late: bool,
}

/// Judges an address: why it is refused, or nothing.
pub type Judge<'a> = &'a dyn Fn(IpAddr) -> Option<Arc<str>>;

impl Default for CachedName {
    fn default() -> Self {
        Self::new()
    }
}

impl CachedName {
    /// A name of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cached: BTreeMap::new(),
            families: Default::default(),
            state: NameState::Waiting,
            ever_answered: false,
            first_round_at: None,
            evicted: 0,
            left_out: None,
            late: false,
        }
    }

    fn family(&mut self, family: Family) -> &mut CachedFamily {
        &mut self.families[family as usize]
    }

    /// A round of questions starts: these families are asked of every server. What is known of the other stands.
    pub fn begin(&mut self, families: &[Family]) {
        for family in Family::ALL {
            let held = self.family(family);
            held.asked = families.contains(&family);
            if held.asked {
                held.rounds += 1;
                held.round = FamilyRound::default();
            }
        }
    }

    /// A server answered. Its addresses are added to what others said; those of them that are refused are returned.
    pub fn answered(
        &mut self,
        family: Family,
        server: SocketAddr,
        answer: &Answer,
        judge: Judge<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let held = self.family(family);
        if let Some(before) = held.clock_at {
            held.clock += now.saturating_duration_since(before);
        }
        held.clock_at = Some(now);
        held.definitive_at = Some(now);
        held.round.answered = true;
        let (addresses, ttl) = match answer {
            Answer::Addresses { addresses, ttl } => (Some(addresses), *ttl),
            Answer::Absent { ttl, .. } => (None, ttl.unwrap_or_default()),
        };
        held.round.ttl = Some(held.round.ttl.map_or(ttl, |least| least.min(ttl)));
        held.round.has_addresses |= addresses.is_some();
        let refusals = addresses.map(|addresses| self.see_all(family, server, addresses, ttl, judge, bounds, now));
        self.evict(bounds.addresses);
        self.settle_early();
        refusals.unwrap_or_default()
    }

    /// Whether the newest round that asked for a family has brought a definitive answer.
    #[must_use]
    pub fn is_answered(&self, family: Family) -> bool {
        self.families[family as usize].round.answered
    }

    /// Whether the newest round that asked for a family has brought a failure.
    #[must_use]
    pub fn is_failed(&self, family: Family) -> bool {
        self.families[family as usize].round.failure.is_some()
    }

    /// A server failed to answer. Nothing is taken away.
    pub fn failed(&mut self, family: Family, server: SocketAddr, failure: Failure) {
        self.family(family).round.failure.get_or_insert((server, failure));
    }

    /// Every server has answered or failed: settles where the name stands, and says how long to wait before the next
    /// round. `random`, between 0 and 1, is for its jitter.
    pub fn finish(&mut self, bounds: &Bounds, random: f64, now: Instant) -> Duration {
        for family in self.families.iter_mut().filter(|family| family.asked) {
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

    /// For how long an address has been missing from answers, failures left out; `None` where the newest answer of its
    /// family has it.
    #[must_use]
    pub fn missing(&self, address: IpAddr, cached: &CachedAddress) -> Option<Duration> {
        let clock = self.families[Family::of(address) as usize].clock;
        cached.missing_since.map(|since| clock.saturating_sub(since))
    }

    fn is_over(&self, address: IpAddr, cached: &CachedAddress, retention: Duration, now: Instant) -> bool {
        self.missing(address, cached).is_some_and(|missing| missing >= retention)
            && now.saturating_duration_since(cached.last_seen) >= cached.ttl
    }

    /// Whether a sweep now would remove anything.
    #[must_use]
    pub fn needs_sweep(&self, retention: Duration, now: Instant) -> bool {
        self.cached.iter().any(|(address, cached)| self.is_over(*address, cached, retention, now))
    }

    /// Removes what has been missing for a whole retention, and for its TTL.
    pub fn sweep(&mut self, retention: Duration, now: Instant) {
        let over: Vec<IpAddr> = self
            .cached
            .iter()
            .filter(|(address, cached)| self.is_over(**address, cached, retention, now))
            .map(|(address, _)| *address)
            .collect();
        for address in over {
            self.cached.remove(&address);
        }
    }

    /// Judges again all that is held, since the guard changed: what is refused now is allowed no more, and what was
    /// refused may be.
    pub fn judge_again(&mut self, judge: Judge<'_>, bounds: &Bounds) {
        for (address, cached) in &mut self.cached {
            cached.refused = judge(*address);
        }
        self.evict(bounds.addresses);
    }

    /// Takes note that policies allow `addresses` now, and gives for each that is new to them how long it had been
    /// answered before.
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

    /// Whether some address is held that policies are not yet known to allow.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.cached.values().any(|cached| !cached.allowed && cached.refused.is_none())
    }

    /// What is to be allowed, and where the name stands.
    #[must_use]
    pub fn view(&self) -> NameAddresses {
        let mut addresses = Vec::with_capacity(self.cached.len());
        let mut refused = Vec::new();
        for (address, cached) in &self.cached {
            match &cached.refused {
                None => addresses.push(*address),
                Some(reason) => {
                    let server = cached.server;
                    refused.push(RefusedAddress { address: *address, server, reason: reason.clone() });
                }
            }
        }
        let reached = Reached { left_out: self.left_out, late: self.late };
        NameAddresses { addresses, state: self.state.clone(), refused, evicted: self.evicted, reached }
    }

    /// Says whether the name is asked notably later than its TTL says.
    pub const fn set_late(&mut self, late: bool) {
        self.late = late;
    }

    /// How many addresses are held, refused ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cached.len()
    }

    /// Whether no address is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cached.is_empty()
    }

    /// Each address held, refused ones included, with what is known of it.
    pub fn cached(&self) -> impl Iterator<Item = (IpAddr, &CachedAddress)> {
        self.cached.iter().map(|(address, cached)| (*address, cached))
    }
}

#[cfg(test)]
mod tests;
