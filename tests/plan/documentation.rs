//! What the documentation and the examples say, held against the code.

use crate::builders::{Case, allows, name, ports};
use crate::profiles;
use citrix_allowlist::crd::{CitrixAllowlist, CloudChoice, GeoChoice, PortProfile, ProblemKind};
use citrix_allowlist::plan::Target;
use citrix_allowlist::reason::Reason;
use connectivity_allowlist::net::{Direction, PortSet, Protocol};
use serde_json::{Value, json};
use std::path::PathBuf;

fn text(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An example over its cloud's list, every name of it answered.
fn example(file: &str) -> Case {
    over_its_list(serde_saphyr::from_str(&text(file)).expect("a CitrixAllowlist"))
}

fn over_its_list(resource: CitrixAllowlist) -> Case {
    let japan = resource.spec.geo == GeoChoice::Jp && resource.spec.cloud != CloudChoice::Global;
    let list = if japan { "tests/fixtures/allowlist-japan.json" } else { "tests/fixtures/allowlist.json" };
    let document: Value = serde_json::from_str(&text(list)).expect("JSON");
    let mut case = Case::new(json!({}), &document, &[]);
    case.spec = resource.spec;
    let names = case.select().names;
    let answers: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["52.1.2.3"][..])).collect();
    case.addresses = crate::builders::answers(&answers);
    case
}

/// Exactly the documented ports of the profile are open to the network, and those given beside it.
fn covers(case: &Case, peer: &str, profile: PortProfile, beside: &[(Protocol, u16)]) {
    let policies = case.objects().policies;
    let peer = peer.parse().expect("an address");
    let mut documented = profiles::documented(profile);
    documented.extend(beside);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for port in 1..=u16::MAX {
            let open = allows(&policies, Direction::Outbound, peer, protocol, port);
            assert_eq!(open, documented.contains(&(protocol, port)), "{peer} {protocol} {port}");
        }
    }
}

/// Each name is open on the ports, of the list or of the example.
fn reaches(case: &Case, ports: &PortSet, names: &[&str]) {
    let plan = case.plan();
    for documented in names {
        let documented = Target::Name(name(documented));
        let open = plan
            .records
            .iter()
            .any(|record| record.endpoint.target == documented && record.endpoint.ports.is_superset(ports));
        assert!(open, "{documented:?} on {ports}");
    }
}

const SIGN_IN: [&str; 4] = [
    "citrix.citrixcloud.jp",
    "accounts.citrixcloud.jp",
    "accounts-dsauthweb.citrixcloud.jp",
    "accounts-webassets.citrixcloud.jp",
];

/// The Gateway Service in Tokyo and Osaka.
const PLACES: [&str; 8] = [
    "aws-jp-e.g.nssvc.jp",
    "aws-jp-w.g.nssvc.jp",
    "az-jp-e.g.nssvc.jp",
    "az-jp-w.g.nssvc.jp",
    "aws-jp-e.c.nssvc.jp",
    "aws-jp-w.c.nssvc.jp",
    "az-jp-e.c.nssvc.jp",
    "az-jp-w.c.nssvc.jp",
];

/// Each wildcard of the list is honoured or reported, and nothing in the example is in vain.
fn explains_every_wildcard(case: &Case) {
    let plan = case.plan();
    assert!(plan.wildcard_uses.iter().any(|wildcard| wildcard.honoured));
    let problems = case.problems();
    for wildcard in plan.wildcard_uses.iter().filter(|wildcard| !wildcard.honoured) {
        let reported = problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::Wildcard && problem.subject == wildcard.pattern.as_str());
        assert!(reported, "{}", wildcard.pattern);
    }
    let in_vain: Vec<_> = problems
        .iter()
        .filter(|problem| !matches!(problem.kind, ProblemKind::Wildcard | ProblemKind::NoPorts))
        .collect();
    assert!(in_vain.is_empty(), "{in_vain:?}");
}

#[test]
fn the_appliance_in_japan_reaches_all_documented_hosts() {
    let case = example("examples/japan-connector-appliance.yaml");
    // Domain controllers are DNS and time servers too.
    let beside = [(Protocol::Tcp, 53), (Protocol::Udp, 53), (Protocol::Udp, 123)];
    covers(&case, "10.20.0.7", PortProfile::ActiveDirectory, &beside);
    covers(&case, "10.20.1.7", PortProfile::ConnectorAppliance, &[]);
    explains_every_wildcard(&case);
    let https = ports(Some("443"), None).expect("ports");
    reaches(&case, &https, &SIGN_IN);
    reaches(
        &case,
        &https,
        &[
            "iwsprodeastusuniconacr.azurecr.io",
            "iwsprodeastusuniconacr.eastus.data.azurecr.io",
            "ctxccopspacrconnappprod.azurecr.io",
            "ctxccopspacrconnappprod.eastus.data.azurecr.io",
            "citrix-cloud-content.customer.pendo.io",
            "agenthub-jp.citrixworkspacesapi.jp",
            "connector.citrixnetworkapi.jp",
        ],
    );
    reaches(&case, &ports(Some("443"), Some("443")).expect("ports"), &PLACES);
    let policies = case.objects().policies;
    for internal in ["169.254.0.1", "169.254.64.1", "169.254.192.1"] {
        let internal = internal.parse().expect("an address");
        assert!(!allows(&policies, Direction::Outbound, internal, Protocol::Tcp, 443), "{internal}");
    }
    let plan = case.plan();
    assert!(plan.inbound.is_none() && plan.absence(Direction::Inbound).is_none(), "inbound is not touched");
}

