//! The texts. Each starts with comments: what it does, how it is applied, what the platform cannot do.

use super::{Fallback, ForwardedZones, Platform};
use std::fmt::Write as _;

/// The key or file of the blocks, where they are imported into a Corefile.
const IMPORTED: &str = "citrix-allowlist.server";
/// The command that applies an object. A manager of its own leaves what others have written in the object.
const APPLY: &str = "apply --server-side --field-manager=citrix-allowlist-forwarder -f FILE";

/// The configuration of a platform.
pub(super) fn text(of: &ForwardedZones, platform: Platform) -> String {
    let (comments, text) = match platform {
        Platform::Kubeadm => (kubeadm(), block(of, None)),
        Platform::K3s => (custom("k3s"), config_map("coredns-custom", IMPORTED, &block(of, None))),
        Platform::Rke2 => (rke2(), helm_chart_config(of)),
        Platform::Aks => (aks(), config_map("coredns-custom", IMPORTED, &block(of, None))),
        Platform::Eks => (eks(), block(of, None)),
        Platform::Openshift => (openshift(), dns_operator(of)),
        Platform::Gke => (gke(of), config_map("kube-dns", "stubDomains", &stub_domains(of))),
        // node-cache puts its own addresses there when it starts.
        Platform::NodeLocal => (node_local(), block(of, Some("__PILLAR__LOCAL__DNS__"))),
        Platform::ActiveDirectory => (active_directory(), conditional_forwarders(of)),
    };
    let mut whole = String::new();
    for line in comments.lines() {
        let _ = writeln!(whole, "# {line}");
    }
    whole.push_str(&text);
    whole
}

/// One server block of CoreDNS for all zones. `bind` is what other blocks beside it bind to.
fn block(of: &ForwardedZones, bind: Option<&str>) -> String {
    let zones = of.zones.iter().map(|zone| format!("{zone}:53")).collect::<Vec<_>>().join(",\n");
    let bind = bind.map(|addresses| format!("    bind {addresses}\n")).unwrap_or_default();
    let servers = of.servers().join(" ");
    format!(
        "{zones} {{
{bind}    errors
    cache 30
    forward . {servers} {{
        policy sequential
        max_fails 1
        health_check 0.5s
    }}
}}
"
    )
}

/// A text as a block scalar of YAML, so many columns in.
fn indented(text: &str, columns: usize) -> String {
    let indent = " ".repeat(columns);
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{indent}{line}");
        all
    })
}

fn config_map(name: &str, key: &str, text: &str) -> String {
    let text = indented(text, 4);
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: kube-system
data:
  {key}: |
{text}"
    )
}

fn helm_chart_config(of: &ForwardedZones) -> String {
    let text = indented(&block(of, None), 10);
    format!(
        "apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata:
  name: rke2-coredns
  namespace: kube-system
spec:
  valuesContent: |
    extraConfig:
      import:
        parameters: {IMPORTED}
    zoneFiles:
      - filename: {IMPORTED}
        contents: |
{text}"
    )
}

fn dns_operator(of: &ForwardedZones) -> String {
    let zones: Vec<String> = of.zones.iter().map(|zone| format!("- \"{zone}\"")).collect();
    let upstreams: Vec<String> = of.servers().iter().map(|server| format!("- \"{server}\"")).collect();
    let (zones, upstreams) = (indented(&zones.join("\n"), 8), indented(&upstreams.join("\n"), 10));
    // A server's name is that of a service, by RFC 6335: 15 characters at most.
    format!(
        "apiVersion: operator.openshift.io/v1
kind: DNS
metadata:
  name: default
spec:
  servers:
    - name: citrix
      zones:
{zones}      forwardPlugin:
        policy: Sequential
        upstreams:
{upstreams}"
    )
}

fn stub_domains(of: &ForwardedZones) -> String {
    let servers = of.servers().iter().map(|server| format!("\"{server}\"")).collect::<Vec<_>>().join(", ");
    let zones = of.zones.iter().map(|zone| format!("  \"{zone}\": [{servers}]")).collect::<Vec<_>>().join(",\n");
    format!("{{\n{zones}\n}}\n")
}

