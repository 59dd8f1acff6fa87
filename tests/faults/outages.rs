//! Programs of the control plane that stop, and definitions that are not there. Each on a control plane of its own.

use super::common::eventually;
use super::matrix::Row;
use super::trial::{Closed, Cluster, Trial, seconds};
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
