//! What is known of names: from a file of saved answers, or from DNS.

use super::read;
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::names::retention::{Bounds, CachedName, FAILURES_TO_GIVE_UP_FAMILY};
use crate::names::servers::{RESOLV_CONF, nameservers, servers_to_ask};
use crate::names::{Addresses, Answer, Failure, Family, HickoryLookup, Lookup as _, NamesSettings};
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

/// How long one DNS server has for one question.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions in flight at a time.
const DNS_IN_FLIGHT: usize = 64;
/// How often a question that no server answered is put again.
const DNS_TRIES: usize = 2;

/// What a server said of a name in one family.
type Heard = (SocketAddr, Family, Result<Answer, Failure>);

/// Gets the addresses of names, of each name once.
pub(crate) struct Answers {
    hosts: Option<Hosts>,
    servers: Vec<SocketAddr>,
    online: Option<Online>,
    resolved: BTreeMap<DomainName, Vec<Heard>>,
}

/// What is only started where something is asked.
struct Online {
    runtime: tokio::runtime::Runtime,
    lookup: Arc<HickoryLookup>,
}

/// What is known of names already, and what that means for questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Addresses that stand already, by name.
    pub addresses: BTreeMap<DomainName, Vec<IpAddr>>,
    /// Whether names with addresses are asked all the same: what is answered is added to what stands.
    pub ask_again: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// What is known of each name.
    pub addresses: Addresses,
    /// Addresses that stand, and that the newest answers do not have.
    pub missing: Vec<(DomainName, IpAddr)>,
}

impl Answers {
    /// Answers from `hosts`, where that is given, else from `servers`, or this machine's where there are none.
    pub fn new(hosts: Option<&Path>, servers: &[SocketAddr]) -> anyhow::Result<Self> {
        let hosts = match hosts {
            None => None,
            Some(path) => {
                let text = String::from_utf8_lossy(&read(path, "--hosts")?).into_owned();
                Some(hosts::parse(&text).map_err(|error| anyhow::anyhow!("--hosts {}:{error}", path.display()))?)
            }
        };
        Ok(Self { hosts, servers: servers.to_vec(), online: None, resolved: BTreeMap::new() })
    }

    /// What is known of names. Addresses that stand already stay, as the controller keeps them for a retention: those
    /// that the newest answers do not have are named beside.
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
            let heard: Vec<Heard> = match &self.hosts {
                _ if !is_asked(name) => Vec::new(),
                Some(hosts) => saved(hosts.get(name).cloned().unwrap_or_default()).into(),
                None => self.resolved.get(name).cloned().unwrap_or_default(),
            };
            let stands = known.addresses.get(name).map(Vec::as_slice).unwrap_or_default();
            let cached = cached(stands, &heard, guard, &bounds);
            let missing = cached.cached().filter(|(address, of)| cached.missing(*address, of).is_some());
            answered.missing.extend(missing.map(|(address, _)| (name.clone(), address)));
            answered.addresses.by_name.insert(name.clone(), Arc::new(cached.view()));
        }
        Ok(answered)
    }

    fn resolve(&mut self, names: Vec<DomainName>) -> anyhow::Result<()> {
        let resolv_conf = if self.servers.is_empty() {
            std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()
        } else {
            String::new()
        };
        let servers = self.servers(&resolv_conf)?;
        let online = match self.online.take() {
            Some(online) => online,
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let lookup = Arc::new(HickoryLookup::new(DNS_TIMEOUT).context("DNS cannot be set up")?);
                Online { runtime, lookup }
            }
        };
        let mut progress = Progress::new();
        let total = names.len() * servers.len() * Family::ALL.len();
        let answers = online.runtime.block_on(async {
            let questions = names.iter().flat_map(|name| {
                servers.iter().flat_map(move |server| Family::ALL.map(|family| (name.clone(), *server, family)))
            });
            let ask = |(name, server, family): (DomainName, SocketAddr, Family)| {
                let lookup = Arc::clone(&online.lookup);
                async move {
                    let mut outcome = Err(Failure::Timeout);
                    for _ in 0..DNS_TRIES {
                        let answer = lookup.ask(server, &name, family);
                        outcome = tokio::time::timeout(DNS_TIMEOUT, answer).await.unwrap_or(Err(Failure::Timeout));
                        if outcome.is_ok() {
                            break;
                        }
                    }
                    (name, (server, family, outcome))
                }
            };
            let mut asked = futures::stream::iter(questions).map(ask).buffer_unordered(DNS_IN_FLIGHT);
            let mut answers = Vec::with_capacity(total);
            while let Some(answer) = asked.next().await {
                answers.push(answer);
                if answers.len() % 16 == 0 {
                    progress.say(&format!("asking DNS: {} of {total}", answers.len()));
                }
            }
            answers
        });
        for (name, heard) in answers {
            self.resolved.entry(name).or_default().push(heard);
        }
        self.online = Some(online);
        Ok(())
    }

    /// Whom to ask on a machine with this `resolv.conf`.
    fn servers(&self, resolv_conf: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let servers = servers_to_ask(&nameservers(resolv_conf), &ClusterFacts::default(), &self.servers);
        if servers.is_empty() {
            bail!("no DNS server is known: {RESOLV_CONF} names none; give --dns-server or --hosts");
        }
        Ok(servers)
    }
}

