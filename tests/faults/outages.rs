//! Programs of the control plane that stop, and definitions that are not there. Each on a control plane of its own.

use super::common::eventually;
use super::common::group::{Filler, Group, LIMIT};
use super::matrix::Row;
use super::trial::{Closed, Cluster, RESOURCE, Trial, seconds};
use citrix_allowlist::memory::SHED_FROM;
use citrix_allowlist::reason::Reason;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use test_support::ControlPlane;
use test_support::control_plane::Component;
use test_support::operator::Operator;

pub async fn api_server_down_at_start(row: &Row) -> Closed {
    let mut trial = Trial::bare_own().await;
    trial.create().await;
    trial.fault();
    trial.cluster.own().kill(Component::ApiServer).expect("killed");
    let config = trial.single();
    trial.operators.push(Operator::start_unready(&config).expect("an operator"));
    seconds(6).await;
    trial.operators[0].process().expect_running().expect("it waits");
    trial.operators[0].get("/livez").await.expect("no restart would help");
    assert!(trial.operators[0].get("/readyz").await.is_err(), "it is not ready");
    trial.cluster.own().start_again(Component::ApiServer).await.expect("back");
    trial.close(row).await
}

pub async fn api_server_restarted(row: &Row) -> Closed {
    let mut trial = Trial::begin_own().await;
    trial.fault();
    trial.cluster.own().kill(Component::ApiServer).expect("killed");
    trial.world.advance(&trial.recorder);
    seconds(3).await;
    trial.operators[0].get("/readyz").await.expect("what it knew still holds");
    trial.cluster.own().start_again(Component::ApiServer).await.expect("back");
    trial.ask().await;
    trial.close(row).await
}

pub async fn api_server_frozen(row: &Row) -> Closed {
    let mut trial = Trial::begin_own().await;
    trial.fault();
    trial.cluster.own().freeze(Component::ApiServer).expect("frozen");
    trial.world.advance(&trial.recorder);
    seconds(10).await;
    trial.operators[0].get("/livez").await.expect("no restart would help");
    trial.cluster.own().thaw(Component::ApiServer).expect("thawed");
    trial.ask().await;
    trial.close(row).await
}

pub async fn etcd_restarted(row: &Row) -> Closed {
    let mut trial = Trial::begin_own().await;
    trial.fault();
    trial.cluster.own().kill(Component::Etcd).expect("killed");
    trial.world.advance(&trial.recorder);
    seconds(3).await;
    trial.cluster.own().start_again(Component::Etcd).await.expect("back");
    trial.ask().await;
    trial.close(row).await
}

/// As much as etcd may hold: a new cluster takes a tenth of it.
const QUOTA: usize = 32 << 20;
/// What fills it: an object as large as they may be.
const FILLING: usize = 1 << 20;

pub async fn etcd_full(row: &Row) -> Closed {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = ControlPlane::builder().workspace_definitions().expect("definitions");
    let builder = builder.etcd_flag(format!("--quota-backend-bytes={QUOTA}"));
    let mut trial = Trial::on(Cluster::Own(Box::new(builder.start().await.expect("a control plane of its own")))).await;
    trial.settle().await;
    trial.cluster.kubectl(&["create", "namespace", "filling"]).await.expect("a namespace");
    let maps = Api::<ConfigMap>::namespaced(trial.client.clone(), "filling");
    let mut filled = 0;
    let refusal = loop {
        // What cannot be packed: etcd counts pages, and its snapshots are compressed.
        let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(FILLING - 1024).collect();
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(format!("filling-{filled}")), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([("text".to_owned(), text)])),
            ..ConfigMap::default()
        };
        match maps.create(&PostParams::default(), &map).await {
            Ok(_) if filled < QUOTA / FILLING + 8 => filled += 1,
            other => break other.expect_err("it takes more than it may hold").to_string(),
        }
    };
    assert!(refusal.contains("database space exceeded"), "{refusal}");
    trial.fault();
    trial.world.advance(&trial.recorder);
    let reported = eventually(Duration::from_secs(60), async || {
        let series = "citrix_allowlist_writes_total{kind=\"NetworkPolicy\",verb=\"apply\",result=\"unavailable\"}";
        let failed = trial.operators[0].metric(series).await.ok()??;
        (failed >= 2.0 && trial.logs().contains("database space exceeded")).then_some(())
    });
    // Nobody can ask for a fetch, which is a write; the name that stays has another address.
    assert!(reported.await.is_some(), "{}", trial.logs());
    trial.operators[0].get("/livez").await.expect("no restart would help");
    // As an administrator does: what fills it goes, what it was is compacted, and the alarm is switched off.
    trial.cluster.kubectl(&["delete", "configmaps", "--all", "-n", "filling"]).await.expect("deleted");
    let status = trial.cluster.ask_etcd("/v3/maintenance/status", &json!({})).await.expect("etcd's status");
    let compact = json!({ "revision": status["header"]["revision"], "physical": true });
    trial.cluster.ask_etcd("/v3/kv/compaction", &compact).await.expect("compacted");
    trial.cluster.ask_etcd("/v3/maintenance/defragment", &json!({})).await.expect("defragmented");
    let alarms = trial.cluster.ask_etcd("/v3/maintenance/alarm", &json!({ "action": "GET" })).await.expect("alarms");
    for alarm in alarms["alarms"].as_array().expect("one at least") {
        let disarm = json!({ "action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"] });
        trial.cluster.ask_etcd("/v3/maintenance/alarm", &disarm).await.expect("disarmed");
    }
    trial.ask().await;
    trial.close(row).await
}

