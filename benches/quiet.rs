//! One reconcile that changes nothing, again and again: the whole controller with everything in place.

#[path = "../tests/common/doubles.rs"]
mod doubles;

use citrix_allowlist::clock::Clock;
use citrix_allowlist::names::{Answer, Family, Lookup, LookupOutcome};
use connectivity_allowlist::net::DomainName;
use connectivity_allowlist::{Fetch, FetchError, FetchRequest, Fetched, Validators};
use doubles::Doubles;
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How many names the list has, each of three addresses.
const NAMES: usize = 200;
/// Longer than a reconcile takes under a program that counts its instructions.
const PAUSE: Duration = Duration::from_millis(500);

struct Vendor;

impl Fetch for Vendor {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let fqdns: Vec<String> = (0..NAMES).map(|index| format!("name-{index}.example.com")).collect();
        let document = json!({
            "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2030-06-01T00:00:00Z" },
            "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
                "endpoints": [{ "fqdns": fqdns, "ips": ["13.107.6.152/31"] }] }],
        });
        let body = document.to_string().into_bytes();
        Box::pin(async { Ok(Fetched::Document { body, validators: Validators::default(), content_type: None }) })
    }
}

/// Every name has the same three addresses for ever.
struct Steady;

impl Lookup for Steady {
    fn ask(&self, _: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let number: u32 =
            name.as_str().chars().filter_map(|letter| letter.to_digit(10)).fold(0, |sum, digit| sum * 10 + digit);
        let ttl = Duration::from_secs(3600);
        let answer = match family {
            Family::V6 => Answer::Absent { nxdomain: false, ttl: Some(ttl) },
            Family::V4 => {
                let first = u32::from(Ipv4Addr::new(20, 64, 0, 1)) + number * 1009;
                let addresses: BTreeSet<IpAddr> =
                    (0..3).map(|offset| Ipv4Addr::from(first + offset * 7).into()).collect();
                Answer::Addresses { addresses, ttl }
            }
        };
        Box::pin(async { Ok(answer) })
    }
}

/// Brings everything about, then has the resource looked at so many times.
///
/// # Panics
/// Where a look changed something, or was no look.
pub fn reconciles(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let world = Doubles::start(Clock::System, Arc::new(Vendor), Arc::new(Steady));
    world.look();
    let unchanged = || total(&world.metrics.render(), "citrix_allowlist_reconciles_total{outcome=\"unchanged\"}");
    let waited = std::time::Instant::now();
    while !world.api.calls().iter().any(|(call, _)| call == "PATCH status") {
        assert!(waited.elapsed() < Duration::from_secs(120), "everything is in place:\n{}", world.metrics.render());
        tokio::time::sleep(PAUSE).await;
    }
    // What the last answers brought about is over.
    tokio::time::sleep(4 * PAUSE).await;
    let before = unchanged();
    for _ in 0..count {
        world.look();
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(unchanged() - before, count, "each look is one reconcile that changes nothing");
    world.end().await;
}

/// The sum of the series that begin so.
fn total(metrics: &str, series: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}
