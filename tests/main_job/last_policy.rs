//! The last policy of a direction goes only by the user's word, whatever the vendor's list says, and in whichever form.

use crate::common::Stage;
use crate::common::watched::{Objects, generations};
use citrix_allowlist::crd::{REFRESH_ANNOTATION, SELECTION_ANNOTATION};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::{Value, json};
use std::time::Duration;
use test_support::operator::Operator;
use test_support::standin::{Document, StandinCloud, StandinConfig};

const EGRESS: &str = "gw-egress";
const INGRESS: &str = "gw-ingress";
const SPEC: &str =
    "{ customerId: testcustomer, geo: us, services: { include: ['Gateway*'] }, refresh: { minInterval: 1s } }";

/// A list whose service `Gateway Service` has these endpoints outbound, beside another service.
fn list(name: &str, direction: &str, endpoints: Value) -> Document {
    let other = json!([{ "geo": "us", "ips": ["20.192.9.0/24", "20.192.10.0/24", "20.192.11.0/24"] }]);
    serde_json::from_value(json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2099-06-04T12:00:00Z" },
        "services": [
            { "name": name, "direction": direction, "tcpPorts": "443", "required": true, "endpoints": endpoints },
            { "name": "Other", "direction": "outbound", "tcpPorts": "443", "required": true, "endpoints": other },
        ],
    }))
    .expect("a document")
}

fn networks() -> Value {
    json!([{ "geo": "us", "ips": ["20.192.0.0/24", "20.192.1.0/24"] }])
}

fn good(direction: &str) -> Document {
    list("Gateway Service", direction, networks())
}

/// Publishes a list, as of now: the version grows.
fn publish(stage: &Stage, document: Document) {
    stage.standin.edit(StandinCloud::Global, |held| held.services = document.services);
}

async fn stage_with(document: Document) -> Stage {
    Stage::with(StandinConfig { global: document, ..StandinConfig::unlimited() }).await
}

/// Asks for fetches until the list has been confirmed and the reason is this one; returns what Ready says.
async fn fetched_until(stage: &Stage, reason: &str) -> String {
    for number in 0..60 {
        stage
            .annotate("gw", REFRESH_ANNOTATION, &format!("{reason}-{number}-{}", stage.standin.requests().len()))
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let conditions = stage.status("gw").await.conditions;
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("Ready");
        if ready.reason == reason {
            return ready.message;
        }
    }
    let document = stage.standin.document(StandinCloud::Global);
    panic!("{document:?}: Ready never had the reason {reason}: {:?}", stage.status("gw").await);
}

