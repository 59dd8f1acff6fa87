//! The chart's own NetworkPolicies, as cyclonus judges them: what the operator needs gets through, and nothing else.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use test_support::cyclonus::{CasePeer, CaseProtocol, Traffic, judge};

use crate::helm::{object, objects, template};

/// A pod of the release, with the labels that its object gives it.
fn pod(rendered: &[Value], kind: &str, ending: &str) -> CasePeer {
    let object = object(rendered, kind, ending);
    let metadata = if kind == "Pod" { &object["metadata"] } else { &object["spec"]["template"]["metadata"] };
    let labels = metadata["labels"].as_object().unwrap();
    CasePeer::pod("citrix", labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())))
}

fn policies(rendered: &[Value]) -> Vec<NetworkPolicy> {
    let policies = rendered.iter().filter(|object| object["kind"] == "NetworkPolicy");
    policies.map(|policy| serde_json::from_value(policy.clone()).unwrap()).collect()
}

async fn judged(rendered: &[Value], asked: Vec<(CasePeer, CasePeer, u16, CaseProtocol, bool)>) {
    let traffic: Vec<Traffic> = asked
        .iter()
        .map(|(from, to, port, protocol, _)| Traffic::new(from.clone(), to.clone(), *port, *protocol))
        .collect();
    let verdicts = judge(&policies(rendered), &traffic).await.unwrap();
    for ((traffic, verdict), (.., expected)) in traffic.iter().zip(verdicts).zip(asked) {
        assert_eq!(verdict.is_allowed(), expected, "{traffic:#?}");
    }
}

fn address(text: &str) -> CasePeer {
    CasePeer::Address(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_policy_allows_exactly_what_it_needs() {
    let block = |cidr: &str| json!([{"ipBlock": {"cidr": cidr}}]);
    let values = json!({"networkPolicy": {
        "egress": true,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "dns": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]},
        "apiServer": {"to": block("192.0.2.1/32")},
        "feed": {"to": block("203.0.113.0/24")},
    }});
    let rendered = objects(&template("helm", &values, &[]).success());
    let operator = pod(&rendered, "Deployment", "");
    let hook = pod(&rendered, "Job", "-crds");
    let readiness = pod(&rendered, "Pod", "-readiness");
    let enforcement = pod(&rendered, "Pod", "-enforcement");
    let (dns, other) = (CasePeer::pod("kube-system", [("k8s-app", "kube-dns")]), CasePeer::pod("elsewhere", []));
    let prometheus = CasePeer::pod("monitoring", [("app", "prometheus")]);
    let (server, feed, world) = (address("192.0.2.1"), address("203.0.113.7"), address("198.51.100.9"));
    let (tcp, udp) = (CaseProtocol::Tcp, CaseProtocol::Udp);
    judged(
        &rendered,
        vec![
            (operator.clone(), dns.clone(), 53, udp, true),
            (operator.clone(), dns.clone(), 53, tcp, true),
            (operator.clone(), dns, 9153, tcp, false),
            (operator.clone(), other.clone(), 53, udp, false),
            (operator.clone(), server.clone(), 443, tcp, true),
            (operator.clone(), server.clone(), 6443, tcp, true),
            (operator.clone(), server.clone(), 22, tcp, false),
            (operator.clone(), feed.clone(), 443, tcp, true),
            (operator.clone(), feed, 80, tcp, false),
            (operator.clone(), world.clone(), 443, tcp, false),
            (hook.clone(), server, 6443, tcp, true),
            (hook, world.clone(), 443, tcp, false),
            (prometheus.clone(), operator.clone(), 8080, tcp, true),
            (prometheus, operator.clone(), 9090, tcp, false),
            (other.clone(), operator.clone(), 8080, tcp, false),
            (world.clone(), operator.clone(), 8080, tcp, false),
            // The port of probes is everybody's: a CNI may take the kubelet for one of these.
            (other, operator.clone(), 8081, tcp, true),
            (world, operator.clone(), 8081, tcp, true),
            // `helm test` gets in where metrics are for somebody only; but for the pod that is to be cut off.
            (readiness, operator.clone(), 8080, tcp, true),
            (enforcement, operator, 8080, tcp, false),
        ],
    )
    .await;
}