fn conditional_forwarders(of: &ForwardedZones) -> String {
    let servers = of.servers().join(", ");
    of.zones.iter().fold(String::new(), |mut all, zone| {
        // The operator answers within 1.5 s; two are the least that Windows' own rules of good practice take.
        let _ = writeln!(
            all,
            "Add-DnsServerConditionalForwarderZone -Name \"{zone}\" -MasterServers {servers} -ForwarderTimeout 2 -ReplicationScope \"Forest\""
        );
        all
    })
}

fn kubeadm() -> String {
    "kubeadm: put this behind the last block of the Corefile, and replace what you put there before:
  kubectl -n kube-system edit configmap coredns
CoreDNS reads the change within two minutes (plugin reload)."
        .to_owned()
}

fn custom(name: &str) -> String {
    format!(
        "{name}: apply this. Other keys of the ConfigMap stay.
  kubectl {APPLY}
CoreDNS reads the change within three minutes; at once after
  kubectl -n kube-system rollout restart deployment coredns"
    )
}

fn aks() -> String {
    format!(
        "{}
With LocalDNS, CoreDNS gets only the questions that the node's cache cannot answer:
set addressRetention to 2h or more, which is how long LocalDNS may keep an answer.",
        custom("AKS")
    )
}

fn rke2() -> String {
    format!(
        "RKE2: apply this; RKE2 then upgrades its chart of CoreDNS.
  kubectl {APPLY}
If there is a HelmChartConfig rke2-coredns already, kubectl refuses with a conflict:
add extraConfig and zoneFiles to its valuesContent by hand."
    )
}

fn eks() -> String {
    "EKS: the add-on takes a whole Corefile, as its configuration value `corefile`.
Put this behind the last block of the present one, and replace what you put there before. The first time:
  kubectl -n kube-system get configmap coredns -o jsonpath='{.data.Corefile}{\"\\n\"}' > Corefile
  cat FILE >> Corefile
  jq -n --rawfile corefile Corefile '{$corefile}' > values.json
  aws eks update-addon --cluster-name CLUSTER --addon-name coredns --configuration-values file://values.json
These values replace all others of the add-on: add what `aws eks describe-addon` shows.
From then on the Corefile is yours: later Corefiles of the add-on do not replace it.
EKS Auto Mode answers pods on the node, and cannot forward zones."
        .to_owned()
}

fn openshift() -> String {
    format!(
        "OpenShift: apply this.
  oc {APPLY}
spec.servers is one list: if it has other servers, oc refuses with a conflict.
Then add this server by hand: oc edit dns.operator/default"
    )
}

fn gke(of: &ForwardedZones) -> String {
    let order = match of.fallback {
        Fallback::Nobody => "While the operator is away, nothing answers names of these zones.",
        Fallback::ResolvConf | Fallback::Servers(_) => {
            "kube-dns asks these servers in no fixed order. The operator learns names from its part of the questions;
the others' answers reach pods at once, so that the race is not closed. `--fallback none` closes it."
        }
    };
    format!(
        "GKE, Standard clusters with kube-dns: apply this.
  kubectl {APPLY}
If stubDomains is set already, kubectl refuses with a conflict: add these zones by hand.
{order}
Autopilot and Cloud DNS for GKE cannot forward zones to a Service."
    )
}

fn node_local() -> String {
    "NodeLocal DNSCache: put this behind the last block of the Corefile, and replace what you put there before:
  kubectl -n kube-system edit configmap node-local-dns
The cache puts its own addresses in place of __PILLAR__LOCAL__DNS__. If the other blocks bind to
something else, such as 0.0.0.0, write that instead.
It asks from the nodes' addresses: allow them in forwarder.from, as an ipBlock."
        .to_owned()
}

fn active_directory() -> String {
    "Active Directory: run this on one domain controller; replication brings it to the others.
Domain controllers must reach the first address: that of a Service is reached from outside the cluster
only where your network routes it. Allow them in forwarder.from, as an ipBlock.
They may not be the operator's own forwarder.upstreams: questions would go round in a circle.
A zone that is there already: Set-DnsServerConditionalForwarderZone -Name ZONE -MasterServers ..."
        .to_owned()
}
