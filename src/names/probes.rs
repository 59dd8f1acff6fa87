//! Whether the cluster's DNS forwards each zone in use here, found by questions that only the forwarder can answer. Pure: `now` is an
//! argument.

use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How far apart the probes of a zone are: within minutes a person sees whether a block that they wrote is right.
const INTERVAL: Duration = Duration::from_secs(60);
/// How soon a zone is probed again whose state is not clear.
const RETRY: Duration = Duration::from_secs(5);
/// After how many probes in a row that end elsewhere a zone counts as not forwarded: while the Service turns to a new leader, the
/// cluster's DNS asks its next server.
const MOST_MISSES: u32 = 3;
/// After how many silent probes in a row it counts as not forwarded: for a minute, pods get no answer either.
const MOST_SILENCES: u32 = 12;
/// How many zones are probed at a time, once a second: a list of single names has hundreds of zones.
const AT_A_TIME: usize = 16;

/// Whether a zone's questions arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZoneState {
    /// Not known yet.
    #[default]
    Unknown,
    /// The cluster's DNS forwards them here.
    Forwarded,
    /// It asks elsewhere.
    Missing,
    /// The forwarder's own upstream leads back to it: it answers none of them.
    Looping,
    /// It is not among the zones of the flag: the forwarder refuses its questions, wherever they come from.
    NotServed,
}

impl ZoneState {
    /// Each that a probe can find.
    pub const KNOWN: [Self; 3] = [Self::Forwarded, Self::Missing, Self::Looping];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Forwarded => "forwarded",
            Self::Missing => "missing",
            Self::Looping => "looping",
            Self::NotServed => "not-served",
        }
    }
}

/// Where the question of a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// At the forwarder, asked by every server that answered.
    Here,
    /// Elsewhere.
    Elsewhere,
    /// At the forwarder, asked by its own upstream.
    Loop,
    /// No server answered, which says nothing.
    Silent,
}

/// What is known of one zone.
#[derive(Debug, Default)]
struct Probed {
    state: ZoneState,
    misses: u32,
    silences: u32,
    /// When it is probed next; at once where it never was.
    next: Option<Instant>,
}

/// What is known of each zone.
#[derive(Debug, Default)]
pub struct ZoneProbes {
    zones: BTreeMap<DomainName, Probed>,
    /// The first labels of the questions that are on their way, and whether each has arrived at this process.
    open: BTreeMap<String, bool>,
}

