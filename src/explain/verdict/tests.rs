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
    egress_to("13.64.0.0/31")
}

fn egress_to(cidr: &str) -> NetworkPolicy {
    let rule = json!({ "ports": [{ "protocol": "TCP", "port": 443 }], "to": [{ "ipBlock": { "cidr": cidr } }] });
    policy("daas-us-egress", json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] }))
}

fn endpoint(direction: Direction, target: ExportedTarget, addresses: &[&str]) -> ExportedEndpoint {
    let range = PortRange::single(443).expect("a port");
    ExportedEndpoint {
        direction,
        service: "DaaS".to_owned(),
        target,
        ports: PortSet::new([(Protocol::Tcp, range)]),
        addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        learned: false,
    }
}

fn name(text: &str) -> ExportedTarget {
    ExportedTarget::Name(DomainName::parse(text).expect("a name"))
}

fn endpoints() -> Vec<ExportedEndpoint> {
    let wildcard = ExportedTarget::Wildcard(NamePattern::parse("*.example.net").expect("a pattern"), false);
    vec![
        endpoint(Direction::Outbound, name("a.example.com"), &["13.64.0.0", "13.64.0.1"]),
        endpoint(Direction::Outbound, name("silent.example.com"), &[]),
        endpoint(Direction::Inbound, name("probe.example.com"), &["20.64.0.1"]),
        endpoint(Direction::Outbound, wildcard, &[]),
    ]
}

fn ask(policies: &[NetworkPolicy], pod: Option<(&str, bool)>, text: &str) -> QueryResult {
    let problem = |kind, subject: &str, message: &str| Problem::new(kind, subject, None, message);
    let problems = [
        problem(ProblemKind::Unresolved, "silent.example.com", "not answered yet"),
        problem(ProblemKind::NoPorts, "portless.example.com", "the list gives no ports"),
    ];
    let status = CitrixAllowlistStatus { problems: problems.into(), ..CitrixAllowlistStatus::default() };
    let spec = serde_json::from_value(json!({ "customerId": "testcustomer" })).expect("a spec");
    let own = BTreeSet::from(["daas-us-egress".to_owned()]);
    let endpoints = endpoints();
    let scene =
        Scene { resource: "daas-us", policies, own: &own, endpoints: &endpoints, spec: &spec, status: &status, pod };
    let query: ConnectionQuery = text.parse().expect("a query");
    answer(&scene, Direction::Outbound, &query.by_default(None))
}

#[test]
fn an_allowed_answer_has_policy_rule_service_and_name() {
    let found = ask(&[egress()], None, "a.example.com:443");
    assert!(found.allowed && found.connections.len() == 2, "{found:?}");
    let by = &found.connections[1].by[0];
    let asked_by = vec![AskedBy { service: "DaaS".to_owned(), name: "a.example.com".to_owned() }];
    let (policy, cidr) = ("daas-us-egress".to_owned(), Some("13.64.0.0/31".to_owned()));
    assert_eq!(*by, By { policy, own: true, rule: 0, cidr, asked_by });
    assert!(ask(&[egress()], None, "13.64.0.1").allowed, "on some port");
}

#[test]
fn a_denied_answer_has_what_comes_nearest() {
    let policies = [egress()];
    for (query, nearest, message) in [
        ("a.example.com:80", Nearest::PortDiffers, "not on TCP 80"),
        ("13.64.0.1:80", Nearest::PortDiffers, "13.64.0.1 is allowed on TCP 443, not on TCP 80"),
        ("13.64.0.2:443", Nearest::AddressNotSeen, "no network that daas-us allows has 13.64.0.2"),
        ("silent.example.com", Nearest::NoAddress, ": not answered yet"),
        ("b.example.net", Nearest::Wildcard, "under spec.wildcards for the pattern *.example.net"),
        ("portless.example.com", Nearest::NoPorts, "the list gives no ports"),
        ("probe.example.com", Nearest::OtherDirection, "for inbound connections only"),
        ("elsewhere.example.org:443", Nearest::NameNotListed, "see spec.geo, services and direction"),
    ] {
        let found = ask(&policies, None, query);
        assert!(!found.allowed && found.reason == nearest && found.message.contains(message), "{query}: {found:?}");
    }
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
    let to_pods = json!([{ "to": [{ "podSelector": {} }] }]);
    let pods = policy("pods", json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": to_pods }));
    let perhaps = ask(&[pods], Some(("web", true)), "13.64.0.2:443");
    assert!(!perhaps.allowed && perhaps.connections[0].perhaps == ["pods"], "{perhaps:?}");
}

#[test]
fn a_name_missing_from_policies_is_not_explained_by_ports() {
    let found = ask(&[egress_to("13.64.0.0/32")], None, "a.example.com:443");
    assert_eq!((found.allowed, found.reason), (false, Nearest::NotApplied), "{found:?}");
    assert_eq!(ask(&[egress()], None, "a.example.com:80").reason, Nearest::PortDiffers);
}

#[test]
fn a_query_about_udp_is_never_answered_for_tcp() {
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