/// Formerly there was no policy unless asked for: any pod of the cluster could keep the port busy, and read /debug/state.
#[tokio::test(flavor = "multi_thread")]
async fn by_default_only_the_own_namespace_enters_and_all_may_leave() {
    let rendered = objects(&template("helm", &json!({}), &[]).success());
    let operator = pod(&rendered, "Deployment", "");
    let (readiness, enforcement) = (pod(&rendered, "Pod", "-readiness"), pod(&rendered, "Pod", "-enforcement"));
    let (world, other) = (address("198.51.100.9"), CasePeer::pod("elsewhere", []));
    let tcp = CaseProtocol::Tcp;
    judged(
        &rendered,
        vec![
            (readiness, operator.clone(), 8080, tcp, true),
            (enforcement.clone(), operator.clone(), 8080, tcp, false),
            (enforcement, world.clone(), 443, tcp, false),
            (operator.clone(), world.clone(), 443, tcp, true),
            (CasePeer::pod("citrix", [("app", "prometheus")]), operator.clone(), 8080, tcp, true),
            (other.clone(), operator.clone(), 8080, tcp, false),
            (world.clone(), operator.clone(), 8080, tcp, false),
            (other, operator.clone(), 8081, tcp, true),
            (world, operator, 8081, tcp, true),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_named_for_explain_gets_in_beside_the_own_namespace() {
    let from = json!([{"ipBlock": {"cidr": "192.0.2.1/32"}}]);
    let rendered = objects(&template("helm", &json!({"networkPolicy": {"explainFrom": from}}), &[]).success());
    let operator = pod(&rendered, "Deployment", "");
    let tcp = CaseProtocol::Tcp;
    judged(
        &rendered,
        vec![
            (address("192.0.2.1"), operator.clone(), 8080, tcp, true),
            (address("192.0.2.2"), operator.clone(), 8080, tcp, false),
            (CasePeer::pod("citrix", []), operator, 8080, tcp, true),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_of_its_own_only_one_test_is_cut_off() {
    let rendered = objects(&template("helm", &json!({"networkPolicy": {"enabled": false}}), &[]).success());
    let operator = pod(&rendered, "Deployment", "");
    let (readiness, enforcement) = (pod(&rendered, "Pod", "-readiness"), pod(&rendered, "Pod", "-enforcement"));
    let world = address("198.51.100.9");
    let tcp = CaseProtocol::Tcp;
    judged(
        &rendered,
        vec![
            (readiness, operator.clone(), 8080, tcp, true),
            (enforcement.clone(), operator.clone(), 8080, tcp, false),
            (enforcement, world.clone(), 443, tcp, false),
            (operator.clone(), world.clone(), 443, tcp, true),
            (world, operator, 8080, tcp, true),
        ],
    )
    .await;
}

/// Formerly nothing tried it: who else asks could learn names, and use the operator as a resolver.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_clusters_dns_reaches_the_forwarder() {
    let values = json!({"forwarder": {"enabled": true, "upstreams": ["192.0.2.53"]}});
    let rendered = objects(&template("helm", &values, &[]).success());
    let operator = pod(&rendered, "Deployment", "");
    let dns = CasePeer::pod("kube-system", [("k8s-app", "kube-dns")]);
    let openshift = CasePeer::pod("openshift-dns", [("dns.operator.openshift.io/daemonset-dns", "default")]);
    let neighbour = CasePeer::pod("kube-system", [("app", "other")]);
    let (tenant, world) = (CasePeer::pod("elsewhere", [("k8s-app", "kube-dns")]), address("198.51.100.9"));
    let mut asked = Vec::new();
    for (peer, is_let_in) in [(dns, true), (openshift, true), (neighbour, false), (tenant, false), (world, false)] {
        for protocol in [CaseProtocol::Udp, CaseProtocol::Tcp] {
            asked.push((peer.clone(), operator.clone(), 5353, protocol, is_let_in));
        }
    }
    judged(&rendered, asked).await;
}
