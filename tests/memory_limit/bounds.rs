//! What the whole process takes where the bounds on names and addresses are reached, and that it lives: the table of
//! docs/operations.md.
//!
//! `cargo test --test memory_limit -- --ignored --nocapture`, as root; `SOAK_OPERATOR` names the binary to measure, the one
//! that tests are built with otherwise.

use crate::common::group::Group;
use crate::common::{Stage, eventually};
use citrix_allowlist::crd::CitrixAllowlist;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use test_support::control_plane::TestNamespace;
use test_support::dns::Behaviour;
use test_support::operator::{Operator, OperatorConfig};

/// Names in an entry under `additional`, at most.
const IN_ENTRY: usize = 64;
/// How long all names may take: 40,000 questions, of which a server is asked 1,000 in a second.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long nothing has to happen before it is looked at.
const QUIET: Duration = Duration::from_secs(10);

/// Namespaces, resources in each, names of each, addresses of each name.
type Tenants = (usize, usize, usize, usize);

/// What is measured. The bounds in all keep a quarter for namespaces that use little: so three have as much as one may, and
/// eight an eighth of that. One name of each resource is the list's. Last comes how many customers there are besides.
const ROWS: [(&str, &[Tenants], usize); 6] = [
    ("one resource of one name", &[(1, 1, 1, 1)], 0),
    ("and as many lists as there may be", &[(1, 1, 1, 1)], 375),
    ("as many names as there may be, without addresses", &[(3, 2, 2_499, 0), (8, 1, 624, 0)], 0),
    ("fewer names, as many addresses as there may be", &[(3, 2, 499, 20), (8, 1, 124, 20)], 0),
    ("as many of both as there may be", &[(3, 2, 2_499, 4), (8, 1, 624, 4)], 0),
    ("as many of all as there may be", &[(3, 2, 2_499, 4), (8, 1, 624, 4)], 375),
];
/// How many customers a namespace has, of the hundred that it may have.
const CUSTOMERS: usize = 75;

/// Answers that follow from the name, which begins with how many addresses it has: random ones, as networks that do not merge.
fn answer(name: &str) -> Behaviour {
    let count = name.split('-').next().and_then(|count| count.parse().ok()).unwrap_or(1);
    let address = |number: usize| -> IpAddr {
        let mut hasher = DefaultHasher::new();
        (name, number).hash(&mut hasher);
        let bytes = hasher.finish().to_be_bytes();
        [20, bytes[0], bytes[1], bytes[2]].into()
    };
    match count {
        0 => Behaviour::nodata(),
        count => Behaviour::addresses(&(0..count).map(address).collect::<Vec<_>>(), 3600),
    }
}

fn spec(who: &str, names: usize, addresses: usize) -> Value {
    let entry = |number: usize| {
        let names = (0..IN_ENTRY.min(names - number * IN_ENTRY))
            .map(|index| format!("{addresses}-{}.{who}.example.com", number * IN_ENTRY + index));
        json!({ "name": format!("e{number}"), "fqdns": names.collect::<Vec<_>>(), "tcpPorts": "443" })
    };
    json!({
        "customerId": "testcustomer", "geo": "us", "services": { "include": ["none of the list's"] },
        "additional": (0..names.div_ceil(IN_ENTRY)).map(entry).collect::<Vec<_>>(),
    })
}

async fn create(stage: &Stage, namespace: &str, number: usize, spec: Value) {
    let resource = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": format!("many-{number}") }, "spec": spec,
    });
    let resources: Api<CitrixAllowlist> = Api::namespaced(stage.client.clone(), namespace);
    let resource = serde_json::from_value(resource).expect("a resource");
    resources.create(&PostParams::default(), &resource).await.expect("an accepted resource");
}

/// An operator in a group of its own.
struct Limited {
    group: Group,
    operator: Operator,
    process: u32,
}

impl Limited {
    async fn start(config: &OperatorConfig) -> Self {
        let group = Group::make().expect("a group");
        let mut operator = Operator::start(&group.around(config.clone())).await.expect("an operator");
        let process = operator.process().program_id().expect("it runs");
        Self { group, operator, process }
    }

    async fn figure(&self, name: &str) -> Option<f64> {
        self.operator.metric(&format!("citrix_allowlist_{name}")).await.ok().flatten()
    }