/// What each change of the vendor's is, and the list that makes it.
fn changes() -> Vec<(&'static str, Document)> {
    let of = |endpoints| list("Gateway Service", "outbound", endpoints);
    vec![
        ("the service is renamed", list("NetScaler Gateway", "outbound", networks())),
        ("addresses become a wildcard", of(json!([{ "geo": "us", "fqdns": ["*.g.nssvc.net"] }]))),
        ("addresses are malformed", of(json!([{ "geo": "us", "ips": ["20.192.0.0/33", "twenty"] }]))),
        ("it has no endpoints", of(json!([]))),
        ("the geo is another", of(json!([{ "geo": "eu", "ips": ["20.192.0.0/24", "20.192.1.0/24"] }]))),
        ("the geo is spelled otherwise", of(json!([{ "geo": "north-america", "ips": ["20.192.0.0/24"] }]))),
        ("the direction is spelled otherwise", list("Gateway Service", "egress", networks())),
        ("the direction is the other one", list("Gateway Service", "inbound", networks())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_the_list_takes_the_last_policy_away() {
    let stage = stage_with(good("outbound")).await;
    let operator = stage.operator().await;
    stage.apply("gw", SPEC).await;
    stage.ready("gw").await;
    let policies = stage.watch_policies().await;
    let before = policies.now();
    for (what, document) in changes() {
        publish(&stage, document);
        let message = fetched_until(&stage, "LastPolicyKept").await;
        assert!(message.contains("gw-egress stays as it was applied"), "{what}: {message}");
        assert_eq!(generations(&policies.now()), generations(&before), "{what}");
        let problems = stage.status("gw").await.problems;
        let told = problems.iter().find(|problem| problem.subject == EGRESS).expect(what);
        assert!(told.message.contains("to let it go, delete the resource, set mode: Audit"), "{what}: {told:?}");
        let metric = r#"citrix_allowlist_conditions{type="Ready",status="False",reason="LastPolicyKept"}"#;
        assert_eq!(operator.metric(metric).await.expect("metrics"), Some(1.0), "{what}");
        publish(&stage, good("outbound"));
        fetched_until(&stage, "Applied").await;
        assert_eq!(generations(&policies.now()), generations(&before), "{what}, and back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_policy_survives_restarts_until_the_selection_changes() {
    let stage = stage_with(good("outbound")).await;
    let operator = stage.operator().await;
    stage.apply("gw", SPEC).await;
    stage.ready("gw").await;
    let policies = stage.watch_policies().await;
    let before = generations(&policies.now());
    publish(&stage, list("NetScaler Gateway", "outbound", networks()));
    fetched_until(&stage, "LastPolicyKept").await;

    stop(operator).await;
    // Status is no memory: it is wiped as a restore from a backup does.
    let wiped = Patch::Merge(json!({ "status": null }));
    stage.resources().patch_status("gw", &PatchParams::default(), &wiped).await.expect("wiped");
    let _operator = stage.operator().await;
    stage.reason("gw", "Ready", "LastPolicyKept").await;
    for edit in [
        json!({ "addressRetention": "2h" }),
        json!({ "dnsEgress": "None" }),
        json!({ "ipFamilies": "Dual" }),
        json!({ "expandWildcards": "None" }),
        json!({ "direction": "all" }),
    ] {
        stage.patch("gw", edit.clone()).await;
        stage.observed("gw").await;
        stage.reason("gw", "Ready", "LastPolicyKept").await;
        assert_eq!(generations(&policies.now()), before, "{edit} opens nothing");
    }
    // Somebody takes the annotation for their own, to have the policy taken away: their word is not the spec's.
    let forged =
        Patch::Merge(json!({ "metadata": { "annotations": { SELECTION_ANNOTATION: "v1-0123456789abcdef" } } }));
    let theirs = PatchParams { field_manager: Some("theirs".to_owned()), ..PatchParams::default() };
    stage.policies().patch(EGRESS, &theirs, &forged).await.expect("patched");
    stage.patch("gw", json!({ "addressRetention": "3h" })).await;
    stage.observed("gw").await;
    assert_eq!(generations(&policies.now()), before, "a forged annotation opens nothing");

    stage.patch("gw", json!({ "services": { "include": ["Gateways"] } })).await;
    policies.until("the user's word", |now| now.is_empty()).await;
    stage.reason("gw", "Ready", "NoMatch").await;
    let events: Api<Event> = Api::namespaced(stage.client.clone(), stage.namespace.name());
    let told = |events: &[Event]| {
        let opened = events.iter().filter(|event| event.reason.as_deref() == Some("Opened"));
        opened.filter_map(|event| event.note.clone()).any(|note| note.contains("no egress policy of this resource"))
    };
    let mut tries = 0;
    while !told(&events.list(&ListParams::default()).await.expect("events").items) {
        tries += 1;
        assert!(tries < 100, "that the policy was deleted is told in an event");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_word_while_the_operator_was_away_is_followed() {
    let stage = stage_with(good("outbound")).await;
    let operator = stage.operator().await;
    stage.apply("gw", SPEC).await;
    stage.ready("gw").await;
    let policies = stage.watch_policies().await;
    stop(operator).await;
    stage.patch("gw", json!({ "services": { "include": ["Nothing of the sort"] } })).await;
    let _operator = stage.operator().await;
    policies.until("the user's word", |now| now.is_empty()).await;
    stage.reason("gw", "Ready", "NoMatch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_direction_is_kept_while_the_other_is_followed() {
    let both = |inbound: Value| {
        let mut document = good("outbound");
        let service = json!({
            "name": "Gateway Service", "direction": "inbound", "tcpPorts": "443", "required": true, "endpoints": inbound,
        });
        document.services.push(serde_json::from_value(service).expect("a service"));
        document
    };
    let stage = stage_with(both(json!([{ "geo": "us", "ips": ["20.193.0.0/24"] }]))).await;
    let _operator = stage.operator().await;
    stage.apply("gw", &SPEC.replace("geo: us", "geo: us, direction: all")).await;
    stage.ready("gw").await;
    let policies = stage.watch_policies().await;
    let ingress = |now: &Objects<k8s_openapi::api::networking::v1::NetworkPolicy>| now[INGRESS].metadata.generation;
    let before = ingress(&policies.now());
    // As a list does that names what it once had by address: the rest of it is as it was.
    publish(&stage, both(json!([{ "geo": "us", "fqdns": ["*.cloud.com"] }])));
    let message = fetched_until(&stage, "LastPolicyKept").await;
    assert!(message.starts_with("ingress: ") && message.contains("gw-ingress stays"), "{message}");
    assert_eq!(ingress(&policies.now()), before);
    // The other direction is followed meanwhile.
    let mut more = both(json!([{ "geo": "us", "fqdns": ["*.cloud.com"] }]));
    more.services[0].endpoints[0].ips.push("20.192.7.0/24".to_owned());
    publish(&stage, more);
    stage.annotate("gw", REFRESH_ANNOTATION, "more").await;
    let added = "20.192.7.0/24".parse().expect("a network");
    policies.until("more outbound", |now| crate::common::cidrs(&now[EGRESS]).contains(&added)).await;
    assert_eq!(ingress(&policies.now()), before);
    // Not to ask for a direction any more is the user's word.
    stage.patch("gw", json!({ "direction": "outbound" })).await;
    policies.until("no ingress", |now| now.keys().eq([EGRESS])).await;
    stage.reason("gw", "Ready", "Applied").await;
}

/// Version 0.1.0 wrote no annotation. What it applied is kept as well, and goes by an edit made since the upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_version_0_1_0_goes_only_by_the_users_word() {
    let stage = stage_with(good("outbound")).await;
    let operator = stage.operator().await;
    stage.apply("gw", SPEC).await;
    stage.ready("gw").await;
    stop(operator).await;
    let policies = stage.watch_policies().await;
    let older = Patch::Merge(json!({ "metadata": { "annotations": { SELECTION_ANNOTATION: null } } }));
    stage.policies().patch(EGRESS, &PatchParams::default(), &older).await.expect("patched");
    publish(&stage, list("NetScaler Gateway", "outbound", networks()));
    // Its saved list is gone: the first list that this version sees does not have the service.
    for map in stage.config_maps().list(&ListParams::default()).await.expect("ConfigMaps").items {
        if map.name_any() != "gw-cidrs" {
            stage.config_maps().delete(&map.name_any(), &DeleteParams::default()).await.expect("deleted");
        }
    }
    let before = generations(&policies.now());
    let _operator = stage.operator().await;
    stage.reason("gw", "Ready", "LastPolicyKept").await;
    assert_eq!(generations(&policies.now()), before);
    stage.patch("gw", json!({ "services": { "include": ["Nothing of the sort"] } })).await;
    policies.until("the user's word", |now| now.is_empty()).await;
}

async fn stop(operator: Operator) {
    let mut operator = operator;
    operator.process().signal("TERM").expect("sent");
    operator.process().wait(crate::common::watched::PATIENCE).await.expect("it ends");
}

/// What a list of another form cannot say matches nothing: the operator was started with another form, the spec is as it
/// was.
#[tokio::test(flavor = "multi_thread")]
async fn another_form_of_the_list_takes_no_policy_away() {
    for form in ["zscaler", "static"] {
        let stage = stage_with(good("outbound")).await;
        let operator = stage.operator().await;
        stage.apply("gw", &SPEC.replace("include: ['Gateway*']", "include: ['Gateway*'], requiredOnly: true")).await;
        stage.ready("gw").await;
        let policies = stage.watch_policies().await;
        let before = policies.now();
        stop(operator).await;
        let config = match form {
            "zscaler" => stage.operator_config().flag("format", "zscaler"),
            _ => {
                // Another name for the service, as the vendor's own lists have it.
                let static_list =
                    json!({ "Citrix Gateway": { "AllowList": ["a.g.nssvc.net"], "LatestChangeLog": "" } });
                stage.standin.publish_static(StandinCloud::Global, static_list);
                let url = stage.standin.url(test_support::standin::Source::StaticCommercial);
                stage.operator_config().flag("static-list-url", format!("global={url}"))
            }
        };
        let _operator = Operator::start(&config).await.expect("an operator");
        fetched_once(&stage).await;
        let now = policies.now();
        assert_eq!(now.keys().collect::<Vec<_>>(), [EGRESS], "{form}");
        let lost = crate::common::cidrs(&before[EGRESS]).difference(&crate::common::cidrs(&now[EGRESS])).count();
        assert_eq!(lost, 0, "{form}");
    }
}

/// Waits until a request of this process has been answered and looked at.
async fn fetched_once(stage: &Stage) {
    let asked = stage.standin.requests().len();
    stage.annotate("gw", REFRESH_ANNOTATION, &format!("form-{asked}")).await;
    stage.standin.wait_for_requests(asked + 1, crate::common::watched::PATIENCE).await.expect("a request");
    tokio::time::sleep(Duration::from_secs(3)).await;
}
