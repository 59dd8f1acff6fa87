//! Counts the memory of 10,000 learned names with their addresses, as the names table keeps them: `cargo bench --bench learned`. What
//! policies and ConfigMaps take for the same addresses is in the benchmark of the whole operator.

use citrix_allowlist::clock::Clock;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{
    Answer, Enforcement, Family, InUse, Lookup, LookupOutcome, NameState, Names, NamesSettings, ObservedPattern,
};
use citrix_allowlist::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::net::{DomainName, NamePattern};
use futures::future::BoxFuture;
use peak_alloc::PeakAlloc;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use test_support::tools::target_folder;
use tokio::sync::{mpsc, watch};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many names, as the bound of [`BOUND`] counts them.
const NAMES: usize = 10_000;
/// The resources that learn them, each in a namespace of its own, and the wildcards of each: 250 names under each wildcard.
const RESOURCES: usize = 4;
const WILDCARDS: usize = 10;
/// How many addresses a name has.
const ADDRESSES: u32 = 2;
/// The default of `addressRetention`.
const RETENTION: Duration = Duration::from_secs(3600);
/// The most that they may take, in bytes.
const BOUND: usize = 20 << 20;

/// Answers every question at once, with addresses that no other name has.
#[derive(Debug, Default)]
struct EachItsOwn(AtomicU32);

impl Lookup for EachItsOwn {
    fn ask(&self, _: SocketAddr, _: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let ttl = RETENTION;
        let first = u32::from(Ipv4Addr::new(20, 0, 0, 0)) + self.0.fetch_add(2 * ADDRESSES, Ordering::Relaxed);
        let address = move |number: u32| IpAddr::from(Ipv4Addr::from(first + 2 * number));
        let addresses = (0..ADDRESSES).map(address).collect();
        let answer = match family {
            Family::V4 => Answer::Addresses { addresses, ttl },
            Family::V6 => Answer::Absent { nxdomain: false, ttl: Some(ttl) },
        };
        Box::pin(async move { Ok(answer) })
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

fn zone(resource: usize, wildcard: usize) -> DomainName {
    name(&format!("zone-{wildcard}.of-{resource}.example.com"))
}

/// Learns everything, and has it resolved and allowed.
async fn learn(names: &Names) {
    let resources: Vec<ResourceRef> =
        (0..RESOURCES).map(|number| ResourceRef::new(format!("pods-{number}"), "one")).collect();
    for (number, resource) in resources.iter().enumerate() {
        let zones: BTreeSet<DomainName> = (0..WILDCARDS).map(|wildcard| zone(number, wildcard)).collect();
        let observed = |zone: &DomainName| ObservedPattern {
            pattern: NamePattern::parse(&format!("*.{zone}")).expect("a wildcard"),
            within: Vec::new(),
            opens: true,
        };
        let patterns: Arc<[ObservedPattern]> = zones.iter().map(observed).collect();
        names.observe(resource, &patterns, &Arc::new(zones));
        let under = |number_of: usize| zone(number, number_of % WILDCARDS);
        let learned = (0..NAMES / RESOURCES).map(|count| name(&format!("account{count}.{}", under(count)))).collect();
        names.restore_learned(resource, &learned);
        names.watch(resource, &names.learned(resource), RETENTION);
    }
    let (_leads, leading) = watch::channel(true);
    let all_answered = async {
        let is_answered = |resource: &ResourceRef| {
            let known = names.watch(resource, &names.learned(resource), RETENTION);
            known.by_name.values().all(|name| name.state == NameState::Answered)
        };
        while !resources.iter().all(is_answered) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = names.run(leading) => unreachable!("the sender is there"),
        () = all_answered => {}
    }
    for resource in &resources {
        let (answers, decided) = names.watch_applied(resource, &names.learned(resource), RETENTION, &|_| false);
        let addresses = answers.by_name.iter().map(|(name, known)| (name.clone(), known.addresses.as_slice().into()));
        let in_use: Arc<InUse> = Arc::new(addresses.collect());
        names.enforce(resource, Enforcement::Applied { decided, answers, in_use });
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    let (sender, _woken) = mpsc::unbounded_channel();
    let settings = NamesSettings::new(guard);
    let names = runtime.block_on(async {
        let names = Names::new(
            &settings,
            Clock::simulated(jiff::Timestamp::UNIX_EPOCH),
            Waker::new(sender),
            Arc::new(EachItsOwn::default()),
            Arc::new(()),
        );
        names.set_servers(vec![SocketAddr::from(([10, 96, 0, 10], 53))]);
        names
    });
    let before = MEMORY.current_usage();
    runtime.block_on(learn(&names));
    let bytes = MEMORY.current_usage().saturating_sub(before);
    assert_eq!(names.held().len(), NAMES, "each is in the table");
    println!("{bytes} bytes for {NAMES} learned names with {ADDRESSES} addresses each: {} a name", bytes / NAMES);
    let counted = json!({ "names": NAMES, "addresses": ADDRESSES, "bytes": bytes, "bound": BOUND });
    std::fs::write(target_folder().join("learned.json"), format!("{counted:#}\n")).expect("the result");
}
