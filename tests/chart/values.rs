//! What values do: each one that is documented changes what is rendered, and what is not documented is refused.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use test_support::tools::workspace_root;

use crate::helm::{HELMS, chart, helm, object, objects, run, template};

/// Sets a dotted path.
fn put(values: &mut Value, path: &str, value: Value) {
    let mut here = values;
    for key in path.split('.') {
        here = here.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
    }
    *here = value;
}

/// Values as a user would write them, from dotted paths.
fn values(pairs: &[(&str, Value)]) -> Value {
    let mut values = json!({});
    for (path, value) in pairs {
        put(&mut values, path, value.clone());
    }
    values
}

/// The lines of `new` that `old` has fewer of, without their indentation.
fn added(old: &str, new: &str) -> Vec<String> {
    let mut left: Vec<&str> = old.lines().map(str::trim).collect();
    left.sort_unstable();
    let mut lines = Vec::new();
    for line in new.lines().map(str::trim) {
        match left.binary_search(&line) {
            Ok(place) => drop(left.remove(place)),
            Err(_) => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Which other values a value needs to have an effect at all.
fn needs(path: &str) -> Vec<(&'static str, Value)> {
    match path {
        "leaderElection" => vec![("replicas", json!(1))],
        "crds.hook" | "crds.upgrade" | "rbac.create" => Vec::new(),
        "serviceAccount.name" => vec![("serviceAccount.create", json!(false))],
        "extraCa.key" => vec![("extraCa.configMap", json!("authorities"))],
        "proxy.noProxy" => vec![("proxy.https", json!("http://proxy:3128"))],
        "metrics.dashboard.enabled" | "metrics.serviceMonitor.enabled" => Vec::new(),
        "metrics.podMonitor.enabled" | "metrics.prometheusRule.enabled" => Vec::new(),
        "tenantPolicy.enabled" => Vec::new(),
        "networkPolicy.enabled" | "networkPolicy.egress" => Vec::new(),
        "networkPolicy.metricsFrom" | "networkPolicy.explainFrom" => Vec::new(),
        _ if path.starts_with("metrics.serviceMonitor.") => vec![("metrics.serviceMonitor.enabled", json!(true))],
        _ if path.starts_with("metrics.podMonitor.") => vec![("metrics.podMonitor.enabled", json!(true))],
        _ if path.starts_with("metrics.prometheusRule.") => vec![("metrics.prometheusRule.enabled", json!(true))],
        _ if path.starts_with("metrics.dashboard.") => vec![("metrics.dashboard.enabled", json!(true))],
        "forwarder.enabled" => vec![("forwarder.upstreams", json!(["192.0.2.53"]))],
        _ if path.starts_with("forwarder.") => {
            vec![("forwarder.enabled", json!(true)), ("forwarder.upstreams", json!(["192.0.2.53"]))]
        }
        _ if path.starts_with("networkPolicy.") => vec![("networkPolicy.egress", json!(true))],
        _ if path.starts_with("tenantPolicy.") => vec![("tenantPolicy.enabled", json!(true))],
        _ => Vec::new(),
    }
}

/// For each documented value: another value, and what is then in a line that was not there before (`+`), or was there and
/// is no more (`-`).
#[allow(clippy::too_many_lines, reason = "a table")]
fn effects() -> Vec<(&'static str, Value, &'static str)> {
    let peer = json!([{"ipBlock": {"cidr": "203.0.113.7/32"}}]);
    let relabeling = json!([{"action": "labeldrop", "regex": "endpoint"}]);
    vec![
        ("forwarder.enabled", json!(true), "+- --forward-listen=0.0.0.0:5353"),
        ("forwarder.upstreams", json!(["192.0.2.54:5300"]), "+- --forward-upstream=192.0.2.54:5300"),
        ("forwarder.zones", json!(["blob.core.windows.net"]), "+- --forward-zone=blob.core.windows.net"),
        ("forwarder.clusterIP", json!("10.96.0.77"), "+clusterIP: 10.96.0.77"),
        ("forwarder.port", json!(5300), "+- --forward-listen=0.0.0.0:5300"),
        ("forwarder.clients", json!(true), "+- --forward-clients"),
        ("forwarder.settle", json!("100ms"), "+- --forward-settle=100ms"),
        ("forwarder.learnedRetention", json!("24h"), "+- --learned-retention=24h"),
        ("history.retention", json!("24h"), "+- --history-retention=24h"),
        ("forwarder.from", peer.clone(), "+cidr: 203.0.113.7/32"),
        ("nameOverride", json!("other"), "+app.kubernetes.io/name: other"),
        ("fullnameOverride", json!("other"), "+name: other"),
        ("commonLabels", json!({"team": "edge"}), "+team: edge"),
        ("commonAnnotations", json!({"note": "ours"}), "+note: ours"),
        (
            "image.registry",
            json!("mirror.example"),
            "+image: \"mirror.example/citrix-allowlist/citrix-allowlist-operator:",
        ),
        ("image.repository", json!("ours/operator"), "+image: \"ghcr.io/ours/operator:"),
        ("image.tag", json!("9.9.9"), "+citrix-allowlist-operator:9.9.9\""),
        ("image.digest", json!(format!("sha256:{}", "a".repeat(64))), "+citrix-allowlist-operator@sha256:aaaa"),
        ("image.pullPolicy", json!("Always"), "+imagePullPolicy: Always"),
        ("imagePullSecrets", json!(["pull"]), "+- name: pull"),
        ("global.imageRegistry", json!("mirror.example"), "+image: \"mirror.example/citrix-allowlist/"),
        ("global.imagePullSecrets", json!([{"name": "shared"}]), "+- name: shared"),
        ("allowlists", json!([{"name": "daas-us", "spec": {"customerId": "abc"}}]), "+kind: CitrixAllowlist"),
        ("watchNamespaces", json!(["citrix-a"]), "+- --watch-namespace=citrix-a"),
        ("protectedNamespaces", json!(["secret"]), "+- --protected-namespace=secret"),
        (
            "feed.globalUrl",
            json!("https://mirror.example/connectivity"),
            "+- --global-url=https://mirror.example/connectivity",
        ),
        ("feed.japanUrl", json!("https://mirror.example/jp"), "+- --japan-url=https://mirror.example/jp"),
        ("feed.format", json!("zscaler"), "+- --format=zscaler"),
        (
            "feed.staticListUrls",
            json!({"global": "https://mirror.example/list.json"}),
            "+- --static-list-url=global=https://mirror.example/list.json",
        ),
        ("feed.staticListPorts", json!("80,443"), "+- --static-list-ports=80,443"),
        ("feed.staticListLifetime", json!("12h"), "+- --static-list-lifetime=12h"),
        ("feed.sharedTemplate", json!(true), "+- --shared-template"),
        ("feed.requestsPerMinute", json!(3), "+- --requests-per-minute=3"),
        ("feed.minRefresh", json!("2m"), "+- --min-refresh=2m"),
        ("feed.existingConfigMap", json!("documents"), "+- --feed-dir=/etc/citrix-allowlist/feed"),
        ("dns.servers", json!(["192.0.2.53:5353"]), "+- --dns-server=192.0.2.53:5353"),
        ("dns.minTtl", json!("6s"), "+- --dns-min-ttl=6s"),
        ("dns.questionsPerSecond", json!(50), "+- --dns-questions-per-second=50"),
        ("bounds.listsPerNamespace", json!(7), "+- --max-lists-per-namespace=7"),
        ("bounds.lists", json!(70), "+- --max-lists=70"),
        ("bounds.namesPerResource", json!(70), "+- --max-names-per-resource=70"),
        ("bounds.namesPerNamespace", json!(70), "+- --max-names-per-namespace=70"),
        ("bounds.names", json!(70), "+- --max-names=70"),
        ("bounds.addressesPerResource", json!(70), "+- --max-addresses-per-resource=70"),
        ("bounds.addressesPerNamespace", json!(70), "+- --max-addresses-per-namespace=70"),
        ("bounds.addresses", json!(70), "+- --max-addresses=70"),
        ("dns.maxTtl", json!("2h"), "+- --dns-max-ttl=2h"),
        ("dns.maxStale", json!("100h"), "+- --max-stale=100h"),
        ("dns.firstPolicyWait", json!("1m"), "+- --first-policy-wait=1m"),
        ("guard.allowPrivateCidrs", json!(["10.1.0.0/16"]), "+- --allow-private-cidr=10.1.0.0/16"),
        ("guard.denyCidrs", json!(["203.0.113.0/24"]), "+- --deny-cidr=203.0.113.0/24"),
        ("guard.additionalSuffixes", json!(["corp.example.com"]), "+- --additional-suffix=corp.example.com"),
        ("guard.shortestIpv4Prefix", json!(12), "+- --shortest-ipv4-prefix=12"),
        ("guard.shortestIpv6Prefix", json!(24), "+- --shortest-ipv6-prefix=24"),
        ("concurrency", json!(4), "+- --concurrency=4"),
        ("cluster.serviceCidrs", json!(["10.96.0.0/12"]), "+- --service-cidr=10.96.0.0/12"),
        ("cluster.podCidrs", json!(["10.244.0.0/16"]), "+- --pod-cidr=10.244.0.0/16"),
        ("cluster.nat64Prefix", json!("64:ff9b::/96"), "+- --nat64-prefix=64:ff9b::/96"),
        ("cluster.cni", json!("aws"), "+- --cni=aws"),
        ("cluster.maxPeersPerPolicy", json!(500), "+- --max-peers-per-policy=500"),
        ("log.format", json!("text"), "+- --log-format=text"),
        ("log.level", json!("debug"), "+value: \"debug\""),
        ("tracing.otlpEndpoint", json!("http://collector:4317"), "+- name: OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("proxy.https", json!("http://proxy:3128"), "+- name: HTTPS_PROXY"),
        ("proxy.http", json!("http://proxy:3128"), "+- name: HTTP_PROXY"),
        ("proxy.noProxy", json!("10.0.0.0/8"), "+value: \"10.0.0.0/8,$(KUBERNETES_SERVICE_HOST)\""),
        ("extraCa.configMap", json!("authorities"), "+- --extra-ca-file=/etc/citrix-allowlist/ca/ca.crt"),
        ("extraCa.secret", json!("authorities"), "+secretName: authorities"),
        ("extraCa.key", json!("root.pem"), "+- --extra-ca-file=/etc/citrix-allowlist/ca/root.pem"),
        ("extraArgs", json!(["--new-flag"]), "+- --new-flag"),
        ("extraEnv", json!([{"name": "TOKEN", "value": "x"}]), "+- name: TOKEN"),
        ("extraEnvFrom", json!([{"secretRef": {"name": "environment"}}]), "+envFrom:"),
        ("extraVolumes", json!([{"name": "more", "emptyDir": {}}]), "+- emptyDir: {}"),
        ("extraVolumeMounts", json!([{"name": "more", "mountPath": "/more"}]), "+- mountPath: /more"),
        ("replicas", json!(3), "+replicas: 3"),
        ("leaderElection", json!(false), "+- --no-leader-election"),
        ("revisionHistoryLimit", json!(7), "+revisionHistoryLimit: 7"),
        ("strategy", json!({"type": "Recreate", "rollingUpdate": null}), "+type: Recreate"),
        ("terminationGracePeriodSeconds", json!(45), "+terminationGracePeriodSeconds: 45"),
        ("resources", json!({"limits": {"memory": "1Gi"}}), "+memory: 1Gi"),
        ("priorityClassName", json!("system-cluster-critical"), "+priorityClassName: system-cluster-critical"),
        ("nodeSelector", json!({"pool": "infra"}), "+pool: infra"),
        ("tolerations", json!([{"key": "infra", "operator": "Exists"}]), "+- key: infra"),
        ("antiAffinity", json!("required"), "+requiredDuringSchedulingIgnoredDuringExecution:"),
        ("affinity", json!({"nodeAffinity": {}}), "+nodeAffinity: {}"),
        (
            "topologySpreadConstraints",
            json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}]),
            "+topologyKey: topology.kubernetes.io/zone",
        ),
        ("podLabels", json!({"sidecar": "no"}), "+sidecar: \"no\""),
        ("podAnnotations", json!({"mesh": "off"}), "+mesh: \"off\""),
        ("podSecurityContext", json!({"fsGroup": 65532}), "+fsGroup: 65532"),
        ("securityContext", json!({"runAsUser": 12345}), "+runAsUser: 12345"),
        ("hostNetwork", json!(true), "+hostNetwork: true"),
        ("dnsPolicy", json!("Default"), "+dnsPolicy: Default"),
        ("dnsConfig", json!({"nameservers": ["192.0.2.53"]}), "+- 192.0.2.53"),
        ("livenessProbe", json!({"periodSeconds": 77}), "+periodSeconds: 77"),
        ("readinessProbe", json!({"periodSeconds": 78}), "+periodSeconds: 78"),
        ("podDisruptionBudget.enabled", json!(false), "-kind: PodDisruptionBudget"),
        ("podDisruptionBudget.maxUnavailable", json!("50%"), "+maxUnavailable: 50%"),
        ("podDisruptionBudget.minAvailable", json!(2), "+minAvailable: 2"),
        ("serviceAccount.create", json!(false), "+serviceAccountName: default"),
        ("serviceAccount.name", json!("given"), "+serviceAccountName: given"),
        ("serviceAccount.annotations", json!({"role": "arn"}), "+role: arn"),
        ("rbac.create", json!(false), "-kind: ClusterRoleBinding"),
        ("rbac.aggregate", json!(false), "-rbac.authorization.k8s.io/aggregate-to-edit: \"true\""),
        ("crds.upgrade", json!(false), "-kind: Job"),
        ("crds.hook", json!("pre-install,pre-upgrade"), "+helm.sh/hook: pre-install,pre-upgrade"),
        ("listenAddress", json!("[::]"), "+- --listen=[::]:8080"),
        ("probePort", json!(9091), "+- --probe-listen=0.0.0.0:9091"),
        ("service.port", json!(9090), "+- --listen=0.0.0.0:9090"),
        ("service.enabled", json!(false), "-kind: Service"),
        ("service.annotations", json!({"scrape": "yes"}), "+scrape: \"yes\""),
        ("service.ipFamilyPolicy", json!("PreferDualStack"), "+ipFamilyPolicy: PreferDualStack"),
        ("debugState.authorize", json!(false), "-- --authorize-debug-state"),
        ("networkPolicy.enabled", json!(false), "-kind: NetworkPolicy"),
        ("networkPolicy.metricsFrom", peer.clone(), "+cidr: 203.0.113.7/32"),
        ("networkPolicy.explainFrom", peer.clone(), "+cidr: 203.0.113.7/32"),
        ("networkPolicy.egress", json!(true), "+policyTypes: [Ingress, Egress]"),
        ("networkPolicy.dns.to", peer.clone(), "+cidr: 203.0.113.7/32"),
        ("networkPolicy.dns.ports", json!([1053]), "+port: 1053"),
        ("networkPolicy.apiServer.to", peer.clone(), "+cidr: 203.0.113.7/32"),
        ("networkPolicy.apiServer.ports", json!([16443]), "+port: 16443"),
        ("networkPolicy.feed.to", peer, "+cidr: 203.0.113.7/32"),
        ("networkPolicy.feed.ports", json!([3128]), "+port: 3128"),
        ("networkPolicy.extraEgress", json!([{"ports": [{"port": 4317, "protocol": "TCP"}]}]), "+- port: 4317"),
        ("operatorPolicy.enabled", json!(false), "-kind: ValidatingAdmissionPolicyBinding"),
        ("operatorPolicy.validationActions", json!(["Warn", "Audit"]), "+- Warn"),
        ("tenantPolicy.enabled", json!(true), "+kind: ValidatingAdmissionPolicyBinding"),
        ("tenantPolicy.forbidAdditional", json!(false), "-size(object.spec.?additional"),
        ("tenantPolicy.maxWildcardNames", json!(7), "+message: spec.wildcards may hold at most 7 names"),
        ("tenantPolicy.forbidBroadSelectors", json!(false), "-object.spec.?podSelector.?matchLabels"),
        ("tenantPolicy.requireCustomerIds", json!(true), "+object.spec.customerId in variables.customerIds"),
        ("tenantPolicy.namespaceSelector", json!({"matchLabels": {"tenant": "yes"}}), "+tenant: \"yes\""),
        ("tenantPolicy.validationActions", json!(["Warn", "Audit"]), "+- Warn"),
        ("metrics.serviceMonitor.enabled", json!(true), "+kind: ServiceMonitor"),
        ("metrics.serviceMonitor.labels", json!({"release": "prometheus"}), "+release: prometheus"),
        ("metrics.serviceMonitor.interval", json!("17s"), "+interval: 17s"),
        ("metrics.serviceMonitor.scrapeTimeout", json!("9s"), "+scrapeTimeout: 9s"),
        ("metrics.serviceMonitor.relabelings", relabeling.clone(), "+relabelings:"),
        ("metrics.serviceMonitor.metricRelabelings", relabeling.clone(), "+metricRelabelings:"),
        ("metrics.podMonitor.enabled", json!(true), "+kind: PodMonitor"),
        ("metrics.podMonitor.labels", json!({"release": "prometheus"}), "+release: prometheus"),
        ("metrics.podMonitor.interval", json!("17s"), "+interval: 17s"),
        ("metrics.podMonitor.scrapeTimeout", json!("9s"), "+scrapeTimeout: 9s"),
        ("metrics.podMonitor.relabelings", relabeling.clone(), "+relabelings:"),
        ("metrics.podMonitor.metricRelabelings", relabeling, "+metricRelabelings:"),
        ("metrics.prometheusRule.enabled", json!(true), "+kind: PrometheusRule"),
        ("metrics.prometheusRule.labels", json!({"release": "prometheus"}), "+release: prometheus"),
        ("metrics.prometheusRule.alertLabels", json!({"team": "edge"}), "+team: edge"),
        (
            "metrics.prometheusRule.runbookUrl",
            json!("https://wiki.example/"),
            "+runbook_url: https://wiki.example/citrix",
        ),
        ("metrics.dashboard.enabled", json!(true), "+citrix-allowlist.json: |-"),
        ("metrics.dashboard.namespace", json!("grafana"), "+namespace: grafana"),
        ("metrics.dashboard.labels", json!({"dashboards": "here"}), "+dashboards: here"),
        ("metrics.dashboard.annotations", json!({"folder": "Citrix"}), "+folder: Citrix"),
        ("tests.enforcement", json!(false), "-name: release-citrix-allowlist-operator-test-enforcement"),
        (
            "extraObjects",
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}}]),
            "+name: 'release-extra'",
        ),
    ]
}

