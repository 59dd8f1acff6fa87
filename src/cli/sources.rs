//! Where manifests, lists and answers come from: files, or the vendor and DNS.

use super::hosts::{self, Hosts};
use super::output::Progress;
use super::run_arguments::{CniArgument, GuardArguments, dns_server};
use crate::crd::CitrixAllowlistSpec;
use crate::facts::ClusterFacts;
use crate::feed::client::{FetchRequest, Fetched};
use crate::feed::document::{self, Reading};
use crate::feed::{Allowlist, ClientSettings, FeedKey, FeedRequest, FeedSettings, Fetch as _, HttpClient};
use crate::guard::{Guard, Origin};
use crate::names::servers::{nameservers, servers_to_ask};
use crate::names::{
    Addresses, Answer, Failure, Family, HickoryLookup, Lookup as _, NameAddresses, NameState, RefusedAddress,
};
use crate::net::DomainName;
use crate::render::Limits;
use crate::render::budget::Cni;
use anyhow::{Context as _, bail};
use clap::Args;
use futures::StreamExt as _;
use ipnet::{IpNet, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long one DNS server has for one question.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions in flight at a time.
const DNS_IN_FLIGHT: usize = 64;
/// How often a question that no server answered is put again.
const DNS_TRIES: usize = 2;
/// How often a list is followed to where the API says that it went.
const MOST_MOVES: usize = 3;

/// Where the list and the addresses of names come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where lists and addresses come from")]
pub(super) struct SourceArguments {
    /// Saved list of any of the API's formats, instead of asking the API
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Saved answers, a line `NAME ADDRESS...` each, instead of asking DNS
    #[arg(long, value_name = "FILE")]
    pub hosts: Option<PathBuf>,
    /// DNS servers to ask instead of this machine's
    #[arg(long, value_name = "IP[:PORT]", value_parser = dns_server, value_delimiter = ',')]
    pub dns_server: Vec<SocketAddr>,
    /// Base URL of the global cloud's API
    #[arg(long, value_name = "URL", default_value = "https://api.cloud.com/connectivity")]
    pub global_url: String,
    /// Base URL of Japan's API
    #[arg(long, value_name = "URL", default_value = "https://api.citrixcloud.jp/connectivity")]
    pub japan_url: String,
    /// File of PEM certificates trusted for the API beside the built-in roots
    #[arg(long, value_name = "FILE")]
    pub extra_ca_file: Option<PathBuf>,
}

/// What the operator is told about the cluster and about what may be opened: give the same here.
#[derive(Debug, Args)]
#[command(next_help_heading = "As the operator runs")]
pub(super) struct SurroundingArguments {
    #[command(flatten)]
    pub guard: GuardArguments,
    /// Namespaces where no policy is ever written
    #[arg(long, value_name = "NS", value_delimiter = ',', default_value = "kube-system")]
    pub protected_namespace: Vec<String>,
    /// Ranges of Services
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub service_cidr: Vec<IpNet>,
    /// Ranges of pods
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// Prefix under which IPv6-only pods reach IPv4 addresses
    #[arg(long, value_name = "CIDR")]
    pub nat64_prefix: Option<Ipv6Net>,
    /// Most peers of one NetworkPolicy
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub max_peers_per_policy: u32,
    /// Network plugin whose limits are watched
    #[arg(long, value_enum)]
    pub cni: Option<CniArgument>,
}

impl SurroundingArguments {
    /// The surroundings, where nothing but the flags is known of the cluster.
    pub fn surroundings(&self) -> super::pipeline::Surroundings {
        let facts = ClusterFacts {
            service_networks: self.service_cidr.clone(),
            pod_networks: self.pod_cidr.clone(),
            nat64_prefix: self.nat64_prefix,
            dns: Vec::new(),
        };
        super::pipeline::Surroundings {
            guard: Guard::new(self.guard.settings(), &facts),
            facts,
            limits: Limits {
                peers: usize::try_from(self.max_peers_per_policy).unwrap_or(usize::MAX),
                cni: self.cni.map(Cni::from),
                ..Limits::default()
            },
            protected_namespaces: self.protected_namespace.clone(),
        }
    }
}

impl From<CniArgument> for Cni {
    fn from(argument: CniArgument) -> Self {
        match argument {
            CniArgument::Aws => Self::AwsVpc,
            CniArgument::AzureNpm => Self::AzureNpm,
            CniArgument::Calico => Self::Calico,
            CniArgument::Cilium => Self::Cilium,
            CniArgument::KubeRouter => Self::KubeRouter,
        }
    }
}

/// An input of manifests: what people call it, and its text.
pub(super) type Input = (String, Box<dyn BufRead>);

/// The inputs that `-f` names: standard input, files, and of folders every `.yaml`, `.yml` and `.json`, in order.
pub(super) fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            inputs.push(path.clone());
            continue;
        }
        let before = inputs.len();
        walk(path, &mut inputs)?;
        if inputs.len() == before {
            bail!("-f {}: the folder holds no .yaml, .yml or .json", path.display());
        }
    }
    Ok(inputs)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("-f {}: the folder cannot be read", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(cannot)?.collect();
    let mut paths: Vec<PathBuf> = entries.with_context(cannot)?.iter().map(std::fs::DirEntry::path).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
    Ok(())
}