pub async fn definition_missing(row: &Row) -> Closed {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = ControlPlane::builder().start().await.expect("a control plane of its own");
    let mut trial = Trial::on(Cluster::Own(Box::new(cluster))).await;
    trial.fault();
    let config = trial.single();
    trial.operators.push(Operator::start_unready(&config).expect("an operator"));
    seconds(3).await;
    assert!(trial.operators[0].get("/readyz").await.is_err(), "it is not ready");
    trial.operators[0].get("/livez").await.expect("no restart would help");
    install(&trial).await;
    trial.create().await;
    trial.close(row).await
}

/// Without a garbage collector: in a cluster it comes soon, late, or, where it forgot the kind before it saw the last
/// resource go, not before the definition is back. So policies of resources that are no more may still be there when
/// new ones come, and that must not matter.
pub async fn definition_removed(row: &Row) -> Closed {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = ControlPlane::builder().without_controller_manager().workspace_definitions().expect("definitions");
    let mut trial = Trial::on(Cluster::Own(Box::new(builder.start().await.expect("a control plane of its own")))).await;
    trial.settle().await;
    trial.fault();
    trial.cluster.kubectl(&["delete", "crd", "citrixallowlists.citrix-allowlist.io"]).await.expect("deleted");
    let forgotten = eventually(Duration::from_secs(60), async || {
        let asked = trial.world.dns.questions().len();
        // Three times the TTL of every answer.
        seconds(3).await;
        (trial.world.dns.questions().len() == asked).then_some(())
    });
    assert!(forgotten.await.is_some(), "it asks on behalf of resources that are gone\n{}", trial.logs());
    trial.operators[0].get("/livez").await.expect("no restart would help");
    trial.operators[0].get("/readyz").await.expect("what it knew still holds");
    assert!(trial.recorder.is_newest(), "it took policies away: {}", trial.recorder.difference());
    install(&trial).await;
    trial.create().await;
    trial.close(row).await
}

async fn install(trial: &Trial) {
    let definition = test_support::tools::workspace_root().join("crds");
    let files: Vec<_> =
        std::fs::read_dir(definition).expect("crds").filter_map(Result::ok).map(|file| file.path()).collect();
    for file in files {
        trial.cluster.apply(&std::fs::read_to_string(file).expect("a definition")).await.expect("installed");
    }
    let wait = ["wait", "--for=condition=Established", "crd/citrixallowlists.citrix-allowlist.io", "--timeout=30s"];
    trial.cluster.kubectl(&wait).await.expect("established");
}

/// A new resource of the same spec, which would get a policy.
const NEW: &str = "new";

pub async fn memory_short(row: &Row) -> Closed {
    let Some(group) = Group::for_test(row.test) else { return Closed::left_out() };
    let mut trial = Trial::bare().await;
    let config = group.around(trial.single());
    trial.operators.push(Operator::start(&config).await.expect("an operator"));
    trial.create().await;
    trial.right(Duration::from_secs(30)).await;
    trial.recorder.may_be_absent(false);
    trial.fault();
    let figure = async |name: &str| trial.operators[0].metric(name).await.ok().flatten();
    let used = figure("citrix_allowlist_memory_used_bytes").await.expect("a figure") as u64;
    let filler = Filler::new(&group, LIMIT * (SHED_FROM + 6) / 100 - used);
    let is_short = async || figure("citrix_allowlist_memory_short").await.filter(|short| *short == 1.0);
    eventually(Duration::from_secs(30), is_short).await.expect("memory is short");
    let new = trial.manifest().replace(&format!("name: {RESOURCE},"), &format!("name: {NEW},"));
    trial.cluster.apply(&new).await.expect("a resource");
    trial.advance().await;
    trial.right(Duration::from_secs(30)).await;
    let reason = async || {
        let status = trial.resources().get(NEW).await.ok()?.status?;
        let mut conditions = status.conditions.into_iter();
        conditions.find(|condition| condition.reason == Reason::WaitingForMemory.as_str())
    };
    assert!(eventually(Duration::from_secs(20), reason).await.is_some(), "it is reported\n{}", trial.logs());
    assert!(trial.policies().get_opt("new-egress").await.expect("an answer").is_none(), "the new one waits");
    drop(filler);
    let first = async || trial.policies().get_opt("new-egress").await.ok()?;
    assert!(eventually(Duration::from_secs(30), first).await.is_some(), "it gets its policy");
    trial.close(row).await
}
