//! The flags of `run`, and their environment variables.

use super::forwarding::ForwardArguments;
use super::values::{base_url, dns_server, listening, network, period, prefix, static_list_url, suffix, tcp_ports};
use crate::bound::Bound;
use crate::cluster::facts::FactsSettings;
use crate::engines::Limits;
use crate::engines::network_policy::budget::Cni;
use crate::feed::{FeedSettings, Format};
use crate::guard::{Guard, GuardSettings};
use crate::names::NamesSettings;
use crate::telemetry::LogFormat;
use clap::{ArgAction, Args};
use connectivity_allowlist::Cloud;
use connectivity_allowlist::document::StaticListDefaults;
use connectivity_allowlist::net::{DomainName, PortSet};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `run`. The API server is found as kubectl finds it.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub(crate) feed: FeedArguments,
    #[command(flatten)]
    pub(crate) names: NameArguments,
    #[command(flatten)]
    pub(crate) forward: ForwardArguments,
    #[command(flatten)]
    pub(crate) guard: GuardArguments,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    #[command(flatten)]
    pub(crate) process: ProcessArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The vendor's list")]
pub(crate) struct FeedArguments {
    /// Base URL of the global cloud's API
    #[arg(long, env = "CITRIX_ALLOWLIST_GLOBAL_URL", value_parser = base_url, default_value = "https://api.cloud.com/connectivity")]
    pub global_url: String,
    /// Base URL of Japan's API
    #[arg(long, env = "CITRIX_ALLOWLIST_JAPAN_URL", value_parser = base_url, default_value = "https://api.citrixcloud.jp/connectivity")]
    pub japan_url: String,
    /// Which form the API is asked for
    #[arg(long, env = "CITRIX_ALLOWLIST_FORMAT", value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// Directory of saved lists that stands in for the API: <cloud>-<customer>.json, else <cloud>.json
    #[arg(long, env = "CITRIX_ALLOWLIST_FEED_DIR", value_name = "DIR")]
    pub feed_dir: Option<PathBuf>,
    /// Requests that one API host gets in any minute; the vendor allows 5 from one address
    #[arg(long, env = "CITRIX_ALLOWLIST_REQUESTS_PER_MINUTE", default_value = "5")]
    pub requests_per_minute: NonZeroU32,
    /// Shortest time between two fetches, whatever resources ask for
    #[arg(long, env = "CITRIX_ALLOWLIST_MIN_REFRESH", value_parser = period, default_value = "1m")]
    pub min_refresh: Duration,
    /// Most lists that one namespace uses, one for each customer and cloud; further resources wait, and are told Limit
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_LISTS_PER_NAMESPACE", value_name = "N", default_value = "100")]
    pub max_lists_per_namespace: NonZeroU32,
    /// Most lists in all, a quarter kept for namespaces with few
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_LISTS", value_name = "N", default_value = "500")]
    pub max_lists: NonZeroU32,
    /// Fetch one list per cloud and put each customer's id into it; assumes that lists differ in nothing else
    #[arg(long, env = "CITRIX_ALLOWLIST_SHARED_TEMPLATE", action = ArgAction::SetTrue)]
    pub shared_template: bool,
    /// Static list fetched instead of the API's, for one cloud; one document serves every customer
    #[arg(long, env = "CITRIX_ALLOWLIST_STATIC_LIST_URL", value_name = "global|japan=URL", value_parser = static_list_url, value_delimiter = ',')]
    pub static_list_url: Vec<(Cloud, String)>,
    /// TCP ports of every name of a static list, which has none of its own; hosts that certificates are checked at have 80
    /// and 443 beside
    #[arg(long, env = "CITRIX_ALLOWLIST_STATIC_LIST_PORTS", value_name = "PORTS", value_parser = tcp_ports, default_value = "443")]
    pub static_list_ports: PortSet,
    /// How long a static list is good for, which has no expiry of its own
    #[arg(long, env = "CITRIX_ALLOWLIST_STATIC_LIST_LIFETIME", value_parser = period, default_value = "24h")]
    pub static_list_lifetime: Duration,
    /// File of PEM certificates trusted for the API beside the built-in roots
    #[arg(long, env = "CITRIX_ALLOWLIST_EXTRA_CA_FILE", value_name = "FILE")]
    pub extra_ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "DNS")]