#[test]
fn each_value_has_its_effect() {
    for (path, value, expected) in effects() {
        let mut given = values(&needs(path));
        let before = template("helm", &given, &[]).success();
        put(&mut given, path, value);
        let after = template("helm", &given, &[]).success();
        let lines = match expected.split_at(1) {
            ("+", _) => added(&before, &after),
            _ => added(&after, &before),
        };
        assert!(lines.iter().any(|line| line.contains(&expected[1..])), "{path}: no {expected} in {lines:#?}");
    }
}

/// The values of the README's table: what users can know of.
fn documented() -> BTreeSet<String> {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let rows = readme.split_once("| Value |").unwrap().1.lines();
    rows.filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn the_effect_of_each_documented_value_is_known() {
    let known: BTreeSet<String> = effects().iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(documented(), known);
}

#[test]
fn the_schema_knows_what_is_documented_and_nothing_else() {
    fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        // An object whose keys are the user's own is a value itself.
        match schema.get("properties").filter(|_| schema["additionalProperties"] == json!(false)) {
            Some(properties) => {
                for (key, schema) in properties.as_object().unwrap() {
                    leaves(schema, &format!("{path}.{key}"), found);
                }
            }
            None => drop(found.insert(path.trim_start_matches('.').to_owned())),
        }
    }
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    leaves(&schema, "", &mut found);
    // A parent chart's other globals pass.
    assert!(found.remove("global"));
    found.extend(["global.imageRegistry", "global.imagePullSecrets"].map(str::to_owned));
    assert_eq!(found, documented());
}