/// Opens an input.
pub(super) fn open(path: &Path) -> anyhow::Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(("<stdin>".to_owned(), Box::new(BufReader::new(std::io::stdin()))));
    }
    let file = File::open(path).with_context(|| format!("-f {} cannot be read", path.display()))?;
    Ok((path.display().to_string(), Box::new(BufReader::new(file))))
}

/// Gets lists and addresses, each once.
pub(super) struct Sources {
    arguments: SourceArguments,
    feed: Option<Vec<u8>>,
    hosts: Option<Hosts>,
    online: Option<Online>,
    fetched: BTreeMap<FeedKey, Vec<u8>>,
    resolved: BTreeMap<DomainName, Vec<Heard>>,
}

/// What a server said of a name in one family.
type Heard = (SocketAddr, Family, Result<Answer, Failure>);

/// What is only started where something is asked.
struct Online {
    runtime: tokio::runtime::Runtime,
    client: Option<HttpClient>,
    lookup: Option<Arc<HickoryLookup>>,
}

impl Sources {
    pub fn new(arguments: &SourceArguments) -> anyhow::Result<Self> {
        let feed = arguments.feed.as_deref().map(|path| read(path, "--feed")).transpose()?;
        let hosts = match &arguments.hosts {
            None => None,
            Some(path) => {
                let text = String::from_utf8_lossy(&read(path, "--hosts")?).into_owned();
                Some(hosts::parse(&text).map_err(|error| anyhow::anyhow!("--hosts {}:{error}", path.display()))?)
            }
        };
        let arguments = arguments.clone();
        Ok(Self { arguments, feed, hosts, online: None, fetched: BTreeMap::new(), resolved: BTreeMap::new() })
    }

    /// The list that a spec asks for.
    pub fn allowlist(&mut self, spec: &CitrixAllowlistSpec) -> anyhow::Result<Allowlist> {
        let reading = Reading { scope: Some((spec.geo, spec.direction)), ..Reading::for_customer(&spec.customer_id) };
        let (bytes, origin) = match &self.feed {
            Some(bytes) => (
                bytes,
                format!(
                    "--feed {}",
                    self.arguments.feed.iter().map(|path| path.display().to_string()).collect::<String>()
                ),
            ),
            None => {
                let settings = FeedSettings {
                    global_url: self.arguments.global_url.clone(),
                    japan_url: self.arguments.japan_url.clone(),
                    ..FeedSettings::default()
                };
                let key = FeedKey::for_request(&FeedRequest::from_spec(spec), &settings);
                let url = settings.url(&key);
                if !self.fetched.contains_key(&key) {
                    let bytes = self.fetch(&url)?;
                    self.fetched.insert(key.clone(), bytes);
                }
                (self.fetched.get(&key).context("a list that was fetched")?, url)
            }
        };
        let document = document::parse(bytes, &reading).with_context(|| format!("{origin} cannot be used"))?;
        Ok(document.received_at(jiff::Timestamp::now()))
    }