pub(crate) struct NameArguments {
    /// DNS servers to ask instead of the cluster's, as IP or IP:PORT
    #[arg(long, env = "CITRIX_ALLOWLIST_DNS_SERVER", value_name = "IP[:PORT]", value_parser = dns_server, value_delimiter = ',')]
    pub dns_server: Vec<SocketAddr>,
    /// Shortest time between two questions for a name
    #[arg(long, env = "CITRIX_ALLOWLIST_DNS_MIN_TTL", value_parser = period, default_value = "5s")]
    pub dns_min_ttl: Duration,
    /// Longest time between two questions for a name, and the longest TTL that an address is held for
    #[arg(long, env = "CITRIX_ALLOWLIST_DNS_MAX_TTL", value_parser = period, default_value = "1h")]
    pub dns_max_ttl: Duration,
    /// Questions that one DNS server gets in a second
    #[arg(long, env = "CITRIX_ALLOWLIST_DNS_QUESTIONS_PER_SECOND", default_value = "1000")]
    pub dns_questions_per_second: NonZeroU32,
    /// Most names of one resource; what is beyond a bound is left out, the newest first, and told as Limit
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_NAMES_PER_RESOURCE", value_name = "N", default_value = "4096")]
    pub max_names_per_resource: NonZeroU32,
    /// Most names of one namespace, what its resources share counted once
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_NAMES_PER_NAMESPACE", value_name = "N", default_value = "5000")]
    pub max_names_per_namespace: NonZeroU32,
    /// Most names in all, a quarter kept for namespaces with little
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_NAMES", value_name = "N", default_value = "20000")]
    pub max_names: NonZeroU32,
    /// Most addresses of the names of one resource; those that come later are left out
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_ADDRESSES_PER_RESOURCE", value_name = "N", default_value = "10000")]
    pub max_addresses_per_resource: NonZeroU32,
    /// Most addresses of the names of one namespace
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_ADDRESSES_PER_NAMESPACE", value_name = "N", default_value = "20000")]
    pub max_addresses_per_namespace: NonZeroU32,
    /// Most addresses of names in all, a quarter kept for namespaces with little
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_ADDRESSES", value_name = "N", default_value = "80000")]
    pub max_addresses: NonZeroU32,
    /// How long a name may fail before it is reported as stale; its addresses stay
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_STALE", value_parser = period, default_value = "168h")]
    pub max_stale: Duration,
    /// How long names that fail in passing hold a resource's first policy
    #[arg(long, env = "CITRIX_ALLOWLIST_FIRST_POLICY_WAIT", value_parser = period, default_value = "5m")]
    pub first_policy_wait: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What may be opened")]
pub(crate) struct GuardArguments {
    /// Private ranges that lists and answers may name, such as private links
    #[arg(long, env = "CITRIX_ALLOWLIST_ALLOW_PRIVATE_CIDR", value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub allow_private_cidr: Vec<IpNet>,
    /// Ranges that are never opened, whatever names them
    #[arg(long, env = "CITRIX_ALLOWLIST_DENY_CIDR", value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub deny_cidr: Vec<IpNet>,
    /// Shortest prefix of a listed IPv4 network
    #[arg(long, env = "CITRIX_ALLOWLIST_SHORTEST_IPV4_PREFIX", default_value = "8", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub shortest_ipv4_prefix: u8,
    /// Shortest prefix of a listed IPv6 network
    #[arg(long, env = "CITRIX_ALLOWLIST_SHORTEST_IPV6_PREFIX", default_value = "16", value_parser = clap::value_parser!(u8).range(1..=128))]
    pub shortest_ipv6_prefix: u8,
    /// Domains that names under `additional` have to be in, instead of any: corp.example.com for it and all below it
    #[arg(long, env = "CITRIX_ALLOWLIST_ADDITIONAL_SUFFIX", value_name = "DOMAIN", value_parser = suffix, value_delimiter = ',')]
    pub additional_suffix: Vec<DomainName>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The cluster")]
pub(crate) struct ClusterArguments {
    /// Namespaces to act in, instead of all
    #[arg(long, env = "CITRIX_ALLOWLIST_WATCH_NAMESPACE", value_name = "NS", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    #[command(flatten)]
    pub policies: PolicyArguments,
    /// Reconciles at a time
    #[arg(long, env = "CITRIX_ALLOWLIST_CONCURRENCY", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,
    /// How long the changes of what policies allow stay in NAME-history; 0s keeps no history
    #[arg(long, env = "CITRIX_ALLOWLIST_HISTORY_RETENTION", value_parser = period, default_value = "720h")]
    pub history_retention: Duration,
}

/// The flags on which policies depend: those of `run`, and of the commands that simulate it.
#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    /// Namespaces where no policy is ever written
    #[arg(
        long,
        env = "CITRIX_ALLOWLIST_PROTECTED_NAMESPACE",
        value_name = "NS",
        value_delimiter = ',',
        default_value = "kube-system"
    )]
    pub protected_namespace: Vec<String>,
    /// Ranges of Services, if the cluster does not show them
    #[arg(long, env = "CITRIX_ALLOWLIST_SERVICE_CIDR", value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub service_cidr: Vec<IpNet>,
    /// Ranges of pods, if the cluster does not show them
    #[arg(long, env = "CITRIX_ALLOWLIST_POD_CIDR", value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// Prefix under which IPv6-only pods reach IPv4 addresses
    #[arg(long, env = "CITRIX_ALLOWLIST_NAT64_PREFIX", value_name = "CIDR", value_parser = prefix)]
    pub nat64_prefix: Option<Ipv6Net>,
    /// Most peers of one NetworkPolicy
    #[arg(long, env = "CITRIX_ALLOWLIST_MAX_PEERS_PER_POLICY", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub max_peers_per_policy: u32,
    /// Network plugin whose limits are watched
    #[arg(long, env = "CITRIX_ALLOWLIST_CNI", value_enum)]
    pub cni: Option<Cni>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The process")]