#[test]
fn mistakes_are_refused_with_their_place() {
    for (given, expected) in [
        (json!({"replica": 2}), "replica"),
        (json!({"feed": {"format": "xml"}}), "format"),
        (json!({"feed": {"requestsPerMinute": 0}}), "requestsPerMinute"),
        (json!({"dns": {"minTtl": "5 seconds"}}), "minTtl"),
        (json!({"guard": {"denyCidrs": ["10.0.0.0"]}}), "denyCidrs"),
        (json!({"guard": {"additionalSuffixes": ["*.example.com"]}}), "additionalSuffixes"),
        (json!({"tenantPolicy": {"maxWildcardNames": -1}}), "maxWildcardNames"),
        (json!({"allowlists": [{"name": "a", "spec": {"customerId": "no-dash"}}]}), "customerId"),
        (json!({"allowlists": [{"name": "a"}]}), "spec"),
        (json!({"networkPolicy": {"dns": {"ports": []}}}), "ports"),
        (json!({"tenantPolicy": {"validationActions": []}}), "validationActions"),
        (json!({"leaderElection": false}), "leaderElection"),
        (json!({"probePort": 8080}), "two ports"),
        (json!({"log": {"level": "verbose"}}), "level"),
        (json!({"extraCa": {"configMap": "a", "secret": "b"}}), "not both"),
        (json!({"service": {"enabled": false}, "metrics": {"serviceMonitor": {"enabled": true}}}), "service.enabled"),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}}),
            "metrics.podMonitor and metrics.serviceMonitor scrape the same pods",
        ),
        (json!({"dnsPolicy": "None"}), "dnsPolicy: None needs dnsConfig.nameservers"),
        (
            json!({"watchNamespaces": ["a"], "allowlists": [{"name": "x", "namespace": "b", "spec": {"customerId": "abc"}}]}),
            "watchNamespaces",
        ),
    ] {
        for program in HELMS {
            let error = template(program, &given, &[]).failure();
            assert!(error.contains(expected), "{program}: {given}: {error}");
        }
    }
}

