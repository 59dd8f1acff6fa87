//! Whether what is known of the operator's objects is what the cluster has now. A standby's watch may hang without an error, and so
//! be behind by minutes; a leader that recovers from it would take away what was allowed since.

use super::client::{CALL_TIMEOUT, CallError, deadline};
use super::owned::{OwnedObjects, owned_selector};
use super::scope::Scope;
use crate::objects::key::ObjectKey;
use crate::objects::kind::Kind;
use kube::api::ListParams;
use kube::{Client, ResourceExt};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Objects in one page: only their metadata are listed, some hundred bytes each.
const PAGE: u32 = 500;
/// How often what is known is compared, while events that are on their way arrive.
const TRIES: u32 = 10;
/// How long to wait for these in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Compares what is known with the cluster.
#[derive(Clone)]
pub struct Freshness {
    client: Client,
    scope: Scope,
    kinds: Vec<&'static Kind>,
    owned: Arc<OwnedObjects>,
}

impl Freshness {
    /// Of objects of these kinds.
    #[must_use]
    pub fn new(client: Client, scope: Scope, kinds: Vec<&'static Kind>, owned: Arc<OwnedObjects>) -> Self {
        Self { client, scope, kinds, owned }
    }

    /// Whether every object is known in the version that the cluster has now, or in a later one.
    pub async fn is_current(&self) -> bool {
        for kind in self.kinds.iter().copied() {
            for (namespace, api) in self.scope.apis_of(&self.client, kind) {
                let listed = match list(&api, kind).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        tracing::warn!(kind = kind.name, %error, "whether its objects are known as they are cannot be seen");
                        return false;
                    }
                };
                let mut tries = 0;
                while !self.owned.has_all(kind, namespace.as_deref(), &listed) {
                    tries += 1;
                    if tries == TRIES {
                        tracing::warn!(kind = kind.name, "what is known of its objects is not what the cluster has");
                        return false;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        true
    }
}

/// The versions of all objects of a kind at one moment, and the version of that moment.
#[derive(Debug, Default)]
pub struct ListedVersions {
    /// The version of the list.
    pub at: String,
    /// The version of each object.
    pub objects: HashMap<ObjectKey, String>,
}

async fn list(api: &kube::Api<super::object::Object>, kind: &'static Kind) -> Result<ListedVersions, CallError> {
    let mut parameters = ListParams::default().labels(&owned_selector(kind)).limit(PAGE);
    let mut listed = ListedVersions::default();
    loop {
        let page = deadline(CALL_TIMEOUT, api.list_metadata(&parameters)).await?;
        listed.at = page.metadata.resource_version.unwrap_or_default();
        listed.objects.extend(page.items.into_iter().map(|object| {
            let key = ObjectKey::new(kind, object.namespace().unwrap_or_default(), object.name_any());
            (key, object.resource_version().unwrap_or_default())
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(listed),
        }
    }
}
