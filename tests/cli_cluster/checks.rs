//! Whether manifests are refused here where the API server refuses them, and taken where it takes them.

use super::{cli, kubectl, text};

/// What stands under `spec`, in one line of YAML or several, and whether it is valid.
const SPECS: &[(&str, bool)] = &[
    ("customerId: abc", true),
    ("customerId: test-customer", false),
    ("customerId: 123456e78901", true),
    ("customerId: 1234e567", true),
    ("customerId: 1234e5", false),
    ("customerId: 123", false),
    ("customerId: '123'", true),
    ("customerId: 0x12", false),
    ("customerId: 0x1g", true),
    ("customerId: yes", false),
    ("customerId: y", false),
    ("customerId: yEs", true),
    ("customerId: ~", false),
    ("customerId: null", false),
    ("customerId: 1_0", false),
    ("customerId: !!str 123", true),
    ("customerId: ! 123", true),
    ("customerId: abc\n  customerId: def", true),
    ("customerId: a-b\n  customerId: def", true),
    ("customerId: abc\n  geo: usa", false),
    ("customerId: abc\n  geo: null", true),
    ("customerId: abc\n  geo: ~", true),
    ("customerId: abc\n  suspend: on", true),
    ("customerId: abc\n  suspend: 'on'", false),
    ("customerId: abc\n  suspend: 1", false),
    ("customerId: abc\n  nonsense: 1", false),
    ("customerId: abc\n  podSelector: all", false),
    ("customerId: abc\n  refresh: { minInterval: 2h, maxInterval: 1h }", false),
    ("customerId: abc\n  refresh: { minInterval: 25h }", false),
    ("customerId: abc\n  addressRetention: 30s", false),
    ("customerId: abc\n  addressRetention: 1:30", false),
    ("customerId: abc\n  addressRetention: 60", false),
    ("customerId: abc\n  wildcards: [{ pattern: '*.example.com', names: [a.example.org] }]", false),
    ("customerId: abc\n  wildcards: [{ pattern: '*.example.com', names: [a.example.com] }]", true),
    ("customerId: abc\n  services: { include: [''] }", false),
    ("customerId: abc\n  services: { include: [1] }", false),
    ("customerId: abc\n  services: { include: [1234e567] }", true),
    ("customerId: abc\n  inboundPorts: [{ listed: 443, pod: 8443 }, { listed: 443, pod: 9443 }]", false),
    ("customerId: abc\n  inboundPorts: [{ listed: 443.0, pod: 1e4 }]", true),
    ("customerId: abc\n  inboundPorts: [{ listed: 0443, pod: 0x10 }]", true),
    ("customerId: abc\n  inboundPorts: [{ listed: 443.5, pod: 8443 }]", false),
    ("customerId: abc\n  inboundPorts: [{ listed: '443', pod: 8443 }]", false),
    ("customerId: abc\n  inboundPorts: [{ listed: 443, pod: 65536 }]", false),
];

/// Label selectors.
const SELECTORS: &[(&str, bool)] = &[
    ("{}", true),
    ("{ matchLabels: { app: web } }", true),
    ("{ matchLabels: { app: '' } }", true),
    ("{ matchLabels: { app.kubernetes.io/name: 1234e567 } }", true),
    ("{ matchLabels: { app: 1 } }", false),
    ("{ matchLabels: { app: true } }", false),
    ("{ matchLabels: { app: ~ } }", true),
    ("{ matchLabels: ~ }", true),
    ("~", true),
    ("{ matchExpressions: [~] }", false),
    ("{ matchExpressions: [{ key: a, operator: In, values: [~] }] }", false),
    ("{ matchExpressions: [{ key: a, operator: Exists, values: ~ }] }", true),
    ("{ matchLabels: { 1: a } }", true),
    ("{ matchLabels: { 'a b': c } }", false),
    ("{ matchLabels: { a: 'b c' } }", false),
    ("{ matchLabels: { a: .b } }", false),
    ("{ matchLabels: { a: b. } }", false),
    ("{ matchLabels: { .a: b } }", false),
    ("{ matchLabels: { a/b/c: d } }", false),
    ("{ matchLabels: { /a: b } }", false),
    ("{ matchLabels: { a/: b } }", false),
    ("{ matchLabels: { '': b } }", false),
    ("{ matchLabels: { A.com/a: b } }", false),
    ("{ matchLabels: { a..b/c: d } }", false),
    ("{ matchLabels: { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b } }", true),
    ("{ matchLabels: { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b } }", false),
    ("{ matchLabels: { a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa } }", false),
    ("{ matchExpressions: [{ key: a, operator: In, values: [b, ''] }] }", true),
    ("{ matchExpressions: [{ key: a, operator: In, values: [] }] }", false),
    ("{ matchExpressions: [{ key: a, operator: NotIn }] }", false),
    ("{ matchExpressions: [{ key: a, operator: NotIn, values: [b] }] }", true),
    ("{ matchExpressions: [{ key: a, operator: Exists }] }", true),
    ("{ matchExpressions: [{ key: a, operator: Exists, values: [] }] }", true),
    ("{ matchExpressions: [{ key: a, operator: DoesNotExist, values: [b] }] }", false),
    ("{ matchExpressions: [{ key: a, operator: exists }] }", false),
    ("{ matchExpressions: [{ key: a b, operator: Exists }] }", false),
    ("{ matchExpressions: [{ key: a/b/c, operator: Exists }] }", false),
    ("{ matchExpressions: [{ key: '', operator: Exists }] }", false),
    ("{ matchExpressions: [{ key: a, operator: In, values: [b c] }] }", false),
    ("{ matchExpressions: [{ key: a, operator: In, values: [-b] }] }", false),
    ("{ matchExpressions: [{ operator: Exists }] }", false),
    ("{ matchExpression: [] }", false),
];

