//! An independent judge: what a set of NetworkPolicies allows, in the opinion of cyclonus.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::tools::tool;

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasePeer {
    /// An address outside the cluster, which no policy restricts on its own side.
    Address(IpAddr),
    /// A pod of the cluster.
    Pod {
        /// Its namespace.
        namespace: String,
        /// The namespace's labels.
        namespace_labels: BTreeMap<String, String>,
        /// Its own labels.
        labels: BTreeMap<String, String>,
        /// Its address, which `ipBlock` peers see.
        address: IpAddr,
    },
}

impl CasePeer {
    /// A pod with labels, at 10.244.0.10, in a namespace that has the label every namespace has.
    pub fn pod<'a>(namespace: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own_name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        Self::Pod {
            namespace: namespace.to_owned(),
            namespace_labels: BTreeMap::from([own_name]),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            address: Ipv4Addr::new(10, 244, 0, 10).into(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Address(address) => json!({ "Internal": null, "IP": address }),
            Self::Pod { namespace, namespace_labels, labels, address } => json!({
                "Internal": { "Namespace": namespace, "NamespaceLabels": namespace_labels, "PodLabels": labels },
                "IP": address,
            }),
        }
    }
}

impl From<IpAddr> for CasePeer {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// A transport protocol that NetworkPolicies know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseProtocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl CaseProtocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A connection that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Who connects.
    pub source: CasePeer,
    /// Whom it connects to.
    pub destination: CasePeer,
    /// The destination's port.
    pub port: u16,
    /// The protocol.
    pub protocol: CaseProtocol,
}

impl Traffic {
    /// A connection from `source` to `destination`.
    pub fn new(
        source: impl Into<CasePeer>,
        destination: impl Into<CasePeer>,
        port: u16,
        protocol: CaseProtocol,
    ) -> Self {
        Self { source: source.into(), destination: destination.into(), port, protocol }
    }

    fn json(&self) -> Value {
        json!({
            "Source": self.source.json(),
            "Destination": self.destination.json(),
            "ResolvedPort": self.port,
            "ResolvedPortName": "",
            "Protocol": self.protocol.name(),
        })
    }
}

/// What cyclonus says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseVerdict {
    /// The policies on the destination let it in; true where it is no pod or no policy selects it.
    pub ingress: bool,
    /// The policies on the source let it out; true where it is no pod or no policy selects it.
    pub egress: bool,
}

impl CaseVerdict {
    /// Both sides let it through.
    pub fn is_allowed(self) -> bool {
        self.ingress && self.egress
    }
}

/// Asks cyclonus, in one run, what the policies make of each connection; a verdict for each, in their order.
///
/// # Errors
///
/// When cyclonus is missing, refuses a policy, or prints what is not understood.
pub async fn judge(policies: &[NetworkPolicy], traffic: &[Traffic]) -> anyhow::Result<Vec<CaseVerdict>> {
    // cyclonus takes a policy without a namespace for one of `default`, and an empty list for a broken single policy.
    for policy in policies {
        ensure!(
            policy.metadata.namespace.is_some(),
            "a policy to be judged has no namespace: {:?}",
            policy.metadata.name
        );
    }
    let folder = tempfile::tempdir()?;
    let policy_path = folder.path().join("policies.json");
    let traffic_path = folder.path().join("traffic.json");
    let list = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": policies });
    std::fs::write(&policy_path, serde_json::to_vec(&list)?)?;
    std::fs::write(&traffic_path, serde_json::to_vec(&traffic.iter().map(Traffic::json).collect::<Vec<_>>())?)?;

    let output = Command::new(tool("cyclonus")?)
        .args(["analyze", "--verbosity=warn", "--mode=query-traffic"])
        // Its simplifier merges rules first; the judge is to look at the policies as they are.
        .arg("--simplify-policies=false")
        .arg("--policy-path")
        .arg(&policy_path)
        .arg("--traffic-path")
        .arg(&traffic_path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("start cyclonus")?;
    if !output.status.success() {
        bail!("cyclonus failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let verdicts = parse(&String::from_utf8_lossy(&output.stdout))?;
    ensure!(
        verdicts.len() == traffic.len(),
        "cyclonus gave {} verdicts on {} connections: {}",
        verdicts.len(),
        traffic.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(verdicts)
}

/// Reads the tables under each line `Is traffic allowed?`: rows of direction, `Allow` or `Deny`, and the policies'
/// target, with a cell left empty where it repeats the one above; the last row says what comes of both directions.
fn parse(output: &str) -> anyhow::Result<Vec<CaseVerdict>> {
    output.split("Is traffic allowed?\n").skip(1).map(parse_table).collect()
}

fn parse_table(table: &str) -> anyhow::Result<CaseVerdict> {
    let mut direction = "";
    // Whether any target allows and whether any denies, for each direction.
    let (mut ingress, mut egress) = ((false, false), (false, false));
    for line in table.lines() {
        let mut cells = line.strip_prefix('|').unwrap_or_default().split('|').map(str::trim);
        let (first, second) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        if first.eq_ignore_ascii_case("is allowed?") {
            // With no target in a direction, nothing restricts it.
            let allows = |(allowed, denied): (bool, bool)| allowed || !denied;
            let verdict = CaseVerdict { ingress: allows(ingress), egress: allows(egress) };
            let said = second.eq_ignore_ascii_case("true");
            ensure!(said == verdict.is_allowed(), "cyclonus says {second}, its table says {verdict:?}:\n{table}");
            return Ok(verdict);
        }
        if !first.is_empty() {
            direction = first;
        }
        let found = match direction {
            "Ingress" => &mut ingress,
            "Egress" => &mut egress,
            _ => continue,
        };
        match second {
            "Allow" => found.0 = true,
            "Deny" => found.1 = true,
            _ => {}
        }
    }
    bail!("cyclonus' table has no last row:\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED_AND_DENIED: &str = "\
Is traffic allowed?
+-------------+--------+--------------+
|    TYPE     | ACTION |    TARGET    |
+-------------+--------+--------------+
| Ingress     | Allow  | namespace: y |
|             |        | pod: b       |
+             +--------+--------------+
|             | Deny   | namespace: y |
+-------------+--------+--------------+
|             |        |              |
+-------------+--------+--------------+
| Egress      | Deny   | namespace: x |
+-------------+--------+--------------+
| IS ALLOWED? | FALSE  |              |
+-------------+--------+--------------+
";

    #[test]
    fn one_allowing_target_is_enough_and_a_lone_denying_one_denies() {
        let verdicts = parse(ALLOWED_AND_DENIED).expect("a verdict");
        assert_eq!(verdicts, [CaseVerdict { ingress: true, egress: false }]);
    }

    #[test]
    fn a_table_that_contradicts_itself_or_ends_early_is_an_error() {
        assert!(parse(&ALLOWED_AND_DENIED.replace("FALSE", "TRUE")).is_err());
        assert!(parse(&ALLOWED_AND_DENIED.replace("IS ALLOWED?", "SOMETHING")).is_err());
    }
}
