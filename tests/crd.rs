//! The CustomResourceDefinition on a real API server: what it accepts, what it refuses and with which words, and what
//! kubectl shows of it.

mod common;

use std::time::Duration;

use citrix_allowlist::crd::{self, CitrixAllowlist};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionSpec,
};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};
use test_support::{ControlPlane, shared_control_plane};

/// The API server in a namespace of the test's own.
struct Server {
    cluster: &'static ControlPlane,
    client: Client,
    namespace: test_support::control_plane::TestNamespace,
}

impl Server {
    async fn start() -> Self {
        let cluster = common::cluster().await;
        let client = cluster.client().await.expect("a client");
        Self { cluster, client, namespace: cluster.fresh_namespace("crd").await.expect("a namespace") }
    }

    fn resource(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1",
            "kind": "CitrixAllowlist",
            "metadata": { "name": name, "namespace": self.namespace.name() },
            "spec": spec,
        })
    }

    /// Asks whether the API server would take a resource; it is not kept. Answers with it as the server would store
    /// it, or with the server's words.
    async fn try_create(&self, resource: &Value) -> Result<Value, String> {
        let gvk = GroupVersionKind::gvk("citrix-allowlist.io", "v1alpha1", "CitrixAllowlist");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&gvk));
        let object: DynamicObject = serde_json::from_value(resource.clone()).expect("an object");
        let parameters = PostParams { dry_run: true, field_manager: None };
        match api.create(&parameters, &object).await {
            Ok(stored) => Ok(serde_json::to_value(stored).expect("JSON")),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => panic!("the API server could not be asked: {error}"),
        }
    }
}

/// Whose rule refuses a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A pattern, an enumeration, a bound.
    Schema,
    /// A CEL rule, which the binary evaluates too.
    Cel,
}

