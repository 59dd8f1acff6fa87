//! The operator's own pod.

use crate::cluster::client::deadline;
use crate::cluster::pod::Pod;
use crate::pipeline::{OWN_POD_RETRY, OwnPod};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use std::time::Duration;
use tokio::sync::watch;

/// The time limit of reading the operator's own pod.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// The object of events about the pod.
pub(super) fn reference(namespace: &str, name: String) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}

/// Reads the pod's labels, so that no resource may isolate it; retries until the API server answers.
pub(super) async fn learn(client: Client, namespace: String, name: String, own: watch::Sender<OwnPod>) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let found = loop {
        match deadline(CALL_LIMIT, api.get(&name)).await {
            Ok(pod) => break OwnPod::Known { namespace, labels: pod.metadata.labels.unwrap_or_default() },
            Err(error) if error.is_not_found() || error.is_forbidden() => {
                tracing::warn!(pod = name, %error, "own labels are not known: a selector that matches them is not refused");
                break OwnPod::None;
            }
            Err(error) => tracing::debug!(pod = name, %error, "own labels are not known yet"),
        }
        tokio::time::sleep(OWN_POD_RETRY).await;
    };
    own.send_replace(found);
}