/// Entries of `additional`, beside their name.
const ADDITIONAL: &[(&str, bool)] = &[
    ("fqdns: [a.example.com]", false),
    ("fqdns: [a.example.com], tcpPorts: 443", true),
    ("fqdns: [a.example.com], tcpPorts: '443,8080-8090'", true),
    ("fqdns: [a.example.com], tcpPorts: 0443", true),
    ("fqdns: [a.example.com], tcpPorts: '0443'", true),
    ("fqdns: [a.example.com], tcpPorts: 1e3", true),
    ("fqdns: [a.example.com], tcpPorts: 443.0", true),
    ("fqdns: [a.example.com], tcpPorts: 4_43", true),
    ("fqdns: [a.example.com], tcpPorts: 443.5", false),
    ("fqdns: [a.example.com], tcpPorts: 1e9", false),
    ("fqdns: [a.example.com], tcpPorts: 1e30", false),
    ("fqdns: [a.example.com], tcpPorts: 1234e567", false),
    ("fqdns: [a.example.com], tcpPorts: 70000", false),
    ("fqdns: [a.example.com], tcpPorts: -1", false),
    ("fqdns: [a.example.com], tcpPorts: true", false),
    ("fqdns: [a.example.com], tcpPorts: ~", false),
    ("fqdns: [a.example.com], tcpPorts: 443, udpPorts: ~", true),
    ("fqdns: [a.example.com], tcpPorts: [443]", false),
    ("cidrs: [10.0.0.0/8], tcpPorts: 443", true),
    ("cidrs: [10.1.2.3/8], tcpPorts: 443", true),
    ("cidrs: [2001:DB8::/64], tcpPorts: 443", true),
    ("cidrs: ['::1.2.3.4/128'], tcpPorts: 443", true),
    ("cidrs: ['1:2:3:4:5:6:7::/112'], tcpPorts: 443", true),
    ("cidrs: [10.0.0.0/99], tcpPorts: 443", false),
    ("cidrs: [010.0.0.0/24], tcpPorts: 443", false),
    ("cidrs: [10.0.00.0/24], tcpPorts: 443", false),
    ("cidrs: [10.0.0.0/08], tcpPorts: 443", false),
    ("cidrs: ['::/064'], tcpPorts: 443", false),
    ("cidrs: ['::ffff:10.0.0.0/120'], tcpPorts: 443", false),
    ("cidrs: ['fe80::1%eth0/64'], tcpPorts: 443", false),
    ("cidrs: [10.0.0.1], tcpPorts: 443", false),
    ("cidrs: [10.0.0/8], tcpPorts: 443", false),
    ("cidrs: [' 10.0.0.0/8'], tcpPorts: 443", false),
    ("cidrs: ['10.0.0.0/+8'], tcpPorts: 443", false),
    ("cidrs: [00001::/64], tcpPorts: 443", false),
];

