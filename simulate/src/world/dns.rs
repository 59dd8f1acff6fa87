//! DNS without sockets: several servers, each with a cache of its own, that rotate, lie and die.

use super::SERVERS;
use super::cluster_dns::UPSTREAMS;
use citrix_allowlist::lock::lock;
use citrix_allowlist::names::{Answer, Failure, Family, Lookup, LookupOutcome};
use connectivity_allowlist::net::DomainName;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How a server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFault {
    /// From its cache, or from the zone.
    #[default]
    None,
    /// Nothing at all.
    Silent,
    /// SERVFAIL.
    Failing,
    /// NXDOMAIN to every second query.
    Flapping,
    /// No address of any name.
    Empty,
    /// An address that no policy may allow.
    Lying,
    /// After 700 ms.
    Slow,
    /// Over UDP none of the records, and that there are more.
    Truncating,
}

/// The answers of a server that lies: services of the cluster, the machine, metadata of a cloud, everything.
const LIES: [[u8; 4]; 4] = [[10, 96, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0]];
/// How long a name's absence may be cached.
const ABSENT: Duration = Duration::from_secs(300);

impl DnsFault {
    /// Every fault but those that were added later.
    pub const ALL: [Self; 5] = [Self::Silent, Self::Failing, Self::Flapping, Self::Empty, Self::Lying];
}

/// A name's records.
#[derive(Clone, Debug)]
struct Records {
    /// All its addresses: each answer has some, others each time.
    addresses: Vec<IpAddr>,
    shown: usize,
    ttl: Duration,
    /// How often the zone was asked.
    turn: usize,
}

#[derive(Debug, Default)]
struct State {
    zone: BTreeMap<String, Records>,
    faults: BTreeMap<SocketAddr, DnsFault>,
    caches: BTreeMap<(SocketAddr, String), (BTreeSet<IpAddr>, Instant)>,
    /// When each address was last answered for a name, by anybody, and until when a client may keep it.
    answered: Answered,
    queries: usize,
    /// When an address was last answered that never was before.
    newest: Option<Instant>,
}

/// Every address that was ever answered for a name: when last, and until when a client may keep it.
pub type Answered = BTreeMap<(String, IpAddr), (Instant, Instant)>;

/// DNS. Clones are the same servers.
#[derive(Clone, Debug, Default)]
pub struct Dns(Arc<Mutex<State>>);

impl Dns {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Sets a name's addresses, how many of them an answer has, and for how long it may be kept.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>, shown: usize, ttl: Duration) {
        self.lock().zone.insert(name.to_owned(), Records { addresses, shown, ttl, turn: 0 });
    }

    /// Changes how a server answers.
    pub fn fault(&self, server: SocketAddr, fault: DnsFault) {
        self.lock().faults.insert(server, fault);
    }

    fn fault_of(&self, server: SocketAddr) -> DnsFault {
        self.lock().faults.get(&resolver(server)).copied().unwrap_or_default()
    }

    /// How long a question is on its way to a server, and its reply back.
    #[must_use]
    pub fn way(&self, server: SocketAddr) -> Duration {
        Duration::from_millis(if self.fault_of(server) == DnsFault::Slow { 700 } else { 2 })
    }

    /// Whether a server's replies over UDP have no records.
    #[must_use]
    pub fn truncates(&self, server: SocketAddr) -> bool {
        self.fault_of(server) == DnsFault::Truncating
    }

    /// Looks at every address that was ever answered for a name.
    pub fn answered<T>(&self, look: impl FnOnce(&Answered) -> T) -> T {
        look(&self.lock().answered)
    }

    /// Whether an address was answered for the first time since then.
    #[must_use]
    pub fn is_news_since(&self, then: Instant) -> bool {
        self.lock().newest.is_some_and(|newest| newest >= then)
    }

    /// The TTL of each name.
    pub fn ttls(&self) -> impl Iterator<Item = Duration> + use<> {
        self.lock().zone.values().map(|records| records.ttl).collect::<Vec<_>>().into_iter()
    }

    /// How many names there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.lock().zone.len()
    }

    /// How many queries there were.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.lock().queries
    }

    /// A server's answer; `None` where it is silent. Only the operator's own queries are counted.
    pub fn reply(
        &self,
        server: SocketAddr,
        name: &DomainName,
        family: Family,
        is_counted: bool,
    ) -> Option<LookupOutcome> {
        let server = resolver(server);
        let mut state = self.lock();
        let state = &mut *state;
        state.queries += usize::from(is_counted);
        let absent = |nxdomain| Ok(Answer::Absent { nxdomain, ttl: Some(ABSENT) });
        match state.faults.get(&server).copied().unwrap_or_default() {
            DnsFault::Silent => return None,
            DnsFault::Failing => return Some(Err(Failure::Code("SERVFAIL".into()))),
            DnsFault::Flapping if state.queries.is_multiple_of(2) => return Some(absent(true)),
            DnsFault::Empty => return Some(absent(false)),
            DnsFault::Lying => {
                let addresses = BTreeSet::from([IpAddr::from(LIES[state.queries % LIES.len()])]);
                return Some(Ok(Answer::Addresses { addresses, ttl: Duration::from_secs(300) }));
            }
            DnsFault::None | DnsFault::Flapping | DnsFault::Slow | DnsFault::Truncating => {}
        }
        let now = Instant::now();
        let key = (server, name.as_str().to_owned());
        let cached = state.caches.get(&key).filter(|(_, until)| *until > now).cloned();
        let (shown, until) = match cached {
            Some(cached) => cached,
            None => {
                let Some(records) = state.zone.get_mut(name.as_str()) else { return Some(absent(true)) };
                let all = records.addresses.len();
                let picked = (0..records.shown.min(all)).map(|index| records.addresses[(records.turn + index) % all]);
                let picked: BTreeSet<IpAddr> = picked.collect();
                records.turn += 1;
                let fresh = (picked, now + records.ttl);
                state.caches.insert(key, fresh.clone());
                fresh
            }
        };
        let of_family: BTreeSet<IpAddr> = shown.into_iter().filter(|address| Family::of(*address) == family).collect();
        if of_family.is_empty() {
            return Some(absent(false));
        }
        for address in &of_family {
            if state.answered.insert((name.as_str().to_owned(), *address), (now, until)).is_none() {
                state.newest = Some(now);
            }
        }
        Some(Ok(Answer::Addresses { addresses: of_family, ttl: until.duration_since(now) }))
    }
}

/// The server behind an address: the forwarder's upstreams are the same servers.
fn resolver(server: SocketAddr) -> SocketAddr {
    let upstream = UPSTREAMS.iter().position(|upstream| *upstream == server);
    upstream.map_or(server, |index| SERVERS[index])
}

impl Lookup for Dns {
    fn ask(&self, server: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let (dns, name) = (self.clone(), name.clone());
        Box::pin(async move {
            tokio::time::sleep(dns.way(server)).await;
            match dns.reply(server, &name, family, true) {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        })
    }
}