/// The values files that chart-testing tools use too.
pub fn matrix() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

#[test]
fn the_matrix_is_linted_and_both_helms_render_the_same() {
    for file in matrix() {
        let file = file.to_str().unwrap();
        let mut rendered = Vec::new();
        for program in HELMS {
            let home = tempfile::tempdir().unwrap();
            run(helm(program, home.path()).args(["lint", "--strict", "-f", file]).arg(chart())).success();
            let mut objects = objects(&template(program, &json!({}), &["-f", file]).success());
            objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"].to_string()));
            rendered.push(objects);
        }
        assert_eq!(rendered[0], rendered[1], "{file}");
    }
}

/// Runs the operator's own binary.
fn operator(arguments: &[&str]) -> crate::helm::Output {
    run(Command::new(env!("CARGO_BIN_EXE_citrix-allowlist")).args(arguments))
}

#[test]
fn the_operator_understands_every_argument_that_the_chart_gives() {
    let mut all = json!({});
    for (path, value, expected) in effects() {
        // Of two that exclude each other, one will do; a made-up flag is the user's own.
        if expected.starts_with("+- --") && !["leaderElection", "extraArgs"].contains(&path) {
            put(&mut all, path, value);
            for (path, value) in needs(path) {
                put(&mut all, path, value);
            }
        }
    }
    let mut given = BTreeSet::new();
    for values in [all, json!({}), json!({"replicas": 1, "leaderElection": false})] {
        let rendered = objects(&template("helm", &values, &[]).success());
        let container = &object(&rendered, "Deployment", "")["spec"]["template"]["spec"]["containers"][0];
        let mut arguments: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
        given.extend(
            arguments
                .iter()
                .filter_map(|argument| Some(argument.strip_prefix("--")?.split('=').next().unwrap().to_owned())),
        );
        // Everything before `--help` is parsed and judged, and nothing is started.
        arguments.push("--help");
        operator(&arguments).success();
    }

    // And there is a value for each flag that the operator has.
    let help = operator(&["run", "--help"]).success();
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: BTreeSet<String> = flags.map(|flag| flag.split([' ', '=', '.']).next().unwrap().to_owned()).collect();
    assert!(flags.contains("listen"), "{help}");
    assert_eq!(given, flags);
}

