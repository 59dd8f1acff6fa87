//! What `explain` reads of the operator through a real API server, from the pod that leads, with the rights that the
//! guide names and without them.

use super::{Operator, PODS, POLICIES, RESOURCES, account, data, kubectl, manifest, ready, root};
use crate::transcripts::{Stage, run};
use std::net::{IpAddr, UdpSocket};
use test_support::ControlPlane;
use test_support::dns::DnsServer;

/// The pod that the operator is taken for.
const POD: &str = "operator-1";

/// An address of this machine that is not loopback's, where it has one. The API server connects to no other pod.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it only makes the system choose.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The Role that the guide says is needed, in a namespace, and the ServiceAccount that has it; without the rules for
/// `left_out`.
fn reader(namespace: &str, name: &str, left_out: Option<&str>) -> String {
    let guide = std::fs::read_to_string(root().join("docs/cli.md")).expect("the guide");
    let role =
        guide.split("```").find(|block| block.contains("kind: Role\n")).expect("a Role").trim_start_matches("yaml");
    let mut role: serde_json::Value = serde_saphyr::from_str(role).expect("YAML");
    let rules = role["rules"].as_array_mut().expect("rules");
    let all = rules.len();
    rules.retain(|rule| left_out.is_none_or(|left_out| rule["resources"] != serde_json::json!([left_out])));
    assert_eq!(all - rules.len(), usize::from(left_out.is_some()), "{rules:?}");
    role["metadata"] = serde_json::json!({ "name": name, "namespace": namespace });
    let role = serde_json::to_string(&role).expect("JSON");
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: {name}, namespace: {namespace} }}
---
{role}
---
{}",
        binding(namespace, name, namespace, name)
    )
}

/// Lets a ServiceAccount of one namespace have a Role of another.
fn binding(namespace: &str, role: &str, from: &str, account: &str) -> String {
    format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: {account}, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role} }}
subjects: [{{ kind: ServiceAccount, name: {account}, namespace: {from} }}]
"
    )
}

/// Makes an account that reads what `view` reads in `namespace`, and the operator's memory in `home` but for `left_out`.
async fn reader_of(
    control_plane: &ControlPlane,
    namespace: &str,
    home: &str,
    name: &str,
    left_out: Option<&str>,
) -> String {
    let rules = [RESOURCES, POLICIES, PODS].join(", ");
    let objects = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: view, namespace: {namespace} }}
rules: [{rules}]
---
{}
---
{}",
        binding(namespace, "view", home, name),
        reader(home, name, left_out)
    );
    kubectl(control_plane, &["apply", "-f", "-"], &objects).await.success().expect("roles");
    control_plane.kubeconfig_for_service_account(home, name).await.expect("a kubeconfig").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_reads_the_operators_memory_through_the_api_server() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let Some(address) = own_address().filter(|_| control_plane.is_own()) else {
        test_support::left_out(
            "explain_reads_the_operators_memory_through_the_api_server",
            "the API server has no way to a pod on this machine; a scripted one judges the code",
        );
        return;
    };
    let namespace = control_plane.fresh_namespace("memory").await.expect("a namespace");
    let home = control_plane.fresh_namespace("operator").await.expect("a namespace");
    let dns = DnsServer::start().await.expect("a DNS server");
    dns.set_addresses("testcustomer.xendesktop.net", &[[13, 64, 10, 1].into(), [13, 64, 10, 2].into()], 3600);
    dns.set_addresses("agenthub-us.citrixworkspacesapi.net", &[[20, 64, 7, 7].into()], 3600);
    let list = std::fs::read_to_string(data().join("list.json")).expect("a list");
    account(control_plane, &home).await;
    let operator = Operator::start_as_pod(control_plane, &namespace, &list, dns, (&home, POD, address)).await;
    let port = operator.process.port();
    // What the chart makes for readers.
    let reader = format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: citrix-allowlist-operator, namespace: {home} }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: citrix-allowlist-operator-explain, namespace: {home} }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: nobody, namespace: {home} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: memory, namespace: {home} }}
rules: [{{ apiGroups: [citrix-allowlist.io], resources: [debugstates], verbs: [get] }}]
---
{}",
        binding(&home, "memory", &home, "citrix-allowlist-operator-explain"),
        home = &*home,
    );
    kubectl(control_plane, &["apply", "-f", "-"], &reader).await.success().expect("accounts");
    // A sidecar's port comes first, as a service mesh has it.
    let pod = format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: {POD}
  namespace: {}
  labels: {{ app.kubernetes.io/name: citrix-allowlist-operator, app.kubernetes.io/component: operator }}
spec:
  serviceAccountName: citrix-allowlist-operator
  containers:
  - {{ name: mesh, image: mesh, ports: [{{ containerPort: 1 }}] }}
  - {{ name: operator, image: operator, ports: [{{ name: http, containerPort: {port} }}] }}
",
        &*home
    );
    kubectl(control_plane, &["apply", "-f", "-"], &pod).await.success().expect("a pod");
    let status =
        serde_json::json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
    let patch = ["patch", "pod", POD, "-n", &home, "--subresource=status", "--type=merge", "-p", &status.to_string()];
    kubectl(control_plane, &patch, "").await.success().expect("a running pod");
    ready(control_plane, &namespace, &manifest()).await;

    // A resource of a customer whose list this operator does not have.
    let elsewhere = control_plane.fresh_namespace("elsewhere").await.expect("a namespace");
    let other = manifest().replace("namespace: citrix", &format!("namespace: {}", &*elsewhere));
    let other = other.replace("customerId: testcustomer", "customerId: other");
    kubectl(control_plane, &["apply", "-f", "-"], &other).await.success().expect("a resource");

    let account_of = async |name, left_out| reader_of(control_plane, &namespace, &home, name, left_out).await;
    let variables = [
        ("KUBECONFIG", control_plane.kubeconfig_path().display().to_string()),
        ("CITRIX_ALLOWLIST_NAMESPACE", namespace.to_string()),
        ("ELSEWHERE", elsewhere.to_string()),
        ("HOME_OF_IT", home.to_string()),
        ("ON_CALL", account_of("on-call", None).await),
        ("NO_PROXYING", account_of("no-proxying", Some("pods/proxy")).await),
        ("NO_TOKENS", account_of("no-tokens", Some("serviceaccounts/token")).await),
        ("NO_LEASES", account_of("no-leases", Some("leases")).await),
        ("NO_PODS", account_of("no-pods", Some("pods")).await),
    ];
    let (port, address) = (format!(":{port}"), address.to_string());
    let replaced = [
        (&*namespace, "citrix"),
        (&*elsewhere, "elsewhere"),
        (&*home, "home"),
        (&*port, ":8080"),
        (&*address, "10.244.0.9"),
    ];
    let folder = data();
    let stage = |label| Stage { folder: &folder, variables: &variables, replaced: &replaced, label };
    let file = root().join("tests/cli/memory.md");
    run(&file, &stage("leading"));
    // Any tenant may make a Lease of the name.
    let lease = format!(
        "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {{ name: citrix-allowlist-operator, namespace: {} }}
spec: {{ holderIdentity: trap_1 }}
",
        &*elsewhere
    );
    kubectl(control_plane, &["apply", "-f", "-"], &lease).await.success().expect("a Lease");
    run(&file, &stage("tenant"));
    drop(operator);
    run(&file, &stage("stopped"));
    let delete = ["delete", "pod", POD, "-n", &home, "--force", "--grace-period=0"];
    kubectl(control_plane, &delete, "").await.success().expect("no pod");
    run(&file, &stage("deleted"));
}
