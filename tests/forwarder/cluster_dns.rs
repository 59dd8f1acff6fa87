//! Behind the real CoreDNS, with its cache and a second upstream.

use crate::client::Client;
use crate::{EXACT, Forwarding, rotating, unseen};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::coredns::CoreDns;
use test_support::dns::DnsServer;
use test_support::free_port::free_port;

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

/// The block that the documentation gives for `forwarder.clients`: the second server gets questions without the pods' addresses.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_server_never_hears_which_pod_asked() {
    const CLIENT: u16 = 0xffee;
    let (mut forwarder, second) =
        (DnsServer::start().await.expect("a port"), DnsServer::start().await.expect("a port"));
    let address: IpAddr = "203.0.114.1".parse().expect("an address");
    for server in [&forwarder, &second] {
        server.set_addresses(&unseen(0), &[address], 1);
    }
    let corefile = format!(
        "blob.example.net:{{port}} {{
            bind {{address}}
            errors
            rewrite edns0 local set 0xffee {{client_ip}}
            forward . {} 127.0.0.1:{other} {{
                policy sequential
                max_fails 1
                health_check 0.5s
            }}
        }}
        .:{other} {{
            bind 127.0.0.1
            rewrite edns0 local unset 0xffee
            forward . {}
        }}",
        forwarder.addr(),
        second.addr(),
        other = free_port().expect("a port"),
    );
    let dns = CoreDns::start(&corefile, &[]).await.expect("CoreDNS");
    let client = Client::of(dns.address());
    let heard = |server: &DnsServer| {
        let questions = server.questions().into_iter().filter(|question| question.name == unseen(0));
        questions.map(|question| question.edns_options.contains(&CLIENT)).collect::<Vec<_>>()
    };
    client.resolve(&unseen(0)).await;
    assert_eq!((heard(&forwarder), heard(&second)), (vec![true], vec![]), "the forwarder is told");
    forwarder.stop().await;
    client.resolve(&unseen(0)).await;
    assert_eq!(heard(&second), [false]);
}