#[test]
fn the_hooks_arguments_are_a_command_of_the_operator() {
    let rendered = objects(&template("helm", &json!({}), &[]).success());
    let container = &object(&rendered, "Job", "-crds")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["crd", "--apply"]));
    operator(&["crd", "--apply", "--help"]).success();
}

#[test]
fn the_kept_resources_and_the_others_are_told_apart() {
    let given = json!({"allowlists": [
        {"name": "kept", "spec": {"customerId": "abc"}},
        {"name": "ours", "namespace": "elsewhere", "keep": false, "labels": {"a": "b"}, "annotations": {"c": "d"},
         "spec": {"customerId": "abc", "geo": "jp"}},
    ]});
    let rendered = objects(&template("helm", &given, &[]).success());
    let kept = object(&rendered, "CitrixAllowlist", "kept");
    assert_eq!(kept["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    assert_eq!(kept["metadata"]["namespace"], "citrix");
    let ours = object(&rendered, "CitrixAllowlist", "ours");
    assert_eq!(ours["metadata"]["annotations"], json!({"c": "d"}));
    assert_eq!(ours["metadata"]["labels"]["a"], "b");
    assert_eq!(ours["metadata"]["namespace"], "elsewhere");
    assert_eq!(ours["spec"], json!({"customerId": "abc", "geo": "jp"}));
}

#[test]
fn with_watched_namespaces_nothing_is_granted_elsewhere() {
    let mut given =
        json!({"watchNamespaces": ["tenant-a", "tenant-b"], "rbac": {"aggregate": false}, "crds": {"upgrade": false}});
    let namespaces = |rendered: &[Value]| -> Vec<String> {
        let roles = rendered.iter().filter(|object| object["kind"] == "Role");
        roles.map(|role| role["metadata"]["namespace"].as_str().unwrap().to_owned()).collect()
    };
    // But for whose token it is that asks for /debug/state, which no Role can grant.
    let rendered = objects(&template("helm", &given, &[]).success());
    let rules = &object(&rendered, "ClusterRole", "")["rules"];
    let reviews = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]);
    assert_eq!(rules, &reviews);
    assert_eq!(namespaces(&rendered), ["tenant-a", "tenant-b", "citrix", "citrix"]);
    put(&mut given, "debugState.authorize", json!(false));
    let rendered = objects(&template("helm", &given, &[]).success());
    assert!(rendered.iter().all(|object| object["kind"] != "ClusterRole" && object["kind"] != "ClusterRoleBinding"));
    assert_eq!(namespaces(&rendered), ["tenant-a", "tenant-b", "citrix"]);
}