/// A field, the rest of the spec beside `customerId`, who refuses it, and what the message must hold: the field, and
/// what is allowed.
fn refused() -> Vec<(Value, By, Vec<&'static str>)> {
    let spec = |fields: Value| {
        let mut spec = json!({ "customerId": "testcustomer" });
        spec.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        spec
    };
    let wildcard =
        |pattern: &str, names: &[&str]| spec(json!({ "wildcards": [{ "pattern": pattern, "names": names }] }));
    let additional = |fields: Value| {
        let mut entry = json!({ "name": "identity" });
        entry.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        spec(json!({ "additional": [entry] }))
    };
    let refresh = |min: &str, max: &str| spec(json!({ "refresh": { "minInterval": min, "maxInterval": max } }));
    let retention = |text: &str| spec(json!({ "addressRetention": text }));
    let long = "x".repeat(129);
    let many_names: Vec<String> = (0..65).map(|index| format!("n{index}.example.com")).collect();
    use By::{Cel, Schema};
    vec![
        (json!({}), Schema, vec!["spec.customerId", "Required value"]),
        (json!({ "customerId": "test-customer" }), Schema, vec!["spec.customerId", "^[a-zA-Z0-9]{1,12}$"]),
        (json!({ "customerId": "thirteenchars" }), Schema, vec!["spec.customerId", "^[a-zA-Z0-9]{1,12}$"]),
        (json!({ "customerId": "" }), Schema, vec!["spec.customerId", "^[a-zA-Z0-9]{1,12}$"]),
        (spec(json!({ "geo": "mars" })), Schema, vec!["spec.geo", "\"us\"", "\"eu\"", "\"ap-s\"", "\"jp\"", "\"all\""]),
        (
            spec(json!({ "direction": "both" })),
            Schema,
            vec!["spec.direction", "\"inbound\"", "\"outbound\"", "\"all\""],
        ),
        (spec(json!({ "cloud": "Mars" })), Schema, vec!["spec.cloud", "\"Auto\"", "\"Global\"", "\"Japan\""]),
        (spec(json!({ "mode": "Observe" })), Schema, vec!["spec.mode", "\"Enforce\"", "\"Audit\""]),
        (spec(json!({ "dnsEgress": "Yes" })), Schema, vec!["spec.dnsEgress", "\"Auto\"", "\"None\""]),
        (
            spec(json!({ "ipFamilies": "IPv5" })),
            Schema,
            vec!["spec.ipFamilies", "\"Auto\"", "\"IPv4\"", "\"IPv6\"", "\"Dual\""],
        ),
        (spec(json!({ "expandWildcards": "All" })), Schema, vec!["spec.expandWildcards", "\"Auto\"", "\"None\""]),
        (spec(json!({ "observeWildcards": "On" })), Schema, vec!["spec.observeWildcards", "\"Allow\"", "\"Suggest\""]),
        (spec(json!({ "suspend": "yes" })), Schema, vec!["spec.suspend", "boolean"]),
        (spec(json!({ "services": { "include": [""] } })), Schema, vec!["spec.services.include[0]", "at least 1"]),
        (spec(json!({ "services": { "exclude": [""] } })), Schema, vec!["spec.services.exclude[0]", "at least 1"]),
        (spec(json!({ "services": { "include": [long] } })), Schema, vec!["spec.services.include[0]", "128"]),
        (wildcard("login.example.com", &["login.example.com"]), Schema, vec!["spec.wildcards[0].pattern", "[*]"]),
        (wildcard("*.example.com", &[]), Cel, vec!["spec.wildcards[0]", "at least one name in names"]),
        (wildcard("*.example.com", &["a.example.net"]), Cel, vec!["spec.wildcards[0]", "must match wildcards.pattern"]),
        (wildcard("*.example.com", &["example.com"]), Cel, vec!["spec.wildcards[0]", "must match wildcards.pattern"]),
        (wildcard("*.*.nssvc.jp", &["a.nssvc.jp"]), Cel, vec!["spec.wildcards[0]", "must match wildcards.pattern"]),
        (
            spec(json!({ "wildcards": [{ "pattern": "*.example.com", "names": many_names }] })),
            Schema,
            vec!["spec.wildcards[0].names", "64"],
        ),
        (
            spec(
                json!({ "wildcards": [{ "pattern": "*.example.com", "names": ["a.example.com"] }, { "pattern": "*.example.com", "names": ["b.example.com"] }] }),
            ),
            Schema,
            vec!["spec.wildcards[1]", "Duplicate value"],
        ),
        (
            additional(json!({ "tcpPorts": "443" })),
            Cel,
            vec!["spec.additional[0]", "at least one name in fqdns or one CIDR in cidrs"],
        ),
        (
            additional(json!({ "fqdns": [], "cidrs": [], "tcpPorts": "443" })),
            Cel,
            vec!["spec.additional[0]", "at least one name in fqdns or one CIDR in cidrs"],
        ),
        (
            additional(json!({ "fqdns": ["login.example.com"] })),
            Cel,
            vec!["spec.additional[0]", "needs tcpPorts, udpPorts or a profile"],
        ),
        (
            additional(json!({ "cidrs": ["10.20.0.0/33"], "tcpPorts": 443 })),
            Cel,
            vec!["spec.additional[0]", "must be a CIDR such as 10.20.0.0/24"],
        ),
        (
            additional(json!({ "cidrs": ["somewhere"], "tcpPorts": 443 })),
            Cel,
            vec!["spec.additional[0]", "must be a CIDR such as 10.20.0.0/24"],
        ),
        (
            additional(json!({ "fqdns": ["*.example.com"], "tcpPorts": 443 })),
            Schema,
            vec!["spec.additional[0].fqdns[0]", "should match"],
        ),
        (
            additional(json!({ "fqdns": ["login.example.com"], "tcpPorts": 0 })),
            Schema,
            vec!["spec.additional[0].tcpPorts", "greater than or equal to 1"],
        ),
        (
            additional(json!({ "fqdns": ["login.example.com"], "tcpPorts": 65536 })),
            Schema,
            vec!["spec.additional[0].tcpPorts", "less than or equal to 65535"],
        ),
        (
            additional(json!({ "fqdns": ["login.example.com"], "udpPorts": "https" })),
            Schema,
            vec!["spec.additional[0].udpPorts", "should match"],
        ),
        (
            additional(json!({ "fqdns": ["login.example.com"], "profile": "Everything" })),
            Schema,
            vec![
                "spec.additional[0].profile",
                "\"ActiveDirectory\"",
                "\"CloudConnectorLan\"",
                "\"ConnectorAppliance\"",
            ],
        ),
        (
            additional(json!({ "name": "", "fqdns": ["login.example.com"], "tcpPorts": 443 })),
            Schema,
            vec!["spec.additional[0].name", "at least 1"],
        ),
        (
            spec(json!({ "inboundPorts": [{ "listed": 0, "pod": 8443 }] })),
            Schema,
            vec!["spec.inboundPorts[0].listed", "greater than or equal to 1"],
        ),
        (
            spec(json!({ "inboundPorts": [{ "listed": 443, "pod": 65536 }] })),
            Schema,
            vec!["spec.inboundPorts[0].pod", "65535"],
        ),
        (
            spec(json!({ "inboundPorts": [{ "listed": 443 }] })),
            Schema,
            vec!["spec.inboundPorts[0].pod", "Required value"],
        ),
        (
            spec(json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Near" }] } })),
            Schema,
            vec!["spec.podSelector.matchExpressions[0].operator", "\"In\"", "\"Exists\""],
        ),
        (retention("1 day"), Schema, vec!["spec.addressRetention", "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"]),
        (retention("-5m"), Schema, vec!["spec.addressRetention", "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"]),
        (retention("1m1h"), Schema, vec!["spec.addressRetention", "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"]),
        (retention(""), Schema, vec!["spec.addressRetention", "at least 2"]),
        (retention("59s"), Cel, vec!["spec.addressRetention", "from 1m to 168h"]),
        (retention("168h1s"), Cel, vec!["spec.addressRetention", "from 1m to 168h"]),
        (refresh("10m", "5m"), Cel, vec!["spec.refresh", "minInterval may not be longer than refresh.maxInterval"]),
        (refresh("0s", "5m"), Cel, vec!["spec.refresh.minInterval", "at least 1s"]),
        (refresh("5m", "721h"), Cel, vec!["spec.refresh.maxInterval", "at most 720h"]),
        (refresh("5m", "1 day"), Schema, vec!["spec.refresh.maxInterval", "^([0-9]+h)?"]),
        (
            spec(json!({ "refresh": { "minInterval": "25h" } })),
            Cel,
            vec!["spec.refresh", "minInterval may not be longer"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_value_is_refused_with_field_and_allowed_values() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    for (spec, by, words) in refused() {
        let resource = server.resource("refused", &spec);
        match server.try_create(&resource).await {
            Ok(_) => wrong.push(format!("accepted: {spec}")),
            Err(message) => {
                let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
                if !missing.is_empty() {
                    wrong.push(format!("{spec}: {missing:?} is not in: {message}"));
                }
            }
        }
        // The binary's own check is the same CEL; what the schema refuses it may not even read.
        let read = serde_json::from_value::<CitrixAllowlist>(resource).map(|resource| resource.validate_cel());
        if by == By::Cel && !matches!(&read, Ok(Err(_))) {
            wrong.push(format!("{spec}: validate_cel() says {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_becomes_a_label_and_so_has_63_characters_at_most() {
    let server = Server::start().await;
    let spec = json!({ "customerId": "testcustomer" });
    let fits = server.resource(&"a".repeat(63), &spec);
    server.try_create(&fits).await.expect("63 characters are a label");
    let too_long = server.resource(&"a".repeat(64), &spec);
    let message = server.try_create(&too_long).await.expect_err("64 characters are none");
    assert!(message.contains("metadata.name must be at most 63 characters"), "{message}");
    let read: CitrixAllowlist = serde_json::from_value(too_long).expect("a resource");
    assert!(read.validate_cel().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_spec_is_accepted_with_every_default_written_out() {
    let server = Server::start().await;
    let stored = server.try_create(&server.resource("least", &json!({ "customerId": "a" }))).await.expect("accepted");
    let defaults = json!({
        "customerId": "a",
        "geo": "all",
        "direction": "outbound",
        "cloud": "Auto",
        "podSelector": {},
        "services": { "requiredOnly": false },
        "expandWildcards": "Auto",
        "observeWildcards": "Allow",
        "dnsEgress": "Auto",
        "ipFamilies": "Auto",
        "addressRetention": "1h",
        "refresh": { "minInterval": "5m", "maxInterval": "24h" },
        "mode": "Enforce",
        "suspend": false,
    });
    assert_eq!(stored["spec"], defaults);

    let whole = json!({
        "customerId": "testcustomer",
        "geo": "ap-s",
        "direction": "all",
        "cloud": "Global",
        "podSelector": {
            "matchLabels": { "app.kubernetes.io/name": "vda" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["web", "back"] },
                { "key": "debug", "operator": "DoesNotExist" },
            ],
        },
        "services": { "include": ["DaaS", "Gateway*"], "exclude": ["Session ?ecording"], "requiredOnly": true },
        "wildcards": [
            { "pattern": "*.citrixworkspacesapi.jp", "names": ["agenthub-jp.citrixworkspacesapi.jp"] },
            { "pattern": "*.*.nssvc.jp", "names": ["a.b.nssvc.jp", "a.b.c.nssvc.jp"] },
            { "pattern": "*.blob.core.windows.net", "names": [], "observe": "Suggest", "within": ["citrix*.blob.core.windows.net"] },
        ],
        "expandWildcards": "None",
        "observeWildcards": "Off",
        "additional": [
            { "name": "identity", "direction": "outbound", "fqdns": ["login.example.com"], "tcpPorts": "443" },
            { "name": "number", "direction": "inbound", "cidrs": ["2001:db8::/64", "10.0.0.7/32"], "tcpPorts": 8443, "udpPorts": " 53 , 8000-9000 " },
            { "name": "domain", "direction": "outbound", "cidrs": ["10.20.0.0/24"], "profile": "ActiveDirectory" },
        ],
        "inboundPorts": [{ "listed": 443, "pod": 8443 }],
        "dnsEgress": "None",
        "ipFamilies": "Dual",
        "addressRetention": "1h30m",
        "refresh": { "minInterval": "1s", "maxInterval": "720h" },
        "mode": "Audit",
        "suspend": true,
    });
    let resource = server.resource("whole", &whole);
    let stored = server.try_create(&resource).await.expect("accepted");
    assert_eq!(stored["spec"], whole);
    let read: CitrixAllowlist = serde_json::from_value(stored).expect("a resource");
    read.validate_cel().expect("the binary agrees");

    for accepted in [
        json!({ "addressRetention": "1m" }),
        json!({ "addressRetention": "168h" }),
        json!({ "addressRetention": "10080m" }),
        json!({ "refresh": { "minInterval": "5m", "maxInterval": "5m" } }),
        json!({ "refresh": { "maxInterval": "10m" } }),
        json!({ "services": { "include": ["*"] } }),
    ] {
        let mut spec = json!({ "customerId": "testcustomer" });
        spec.as_object_mut().expect("an object").extend(accepted.as_object().expect("an object").clone());
        let resource = server.resource("accepted", &spec);
        server.try_create(&resource).await.unwrap_or_else(|message| panic!("{accepted}: {message}"));
        let read: CitrixAllowlist = serde_json::from_value(resource).expect("a resource");
        read.validate_cel().unwrap_or_else(|errors| panic!("{accepted}: {errors}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_why_it_refuses() {
    let server = Server::start().await;
    let resource = server.resource("dash", &json!({ "customerId": "test-customer" }));
    let refusal =
        server.cluster.apply(&resource.to_string()).await.expect_err("a dash is no part of an id").to_string();
    for word in ["spec.customerId", "test-customer", "^[a-zA-Z0-9]{1,12}$"] {
        assert!(refusal.contains(word), "{refusal}");
    }
}

/// Every field of a schema, with the path that `kubectl explain` takes.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let inner = if schema["type"] == "array" { &schema["items"] } else { schema };
    for (name, field) in inner["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        found.push((path, field.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_field() {
    let server = Server::start().await;
    let definition = serde_json::to_value(CitrixAllowlist::crd()).expect("JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut all = Vec::new();
    for section in ["spec", "status"] {
        fields(&schema["properties"][section], &format!("cal.{section}"), &mut all);
    }
    assert!(all.len() > 60, "the schema has {} fields", all.len());
    // A condition is Kubernetes' own, and so are its words.
    let speechless: Vec<&String> = all
        .iter()
        .filter(|(_, field)| field["description"].as_str().is_none_or(|text| text.len() < 10))
        .map(|(path, _)| path)
        .collect();
    assert!(speechless.is_empty(), "without a description: {speechless:?}");
    // The API server serves a definition first, and publishes its schema, which kubectl reads, a moment later.
    common::eventually(Duration::from_secs(60), async || {
        let index = server.cluster.kubectl(&["get", "--raw", "/openapi/v3"]).await.expect("the published schemas");
        index.contains("apis/citrix-allowlist.io/v1alpha1").then_some(())
    })
    .await
    .expect("the schema is published");
    let printed = server.cluster.kubectl(&["explain", "cal", "--recursive"]).await.expect("an explanation");
    for (path, _) in &all {
        let name = path.rsplit('.').next().unwrap_or_default();
        assert!(printed.contains(name), "{path} is not in kubectl explain:\n{printed}");
    }
    for (path, words) in [
        ("cal", "Citrix's Connectivity AllowList API"),
        ("cal.spec.customerId", "1 to 12 letters and digits"),
        ("cal.spec.addressRetention", "168h"),
        ("cal.spec.wildcards.names", "must match the pattern"),
        ("cal.status.wouldApply.newlyIsolatedPods", "isolate for the first time"),
    ] {
        let printed = server.cluster.kubectl(&["explain", path]).await.expect("an explanation");
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.contains(words), "{path}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_knows_short_name_category_and_columns() {
    let server = Server::start().await;
    let manifest = server.resource("daas-us", &json!({ "customerId": "testcustomer", "geo": "us" })).to_string();
    server.cluster.apply(&manifest).await.expect("accepted");
    let get = async |what: &str, output: &[&str]| {
        let arguments = [&["-n", server.namespace.name(), "get", what], output].concat();
        server.cluster.kubectl(&arguments).await.expect("a list")
    };
    let table = get("cal", &[]).await;
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    let columns = "NAME CUSTOMER GEO DIRECTION READY MODE STATUS PROBLEMS NAMES WILDCARDS POLICIES VALID-UNTIL AGE";
    assert_eq!(header.join(" "), columns);
    let row = table.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("daas-us") && row.contains("testcustomer") && row.contains("outbound"), "{table}");
    let wide = get("cal", &["-o", "wide"]).await;
    for column in ["REASON", "NEXT-FETCH", "VERSION"] {
        assert!(wide.lines().next().unwrap_or_default().contains(column), "{wide}");
    }
    assert!(get("citrix", &[]).await.contains("daas-us"));
    assert!(get("citrixallowlists", &["-o", "name"]).await.contains("citrixallowlist.citrix-allowlist.io/daas-us"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_holds_the_definition_as_the_code_has_it() {
    // Within its CEL budget, or it would not be established.
    let cluster = shared_control_plane().await.expect("a control plane");
    let printed = cluster
        .kubectl(&["get", "crd", "citrixallowlists.citrix-allowlist.io", "-o", "json"])
        .await
        .expect("the definition");
    let stored: CustomResourceDefinition = serde_json::from_str(&printed).expect("a definition");
    let conditions = stored.status.and_then(|status| status.conditions).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().any(|stored| stored.type_ == kind && stored.status == "True");
    assert!(holds("Established") && holds("NamesAccepted") && !holds("NonStructuralSchema"), "{conditions:?}");
    let schema = |spec: CustomResourceDefinitionSpec| {
        spec.versions.into_iter().map(|version| version.schema).collect::<Vec<_>>()
    };
    assert_eq!(schema(stored.spec), schema(crd::definition().spec));
}
