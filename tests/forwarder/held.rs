//! An answer is given out once policies allow it, and never later than CoreDNS waits.

use crate::client::{Client, addresses};
use crate::{EXACT, Forwarding, rotating, unseen};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::dns::{Behaviour, Truncation};
use test_support::fault_proxy::{ApiFault, FaultProxy, Which};
use test_support::fixture;
use test_support::operator::{Operator, OperatorConfig};

#[tokio::test(flavor = "multi_thread")]
async fn an_unseen_name_is_allowed_before_its_answer_arrives() {
    let forwarding = Forwarding::start().await;
    for number in 0..20 {
        let addresses = forwarding.client().resolve(&unseen(number)).await;
        assert!(forwarding.allows(&addresses).await, "{}: {addresses:?}", unseen(number));
    }
    assert_eq!(forwarding.answered("early").await, 0.0, "none went out before it was allowed");
    assert_eq!(forwarding.answered("waited").await, 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_rotating_name_only_addresses_in_force_are_given() {
    let forwarding = Forwarding::start().await;
    forwarding.stage.dns.set(EXACT, rotating(24, 4));
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let addresses = forwarding.client().resolve(EXACT).await;
        assert!(forwarding.allows(&addresses).await, "{addresses:?}");
        seen.extend(addresses);
    }
    assert!(seen.len() >= 20, "all of the pool are given sooner or later: {}", seen.len());
    assert_eq!(forwarding.answered("early").await + forwarding.answered("barred").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_name_is_not_held_and_costs_no_write() {
    let forwarding = Forwarding::start().await;
    forwarding.client().resolve(&unseen(0)).await;
    let before = forwarding.stage.all_policies().await;
    for _ in 0..50 {
        let began = Instant::now();
        forwarding.client().resolve(&unseen(0)).await;
        forwarding.client().resolve(EXACT).await;
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    assert_eq!(forwarding.answered("waited").await, 1.0, "the first one");
    assert_eq!(forwarding.stage.all_policies().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_answer_holds_no_other_of_its_connection() {
    let forwarding = Forwarding::start().await;
    forwarding.stage.dns.set(&unseen(1), Behaviour::nxdomain());
    let questions = [unseen(0), unseen(1)].map(|name| Client::question(&name, RecordType::A));
    let replies = forwarding.client().pipeline(&questions).await;
    assert_eq!(replies[0].metadata.response_code, ResponseCode::NXDomain, "it was asked second, and answered first");
    assert!(forwarding.allows(&addresses(&replies[1])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_refuses_opens_nothing_and_goes_out_at_once() {
    let forwarding = Forwarding::start().await;
    let private: IpAddr = "10.11.12.13".parse().expect("an address");
    forwarding.stage.dns.set_addresses(&unseen(0), &[private], 5);
    let began = Instant::now();
    assert_eq!(forwarding.client().resolve(&unseen(0)).await, [private]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!forwarding.allows(&[private]).await);
    assert_eq!(forwarding.answered("barred").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_in_time_goes_out_all_the_same() {
    let mut forwarding = Forwarding::start().await;
    forwarding.kill().await;
    let proxy = FaultProxy::start(forwarding.stage.cluster.kubeconfig_path()).await.expect("a proxy");
    let config = OperatorConfig { kubeconfig: proxy.kubeconfig().to_owned(), ..forwarding.config.clone() };
    forwarding.operator = Operator::start(&config).await.expect("an operator");
    forwarding.knows().await;
    // The API server takes no policy: nothing can be applied.
    proxy.inject(Which::of(&[], &["networkpolicies"]), ApiFault::Hang);
    let began = Instant::now();
    let addresses = forwarding.client().resolve(&unseen(0)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!addresses.is_empty());
    assert_eq!(forwarding.answered("early").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_gives_nothing_away() {
    let forwarding = Forwarding::start().await;
    let pool: Vec<IpAddr> = fixture::pool("large", 60).into_iter().filter(IpAddr::is_ipv4).collect();
    forwarding.stage.dns.set(&unseen(0), Behaviour::addresses(&pool, 5).truncated(Truncation::Always));
    let reply = forwarding.client().ask(&unseen(0), RecordType::A).await;
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    let reply = forwarding.client().pipeline(&[Client::question(&unseen(0), RecordType::A)]).await.remove(0);
    assert_eq!(addresses(&reply).len(), pool.len());
    assert!(forwarding.allows(&addresses(&reply)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_questions_pass_and_other_zones_are_refused() {
    let forwarding = Forwarding::start().await;
    let dns = &forwarding.stage.dns;
    dns.set("a.b.blob.example.net", Behaviour::addresses(&["192.0.2.9".parse().expect("an address")], 5));
    let reply = forwarding.client().ask("A.b.blob.Example.NET.", RecordType::A).await;
    assert_eq!(addresses(&reply).len(), 1, "nobody wants it: a star is one label");
    assert_eq!(reply.queries[0].name().to_ascii(), "A.b.blob.Example.NET.", "in the spelling of the question");
    dns.set(&unseen(7), Behaviour::nxdomain());
    let reply = forwarding.client().ask(&unseen(7), RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert!(!reply.authorities.is_empty(), "with its SOA");
    let reply = forwarding.client().ask(EXACT, RecordType::TXT).await;
    assert!(reply.answers.is_empty());
    for other in ["example.com", "other.example.com", "kubernetes.default.svc.cluster.local", "localhost"] {
        let reply = forwarding.client().ask(other, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused, "{other}: it is no open resolver");
    }
}

/// The upstream's time is part of the time that an answer may take.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_slow_upstream_an_answer_waits_no_longer() {
    let forwarding = Forwarding::start().await;
    let (slow, address) = (Duration::from_millis(1600), "203.0.114.1".parse().expect("an address"));
    forwarding.stage.dns.set(&unseen(0), Behaviour::addresses(&[address], 5).delayed(slow));
    let began = Instant::now();
    assert_eq!(forwarding.client().resolve(&unseen(0)).await, [address]);
    assert!(began.elapsed() >= slow && began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(forwarding.answered("early").await, 1.0);
}
