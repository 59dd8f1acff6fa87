//! Behind the real CoreDNS with its cache: pods that connect to each answer the moment they have it, while the network plugin follows
//! policies up to 200 ms late. No first connection is refused.

use crate::client::Client;
use crate::cluster_dns::corefile;
use crate::plugin::Plugin;
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
/// How far apart questions are: twenty a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// What pods have found.
#[derive(Default)]
struct Found {
    connections: usize,
    refused: Vec<String>,
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
            found.refused.push(format!("{address} of {name}, answered after {took:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_first_connection_is_refused_behind_coredns() {
    let test = "no_first_connection_is_refused_behind_coredns";
    let forwarding = Forwarding::start().await;
    let pool = fixture::pool(EXACT, ROTATING);
    forwarding.stage.dns.set(EXACT, Behaviour::rotating(&pool, 4, 2));
    let dns = CoreDns::start(&corefile(&forwarding), &[]).await.expect("CoreDNS");
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
    let found = found.lock().expect("a lock");
    let (early, waited) = (forwarding.answered("early").await, forwarding.answered("waited").await);
    println!(
        "{} connections, {} refused; {} addresses of the rotating name; {waited} answers waited and {early} were early; the longest \
         took {:?}; the plugin was at most {:?} late",
        found.connections,
        found.refused.len(),
        found.rotating.len(),
        found.longest,
        plugin.longest()
    );
    assert_eq!(found.refused, Vec::<String>::new());
    assert_eq!(found.rotating.len(), ROTATING, "every address was given out");
    assert_eq!((early, waited >= NAMES as f64), (0.0, true), "every new name waited for its policy");
}
