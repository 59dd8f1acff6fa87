use super::*;
use connectivity_allowlist::net::{NamePattern, PortRange};
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use serde_json::json;

fn policy(name: &str, spec: serde_json::Value) -> NetworkPolicy {
    let spec: NetworkPolicySpec = serde_json::from_value(spec).expect("a spec");
    let mut policy = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
    policy.metadata.name = Some(name.to_owned());
    policy
}

fn egress() -> NetworkPolicy {
    policy(
        "daas-us-egress",
        json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{
            "ports": [{ "protocol": "TCP", "port": 443 }],
            "to": [{ "ipBlock": { "cidr": "13.64.0.0/31" } }],
        }] }),
    )
}

fn endpoint(direction: Direction, target: ExportedTarget, addresses: &[&str]) -> ExportedEndpoint {
    let range = PortRange::single(443).expect("a port");
    ExportedEndpoint {
        direction,
        service: "DaaS".to_owned(),
        target,
        ports: PortSet::new([(Protocol::Tcp, range)]),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
    }
}

fn name(text: &str) -> ExportedTarget {
    ExportedTarget::Name(DomainName::parse(text).expect("a name"))
}

fn endpoints() -> Vec<ExportedEndpoint> {
    vec![
        endpoint(Direction::Outbound, name("a.example.com"), &["13.64.0.0", "13.64.0.1"]),
        endpoint(Direction::Outbound, name("silent.example.com"), &[]),
        endpoint(Direction::Inbound, name("probe.example.com"), &["20.64.0.1"]),
        endpoint(
            Direction::Outbound,
            ExportedTarget::Wildcard(NamePattern::parse("*.example.net").expect("a pattern"), false),
            &[],
        ),
    ]
}

fn ask(policies: &[NetworkPolicy], pod: Option<(&str, bool)>, text: &str) -> QueryResult {
    let problem = |kind, subject: &str, message: &str| Problem::new(kind, subject, None, message);
    let problems = [
        problem(ProblemKind::Unresolved, "silent.example.com", "not answered yet"),
        problem(ProblemKind::NoPorts, "portless.example.com", "the list gives no ports"),
    ];
    let own = BTreeSet::from(["daas-us-egress".to_owned()]);
    let endpoints = endpoints();
    let scene = Scene { resource: "daas-us", policies, own: &own, endpoints: &endpoints, problems: &problems, pod };
    let question: ConnectionQuery = text.parse().expect("a question");
    answer(&scene, Direction::Outbound, &question.by_default(None))
}

#[test]
fn what_is_allowed_says_by_which_policy_rule_service_and_name() {
    let found = ask(&[egress()], None, "a.example.com:443");
    assert!(found.allowed && found.connections.len() == 2, "{found:?}");
    let by = &found.connections[1].by[0];
    assert_eq!(
        (by.policy.as_str(), by.own, by.rule, by.cidr.as_deref()),
        ("daas-us-egress", true, 0, Some("13.64.0.0/31"))
    );
    assert_eq!(by.asked_by, [AskedBy { service: "DaaS".to_owned(), name: "a.example.com".to_owned() }]);
    assert!(ask(&[egress()], None, "13.64.0.1").allowed, "on some port");
}

#[test]
fn what_is_not_allowed_says_what_comes_nearest() {
    let policies = [egress()];
    let reason = |text: &str| {
        let found = ask(&policies, None, text);
        assert!(!found.allowed, "{found:?}");
        (found.reason, found.message)
    };
    assert_eq!(reason("a.example.com:80").0, Nearest::PortDiffers);
    assert_eq!(
        reason("13.64.0.1:80"),
        (Nearest::PortDiffers, "13.64.0.1 is allowed on TCP 443, not on TCP 80".to_owned())
    );
    assert_eq!(reason("13.64.0.2:443").0, Nearest::AddressNotSeen);
    let (silent, message) = reason("silent.example.com");
    assert_eq!(silent, Nearest::NoAddress);
    assert!(message.ends_with(": not answered yet"), "{message}");
    let (wildcard, message) = reason("b.example.net");
    assert_eq!(wildcard, Nearest::Wildcard);
    assert!(message.contains("under spec.wildcards for the pattern *.example.net"), "{message}");
    assert_eq!(reason("portless.example.com"), (Nearest::NoPorts, "the list gives no ports".to_owned()));
    assert_eq!(reason("probe.example.com").0, Nearest::OtherDirection);
    assert_eq!(reason("elsewhere.example.org:443").0, Nearest::NameNotListed);
}

#[test]
fn other_policies_count_for_a_pod() {
    let deny = policy("deny", json!({ "podSelector": {}, "policyTypes": ["Egress"] }));
    let proxy = policy(
        "proxy",
        json!({ "podSelector": {}, "egress": [{ "to": [{ "ipBlock": { "cidr": "20.0.0.0/8" } }] }, { "to": [{ "podSelector": {} }] }] }),
    );
    assert_eq!(ask(&[], Some(("web", true)), "13.64.0.2:443").reason, Nearest::NotIsolated);
    let isolated = ask(std::slice::from_ref(&deny), Some(("web", false)), "a.example.com:443");
    assert_eq!(isolated.reason, Nearest::NotSelected);
    assert!(isolated.message.ends_with("which deny isolates"), "{}", isolated.message);
    let other = ask(&[egress(), deny, proxy], Some(("web", true)), "20.1.2.3:9999");
    assert!(other.allowed && !other.connections[0].by[0].own, "{other:?}");
    let policies = [policy(
        "pods",
        json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": [{ "podSelector": {} }] }] }),
    )];
    let perhaps = ask(&policies, Some(("web", true)), "13.64.0.2:443");
    assert!(!perhaps.allowed && perhaps.connections[0].perhaps == ["pods"], "{perhaps:?}");
}

#[test]
fn a_name_missing_from_policies_is_not_explained_by_ports() {
    let narrower = policy(
        "daas-us-egress",
        json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{
            "ports": [{ "protocol": "TCP", "port": 443 }],
            "to": [{ "ipBlock": { "cidr": "13.64.0.0/32" } }],
        }] }),
    );
    let found = ask(&[narrower], None, "a.example.com:443");
    assert_eq!((found.allowed, found.reason), (false, Nearest::NotApplied), "{found:?}");
    assert_eq!(ask(&[egress()], None, "a.example.com:80").reason, Nearest::PortDiffers);
}

#[test]
fn a_question_about_udp_is_never_answered_for_tcp() {
    let policies = [egress()];
    for (text, allowed) in [
        ("a.example.com:443", true),
        ("a.example.com:443/tcp", true),
        ("a.example.com:443/udp", false),
        ("udp://a.example.com:443", false),
        ("a.example.com", true),
        ("a.example.com/udp", false),
        ("udp://a.example.com", false),
        ("13.64.0.1:443/udp", false),
        ("13.64.0.1/udp", false),
        ("13.64.0.1/tcp", true),
    ] {
        let answer = ask(&policies, None, text);
        assert_eq!(answer.allowed, allowed, "{text}: {answer:?}");
        if !allowed {
            assert_eq!(answer.reason, Nearest::PortDiffers, "{text}");
            assert!(answer.message.contains("not on UDP"), "{text}: {}", answer.message);
        }
    }
}
