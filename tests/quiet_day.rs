//! A controller on a paused clock, against a client that records: what it writes of a day in which nothing changes, and
//! what it tells of a wait.

#[path = "common/doubles.rs"]
mod doubles;

use citrix_allowlist::clock::Clock;
use citrix_allowlist::names::{Answer, Family, Lookup, LookupOutcome};
use connectivity_allowlist::net::DomainName;
use connectivity_allowlist::{Fetch, FetchError, FetchRequest, Fetched, Validators};
use doubles::Doubles;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a list is valid: a fetch every so often.
const VALID: SignedDuration = SignedDuration::from_hours(2);

/// The vendor: one list for ever, valid again with each fetch.
struct Vendor {
    clock: Clock,
    fetches: AtomicUsize,
    /// How long a fetch takes.
    takes: Duration,
}

impl Fetch for Vendor {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async {
            tokio::time::sleep(self.takes).await;
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let document = json!({
                "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": (self.clock.now() + VALID).to_string() },
                "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
                    "endpoints": [{ "fqdns": ["a.example.com", "b.example.com"], "ips": ["13.107.6.152/31"] }] }],
            });
            Ok(Fetched::Document {
                body: document.to_string().into_bytes(),
                validators: Validators::default(),
                content_type: None,
            })
        })
    }
}

/// DNS: every name has six addresses and answers with two of them, others each time, for 30 s.
#[derive(Default)]
struct Rotating {
    questions: AtomicUsize,
}

impl Lookup for Rotating {
    fn ask(&self, _: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let question = self.questions.fetch_add(1, Ordering::SeqCst);
        let first = name.as_str().as_bytes()[0];
        let answer = match family {
            Family::V6 => Answer::Absent { nxdomain: false, ttl: Some(Duration::from_secs(30)) },
            Family::V4 => {
                let address = |index: usize| {
                    let last = u8::try_from(10 * (index % 6)).expect("small");
                    IpAddr::V4(Ipv4Addr::new(20, 64, first, last + 1))
                };
                // Questions of both families are counted, so every second one is of this.
                let addresses = BTreeSet::from([address(question), address(question + 1), address(question + 3)]);
                Answer::Addresses { addresses, ttl: Duration::from_secs(30) }
            }
        };
        Box::pin(async { Ok(answer) })
    }
}

/// Calls so far that begin so, such as `POST`, or `PATCH status`.
fn count(world: &Doubles, call: &str) -> usize {
    world.api.calls().iter().filter(|(made, _)| made.starts_with(call)).count()
}

/// Writes so far other than of status.
fn writes(world: &Doubles) -> usize {
    world.api.calls().iter().filter(|(call, _)| !call.starts_with("GET") && !call.ends_with("status")).count()
}

fn start(takes: Duration) -> (Doubles, Arc<Vendor>, Arc<Rotating>) {
    let clock = Clock::simulated("2026-06-01T00:00:00Z".parse::<Timestamp>().expect("a time"));
    let vendor = Arc::new(Vendor { clock, fetches: AtomicUsize::new(0), takes });
    let resolver = Arc::new(Rotating::default());
    let world = Doubles::start(clock, Arc::clone(&vendor) as _, Arc::clone(&resolver) as _);
    world.look();
    (world, vendor, resolver)
}

/// A day in which nothing changes but the vendor's `validUntil` and which of its addresses a name answers with.
#[tokio::test(start_paused = true)]
async fn a_quiet_day_writes_only_one_status_for_each_fetch() {
    let (world, vendor, resolver) = start(Duration::ZERO);
    // An hour in which every address of the rotation is seen.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let (fetches, statuses, written) =
        (vendor.fetches.load(Ordering::SeqCst), count(&world, "PATCH status"), writes(&world));
    assert_eq!((count(&world, "POST networkpolicies"), fetches), (1, 1), "a policy: {:?}", world.api.calls());
    let questions = resolver.questions.load(Ordering::SeqCst);
    tokio::time::sleep(DAY).await;
    let fetches = vendor.fetches.load(Ordering::SeqCst) - fetches;
    let statuses = count(&world, "PATCH status") - statuses;
    let asked = resolver.questions.load(Ordering::SeqCst) - questions;
    println!("in a day: {fetches} fetches, {asked} questions, {statuses} writes of status");
    assert!((11..=14).contains(&fetches), "{fetches} fetches of a list that is valid for two hours");
    assert!(asked > 4_000, "{asked} questions with a TTL of 30 s");
    assert_eq!(statuses, fetches, "one write of status for each completed fetch");
    assert_eq!(writes(&world), written, "and nothing else: {:?}", world.api.calls());
    let metrics = world.metrics.render();
    assert!(metrics.contains("citrix_allowlist_reconciles_total{outcome=\"failed\"} 0"), "{metrics}");
    world.end().await;
}

/// The calls until a policy was there, and what `Ready` said for a reason in those that wrote status.
async fn until_the_policy(takes: Duration) -> Vec<String> {
    let (world, ..) = start(takes);
    tokio::time::sleep(takes + Duration::from_secs(5)).await;
    let calls = world.api.calls();
    let before = calls.iter().take_while(|(call, _)| call != "POST networkpolicies");
    let described = before.map(|(call, status)| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|condition| condition["type"] == "Ready");
        ready.fold(call.clone(), |described, condition| {
            format!("{described}: {}", condition["reason"].as_str().unwrap_or("?"))
        })
    });
    let described = described.collect();
    assert_eq!(count(&world, "POST networkpolicies"), 1, "{calls:?}");
    world.end().await;
    described
}

#[tokio::test(start_paused = true)]
async fn only_a_wait_that_lasts_is_reported() {
    let calls = until_the_policy(Duration::from_millis(400)).await;
    assert_eq!(calls, Vec::<String>::new(), "the policy is the first thing written");
    let calls = until_the_policy(Duration::from_secs(2)).await;
    assert_eq!(calls.first().map(String::as_str), Some("PATCH status: WaitingForFeed"), "{calls:?}");
}
