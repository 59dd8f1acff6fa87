//! Points a Service at the replica that leads, by an EndpointSlice that the leader writes. A Service's own selector knows no leader,
//! and a replica that stands by does not know what is in force.

use super::client::deadline;
use crate::crd::{FIELD_MANAGER, MANAGED_BY_LABEL};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;

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

    /// Keeps it written while this process leads. Ends when the sender of `leading` is gone.
    pub async fn keep(self, client: Client, mut leading: watch::Receiver<bool>) {
        let slices: Api<EndpointSlice> = Api::namespaced(client, &self.namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(self.object());
        loop {
            if !*leading.borrow_and_update() {
                if leading.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let name = self.object_name();
            let pause = match deadline(CALL_LIMIT, slices.patch(&name, &parameters, &patch)).await {
                Ok(_) => REPEAT,
                Err(error) => {
                    tracing::warn!(service = self.service, %error, "the Service of the forwarder is not pointed at this leader");
                    RETRY
                }
            };
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
