//! Behind the real CoreDNS, with its cache and a second upstream.

use crate::client::Client;
use crate::{EXACT, Forwarding, rotating, unseen};
use std::time::{Duration, Instant};
use test_support::coredns::CoreDns;

/// The block that the documentation gives, with the cluster's own resolver as the second upstream.
pub fn corefile(forwarding: &Forwarding) -> String {
    format!(
        "example.com:{{port}} blob.example.net:{{port}} {{
            bind {{address}}
            errors
            cache 30
            forward . {} {} {{
                policy sequential
                max_fails 1
                health_check 0.5s
            }}
        }}",
        forwarding.address,
        forwarding.stage.dns.addr()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_behind_its_cache_is_in_force() {
    let forwarding = Forwarding::start().await;
    let dns = CoreDns::start(&corefile(&forwarding), &[]).await.expect("CoreDNS");
    let client = Client::of(dns.address());
    forwarding.stage.dns.set(EXACT, rotating(24, 4));
    for number in 0..30 {
        let addresses = client.resolve(&unseen(number)).await;
        assert!(forwarding.allows(&addresses).await, "{}", unseen(number));
        let addresses = client.resolve(EXACT).await;
        assert!(forwarding.allows(&addresses).await, "{addresses:?}");
    }
    assert_eq!(forwarding.answered("early").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_gone_costs_the_race_and_not_the_answer() {
    let mut forwarding = Forwarding::start().await;
    let dns = CoreDns::start(&corefile(&forwarding), &[]).await.expect("CoreDNS");
    let client = Client::of(dns.address());
    client.resolve(&unseen(0)).await;
    forwarding.kill().await;
    let began = Instant::now();
    client.resolve(&unseen(1)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
