//! Attacks by names, and the zones that they stand on.

use super::kinds::Ground;
use serde_json::{Value, json};
use std::net::IpAddr;
use test_support::dns::{Behaviour, DnsServer};

/// Entries under `additional`, and names in each: the most that a resource may have.
const MOST: usize = 64;
/// Addresses of a name that has many: as many as an answer by UDP holds.
const ADDRESSES: usize = 70;

/// What the server answers: by the ending of the name, and anything else with one address.
pub fn answer(dns: &DnsServer, ttl: u32) {
    dns.default_behaviour(move |name, _| match name.rsplit_once('.').and_then(|(rest, _)| rest.rsplit_once('.')) {
        Some((_, "silent")) => Behaviour::silent(),
        Some((_, "many")) => Behaviour::addresses(&(0..ADDRESSES).map(|_| random()).collect::<Vec<_>>(), 0),
        Some((_, "random")) => Behaviour::addresses(&[random()], 0),
        Some((_, "short")) => Behaviour::addresses(&[[20, 64, 9, 8].into()], 0),
        _ => Behaviour::addresses(&[[20, 64, 9, 9].into()], ttl),
    });
}

/// Two in three are no neighbours, so that networks do not merge.
fn random() -> IpAddr {
    [20, fastrand::u8(100..200), fastrand::u8(..), fastrand::u8(..)].into()
}

/// A spec with so many names in a zone.
fn naming(resource: &str, zone: &str, names: usize) -> Value {
    let entry = |number: usize| {
        let names =
            (0..MOST.min(names - number * MOST)).map(|index| format!("n{index}.e{number}.{resource}.{zone}.example"));
        json!({ "name": format!("e{number}"), "fqdns": names.collect::<Vec<_>>(), "tcpPorts": "443" })
    };
    let additional: Vec<_> = (0..names.div_ceil(MOST)).map(entry).collect();
    json!({ "customerId": "testcustomer", "geo": "us", "additional": additional })
}

/// Resources that name so many, then nothing: what they name is asked for as long as they are there.
async fn greedy(ground: Ground, zone: &str, resources: usize, names: usize) {
    for number in 0..resources {
        let name = format!("greedy{number}");
        ground.create(&name, naming(&name, zone, names), json!({})).await;
    }
    std::future::pending().await
}

pub async fn many_addresses(ground: Ground) {
    let names = ground.scale(4, 64) * MOST;
    greedy(ground, "many", 1, names).await;
}

/// Formerly five resources. Of a second one most names are beyond the bound of a namespace; each further one would only be work
/// for the API server, which validates all that they name with each write of their status.
pub async fn silent(ground: Ground) {
    greedy(ground, "silent", 2, MOST * MOST).await;
}

pub async fn short_ttl(ground: Ground) {
    let (resources, names) = (ground.scale(1, 2), ground.scale(16, 64) * MOST);
    greedy(ground, "short", resources, names).await;
}

pub async fn random_addresses(ground: Ground) {
    greedy(ground, "random", 1, MOST).await;
}
