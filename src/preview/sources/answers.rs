//! The addresses of names: from a file of saved answers, or from DNS.

use super::read;
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::names::retention::{Bounds, CachedName, FAILURES_TO_GIVE_UP_FAMILY};
use crate::names::servers::{RESOLV_CONF, nameservers, servers_to_ask};
use crate::names::{Addresses, Answer, Failure, Family, HickoryLookup, Lookup as _, NamesSettings, QUERY_TIMEOUT};
use crate::preview::hosts::{self, Hosts};
use crate::text::output::Progress;
use anyhow::{Context as _, bail};
use connectivity_allowlist::net::DomainName;
use futures::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queries in flight at a time.
const DNS_IN_FLIGHT: usize = 64;
/// How often a query without an answer is tried.
const DNS_TRIES: usize = 2;

/// A server's response for a name in one family.
type DnsResponse = (SocketAddr, Family, Result<Answer, Failure>);

/// Gets the addresses of names, of each name once.
pub(crate) struct Answers {
    hosts: Option<Hosts>,
    servers: Vec<SocketAddr>,
    resolved: BTreeMap<DomainName, Vec<DnsResponse>>,
}

/// The applied addresses of names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Applied addresses, by name.
    pub addresses: BTreeMap<DomainName, Vec<IpAddr>>,
    /// Whether names with applied addresses are queried too: then answers are added.
    pub ask_again: bool,
}

/// The addresses of names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// The addresses of each name.
    pub addresses: Addresses,
    /// Applied addresses that the newest answers lack.
    pub missing: Vec<(DomainName, IpAddr)>,
}

impl Answers {
    /// Answers from `hosts`, where that is given, else from `servers`, or this machine's where there are none.
    pub fn new(hosts: Option<&Path>, servers: &[SocketAddr]) -> anyhow::Result<Self> {
        let saved = |path: &Path| {
            let text = String::from_utf8_lossy(&read(path, "--hosts")?).into_owned();
            hosts::parse(&text).map_err(|error| anyhow::anyhow!("--hosts {}:{error}", path.display()))
        };
        let hosts = hosts.map(saved).transpose()?;
        Ok(Self { hosts, servers: servers.to_vec(), resolved: BTreeMap::new() })
    }

    /// Whether answers come from `--hosts`.
    pub const fn are_saved(&self) -> bool {
        self.hosts.is_some()
    }

    /// The addresses of names. Applied addresses stay, as the controller keeps them for a retention; those that the newest
    /// answers lack are listed as missing.
    pub fn addresses(
        &mut self,
        names: &BTreeSet<DomainName>,
        known: &Known,
        guard: &Guard,
    ) -> anyhow::Result<Answered> {
        let is_asked = |name: &DomainName| known.ask_again || !known.addresses.contains_key(name);
        if self.hosts.is_none() {
            let unknown = names.iter().filter(|name| is_asked(name) && !self.resolved.contains_key(*name));
            let unknown: Vec<DomainName> = unknown.cloned().collect();
            if !unknown.is_empty() {
                self.resolve(unknown)?;
            }
        }
        let bounds = Bounds::within_reason(&NamesSettings::new(guard.clone()));
        let mut answered = Answered::default();
        for name in names {
            let responses: Vec<DnsResponse> = match &self.hosts {
                _ if !is_asked(name) => Vec::new(),
                Some(hosts) => saved(hosts.get(name).cloned().unwrap_or_default()).into(),
                None => self.resolved.get(name).cloned().unwrap_or_default(),
            };
            let applied = known.addresses.get(name).map(Vec::as_slice).unwrap_or_default();
            let cached = cached(applied, &responses, guard, &bounds);
            let missing = cached.cached().filter(|(address, of)| cached.missing(*address, of).is_some());
            answered.missing.extend(missing.map(|(address, _)| (name.clone(), address)));
            answered.addresses.by_name.insert(name.clone(), Arc::new(cached.view()));
        }
        Ok(answered)
    }