impl ZoneProbes {
    /// The zones to probe now, of those in use; what is known of others is forgotten.
    pub fn due<'a>(&mut self, in_use: impl Iterator<Item = &'a DomainName>, now: Instant) -> Vec<DomainName> {
        let mut before = std::mem::take(&mut self.zones);
        self.zones =
            in_use.map(|zone| before.remove_entry(zone).unwrap_or_else(|| (zone.clone(), Probed::default()))).collect();
        let mut due: Vec<_> =
            self.zones.iter_mut().filter(|(_, probed)| probed.next.is_none_or(|next| next <= now)).collect();
        // The one that waits the longest is first: silent ones at the front must not keep the others out.
        due.sort_by_key(|(_, probed)| probed.next);
        due.truncate(AT_A_TIME);
        let take = |(zone, probed): (&DomainName, &mut Probed)| {
            probed.next = Some(now + RETRY);
            zone.clone()
        };
        due.into_iter().map(take).collect()
    }

    /// The question of a probe is on its way.
    pub fn sent(&mut self, label: &str) {
        self.open.insert(label.to_owned(), false);
    }

    /// A question with this label arrived at the forwarder of this process.
    pub fn arrived(&mut self, label: &str) {
        if let Some(arrived) = self.open.get_mut(label) {
            *arrived = true;
        }
    }

    /// The question of a probe is answered, or given up; returns whether it arrived here.
    pub fn ended(&mut self, label: &str) -> bool {
        self.open.remove(label) == Some(true)
    }

    /// Notes how a probe ended; returns whether that changes the zone's state.
    pub fn note(&mut self, zone: &DomainName, outcome: ProbeOutcome, now: Instant) -> bool {
        let Some(probed) = self.zones.get_mut(zone) else { return false };
        let before = probed.state;
        if outcome != ProbeOutcome::Silent {
            probed.silences = 0;
        }
        match outcome {
            ProbeOutcome::Silent => {
                probed.silences = (probed.silences + 1).min(MOST_SILENCES);
                if probed.silences == MOST_SILENCES {
                    probed.state = ZoneState::Missing;
                }
                return probed.state != before;
            }
            ProbeOutcome::Here => (probed.state, probed.misses) = (ZoneState::Forwarded, 0),
            ProbeOutcome::Loop => (probed.state, probed.misses) = (ZoneState::Looping, 0),
            ProbeOutcome::Elsewhere => {
                probed.misses = (probed.misses + 1).min(MOST_MISSES);
                if probed.misses == MOST_MISSES {
                    probed.state = ZoneState::Missing;
                }
            }
        }
        let is_clear = matches!(probed.misses, 0 | MOST_MISSES);
        probed.next = Some(now + if is_clear { INTERVAL } else { RETRY });
        probed.state != before
    }

    /// The state of a zone.
    #[must_use]
    pub fn state(&self, zone: &str) -> ZoneState {
        self.zones.get(zone).map(|probed| probed.state).unwrap_or_default()
    }

    /// How many zones are in each state that is known.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<ZoneState, usize> {
        let count = |state: ZoneState| (state, self.zones.values().filter(|probed| probed.state == state).count());
        ZoneState::KNOWN.into_iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> DomainName {
        DomainName::parse(text).expect("a name")
    }

    #[test]
    fn a_zone_is_missing_only_after_several_probes_in_a_row() {
        let (mut probes, mut now, a) = (ZoneProbes::default(), Instant::now(), zone("a.example.com"));
        let mut probe = |outcome: ProbeOutcome, after: Duration| {
            now += after;
            let due = probes.due([&a].into_iter(), now);
            assert_eq!(due, std::slice::from_ref(&a), "after {after:?}");
            let changed = probes.note(&a, outcome, now);
            assert!(probes.due([&a].into_iter(), now).is_empty(), "not at once again");
            (probes.state("a.example.com"), changed)
        };
        assert_eq!(probe(ProbeOutcome::Silent, Duration::ZERO), (ZoneState::Unknown, false));
        assert_eq!(probe(ProbeOutcome::Here, RETRY), (ZoneState::Forwarded, true));
        assert_eq!(probe(ProbeOutcome::Elsewhere, INTERVAL), (ZoneState::Forwarded, false), "a hand-over perhaps");
        assert_eq!(probe(ProbeOutcome::Elsewhere, RETRY), (ZoneState::Forwarded, false));
        assert_eq!(probe(ProbeOutcome::Elsewhere, RETRY), (ZoneState::Missing, true));
        assert_eq!(probe(ProbeOutcome::Loop, INTERVAL), (ZoneState::Looping, true));
        assert_eq!(probe(ProbeOutcome::Silent, INTERVAL), (ZoneState::Looping, false), "silence says nothing");
        assert_eq!(probe(ProbeOutcome::Here, RETRY), (ZoneState::Forwarded, true));
        assert_eq!(
            probe(ProbeOutcome::Elsewhere, INTERVAL),
            (ZoneState::Forwarded, false),
            "misses are counted from none"
        );
    }

    #[test]
    fn many_zones_are_probed_in_turns_and_unused_ones_forgotten() {
        let (mut probes, now) = (ZoneProbes::default(), Instant::now());
        let zones: Vec<DomainName> = (0..40).map(|number| zone(&format!("z{number}.example.com"))).collect();
        let turns: Vec<Vec<DomainName>> = (0..4).map(|_| probes.due(zones.iter(), now)).collect();
        assert_eq!(turns.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 8, 0]);
        assert!(probes.note(&zones[7], ProbeOutcome::Here, now));
        assert_eq!(probes.counts()[&ZoneState::Forwarded], 1);
        probes.due(zones[..3].iter(), now);
        assert_eq!((probes.state("z7.example.com"), probes.zones.len()), (ZoneState::Unknown, 3));
        assert!(!probes.note(&zones[7], ProbeOutcome::Here, now), "nobody uses it");
        probes.sent("_citrix-allowlist-1");
        probes.arrived("_citrix-allowlist-2");
        assert!(!probes.ended("_citrix-allowlist-2"), "nobody sent it");
        probes.arrived("_citrix-allowlist-1");
        assert!(probes.ended("_citrix-allowlist-1") && !probes.ended("_citrix-allowlist-1"));
    }
}
