//! Points a Service at the replica that leads, by an EndpointSlice that the leader writes. A Service's own selector knows no leader,
//! and a replica that stands by does not know what is in force.

use super::client::deadline;
use super::lease::Leadership;
use crate::crd::{FIELD_MANAGER, MANAGED_BY_LABEL};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The time limit of a write.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How soon a write that failed is repeated: until then the Service leads nowhere, and the cluster's DNS asks its next server.
const RETRY: Duration = Duration::from_secs(1);
/// How often a leader writes it again, in case somebody has changed it.
const REPEAT: Duration = Duration::from_secs(60);

/// A Service, and where it leads while this process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderEndpoints {
    /// The Service's namespace, which is the pod's.
    pub namespace: String,
    /// The Service; it has no selector.
    pub service: String,
    /// Where this pod is reached.
    pub address: SocketAddr,
    /// Name and uid of this pod, with which the object goes; where they are known.
    pub pod: Option<(String, String)>,
}

impl LeaderEndpoints {
    /// The name of the object.
    #[must_use]
    pub fn object_name(&self) -> String {
        format!("{}-leader", self.service)
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> Value {
        let family = match self.address.ip() {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(_) => "IPv6",
        };
        let port =
            |name: &str, protocol: &str| json!({ "name": name, "protocol": protocol, "port": self.address.port() });
        let mut object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.object_name(),
                "namespace": self.namespace,
                "labels": {
                    "kubernetes.io/service-name": self.service,
                    "endpointslice.kubernetes.io/managed-by": FIELD_MANAGER,
                    MANAGED_BY_LABEL: FIELD_MANAGER,
                },
            },
            "addressType": family,
            "endpoints": [{ "addresses": [self.address.ip()], "conditions": { "ready": true } }],
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        });
        if let Some((name, uid)) = &self.pod {
            object["metadata"]["ownerReferences"] =
                json!([{ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid }]);
        }
        object
    }

    /// Keeps it written while this process leads, for as long as it is polled. No write is in flight when another may lead: a process
    /// that slept through its Lease wakes with a write that is due, and would lead the Service away from its successor.
    pub async fn keep(self, client: Client, leadership: Leadership) {
        let mut leading = leadership.receiver();
        let slices: Api<EndpointSlice> = Api::namespaced(client, &self.namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let (name, patch) = (self.object_name(), Patch::Apply(self.object()));
        loop {
            let is_leading = *leading.borrow_and_update();
            let pause = match leadership.limit(CALL_LIMIT) {
                Some(limit) => match deadline(limit, slices.patch(&name, &parameters, &patch)).await {
                    Ok(_) => REPEAT,
                    Err(error) => {
                        tracing::warn!(service = self.service, %error, "the Service of the forwarder is not pointed at this leader");
                        RETRY
                    }
                },
                // Its end, or a later renewal, is told in a moment.
                None if is_leading => RETRY,
                None => Duration::MAX,
            };
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_api;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn one_that_slept_through_its_lease_writes_nothing() {
        let written = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&written);
        let client = fake_api::client(move |_, _, sent| {
            counted.fetch_add(1, Ordering::SeqCst);
            (200, sent)
        });
        let endpoints = LeaderEndpoints {
            namespace: "citrix".to_owned(),
            service: "dns".to_owned(),
            address: "10.128.0.2:5353".parse().expect("an address"),
            pod: None,
        };
        let leadership = Leadership::until(REPEAT / 2);
        let kept = tokio::spawn(endpoints.keep(client, leadership.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(written.load(Ordering::SeqCst), 1, "while it leads");
        // The task that renews the Lease sleeps as well: nobody has said yet that it is lost.
        tokio::time::sleep(2 * REPEAT).await;
        assert!(*leadership.receiver().borrow() && !leadership.is_leading());
        assert_eq!(written.load(Ordering::SeqCst), 1, "the Service is another's by now");
        kept.abort();
    }
}
