//! A world in virtual time: the whole operator, a cluster, the vendor and DNS in one thread, and a seed that breaks them.

mod admission;
mod calls;
mod claims;
mod cluster_dns;
pub mod dns;
mod faults;
mod history;
mod laws;
mod memory;
mod plan;
mod pods;
mod policy;
mod settle;
mod tenants;
mod trail;
mod variety;
pub mod vendor;
mod watcher;

use crate::api::{ApiServer, Kinds};
use admission::WorldAdmission;
use calls::Calls;
use citrix_allowlist::clock::Clock;
use citrix_allowlist::cluster::client::Connected;
use citrix_allowlist::engines::Engines;
use citrix_allowlist::operator::{Edges, Replica, RunArguments};
use clap::Parser;
use cluster_dns::SimulatedDns;
use dns::Dns;
use fastrand::Rng;
pub use faults::{ListChange, WorldFault};
use futures::FutureExt as _;
pub use history::History;
use jiff::Timestamp;
pub use laws::{Law, Violation};
pub use plan::{FaultPlan, Moment, Step};
use pods::Pods;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
pub use tenants::Tenant;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use variety::Variety;
use vendor::{ListContent, Vendor};
use watcher::Watcher;

/// Where the operator lives.
const HOME: &str = "citrix";
/// What the wall clock says when a world begins.
const EPOCH: &str = "2026-06-01T00:00:00Z";
/// The most objects of one page of a list, so that lists of some dozens have several, and something happens in between. That of the
/// users' resources ends last.
fn largest_page(resource: &str) -> usize {
    if resource == tenants::RESOURCES.1 { 2 } else { 20 }
}

/// The metric that counts changes which only the watchdog found.
const LOST_WAKES: &str = "citrix_allowlist_lost_wakes_total";
/// How often lists are fetched, where that is often.
const REFRESHED: &str = "30m";
/// The namespaces of tenants.
const NAMESPACES: usize = 5;
/// The most peers of one policy: so few that each resource has several, between which addresses move.
const PEERS: usize = 8;
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

/// A process of the operator.
struct Process {
    account: String,
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// A world.
pub struct SimulatedWorld {
    api: ApiServer,
    vendor: Vendor,
    dns: Dns,
    calls: Calls,
    admission: WorldAdmission,
    size: Size,
    variety: Variety,
    start: Instant,
    replicas: Vec<Option<Process>>,
    /// How many processes there were.
    incarnations: usize,
    /// How far the wall clock of each replica is ahead, in seconds.
    ahead: Vec<&'static AtomicI64>,
    /// The resources that there should be.
    resources: Vec<Value>,
    random: Rng,
    history: History,
    watcher: Watcher,
    /// Those that ask through the forwarder, where the operator forwards.
    pods: Option<Pods>,
}

impl SimulatedWorld {
    /// A world of this size, in which nothing runs yet.
    ///
    /// # Panics
    /// Outside a runtime whose clock is paused.
    #[must_use]
    pub fn new(seed: u64, size: Size, definitions: &[Value]) -> Self {
        let epoch: Timestamp = EPOCH.parse().expect("a time");
        let clock = Clock::simulated(epoch);
        let api = ApiServer::new(Kinds::new(definitions), Arc::new(move || clock.now()), seed);
        api.with(|store| store.set_largest_page(largest_page));
        let (vendor, dns, history) = (Vendor::new(epoch), Dns::default(), History::new());
        let watcher = Watcher::new(api.clone(), vendor.clone(), dns.clone(), history.clone());
        let (mut random, variety) = (Rng::with_seed(seed), Variety::of(seed));
        let calls = Calls::new(random.fork(), history.clone(), variety.has_latency);
        let (fates, admission) = (calls.clone(), WorldAdmission::of(&api));
        api.set(|hooks| hooks.fates = Some(Box::new(move |call, store| fates.fate(call, store))));
        let pods = variety.forwards.then(|| Pods::new(seed, size, history.clone(), watcher.clone(), calls.clone()));
        let mut world = Self {
            api,
            vendor,
            dns,
            calls,
            admission,
            size,
            variety,
            start: Instant::now(),
            replicas: (0..size.replicas).map(|_| None).collect(),
            incarnations: 0,
            ahead: (0..size.replicas).map(|_| &*Box::leak(Box::default())).collect(),
            resources: (0..size.resources).map(|number| resource(number, size, variety)).collect(),
            random,
            history,
            watcher,
            pods,
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
            let networks = [format!("20.{}.0.0/24", 100 + customer), format!("20.{}.0.128/25", 150 + customer)].into();
            self.vendor.publish(&customer_of(customer), ListContent { names: names.collect(), networks });
        }
        if self.pods.is_some() {
            self.vendor.add_wildcards();
            for (customer, number) in (0..self.size.customers).flat_map(|it| (0..pods::HIDDEN).map(move |of| (it, of)))
            {
                let addresses = (0..3).map(|_| self.address()).collect();
                // Each short one costs a query every few seconds, of every process.
                let ttl = if number == 0 { 5 } else { [60, 300, 600][self.random.usize(..3)] };
                self.dns.set(&pods::hidden_of(customer, number), addresses, 2, Duration::from_secs(ttl));
            }
        }
        self.create_missing();
        self.watcher.look();
    }