    fn online(&mut self) -> anyhow::Result<&mut Online> {
        if self.online.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            self.online = Some(Online { runtime, client: None, lookup: None });
        }
        self.online.as_mut().context("a runtime")
    }

    fn fetch(&mut self, url: &str) -> anyhow::Result<Vec<u8>> {
        let extra_ca = self.arguments.extra_ca_file.as_deref().map(|path| read(path, "--extra-ca-file")).transpose()?;
        let online = self.online()?;
        let client = match online.client.take() {
            Some(client) => client,
            None => HttpClient::new(&ClientSettings { extra_ca, ..ClientSettings::default() })?,
        };
        let mut progress = Progress::new();
        progress.say(&format!("asking {url}"));
        let mut url = url.to_owned();
        let result = online.runtime.block_on(async {
            for _ in 0..=MOST_MOVES {
                let transaction_id = uuid::Uuid::new_v4().to_string();
                let request =
                    FetchRequest { url: url.clone(), transaction_id: transaction_id.clone(), if_modified_since: None };
                let asked = || format!("GET {url} (transaction id {transaction_id})");
                match client.fetch(request).await.with_context(asked)? {
                    Fetched::Document { body, .. } => return Ok(body),
                    Fetched::Moved { url: to } => url = to,
                    Fetched::NotModified => bail!("GET {url}: 304 without a list to keep"),
                }
            }
            bail!("GET {url}: the API sends from one address to the next; --feed takes a saved list")
        });
        online.client = Some(client);
        result
    }

    /// What is known of names: by `--hosts`, else by DNS. `known` are addresses that stand already, for names that
    /// need not be asked.
    pub fn addresses(
        &mut self,
        names: &BTreeSet<DomainName>,
        known: &BTreeMap<DomainName, Vec<IpAddr>>,
        guard: &Guard,
    ) -> anyhow::Result<Addresses> {
        if let Some(hosts) = &self.hosts {
            let server = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
            let by_name = names.iter().map(|name| {
                let addresses = hosts.get(name).cloned().unwrap_or_default();
                (name.clone(), Arc::new(judged(&[heard_from_file(server, addresses)], guard)))
            });
            return Ok(Addresses { by_name: by_name.collect() });
        }
        let unknown: Vec<DomainName> = names
            .iter()
            .filter(|name| !known.contains_key(*name) && !self.resolved.contains_key(*name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            self.resolve(unknown)?;
        }
        let server = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
        let by_name = names.iter().map(|name| {
            let held = known.get(name).map(|addresses| heard_from_file(server, addresses.iter().copied().collect()));
            let heard: Vec<Heard> =
                held.into_iter().chain(self.resolved.get(name).into_iter().flatten().cloned()).collect();
            (name.clone(), Arc::new(judged(&heard, guard)))
        });
        Ok(Addresses { by_name: by_name.collect() })
    }

    fn resolve(&mut self, names: Vec<DomainName>) -> anyhow::Result<()> {
        let servers = self.servers()?;
        let online = self.online()?;
        let lookup = match &online.lookup {
            Some(lookup) => Arc::clone(lookup),
            None => {
                let lookup = Arc::new(HickoryLookup::new(DNS_TIMEOUT).context("DNS cannot be set up")?);
                online.lookup = Some(Arc::clone(&lookup));
                lookup
            }
        };
        let mut progress = Progress::new();
        let total = names.len() * servers.len() * Family::ALL.len();
        let answers = online.runtime.block_on(async {
            let questions = names.iter().flat_map(|name| {
                servers.iter().flat_map(move |server| Family::ALL.map(|family| (name.clone(), *server, family)))
            });
            let ask = |(name, server, family): (DomainName, SocketAddr, Family)| {
                let lookup = Arc::clone(&lookup);
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
        Ok(())
    }

    fn servers(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let resolv_conf = if self.arguments.dns_server.is_empty() {
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        } else {
            String::new()
        };
        let servers = servers_to_ask(&nameservers(&resolv_conf), &ClusterFacts::default(), &self.arguments.dns_server);
        if servers.is_empty() {
            bail!("no DNS server is known: /etc/resolv.conf names none; give --dns-server or --hosts");
        }
        Ok(servers)
    }
}

fn heard_from_file(server: SocketAddr, addresses: BTreeSet<IpAddr>) -> Heard {
    let answer = if addresses.is_empty() {
        Answer::Absent { nxdomain: true, ttl: None }
    } else {
        Answer::Addresses { addresses, ttl: Duration::ZERO }
    };
    (server, Family::V4, Ok(answer))
}

/// What is known of a name once every server has spoken.
fn judged(heard: &[Heard], guard: &Guard) -> NameAddresses {
    let mut addresses = BTreeSet::new();
    let mut refused = BTreeSet::new();
    let mut definitive = false;
    let mut failure = None;
    for (server, _, outcome) in heard {
        match outcome {
            Ok(Answer::Addresses { addresses: answered, .. }) => {
                definitive = true;
                for address in answered {
                    match guard.check_address(*address, Origin::Vendor) {
                        Ok(()) => {
                            addresses.insert(*address);
                        }
                        Err(refusal) => {
                            refused.insert(RefusedAddress {
                                address: *address,
                                server: *server,
                                reason: refusal.reason.into(),
                            });
                        }
                    }
                }
            }
            Ok(Answer::Absent { .. }) => definitive = true,
            Err(error) => failure = Some(format!("{server} {error}")),
        }
    }
    let state = match failure {
        _ if !addresses.is_empty() || !refused.is_empty() => NameState::Answered,
        Some(error) if !definitive => NameState::Failing { error: error.into(), stale: false, ever_answered: false },
        _ => NameState::Absent,
    };
    NameAddresses {
        addresses: addresses.into_iter().collect(),
        state,
        refused: refused.into_iter().collect(),
        evicted: 0,
    }
}

fn read(path: &Path, flag: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut open = || -> std::io::Result<usize> {
        if path.as_os_str() == "-" {
            return std::io::stdin().read_to_end(&mut bytes);
        }
        File::open(path)?.read_to_end(&mut bytes)
    };
    open().with_context(|| format!("{flag} {} cannot be read", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 53], 53))
    }

    fn guard() -> Guard {
        Guard::new(crate::guard::GuardSettings::default(), &ClusterFacts::default())
    }

    fn answered(address: &str) -> Heard {
        let addresses = BTreeSet::from([address.parse().expect("an address")]);
        (server(), Family::V4, Ok(Answer::Addresses { addresses, ttl: Duration::ZERO }))
    }

    #[test]
    fn servers_answers_add_up_and_failure_is_not_absence() {
        let failed: Heard = (server(), Family::V6, Err(Failure::Timeout));
        let absent: Heard = (server(), Family::V6, Ok(Answer::Absent { nxdomain: false, ttl: None }));
        let both = judged(&[answered("13.64.0.2"), answered("13.64.0.1"), failed.clone()], &guard());
        assert_eq!(both.addresses, [IpAddr::from([13, 64, 0, 1]), IpAddr::from([13, 64, 0, 2])]);
        assert_eq!(both.state, NameState::Answered);
        assert!(matches!(judged(&[failed], &guard()).state, NameState::Failing { ever_answered: false, .. }));
        assert_eq!(judged(&[absent], &guard()).state, NameState::Absent);
        let lie = judged(&[answered("127.0.0.1")], &guard());
        assert!(lie.addresses.is_empty() && lie.refused.len() == 1 && lie.state == NameState::Answered);
    }

    #[test]
    fn folders_are_read_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.yaml", "a.json", "c.txt", "sub/d.yml"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        let found = inputs(&[folder.path().to_owned(), PathBuf::from("-")]).expect("inputs");
        let names: Vec<_> = found.iter().map(|path| path.file_name().expect("a name").to_string_lossy()).collect();
        assert_eq!(names, ["a.json", "b.yaml", "d.yml", "-"]);
        assert!(inputs(&[folder.path().join("sub/..")]).is_ok());
    }
}
