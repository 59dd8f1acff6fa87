//! The judge of policies, tried on policies written by hand.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;
use test_support::cyclonus::{CasePeer, CaseProtocol, CaseVerdict, Traffic, judge};

fn policy(namespace: &str, name: &str, spec: &serde_json::Value) -> NetworkPolicy {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": spec,
    }))
    .expect("a policy")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn addresses_ranges_of_ports_and_protocols_are_told_apart() {
    let policies = [policy(
        "citrix",
        "egress",
        &json!({
            "podSelector": { "matchLabels": { "app": "workspace" } },
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [{ "ipBlock": { "cidr": "20.41.6.0/24", "except": ["20.41.6.128/25"] } }],
                    "ports": [{ "protocol": "TCP", "port": 443 }],
                },
                {
                    "to": [{ "ipBlock": { "cidr": "2603:1030:800::/48" } }, { "ipBlock": { "cidr": "52.4.0.7/32" } }],
                    "ports": [{ "protocol": "UDP", "port": 16500, "endPort": 16509 }],
                },
            ],
        }),
    )];
    let pod = || CasePeer::pod("citrix", [("app", "workspace")]);
    let (tcp, udp) = (CaseProtocol::Tcp, CaseProtocol::Udp);
    let questions = [
        (pod(), "20.41.6.9", 443, tcp, true),
        (pod(), "20.41.6.9", 443, udp, false),
        (pod(), "20.41.6.9", 444, tcp, false),
        (pod(), "20.41.6.200", 443, tcp, false),
        (pod(), "20.41.7.9", 443, tcp, false),
        (pod(), "2603:1030:800::9", 16500, udp, true),
        (pod(), "2603:1030:800::9", 16509, udp, true),
        (pod(), "2603:1030:800::9", 16499, udp, false),
        (pod(), "2603:1030:800::9", 16510, udp, false),
        (pod(), "2603:1030:801::9", 16500, udp, false),
        (pod(), "52.4.0.7", 16505, udp, true),
        (pod(), "52.4.0.8", 16505, udp, false),
        // Pods that no policy selects are free.
        (CasePeer::pod("citrix", [("app", "other")]), "20.41.7.9", 25, tcp, true),
        (CasePeer::pod("elsewhere", [("app", "workspace")]), "20.41.7.9", 25, tcp, true),
    ];
    let traffic: Vec<Traffic> = questions
        .iter()
        .map(|(source, destination, port, protocol, _)| {
            Traffic::new(source.clone(), address(destination), *port, *protocol)
        })
        .collect();

    let verdicts = judge(&policies, &traffic).await.expect("verdicts");
    let expected: Vec<CaseVerdict> =
        questions.iter().map(|question| CaseVerdict { ingress: true, egress: question.4 }).collect();
    assert_eq!(verdicts, expected);
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_allowed()).count(), 6);
}

#[tokio::test]
async fn both_sides_are_judged_and_policies_add_up() {
    let everything = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let policies = [
        policy("citrix", "deny", &everything),
        policy(
            "citrix",
            "ingress",
            &json!({
                "podSelector": {},
                "policyTypes": ["Ingress"],
                "ingress": [
                    { "from": [{ "ipBlock": { "cidr": "13.71.0.0/16" } }], "ports": [{ "protocol": "TCP", "port": 8443 }] },
                    { "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "front" } } }] },
                ],
            }),
        ),
    ];
    let pod = || CasePeer::pod("citrix", []);
    let traffic = [
        Traffic::new(address("13.71.2.3"), pod(), 8443, CaseProtocol::Tcp),
        Traffic::new(address("13.72.2.3"), pod(), 8443, CaseProtocol::Tcp),
        Traffic::new(CasePeer::pod("front", []), pod(), 9, CaseProtocol::Udp),
        Traffic::new(pod(), pod(), 8443, CaseProtocol::Tcp),
        Traffic::new(pod(), CasePeer::pod("front", []), 8443, CaseProtocol::Sctp),
    ];
    let verdict = |ingress, egress| CaseVerdict { ingress, egress };
    assert_eq!(
        judge(&policies, &traffic).await.expect("verdicts"),
        [verdict(true, true), verdict(false, true), verdict(true, true), verdict(false, false), verdict(true, false)]
    );
    assert_eq!(judge(&[], &traffic[3..]).await.expect("verdicts"), [verdict(true, true), verdict(true, true)]);
    assert_eq!(judge(&policies, &[]).await.expect("no verdict"), []);
}

#[tokio::test]
async fn a_policy_that_cannot_be_judged_is_an_error() {
    let traffic = [Traffic::new(CasePeer::pod("citrix", []), address("20.41.6.9"), 443, CaseProtocol::Tcp)];
    let without_types = policy("citrix", "untyped", &json!({ "podSelector": {} }));
    let error = judge(&[without_types], &traffic).await.expect_err("policyTypes are missing").to_string();
    assert!(error.contains("policyTypes"), "{error}");

    let mut homeless = policy("citrix", "homeless", &json!({ "podSelector": {}, "policyTypes": ["Egress"] }));
    homeless.metadata.namespace = None;
    assert!(judge(&[homeless], &traffic).await.is_err());
}

/// The size of the real list: hundreds of addresses, each asked for, in one run.
#[tokio::test]
async fn thousands_of_questions_are_answered_in_seconds() {
    let blocks: Vec<_> =
        (0..490).map(|n| json!({ "ipBlock": { "cidr": format!("20.41.{}.{}/32", n / 250, n % 250) } })).collect();
    let rule = json!({ "to": blocks, "ports": [{ "protocol": "TCP", "port": 443 }] });
    let egress = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] });
    let traffic: Vec<_> = (0..2_000)
        .map(|n| {
            let destination = address(&format!("20.41.{}.{}", n / 250, n % 250));
            Traffic::new(CasePeer::pod("citrix", []), destination, 443, CaseProtocol::Tcp)
        })
        .collect();
    let started = std::time::Instant::now();
    let verdicts = judge(&[policy("citrix", "large", &egress)], &traffic).await.expect("verdicts");
    eprintln!("2000 questions on 490 peers: {:?}", started.elapsed());
    assert!(verdicts.iter().enumerate().all(|(n, verdict)| verdict.is_allowed() == (n < 490)));
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}
