//! A world in virtual time: the whole operator, a cluster, the vendor and DNS in one thread, and a seed that breaks them.

pub mod dns;
mod faults;
mod history;
mod invariants;
pub mod vendor;

use crate::api::{ApiServer, Fate, Kinds};
use citrix_allowlist::clock::Clock;
use citrix_allowlist::cluster::client::Connected;
use citrix_allowlist::engines::Engines;
use citrix_allowlist::operator::{Edges, Replica as Process, RunArguments};
use clap::Parser;
use dns::Dns;
use fastrand::Rng;
pub use faults::Fault;
pub use history::History;
use invariants::Watcher;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vendor::{Content, Vendor};

/// Where the operator lives.
const HOME: &str = "citrix";
/// What the wall clock says when a world begins.
const EPOCH: &str = "2026-06-01T00:00:00Z";
/// The cluster's DNS servers.
pub const SERVERS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 53),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11)), 53),
];

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Replicas of the operator.
    pub replicas: usize,
    /// Resources.
    pub resources: usize,
    /// Names on each customer's list.
    pub names: usize,
    /// Customers, of one list each.
    pub customers: usize,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    run: RunArguments,
}

struct Replica {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// A world.
pub struct World {
    api: ApiServer,
    vendor: Vendor,
    dns: Dns,
    size: Size,
    start: Instant,
    replicas: Vec<Option<Replica>>,
    random: Rng,
    history: History,
    watcher: Watcher,
}

impl World {
    /// A world of this size, in which nothing runs yet.
    ///
    /// # Panics
    /// Outside a runtime whose clock is paused.
    #[must_use]
    pub fn new(seed: u64, size: Size, definitions: &[Value]) -> Self {
        let epoch: Timestamp = EPOCH.parse().expect("a time");
        let clock = Clock::simulated(epoch);
        let api = ApiServer::new(Kinds::new(definitions), Arc::new(move || clock.now()), seed);
        let (vendor, dns) = (Vendor::new(epoch), Dns::default());
        let history = History::new();
        let watcher = Watcher::new(api.clone(), vendor.clone(), dns.clone(), history.clone());
        let mut world = Self {
            api,
            vendor,
            dns,
            size,
            start: Instant::now(),
            replicas: Vec::new(),
            random: Rng::with_seed(seed),
            history,
            watcher,
        };
        world.build();
        world
    }

    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.clone()
    }

    fn build(&mut self) {
        self.api.add_namespace(HOME).expect("a namespace");
        for customer in 0..self.size.customers {
            let names = (0..self.size.names).map(|name| name_of(customer, name));
            for name in names.clone() {
                let addresses = (0..4).map(|_| self.address()).collect();
                self.dns.set(&name, addresses, 2, Duration::from_secs(300));
            }
            let networks = [format!("20.{}.0.0/24", 100 + customer)].into();
            self.vendor.publish(&customer_of(customer), Content { names: names.collect(), networks });
        }
        for resource in 0..self.size.resources {
            let namespace = format!("tenant-{}", resource % 5);
            let _ = self.api.add_namespace(&namespace);
            let spec = json!({ "customerId": customer_of(resource % self.size.customers), "geo": "us",
                "podSelector": { "matchLabels": { "app": format!("a{resource}") } } });
            self.api
                .add(&json!({
                    "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
                    "metadata": { "name": format!("r{resource}"), "namespace": namespace }, "spec": spec,
                }))
                .expect("a resource");
        }
    }

    /// A public address that no other name has.
    fn address(&mut self) -> IpAddr {
        IpAddr::from([52, self.random.u8(..), self.random.u8(..), self.random.u8(1..255)])
    }

    fn start_replica(&mut self, number: usize) {
        let name = format!("replica-{number}");
        let servers = SERVERS.map(|server| format!("--dns-server={server}"));
        let flags = Flags::parse_from(["operator".to_owned()].into_iter().chain(servers));
        let epoch: Timestamp = EPOCH.parse().expect("a time");
        let edges = Edges {
            connected: Connected {
                client: self.api.client(&name, HOME),
                namespace: HOME.to_owned(),
                in_cluster: true,
                api_server: None,
            },
            pod: None,
            candidate: name,
            vendor: Arc::new(self.vendor.clone()),
            dns: Arc::new(self.dns.clone()),
            resolv_conf: Vec::new(),
            clock: Clock::Simulated { epoch, start: self.start },
            memory: || None,
        };
        let operator = Process::new(flags.run, Engines::default(), edges);
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator.run(stop.clone()));
        if self.replicas.len() <= number {
            self.replicas.resize_with(number + 1, || None);
        }
        self.replicas[number] = Some(Replica { task, stop });
    }

    /// Runs for so long: faults come and go by the seed, and at the end there are none for as long as it takes to settle.
    ///
    /// # Errors
    /// What did not hold, and when.
    pub async fn run(&mut self, hours: u32) -> Result<(), String> {
        for number in 0..self.size.replicas {
            self.start_replica(number);
        }
        let watching = tokio::spawn(self.watcher.clone().watch());
        self.settle().await?;
        let end = Instant::now() + Duration::from_secs(u64::from(hours) * 3600);
        while Instant::now() < end {
            let quiet = Duration::from_secs(self.random.u64(5..600));
            tokio::time::sleep(quiet).await;
            let fault = Fault::pick(&mut self.random, self.size);
            self.history.note(&format!("fault: {fault:?}"));
            self.inflict(&fault);
            tokio::time::sleep(fault.lasts).await;
            self.history.note("fault over");
            self.heal(&fault);
            if self.random.u8(..) < 64 {
                self.settle().await?;
            }
            self.watcher.result()?;
        }
        self.settle().await?;
        watching.abort();
        self.watcher.result()
    }
}

fn customer_of(number: usize) -> String {
    format!("customer{number}")
}

fn name_of(customer: usize, number: usize) -> String {
    format!("n{number}.c{customer}.example.com")
}
