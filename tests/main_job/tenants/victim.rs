//! The tenant who is to be kept waiting, and the kubelet that probes: what they meet.

use crate::common::watched::Watched;
use crate::common::{Stage, holds};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long after its TTL a change is followed.
const FOLLOWED: Duration = Duration::from_secs(5);
/// How long until a new resource is Ready.
const READY: Duration = Duration::from_secs(10);
/// The chart's `timeoutSeconds` of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two probes; the chart's are ten seconds apart.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The TTL of the victim's answers, in seconds: by default a name is asked no sooner than every 5 s.
pub const fn ttl(is_long: bool) -> u32 {
    if is_long { 5 } else { 2 }
}

/// A tenant with one resource whose name gets another address each turn.
pub struct Victim {
    policies: Watched<NetworkPolicy>,
    ttl: u32,
    turn: u8,
}

/// How long one turn took.
#[derive(Clone, Copy, Default)]
pub struct Times {
    ttl: Duration,
    followed: Duration,
    applied: Duration,
    ready: Duration,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { followed, applied, ready, .. } = self;
        write!(
            f,
            "a change was followed after {followed:.1?}; a new resource was applied after {applied:.1?}, Ready after {ready:.1?}"
        )
    }
}

impl Times {
    pub fn max(self, other: Self) -> Self {
        Self {
            ttl: other.ttl,
            followed: self.followed.max(other.followed),
            applied: self.applied.max(other.applied),
            ready: self.ready.max(other.ready),
        }
    }

    pub fn hold(self) {
        assert!(self.followed <= self.ttl + FOLLOWED, "a change was followed after {:?}", self.followed);
        assert!(self.ready <= READY, "a new resource was Ready after {:?}", self.ready);
    }
}

fn spec(name: &str) -> Value {
    let own = json!({ "name": "own", "fqdns": [format!("{name}.example.com")], "tcpPorts": "443" });
    json!({ "customerId": "testcustomer", "geo": "us", "additional": [own] })
}

fn address(turn: u8) -> IpAddr {
    [20, 65, 1, turn].into()
}

impl Victim {
    /// Its resource is Ready before anybody attacks.
    pub async fn settle(stage: &Stage, is_long: bool) -> Self {
        let ttl = ttl(is_long);
        stage.dns.set_addresses("moving.example.com", &[address(1)], ttl);
        stage.apply("own", &spec("moving").to_string()).await;
        stage.ready("own").await;
        Self { policies: stage.watch_policies().await, ttl, turn: 1 }
    }

    /// Its address changes, and it makes another resource, with a name that nobody has asked for.
    pub async fn turn(&mut self, stage: &Stage) -> Times {
        self.turn = self.turn % 250 + 1;
        let new = format!("new-{}", fastrand::u32(..));
        let (policies, address) = (&self.policies, address(self.turn));
        let follow = async {
            let changed = Instant::now();
            stage.dns.set_addresses("moving.example.com", &[address], self.ttl);
            policies.until("the new address", |now| holds(&now["own-egress"], address)).await;
            changed.elapsed()
        };
        let make = async {
            // Without kubectl, whose own start would count.
            let resource = serde_json::from_value(json!({
                "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
                "metadata": { "name": new }, "spec": spec(&new),
            }));
            let resource = resource.expect("a resource");
            stage.resources().create(&PostParams::default(), &resource).await.expect("an accepted resource");
            let created = Instant::now();
            let policy = format!("{new}-egress");
            policies.until("its policy", |now| now.contains_key(&policy)).await;
            let applied = created.elapsed();
            stage.ready(&new).await;
            (applied, created.elapsed())
        };
        let (followed, (applied, ready)) = futures::join!(follow, make);
        stage.resources().delete(&new, &DeleteParams::default()).await.expect("deleted");
        Times { ttl: Duration::from_secs(self.ttl.into()), followed, applied, ready }
    }
}

/// What probes have met.
#[derive(Default)]
struct Met {
    asked: usize,
    slowest: Duration,
    failed: Vec<String>,
}

/// The kubelet's probes of all replicas, until dropped.
pub struct Probes {
    met: Arc<Mutex<Met>>,
    task: JoinHandle<()>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probes {
    pub fn start(replicas: Vec<SocketAddr>) -> Self {
        let met: Arc<Mutex<Met>> = Arc::default();
        let told = Arc::clone(&met);
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PROBE_TIMEOUT);
            let client = client.build().expect("a client");
            loop {
                for url in replicas.iter().flat_map(|at| ["livez", "readyz"].map(|path| format!("http://{at}/{path}")))
                {
                    let asked = Instant::now();
                    let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
                    let mut met = told.lock().unwrap_or_else(PoisonError::into_inner);
                    met.asked += 1;
                    met.slowest = met.slowest.max(asked.elapsed());
                    met.failed.extend(answer.err().map(|error| error.to_string()));
                }
                tokio::time::sleep(PROBE_EVERY).await;
            }
        });
        Self { met, task }
    }

    /// Not one has failed: six in a row are a restart.
    pub fn verdict(&self) {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(met.asked > 0 && met.failed.is_empty(), "of {} probes failed {:?}", met.asked, met.failed);
    }
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "{} probes, the slowest {:.1?}", met.asked, met.slowest)
    }
}
