//! Whether the cluster's DNS forwards the zones in use is found out, and said.

use crate::client::Client;
use crate::cluster_dns::corefile;
use crate::common::{BINARY, eventually};
use crate::{EXACT, Forwarding, PATTERN, SPEC, free_address, unseen};
use citrix_allowlist::crd::{CitrixAllowlistStatus, CoveredBy, ForwarderStatus};
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use test_support::coredns::CoreDns;
use test_support::operator::Operator;

/// Waits until status is so.
async fn status(forwarding: &Forwarding, is_so: impl Fn(&CitrixAllowlistStatus) -> bool) -> CitrixAllowlistStatus {
    let found = async || Some(forwarding.stage.status("daas").await).filter(&is_so);
    match eventually(Duration::from_secs(45), found).await {
        Some(status) => status,
        None => panic!("{:?}", forwarding.stage.status("daas").await),
    }
}

fn covered_by(status: &CitrixAllowlistStatus) -> Option<CoveredBy> {
    status.wildcards.iter().find(|wildcard| wildcard.pattern == PATTERN).map(|wildcard| wildcard.covered_by)
}

/// An operator whose cluster's DNS is `dns`, and which asks `upstream`; with one resource.
async fn behind(dns: SocketAddr, upstream: Option<SocketAddr>, address: SocketAddr, stage: crate::Stage) -> Forwarding {
    let config = stage.operator_config_without("dns-server").flag("dns-server", dns).flag("forward-listen", address);
    let config = config.flag("forward-upstream", upstream.unwrap_or(stage.dns.addr())).flag("dns-min-ttl", "1s");
    let operator = Operator::start(&config).await.expect("an operator");
    stage.apply("daas", SPEC).await;
    Forwarding { stage, operator, config, address }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_covered_once_its_zone_is_forwarded() {
    let (stage, address) = (Forwarding::stage().await, free_address());
    let plain = stage.dns.addr();
    let mut forwarding = behind(plain, None, address, stage).await;
    let missing =
        status(&forwarding, |status| status.forwarder.as_ref().is_some_and(|forwarder| !forwarder.missing.is_empty()))
            .await;
    let zones = vec!["blob.example.net".to_owned(), EXACT.to_owned()];
    let expected = ForwarderStatus {
        zones: zones.clone(),
        zones_total: 2,
        forwarded: 0,
        missing: zones,
        ..ForwarderStatus::default()
    };
    let both = status(&forwarding, |status| status.forwarder.as_ref() == Some(&expected)).await;
    assert_eq!((covered_by(&missing), covered_by(&both)), (Some(CoveredBy::Nobody), Some(CoveredBy::Nobody)));
    let problem = both.problems.iter().find(|problem| problem.subject == PATTERN).expect("a problem");
    assert!(problem.message.ends_with("or have the cluster's DNS forward blob.example.net to the operator"));
    assert_eq!(both.summary.expect("counts").wildcards_covered, "0/1");

    // The block is written, and the operator restarts: what it knew of another DNS is forgotten with it.
    let dns = CoreDns::start(&corefile(&forwarding), &[]).await.expect("CoreDNS");
    forwarding.kill().await;
    forwarding.config.arguments.retain(|argument| !argument.starts_with("--dns-server="));
    forwarding.config = forwarding.config.clone().flag("dns-server", dns.address());
    forwarding.operator = Operator::start(&forwarding.config).await.expect("an operator");
    let covered = status(&forwarding, |status| covered_by(status) == Some(CoveredBy::Observed)).await;
    let wildcard = &covered.wildcards[0];
    assert_eq!((wildcard.names, wildcard.since.is_some()), (0, true));
    let all = status(&forwarding, |status| status.forwarder.as_ref().is_some_and(|it| it.forwarded == 2)).await;
    assert_eq!(all.forwarder.expect("it is on").missing, Vec::<String>::new());
    assert!(forwarding.answered("probe").await >= 2.0);
    let zones = forwarding.operator.metric("citrix_allowlist_forward_zones{state=\"forwarded\"}").await;
    assert_eq!(zones.expect("metrics"), Some(2.0));

    // A successor that has asked nothing yet does not take it back.
    Client::of(dns.address()).resolve(&unseen(1)).await;
    let learned = status(&forwarding, |status| status.wildcards.iter().any(|wildcard| wildcard.learned == 1)).await;
    forwarding.kill().await;
    forwarding.operator = Operator::start(&forwarding.config).await.expect("an operator");
    forwarding.knows().await;
    assert_eq!(forwarding.stage.status("daas").await.wildcards, learned.wildcards);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_leads_back_is_a_loop_and_said() {
    let (stage, address, dns) = (Forwarding::stage().await, free_address(), free_address());
    let forwarding = behind(dns, Some(dns), address, stage).await;
    let dns = CoreDns::start_at(dns, &corefile(&forwarding), &[]).await.expect("CoreDNS");
    let looping =
        status(&forwarding, |status| status.forwarder.as_ref().is_some_and(|forwarder| forwarder.looping.len() == 2))
            .await;
    assert_eq!(covered_by(&looping), Some(CoveredBy::Nobody));
    // The cluster's DNS asks its next server, and pods are answered.
    let client = Client::of(dns.address());
    let reply = eventually(Duration::from_secs(10), async || {
        client.send(&Client::question(&unseen(1), RecordType::A)).await.filter(|reply| !reply.answers.is_empty())
    });
    reply.await.expect("a pod asks again after a while");
    assert!(forwarding.answered("looping").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn suggested_names_are_in_status_and_open_nothing() {
    let mut forwarding = Forwarding::start().await;
    forwarding.stage.patch("daas", json!({ "observeWildcards": "Suggest" })).await;
    forwarding.stage.observed("daas").await;
    let addresses = forwarding.client().resolve(&unseen(3)).await;
    let suggests = |status: &CitrixAllowlistStatus| {
        status.wildcards.iter().any(|wildcard| wildcard.suggested == [unseen(3)] && wildcard.suggested_total == 1)
    };
    status(&forwarding, suggests).await;
    assert!(!forwarding.allows(&addresses).await);
    // A restart forgets none.
    forwarding.kill().await;
    forwarding.operator = Operator::start(&forwarding.config).await.expect("an operator");
    forwarding.knows().await;
    forwarding.client().resolve(&unseen(4)).await;
    let both = |status: &CitrixAllowlistStatus| {
        status.wildcards.iter().any(|wildcard| wildcard.suggested == [unseen(3), unseen(4)])
    };
    status(&forwarding, both).await;

    // A person takes them up.
    let learn = |form: &[&str]| {
        let asked = ["learn", "daas", "-n", forwarding.stage.namespace.name()];
        let mut program = Command::new(BINARY);
        let output =
            program.args(asked).args(form).env("KUBECONFIG", forwarding.stage.cluster.kubeconfig_path()).output();
        String::from_utf8(output.expect("the program runs").stdout).expect("text")
    };
    let names = format!(
        "---\nspec:\n  wildcards:\n  - pattern: \"{PATTERN}\"\n    names:\n    - {}\n    - {}\n",
        unseen(3),
        unseen(4)
    );
    assert_eq!(learn(&["-o", "yaml"]), names);
    // It was one line, with `\n` for each end of one.
    let shown = learn(&[]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("WILDCARD") && lines[1].contains(&unseen(3)), "{shown}");
    let block: Value = serde_json::from_str(&learn(&["-o", "json"])).expect("JSON");
    forwarding.stage.patch("daas", block["spec"].clone()).await;
    status(&forwarding, |status| covered_by(status) == Some(CoveredBy::Names)).await;
    let is_allowed = eventually(Duration::from_secs(10), async || forwarding.allows(&addresses).await.then_some(()));
    is_allowed.await.expect("named, so allowed");
}