/// What stands under `metadata`, beside the name.
const METADATA: &[(&str, bool)] = &[
    ("labels: { team: b }", true),
    ("labels: { commit: 1234e567 }", true),
    ("labels: { commit: 123456e78901 }", true),
    ("labels: { commit: 1234 }", false),
    ("labels: { commit: 1234e5 }", false),
    ("labels: { on: 'yes' }", true),
    ("labels: { a: yes }", false),
    ("labels: { team: b c }", false),
    ("labels: { team: -b }", false),
    ("labels: { a/b/c: d }", false),
    ("labels: { a b: d }", false),
    ("labels: { A.example.com/b: d }", false),
    ("labels: [a]", false),
    ("labels: ~", true),
    ("labels: { a: ~ }", true),
    ("annotations: { a: ~ }", true),
    ("annotations: { any: 'thing at all: {}' }", true),
    ("annotations: { Example.com/Some: thing }", true),
    ("annotations: { a/b/c: d }", false),
    ("annotations: { 'a b': d }", false),
    ("annotations: { a: 1 }", false),
    ("annotations: { a: 1234e567 }", true),
    ("finalizers: [example.com/hold]", true),
    ("finalizers: [not one]", false),
    ("finalizers: example.com/hold", false),
    ("ownerReferences: [{ apiVersion: v1, kind: ConfigMap, name: a, uid: b }]", true),
    ("ownerReferences: [{ apiVersion: v1, kind: ConfigMap, name: a }]", false),
    ("ownerReferences: [{ apiVersion: v1, kind: ConfigMap, name: '', uid: b }]", false),
    ("creationTimestamp: null", true),
    ("label: {}", false),
];

/// Names.
const NAMES: &[(&str, bool)] = &[
    ("check", true),
    ("a.b-c.d", true),
    ("1234e567", true),
    ("'123'", true),
    ("123", false),
    ("Check", false),
    ("check_1", false),
    ("-check", false),
    ("check.", false),
    ("a..b", false),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_here_are_the_api_servers() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("checks").await.expect("a namespace");
    let manifest = |name: &str, metadata: &str, spec: &str| {
        let metadata = if metadata.is_empty() { String::new() } else { format!(", {metadata}") };
        format!(
            "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {{ name: {name}, namespace: {}{metadata} }}\nspec:\n  {spec}\n",
            &*namespace
        )
    };
    let mut table: Vec<(String, bool)> = Vec::new();
    table.extend(SPECS.iter().map(|(spec, valid)| (manifest("check", "", spec), *valid)));
    let selectors =
        SELECTORS.iter().map(|(selector, valid)| (format!("customerId: abc\n  podSelector: {selector}"), *valid));
    table.extend(selectors.map(|(spec, valid)| (manifest("check", "", &spec), valid)));
    let entry = |entry: &str| format!("customerId: abc\n  additional: [{{ name: a, {entry} }}]");
    table.extend(ADDITIONAL.iter().map(|(given, valid)| (manifest("check", "", &entry(given)), *valid)));
    table.extend(METADATA.iter().map(|(metadata, valid)| (manifest("check", metadata, "customerId: abc"), *valid)));
    table.extend(NAMES.iter().map(|(name, valid)| (manifest(name, "", "customerId: abc"), *valid)));
    assert!(table.len() >= 113, "{}", table.len());

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("check.yaml");
    let mut wrong = Vec::new();
    for (manifest, valid) in &table {
        let server = kubectl(control_plane, &["apply", "--dry-run=server", "-f", "-"], manifest).await;
        std::fs::write(&path, manifest).expect("a file");
        let file = path.display().to_string();
        let here = cli(control_plane, &["render", "-f", &file, "--feed", "list.json", "--hosts", "hosts"]);
        let found = (server.code == Some(0), here.status.success());
        if found != (*valid, *valid) {
            let (server, here) = (server.stderr, text(&here));
            wrong.push(format!(
                "{manifest}expected {valid}, (server, here) say {found:?}\nserver: {server}here: {here}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_the_one_that_the_api_server_stores() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("ports").await.expect("a namespace");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("check.yaml");
    for (written, port) in [("0443", "291"), ("1e3", "1000"), ("443.0", "443"), ("4_43", "443"), ("'0443'", "443")] {
        let manifest = format!(
            "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {{ name: check, namespace: {} }}\nspec: {{ customerId: abc, services: {{ exclude: ['*'] }}, additional: [{{ name: a, cidrs: [10.0.0.0/8], tcpPorts: {written} }}] }}\n",
            &*namespace
        );
        let jsonpath = "jsonpath={.spec.additional[0].tcpPorts}";
        let stored =
            kubectl(control_plane, &["create", "--dry-run=server", "-f", "-", "-o", jsonpath], &manifest).await;
        let stored = stored.success().expect("stored");
        assert_eq!(stored.trim_start_matches('0'), port, "{written}");
        std::fs::write(&path, &manifest).expect("a file");
        let rendered = cli(
            control_plane,
            &["render", "-f", &path.display().to_string(), "--feed", "list.json", "--hosts", "hosts"],
        );
        assert!(text(&rendered).contains(&format!("- port: {port}\n")), "{written}: {}", text(&rendered));
    }
}