pub(crate) struct ProcessArguments {
    /// Address of /livez, /readyz, /metrics, and /debug/state that `explain` reads
    #[arg(long, value_parser = listening, env = "CITRIX_ALLOWLIST_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of /livez and /readyz with connections of their own, so that nothing on --listen keeps a probe waiting
    #[arg(long, value_parser = listening, env = "CITRIX_ALLOWLIST_PROBE_LISTEN", value_name = "ADDR")]
    pub probe_listen: Option<SocketAddr>,
    /// Serve /debug/state only to the bearer of a token who may get debugstates.citrix-allowlist.io in the operator's namespace
    #[arg(long, env = "CITRIX_ALLOWLIST_AUTHORIZE_DEBUG_STATE", action = ArgAction::SetTrue)]
    pub authorize_debug_state: bool,
    /// Form of log lines
    #[arg(long, env = "CITRIX_ALLOWLIST_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Act without a Lease: for the only replica there is
    #[arg(long, env = "CITRIX_ALLOWLIST_NO_LEADER_ELECTION", action = ArgAction::SetTrue)]
    pub no_leader_election: bool,
}

impl FeedArguments {
    pub fn settings(&self) -> FeedSettings {
        FeedSettings {
            global_url: self.global_url.clone(),
            japan_url: self.japan_url.clone(),
            format: self.format,
            feed_dir: self.feed_dir.clone(),
            requests_per_minute: self.requests_per_minute,
            min_refresh: self.min_refresh,
            lists: Bound { resource: 1, namespace: size(self.max_lists_per_namespace), process: size(self.max_lists) },
            shared_template: self.shared_template,
            static_list_urls: self.static_list_url.iter().cloned().collect(),
            static_list: StaticListDefaults {
                ports: Some(self.static_list_ports.clone()),
                lifetime: self.static_list_lifetime,
            },
            ..FeedSettings::default()
        }
    }
}