#[test]
fn a_namespaced_role_grants_all_but_cluster_scoped_resources() {
    let cluster = objects(&template("helm", &json!({}), &[]).success());
    let namespaced = objects(&template("helm", &json!({"watchNamespaces": ["tenant"]}), &[]).success());
    let cluster =
        object(&cluster, "ClusterRole", "release-citrix-allowlist-operator")["rules"].as_array().unwrap().clone();
    let role = namespaced.iter().find(|object| object["kind"] == "Role" && object["metadata"]["namespace"] == "tenant");
    let role = role.unwrap()["rules"].as_array().unwrap();
    assert_eq!(cluster[..role.len()], role[..]);
    let rest: Vec<&str> = cluster[role.len()..].iter().map(|rule| rule["resources"][0].as_str().unwrap()).collect();
    assert_eq!(rest, ["services", "endpointslices", "nodes", "servicecidrs", "tokenreviews"]);
}

#[test]
fn no_role_holds_a_wildcard_or_reaches_secrets() {
    for given in [json!({}), json!({"watchNamespaces": ["tenant"]})] {
        for object in objects(&template("helm", &given, &[]).success()) {
            for rule in object["rules"].as_array().into_iter().flatten() {
                let text = rule.to_string();
                for never in ["\"*\"", "secrets", "bind", "escalate", "impersonate"] {
                    assert!(!text.contains(never), "{never} in {text}");
                }
            }
        }
    }
}

#[test]
fn what_is_generated_from_the_chart_is_fresh() {
    run(Command::new(workspace_root().join("charts/generate.sh")).arg("--check")).success();
}