/// What a file, or the cluster, says of a name: both families at once.
fn saved(addresses: impl IntoIterator<Item = IpAddr>) -> [Heard; 2] {
    let (ipv4, ipv6) = addresses.into_iter().partition(IpAddr::is_ipv4);
    [(Family::V4, ipv4), (Family::V6, ipv6)].map(|(family, addresses): (_, BTreeSet<IpAddr>)| {
        let answer = match addresses.is_empty() {
            true => Answer::Absent { nxdomain: false, ttl: None },
            false => Answer::Addresses { addresses, ttl: Duration::ZERO },
        };
        (SocketAddr::from(([0, 0, 0, 0], 0)), family, Ok(answer))
    })
}

/// What the controller comes to know of a name that `stands` with these addresses, where servers go on answering so: it
/// gives up a family whose questions fail for a few rounds.
fn cached(stands: &[IpAddr], heard: &[Heard], guard: &Guard, bounds: &Bounds) -> CachedName {
    let now = Instant::now();
    let mut name = CachedName::new();
    let mut round = |heard: &[Heard]| {
        name.begin(&Family::ALL);
        for (server, family, outcome) in heard {
            match outcome {
                Ok(answer) => {
                    name.answered(*family, *server, answer, &|address| guard.refuses(address), bounds, now);
                }
                Err(failure) => name.failed(*family, *server, failure.clone()),
            }
        }
        name.finish(bounds, 0.0, now);
    };
    if !stands.is_empty() {
        round(&saved(stands.iter().copied()));
    }
    if !heard.is_empty() {
        (0..FAILURES_TO_GIVE_UP_FAMILY).for_each(|_| round(heard));
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
        let view = |stands: &[IpAddr], heard: &[Heard]| cached(stands, heard, &guard(), &bounds).view();
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
    fn a_machine_without_nameservers_is_told_what_to_give() {
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
    fn what_stands_stays_and_what_answers_lack_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        std::fs::write(&path, "a.example.com 13.64.0.2\nb.example.com 13.64.0.3\n").expect("a file");
        let name = |text: &str| DomainName::parse(text).expect("a name");
        let names = BTreeSet::from([name("a.example.com"), name("b.example.com")]);
        let one = IpAddr::from([13, 64, 0, 1]);
        let stands = BTreeMap::from([(name("a.example.com"), vec![one])]);
        let mut answers = Answers::new(Some(&path), &[]).expect("hosts");
        let mut found = |ask_again| {
            let known = Known { addresses: stands.clone(), ask_again };
            let answered = answers.addresses(&names, &known, &guard()).expect("answers");
            let of = |text: &str| answered.addresses.by_name[&name(text)].addresses.len();
            (of("a.example.com"), of("b.example.com"), answered.missing)
        };
        assert_eq!(found(false), (1, 1, vec![]), "what the cluster knows is not asked");
        assert_eq!(found(true), (2, 1, vec![(name("a.example.com"), one)]));
    }
}