    fn resolve(&mut self, names: Vec<DomainName>) -> anyhow::Result<()> {
        let is_needed = self.servers.is_empty();
        let resolv_conf = is_needed.then(|| std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        let servers = self.servers(&resolv_conf.unwrap_or_default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lookup = &HickoryLookup::new(QUERY_TIMEOUT).context("DNS cannot be set up")?;
        let mut progress = Progress::new();
        let total = names.len() * servers.len() * Family::ALL.len();
        let answers = runtime.block_on(async {
            let queries = names.iter().flat_map(|name| {
                servers.iter().flat_map(move |server| Family::ALL.map(|family| (name.clone(), *server, family)))
            });
            let query = async |(name, server, family): (DomainName, SocketAddr, Family)| {
                let mut outcome = Err(Failure::Timeout);
                for _ in 0..DNS_TRIES {
                    let answer = lookup.ask(server, &name, family);
                    outcome = tokio::time::timeout(QUERY_TIMEOUT, answer).await.unwrap_or(Err(Failure::Timeout));
                    if outcome.is_ok() {
                        break;
                    }
                }
                (name, (server, family, outcome))
            };
            let mut responses = futures::stream::iter(queries).map(query).buffer_unordered(DNS_IN_FLIGHT);
            let mut answers = Vec::with_capacity(total);
            while let Some(answer) = responses.next().await {
                answers.push(answer);
                if answers.len() % 16 == 0 {
                    progress.say(&format!("asking DNS: {} of {total}", answers.len()));
                }
            }
            answers
        });
        for (name, response) in answers {
            self.resolved.entry(name).or_default().push(response);
        }
        Ok(())
    }

    /// The servers to query on a machine with this `resolv.conf`.
    fn servers(&self, resolv_conf: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let servers = servers_to_ask(&nameservers(resolv_conf), &ClusterFacts::default(), &self.servers);
        if servers.is_empty() {
            bail!("no DNS server is known: {RESOLV_CONF} names none; give --dns-server or --hosts");
        }
        Ok(servers)
    }
}

/// Saved or applied addresses of a name as responses, in both families.
fn saved(addresses: impl IntoIterator<Item = IpAddr>) -> [DnsResponse; 2] {
    let (ipv4, ipv6) = addresses.into_iter().partition(IpAddr::is_ipv4);
    [(Family::V4, ipv4), (Family::V6, ipv6)].map(|(family, addresses): (_, BTreeSet<IpAddr>)| {
        let answer = match addresses.is_empty() {
            true => Answer::Absent { nxdomain: false, ttl: None },
            false => Answer::Addresses { addresses, ttl: Duration::ZERO },
        };
        (SocketAddr::from(([0, 0, 0, 0], 0)), family, Ok(answer))
    })
}

/// The controller's cache of a name with these `applied` addresses, if servers continue to respond alike: it gives up a family
/// whose queries fail for a few rounds.
fn cached(applied: &[IpAddr], responses: &[DnsResponse], guard: &Guard, bounds: &Bounds) -> CachedName {
    let now = Instant::now();
    let mut name = CachedName::default();
    let mut round = |responses: &[DnsResponse]| {
        name.begin(&Family::ALL);
        for (server, family, outcome) in responses {
            match outcome {
                Ok(answer) => {
                    name.answered(*family, *server, answer, &|address| guard.refuses(address), bounds, now);
                }
                Err(failure) => name.failed(*family, *server, failure.clone()),
            }
        }
        name.finish(bounds, 0.0, now);
    };
    if !applied.is_empty() {
        round(&saved(applied.iter().copied()));
    }
    if !responses.is_empty() {
        (0..FAILURES_TO_GIVE_UP_FAMILY).for_each(|_| round(responses));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NameState;

    fn server() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 53], 53))
    }

    fn guard() -> Guard {
        Guard::new(crate::guard::GuardSettings::default(), &ClusterFacts::default())
    }

    #[test]
    fn answers_are_merged_as_the_controller_merges_them() {
        let answered = |address: [u8; 4]| {
            let answer = Answer::Addresses { addresses: [IpAddr::from(address)].into(), ttl: Duration::ZERO };
            (server(), Family::V4, Ok(answer))
        };
        let failed = |family| (server(), family, Err(Failure::Timeout));
        let absent = |family| (server(), family, Ok(Answer::Absent { nxdomain: false, ttl: None }));
        let bounds = Bounds::within_reason(&NamesSettings::new(guard()));
        let view = |applied: &[IpAddr], responses: &[DnsResponse]| cached(applied, responses, &guard(), &bounds).view();
        let one = IpAddr::from([13, 64, 0, 1]);

        let both = view(&[], &[answered([13, 64, 0, 2]), answered([13, 64, 0, 1]), failed(Family::V6)]);
        assert_eq!(both.addresses, [one, IpAddr::from([13, 64, 0, 2])]);
        assert_eq!(both.state, NameState::Answered, "AAAA is given up");
        let silent = view(&[], &Family::ALL.map(failed));
        assert!(matches!(silent.state, NameState::Failing { ever_answered: false, .. }), "{:?}", silent.state);
        let kept = view(&[one], &Family::ALL.map(failed));
        assert!(matches!(kept.state, NameState::Failing { ever_answered: true, .. }), "{:?}", kept.state);
        assert_eq!(kept.addresses, [one], "a failure takes nothing away");
        assert_eq!(view(&[], &Family::ALL.map(absent)).state, NameState::Absent);
        let lie = view(&[], &[answered([127, 0, 0, 1]), absent(Family::V6)]);
        assert!(lie.addresses.is_empty() && lie.refused.len() == 1 && lie.state == NameState::Answered);
    }

    #[test]
    fn without_nameservers_the_error_names_the_flags() {
        let asked = |flags: &[SocketAddr], resolv_conf: &str| {
            let answers = Answers::new(None, flags).expect("no file");
            answers.servers(resolv_conf).map_err(|error| error.to_string())
        };
        assert_eq!(asked(&[], "nameserver 192.0.2.53\n"), Ok(vec![server()]));
        assert_eq!(asked(&[server()], ""), Ok(vec![server()]));
        assert_eq!(
            asked(&[], "search example.com\n"),
            Err("no DNS server is known: /etc/resolv.conf names none; give --dns-server or --hosts".to_owned())
        );
    }

    #[test]
    fn applied_addresses_stay_and_missing_ones_are_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        std::fs::write(&path, "a.example.com 13.64.0.2\nb.example.com 13.64.0.3\n").expect("a file");
        let name = |text: &str| DomainName::parse(text).expect("a name");
        let names = BTreeSet::from([name("a.example.com"), name("b.example.com")]);
        let one = IpAddr::from([13, 64, 0, 1]);
        let applied = BTreeMap::from([(name("a.example.com"), vec![one])]);
        let mut answers = Answers::new(Some(&path), &[]).expect("hosts");
        let mut found = |ask_again| {
            let known = Known { addresses: applied.clone(), ask_again };
            let answered = answers.addresses(&names, &known, &guard()).expect("answers");
            let of = |text: &str| answered.addresses.by_name[&name(text)].addresses.len();
            (of("a.example.com"), of("b.example.com"), answered.missing)
        };
        assert_eq!(found(false), (1, 1, vec![]), "names that the cluster knows are not queried");
        assert_eq!(found(true), (2, 1, vec![(name("a.example.com"), one)]));
    }
}