    /// Waits until so many names were answered, with so many addresses. One name may have the same random address twice.
    async fn knows(&self, names: usize, addresses: usize) {
        let addresses = addresses - addresses / 1000;
        let known = eventually(PATIENCE, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let asked =
                self.figure("names{state=\"answered\"}").await? + self.figure("names{state=\"absent\"}").await?;
            (asked >= names as f64 && self.figure("addresses").await? >= addresses as f64).then_some(())
        });
        if known.await.is_none() {
            let text = self.operator.get("/metrics").await.unwrap_or_default();
            panic!("not {names} names and {addresses} addresses in {PATIENCE:?}:\n{text}");
        }
    }

    /// Waits until it has so many lists.
    async fn has_lists(&self, lists: usize) {
        let known = eventually(PATIENCE, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let text = self.operator.get("/metrics").await.ok()?;
            let fetched =
                text.lines().filter(|line| line.starts_with("citrix_allowlist_feed_fetched_timestamp_seconds{"));
            (fetched.count() >= lists).then_some(())
        });
        assert!(known.await.is_some(), "not {lists} lists in {PATIENCE:?}");
    }

    /// Waits until it writes no more, and says what it used: then, and at most, in MiB.
    async fn used(mut self) -> (u64, u64) {
        let quiet = eventually(PATIENCE, async || {
            let before = self.writes().await?;
            tokio::time::sleep(QUIET).await;
            (self.writes().await? == before).then_some(())
        });
        assert!(quiet.await.is_some(), "it keeps writing");
        let used = self.figure("memory_used_bytes").await.expect("a figure") as u64;
        assert_eq!(self.operator.process().program_id().expect("it runs"), self.process, "it was killed");
        (used >> 20, self.group.peak().unwrap_or_default() >> 20)
    }

    /// How much it has written to policies and ConfigMaps so far.
    async fn writes(&self) -> Option<f64> {
        let text = self.operator.get("/metrics").await.ok()?;
        let kinds =
            ["NetworkPolicy", "ConfigMap"].map(|kind| format!("citrix_allowlist_writes_total{{kind=\"{kind}\""));
        let lines = text.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
        Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make soak LONG=1` runs it"]
async fn the_process_fits_the_charts_limit_at_every_bound() {
    if Group::for_test("the_process_fits_the_charts_limit_at_every_bound").is_none() {
        return;
    }
    println!("| names | addresses | lists | policies | memory | at most | at most after a restart | |");
    for (what, tenants, customers) in ROWS {
        let stage = Stage::set().await;
        stage.dns.default_behaviour(|name, _| answer(name));
        let mut config = stage.operator_config();
        config.binary = std::env::var_os("SOAK_OPERATOR").map_or(config.binary, PathBuf::from);
        let mut namespaces: Vec<(TestNamespace, Tenants)> = Vec::new();
        for part in tenants.iter().copied() {
            for _ in 0..part.0 {
                let namespace = stage.cluster.fresh_namespace("tenant").await.expect("a namespace");
                config = config.flag("watch-namespace", namespace.name());
                namespaces.push((namespace, part));
            }
        }
        let mut crowded = Vec::new();
        for _ in 0..customers.div_ceil(CUSTOMERS) {
            let namespace = stage.cluster.fresh_namespace("customers").await.expect("a namespace");
            config = config.flag("watch-namespace", namespace.name());
            crowded.push(namespace);
        }
        let limited = Limited::start(&config).await;
        for customer in 0..customers {
            let spec = json!({
                "customerId": format!("customer{customer}"), "geo": "us", "services": { "include": ["none of the list's"] },
            });
            create(&stage, crowded[customer / CUSTOMERS].name(), customer, spec).await;
        }
        limited.has_lists(customers).await;
        let (mut names, mut addresses) = (0, 0);
        // Who uses little comes last, into what is kept for that.
        for part in tenants {
            for (namespace, (_, resources, each, of_name)) in namespaces.iter().filter(|(_, of)| of == part) {
                for number in 0..*resources {
                    let who = format!("{number}.{}", namespace.name());
                    create(&stage, namespace.name(), number, spec(&who, *each, *of_name)).await;
                    (names, addresses) = (names + each, addresses + each * of_name);
                }
            }
            limited.knows(names, addresses).await;
        }
        let (used, most) = limited.used().await;
        let mut policies = 0;
        for (namespace, _) in &namespaces {
            let found = stage.cluster.kubectl(&["-n", namespace.name(), "get", "netpol", "-o", "name"]).await;
            policies += found.expect("policies").lines().count();
        }
        let limited = Limited::start(&config).await;
        // Now they come in any order, and who uses little may take room that is nobody's: what is kept stays empty then.
        limited.knows(names * 3 / 4, addresses * 3 / 4).await;
        limited.has_lists(customers).await;
        let (_, again) = limited.used().await;
        println!(
            "| {names} | {addresses} | {} | {policies} | {used} MiB | {most} MiB | {again} MiB | {what} |",
            customers + 1
        );
        stage.dns.clear_questions();
    }
}
