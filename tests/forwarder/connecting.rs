//! Behind the real CoreDNS with its cache: pods that connect to each answer the moment they have it, while the network plugin follows
//! policies up to 200 ms late. No first connection is refused.

use crate::client::Client;
use crate::cluster_dns::corefile;
use crate::plugin::Plugin;
use crate::property::ONE_AT_A_TIME;
use crate::watcher::PolicyWatcher;
use crate::{EXACT, Forwarding, unseen};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_support::coredns::CoreDns;
use test_support::dns::Behaviour;
use test_support::fixture;
use tokio::task::JoinSet;

/// Names that nobody has asked for.
const NAMES: usize = 500;
/// Addresses of the rotating name.
const ROTATING: usize = 24;
/// How long answers wait after their policies (`--forward-settle`).
const SETTLE: Duration = Duration::from_millis(250);
/// How far apart questions are: twenty a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// A connection that was refused.
#[derive(Debug)]
#[expect(dead_code, reason = "a failing test prints it")]
struct Refused {
    name: String,
    address: IpAddr,
    /// How long the answer took.
    took: Duration,
}

/// What pods have found.
#[derive(Debug, Default)]
struct Found {
    connections: usize,
    refused: Vec<Refused>,
    rotating: BTreeSet<IpAddr>,
    longest: Duration,
}

/// A pod resolves a name and connects to every address at once.
async fn connect(client: Client, plugin: Arc<Plugin>, name: String, found: Arc<Mutex<Found>>) {
    let began = Instant::now();
    let addresses = client.resolve(&name).await;
    let took = began.elapsed();
    for address in addresses {
        let is_connected = plugin.connect(address).await;
        let mut found = found.lock().expect("a lock");
        found.connections += 1;
        found.longest = found.longest.max(took);
        if name == EXACT {
            found.rotating.insert(address);
        }
        if !is_connected {
            found.refused.push(Refused { name: name.clone(), address, took });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_first_connection_is_refused_behind_coredns() {
    let test = "no_first_connection_is_refused_behind_coredns";
    let _alone = ONE_AT_A_TIME.lock().await;
    let forwarding = Forwarding::start().await;
    let pool = fixture::pool(EXACT, ROTATING);
    forwarding.stage.dns.set(EXACT, Behaviour::rotating(&pool, 4, 2));
    let dns = CoreDns::start(&corefile(&forwarding), &[]).await.expect("CoreDNS");
    let watcher = PolicyWatcher::start(forwarding.stage.client.clone(), forwarding.stage.namespace.name()).await;
    let mut plugin = Plugin::start(test, forwarding.stage.client.clone(), forwarding.stage.namespace.name()).await;
    plugin.follows().await;
    assert!(!plugin.connect(IpAddr::from([203, 0, 113, 1])).await, "the filter filters");
    let (client, plugin, found) = (Client::of(dns.address()), Arc::new(plugin), Arc::<Mutex<Found>>::default());
    let (mut pods, mut due) = (JoinSet::new(), tokio::time::interval(INTERVAL));
    let mut number = 0;
    // The answers with the rotating name's last addresses may come after the last new name.
    while number < NAMES || (number < 2 * NAMES && found.lock().expect("a lock").rotating.len() < ROTATING) {
        due.tick().await;
        for name in [(number < NAMES).then(|| unseen(number)), Some(EXACT.to_owned())].into_iter().flatten() {
            pods.spawn(connect(client, Arc::clone(&plugin), name, Arc::clone(&found)));
        }
        number += 1;
    }
    while let Some(ended) = pods.join_next().await {
        ended.expect("a pod");
    }
    let mut found = std::mem::take(&mut *found.lock().expect("a lock"));
    // What is counted as early may be refused, and what a plugin refuses that a busy machine let sleep says nothing.
    let log = forwarding.operator.log();
    let is_early = |name: &str| log.contains(&format!("not in force name={name} result=\"early\""));
    let early = found.refused.extract_if(.., |refused| is_early(&refused.name)).count();
    plugin.follows_all().await;
    let history = watcher.end().await;
    let was_late = |address: IpAddr| {
        let (written, followed) = (history.allowed_since(address), plugin.allowed_since(address));
        matches!((written, followed), (Some(written), Some(followed)) if followed > written + SETTLE)
    };
    let unclear = found.refused.extract_if(.., |refused| was_late(refused.address)).count();
    let [counted, waited] = [forwarding.answered("early").await, forwarding.answered("waited").await];
    println!(
        "{} connections, {} refused, {early} early, {unclear} unclear; {} addresses of the rotating name; {waited} answers waited \
         and {counted} were early; the longest took {:?}; the plugin was at most {:?} late",
        found.connections,
        found.refused.len(),
        found.rotating.len(),
        found.longest,
        plugin.longest()
    );
    assert!(found.refused.is_empty(), "{:#?}", found.refused);
    assert_eq!(found.rotating.len(), ROTATING, "every address was given out");
    let names = NAMES as f64;
    assert!(counted <= names / 20.0 && waited >= names * 0.9, "new names wait for their policies");
    assert!(unclear * 10 <= found.connections, "the plugin sleeps too often to tell");
}