#[test]
fn the_cloud_connector_of_japan_reaches_all_that_is_documented() {
    let case = example("examples/japan-cloud-connector.yaml");
    covers(&case, "10.20.9.9", PortProfile::CloudConnectorLan, &[]);
    covers(&case, "10.20.2.10", PortProfile::CloudConnectorLan, &[(Protocol::Tcp, 8530), (Protocol::Tcp, 8531)]);
    covers(&case, "10.20.2.11", PortProfile::CloudConnectorLan, &[(Protocol::Tcp, 1688)]);
    explains_every_wildcard(&case);
    let https = ports(Some("443"), None).expect("ports");
    reaches(&case, &https, &SIGN_IN);
    reaches(
        &case,
        &https,
        &[
            "agenthub-jp.citrixworkspacesapi.jp",
            "cws.citrixworkspacesapi.jp",
            "cws.citrixworkspacesapi.net",
            "testcustomer.xendesktop.net",
            "cacerts.digicert.com",
            "www.microsoft.com",
        ],
    );
    reaches(&case, &ports(Some("443"), Some("443")).expect("ports"), &PLACES);
    let hosts = [
        "cacerts.digicert.com",
        "dl.cacerts.digicert.com",
        "crl3.digicert.com",
        "crl4.digicert.com",
        "ocsp.digicert.com",
        "www.d-trust.net",
        "root-c3-ca2-2009.ocsp.d-trust.net",
        "crl.microsoft.com",
        "oneocsp.microsoft.com",
        "ocsp.msocsp.com",
    ];
    let http = ports(Some("80"), None).expect("ports");
    reaches(&case, &http, &hosts);
    // What the documents name is open whatever the list holds.
    let mut case = case;
    case.list.entries.clear();
    reaches(&case, &http, &hosts);
    // Two wildcards cover hosts of all of Azure's customers: said, and not claimed.
    let case = example("examples/japan-cloud-connector.yaml");
    for wildcard in ["*.blob.core.windows.net", "*.servicebus.windows.net"] {
        let problems = case.problems();
        let said = problems.iter().any(|problem| problem.kind == ProblemKind::Wildcard && problem.subject == wildcard);
        assert!(said && text("examples/japan-cloud-connector.yaml").contains(wildcard), "{wildcard}");
        assert!(text("docs/guides/japan.md").contains(wildcard), "{wildcard}");
    }
}

/// Every example, over its cloud's list, says nothing in vain.
#[test]
fn no_example_names_anything_in_vain() {
    let mut seen = 0;
    for entry in std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let shown = path.display();
        let text = std::fs::read_to_string(&path).expect("an example");
        for document in text.split("\n---\n").filter(|text| text.lines().any(|line| line == "kind: CitrixAllowlist")) {
            seen += 1;
            let resource: CitrixAllowlist = serde_saphyr::from_str(document).expect("a CitrixAllowlist");
            let case = over_its_list(resource);
            let in_vain: Vec<_> = case
                .plan()
                .problems
                .into_iter()
                .filter(|problem| !matches!(problem.kind, ProblemKind::Wildcard | ProblemKind::NoPorts))
                .collect();
            assert!(in_vain.is_empty(), "{shown}: {in_vain:?}");
        }
    }
    assert!(seen > 15, "{seen}");
}

/// Without a version a command would install another one tomorrow, and an upgrade of values would upgrade the operator.
#[test]
fn every_command_of_helm_names_this_version() {
    let version = format!("--version {}", env!("CARGO_PKG_VERSION"));
    let (mut pages, mut commands) = (
        vec![
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md"),
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/citrix-allowlist-operator/README.md"),
        ],
        0,
    );
    for folder in ["docs", "docs/guides"] {
        let entries = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder");
        pages.extend(
            entries
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page").replace("\\\n", " ");
        for command in text.lines().filter(|line| line.starts_with("helm ") && line.contains(" oci://")) {
            assert!(command.contains(&version), "{}: {command}", page.display());
            commands += 1;
        }
    }
    assert!(commands >= 10, "{commands}");
}

#[test]
fn every_kind_of_problem_has_its_row() {
    let documentation = text("docs/problems.md");
    for kind in ProblemKind::ALL {
        let explained = kind.text();
        let row = format!("| `{kind:?}` | {} | {} |", explained.means, explained.remedy);
        assert_eq!(documentation.matches(&row).count(), 1, "{row}");
        assert_eq!(documentation.matches(&format!("\n- **{kind:?}.** ")).count(), 1, "{kind:?} in more words");
    }
}

#[test]
fn every_reason_has_its_row_and_says_whether_it_is_an_event() {
    let documentation = text("docs/reasons.md");
    for reason in Reason::ALL {
        let explained = reason.text();
        let event = if reason.is_passing() { "no" } else { "yes" };
        let row = format!("| `{reason}` | {event} | {} | {} |", explained.means, explained.remedy);
        assert_eq!(documentation.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn the_config_maps_schema_is_the_documented_one() {
    let documentation = text("docs/cidr-configmap.md");
    assert!(documentation.contains(citrix_allowlist::export::SCHEMA));
    let mut case = example("examples/japan-connector-appliance.yaml");
    case.limits.bytes = 64 * 1024;
    let map = &case.objects().config_maps[0];
    let document: Value = serde_json::from_str(&map.data.as_ref().expect("data")["endpoints.json"]).expect("JSON");
    for key in document.as_object().expect("an object").keys() {
        assert!(documentation.contains(&format!("`{key}")), "{key} is not documented");
    }
    for endpoint in document["endpoints"].as_array().expect("endpoints") {
        for field in endpoint.as_object().expect("an object").keys() {
            let documented = [format!("`endpoints[].{field}`"), format!("`{field}`")];
            assert!(documented.iter().any(|text| documentation.contains(text)), "{field} is not documented");
        }
    }
}