fn size(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

impl NameArguments {
    /// How names are resolved, with the guard of their answers.
    pub fn settings(&self, guard: Guard) -> NamesSettings {
        NamesSettings {
            min_ttl: self.dns_min_ttl,
            max_ttl: self.dns_max_ttl,
            max_stale: self.max_stale,
            questions_per_second: self.dns_questions_per_second.get(),
            names: Bound {
                resource: size(self.max_names_per_resource),
                namespace: size(self.max_names_per_namespace),
                process: size(self.max_names),
            },
            addresses: Bound {
                resource: size(self.max_addresses_per_resource),
                namespace: size(self.max_addresses_per_namespace),
                process: size(self.max_addresses),
            },
            ..NamesSettings::new(guard)
        }
    }
}

impl GuardArguments {
    pub fn settings(&self) -> GuardSettings {
        GuardSettings {
            allow_private: self.allow_private_cidr.clone(),
            deny: self.deny_cidr.clone(),
            shortest_ipv4_prefix: self.shortest_ipv4_prefix,
            shortest_ipv6_prefix: self.shortest_ipv6_prefix,
            additional_suffixes: self.additional_suffix.clone(),
        }
    }
}

impl PolicyArguments {
    pub fn limits(&self) -> Limits {
        let peers = usize::try_from(self.max_peers_per_policy).unwrap_or(usize::MAX);
        Limits { peers, cni: self.cni, ..Limits::default() }
    }

    /// What to find out about the cluster, and what the flags give instead.
    pub fn facts(&self, nameservers: Vec<IpAddr>, api_server: Option<IpAddr>) -> FactsSettings {
        FactsSettings {
            nameservers,
            service_networks: self.service_cidr.clone(),
            pod_networks: self.pod_cidr.clone(),
            nat64_prefix: self.nat64_prefix,
            api_server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    fn read(arguments: &[&str]) -> Result<RunArguments, String> {
        let line = Line::try_parse_from(std::iter::once(&"run").chain(arguments));
        line.map(|line| line.run).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_default_to_the_rooms_own_defaults() {
        let run = read(&[]).expect("every flag has a default");
        assert_eq!(run.feed.settings(), FeedSettings::default());
        assert_eq!(run.guard.settings(), GuardSettings::default());
        assert_eq!(run.cluster.policies.limits(), Limits::default());
        let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
        let (names, default) = (run.names.settings(guard.clone()), NamesSettings::new(guard));
        assert_eq!((names.min_ttl, names.max_ttl), (default.min_ttl, default.max_ttl));
        assert_eq!((names.names, names.addresses), (default.names, default.addresses));
        assert_eq!((names.max_stale, names.questions_per_second), (default.max_stale, default.questions_per_second));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        let refused = |flag: &str, value: &str, allowed: &str| {
            let error = read(&[&format!("--{flag}={value}")]).expect_err(value);
            assert!(error.contains(value) && error.contains(allowed), "{error}");
        };
        refused("dns-server", "dns.example.com", "IP:PORT");
        refused("min-refresh", "1 day", "1h30m");
        refused("global-url", "api.cloud.com/connectivity", "https://api.cloud.com/connectivity is allowed");
        refused("japan-url", "file:///list.json", "https://api.cloud.com/connectivity is allowed");
        refused("static-list-url", "mars=https://example.com", "japan=URL");
        refused("static-list-ports", "0", "1 to 65535");
        refused("allow-private-cidr", "10.0.0.0/40", "invalid");
        refused("cni", "flannel", "cilium");
        refused("additional-suffix", "a b", "corp.example.com");
    }

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let run = read(&["--dns-server=10.96.0.10,[2001:4860:4860::8888]:5353", "--dns-server=2001:4860:4860::8844"])
            .expect("servers");
        let texts: Vec<String> = run.names.dns_server.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.96.0.10:53", "[2001:4860:4860::8888]:5353", "[2001:4860:4860::8844]:53"]);
    }
}