    /// A public address that no other name has.
    fn address(&mut self) -> IpAddr {
        IpAddr::from([52, self.random.u8(..), self.random.u8(..), self.random.u8(1..255)])
    }

    fn start_replica(&mut self, number: usize) {
        self.incarnations += 1;
        let account = calls::account(number, self.incarnations);
        let servers = SERVERS.map(|server| format!("--dns-server={server}"));
        let few = format!("--max-peers-per-policy={PEERS}");
        let forwards = self.pods.iter().flat_map(|_| {
            [
                "--forward-listen=10.96.1.1:53".to_owned(),
                format!("--forward-upstream={}", cluster_dns::UPSTREAMS.map(|server| server.to_string()).join(",")),
            ]
        });
        let flags = Flags::parse_from(["operator".to_owned(), few].into_iter().chain(servers).chain(forwards));
        let edges = Edges {
            connected: Connected {
                client: self.api.client(&account, HOME),
                namespace: HOME.to_owned(),
                in_cluster: true,
                api_server: None,
            },
            pod: None,
            candidate: account.clone(),
            vendor: Arc::new(self.vendor.clone()),
            dns: Arc::new(self.dns.clone()),
            exchange: Arc::new(SimulatedDns { dns: self.dns.clone(), pods: self.pods.clone() }),
            resolv_conf: Vec::new(),
            clock: Clock::Simulated {
                epoch: EPOCH.parse().expect("a time"),
                start: self.start,
                ahead: self.ahead[number],
            },
            memory: memory::read,
        };
        let replica = Replica::new(flags.run, Engines::default(), edges);
        let metrics = replica.content().metrics;
        if let Some(pods) = &self.pods {
            pods.began(&account, replica.forwarder());
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(replica.run(stop.clone()));
        self.calls.began(account.clone(), task.abort_handle());
        self.replicas[number] = Some(Process { account, task, stop, metrics });
    }

    fn kill(&mut self, number: usize) {
        if let Some(process) = self.replicas[number].take() {
            self.calls.killed(&process.account);
            self.pods.iter().for_each(|pods| pods.killed(&process.account));
            self.woke(&process);
            match process.task.now_or_never() {
                Some(Ok(Err(error))) => self.history.violated(Law::Lives, &format!("{}: {error}", process.account)),
                Some(Err(error)) if error.is_panic() => {
                    self.history.violated(Law::Lives, &format!("{}: {error}", process.account));
                }
                _ => {}
            }
        }
    }

    /// Whether a process reconciled every change without its watchdog.
    fn woke(&self, process: &Process) {
        let metrics = (process.metrics)();
        let lost = metrics.lines().find_map(|line| line.strip_prefix(LOST_WAKES)).unwrap_or_default();
        if lost.trim() != "0" {
            self.history.violated(Law::Wakes, &format!("{}: the watchdog found{lost} lost wakes", process.account));
        }
    }

    fn set_clock(&self, replica: usize, seconds: i64) {
        self.ahead[replica].store(seconds, Ordering::Relaxed);
    }

    /// The server forgets all but the newest revision, once the watcher has seen it.
    fn compact(&self) {
        self.watcher.look();
        self.api.with(|store| store.compact(store.revision()));
    }

    /// Runs the steps of a plan, or `only` some of them; not further than `until`, and to its end without.
    ///
    /// # Errors
    /// The first law that was broken.
    pub async fn run(
        &mut self,
        plan: &FaultPlan,
        only: Option<&[usize]>,
        until: Option<Duration>,
    ) -> Result<(), Violation> {
        for number in 0..self.size.replicas {
            self.start_replica(number);
        }
        let watching = tokio::spawn(self.watcher.clone().watch());
        let controlling = tokio::spawn(control(self.api.clone()));
        let asking = self.pods.clone().map(|pods| tokio::spawn(pods.ask()));
        for (at, moment) in plan.moments(only, until.unwrap_or(Duration::MAX)) {
            tokio::time::sleep_until(self.start + at).await;
            self.check()?;
            match moment {
                Moment::Begin(number) => {
                    let step = &plan.steps[number];
                    self.history.note(&format!("#{number} begins, for {:.1?}: {:?}", step.lasts, step.fault));
                    self.begin(number, &step.fault);
                }
                Moment::Over(number) => {
                    self.history.note(&format!("#{number} is over"));
                    self.over(number, &plan.steps[number].fault);
                }
                Moment::Completed => {
                    self.pods.iter().for_each(|pods| pods.set_asking(false));
                    self.create_missing();
                }
                Moment::Settled => self.settled().await,
            }
        }
        self.check()?;
        if until.is_none() {
            self.end().await;
        }
        watching.abort();
        controlling.abort();
        asking.iter().for_each(JoinHandle::abort);
        self.check()
    }

    fn check(&self) -> Result<(), Violation> {
        self.watcher.look();
        let most = self.vendor.most_requests();
        if most > vendor::RATE {
            self.history.violated(Law::FiveAMinute, &format!("the vendor got {most} requests in a minute"));
        }
        // Nobody asked it to, and it was not killed.
        let ended = self.replicas.iter().flatten().find(|process| {
            process.task.is_finished() && !process.stop.is_cancelled() && self.calls.lives(&process.account)
        });
        if let Some(process) = ended {
            self.history.violated(Law::Lives, &format!("{} ended by itself", process.account));
        }
        self.history.result()
    }
}

/// The controllers of the cluster: a step each 100 ms while they have work.
async fn control(api: ApiServer) {
    let mut ticks = api.ticks();
    while ticks.changed().await.is_ok() {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !api.with(|store| store.collect_garbage() | store.terminate_namespaces()) {
                break;
            }
        }
    }
}

fn customer_of(number: usize) -> String {
    format!("customer{number}")
}

fn name_of(customer: usize, number: usize) -> String {
    format!("n{number}.c{customer}.example.com")
}

fn namespace_of(number: usize) -> String {
    format!("tenant-{number}")
}

/// The namespace and name of a resource.
fn resource_of(number: usize) -> (String, String) {
    (namespace_of(number % NAMESPACES), format!("r{number}"))
}

fn resource(number: usize, size: Size, variety: Variety) -> Value {
    let (namespace, name) = resource_of(number);
    let mut spec = json!({
        "customerId": customer_of(number % size.customers),
        "geo": "us",
        "podSelector": { "matchLabels": { "app": format!("a{number}") } },
    });
    if variety.refreshes {
        spec["refresh"] = json!({ "maxInterval": REFRESHED });
    }
    tenants::resource(&namespace, &name, &spec)
}
