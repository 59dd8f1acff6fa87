//! Names that pods ask for under wildcards.

use crate::common::{eventually, holds};
use crate::{Forwarding, unseen};
use citrix_allowlist::export;
use connectivity_allowlist::net::DomainName;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::operator::Operator;

async fn learned(forwarding: &Forwarding) -> BTreeSet<DomainName> {
    let map = forwarding.stage.config_maps().get("daas-cidrs").await.expect("the ConfigMap");
    export::remembered_learned(&map)
}

fn names(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<DomainName> {
    numbers.into_iter().map(|number| DomainName::parse(&unseen(number)).expect("a name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_name_and_no_address() {
    let mut forwarding = Forwarding::start().await;
    let mut addresses = Vec::new();
    for number in 0..5 {
        addresses.extend(forwarding.client().resolve(&unseen(number)).await);
    }
    let learned_before = eventually(Duration::from_secs(10), async || {
        Some(learned(&forwarding).await).filter(|known| *known == names(0..5))
    });
    learned_before.await.expect("all five in the ConfigMap");
    let policies = forwarding.stage.watch_policies().await;
    let began = Instant::now();
    forwarding.kill().await;
    forwarding.operator = Operator::start(&forwarding.config).await.expect("an operator");
    forwarding.knows().await;
    forwarding.client().resolve(&unseen(9)).await;
    assert_eq!(forwarding.answered("early").await, 0.0);
    for now in policies.since(began) {
        let is_allowed = |address: &IpAddr| now.values().any(|policy| holds(policy, *address));
        assert!(addresses.iter().all(is_allowed), "at every moment");
    }
    let grown = eventually(Duration::from_secs(10), async || {
        Some(learned(&forwarding).await).filter(|known| *known == names((0..5).chain([9])))
    });
    grown.await.expect("and the new one beside them");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_follow_a_stream_of_new_names() {
    let forwarding = Forwarding::start().await;
    // Each is asked for while the policies or reports of the one before are written.
    let asking = (0..40).map(|number| {
        let (client, forwarding) = (forwarding.client(), &forwarding);
        async move {
            tokio::time::sleep(Duration::from_millis(25 * number as u64)).await;
            let addresses = client.resolve(&unseen(number)).await;
            // A restart forgets no name that was given out.
            assert!(
                learned(forwarding).await.contains(unseen(number).as_str()),
                "{number}: the ConfigMap has it before the pod"
            );
            addresses
        }
    });
    for addresses in futures::future::join_all(asking).await {
        assert!(forwarding.allows(&addresses).await, "{addresses:?}");
    }
    let all = async || {
        let status = forwarding.stage.status("daas").await;
        let reported = status.wildcards.iter().any(|wildcard| wildcard.learned == 40);
        (reported && learned(&forwarding).await == names(0..40)).then_some(())
    };
    eventually(Duration::from_secs(10), all).await.expect("all in the ConfigMap and in status");
}

#[tokio::test(flavor = "multi_thread")]
async fn within_narrows_and_off_learns_nothing() {
    let forwarding = Forwarding::start().await;
    let wildcard = json!([{ "pattern": "*.blob.example.net", "within": ["account1*"] }]);
    forwarding.stage.patch("daas", json!({ "wildcards": wildcard })).await;
    forwarding.stage.observed("daas").await;
    let inside = forwarding.client().resolve(&unseen(1)).await;
    let outside = forwarding.client().resolve(&unseen(2)).await;
    assert!(forwarding.allows(&inside).await && !forwarding.allows(&outside).await);
    forwarding.stage.patch("daas", json!({ "wildcards": null, "observeWildcards": "Off" })).await;
    forwarding.stage.observed("daas").await;
    let off = forwarding.client().resolve(&unseen(3)).await;
    assert!(!forwarding.allows(&off).await);
    assert!(!forwarding.allows(&inside).await, "the user's word removes what was learned");
}
