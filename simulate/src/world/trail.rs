//! The history of each resource, replayed, is what its policies allow.

use super::SimulatedWorld;
use super::laws::Law;
use super::policy;
use super::tenants::POLICIES;
use super::watcher::Name;
use crate::api::Stored;
use citrix_allowlist::cluster::histories;
use citrix_allowlist::engines::network_policy::fold;
use citrix_allowlist::trail::{Difference, InForce, PolicyAllows};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

impl SimulatedWorld {
    /// What the policies of each resource allow is what its history leads to. Nobody else writes histories in these worlds.
    pub(super) fn told(&self) {
        for (name, policies) in self.allowed() {
            let map = self.api.read(|store| {
                let kind = store.kinds().find("", "configmaps")?;
                let name = (&name.0, histories::history_name(&name.1));
                let mut maps = store.objects(kind, Some(name.0));
                maps.find(|(key, _)| key.name == name.1).and_then(|(_, stored)| read(stored))
            });
            let history = map.map(|map| histories::read(&map));
            let what = match history {
                None if policies.is_empty() => continue,
                None => "it has policies and no history".to_owned(),
                Some(Err(error)) => format!("its history cannot be read: {error}"),
                Some(Ok(history)) => {
                    let difference = Difference::between(&history.end(), &InForce::of(&policies));
                    if difference.is_empty() {
                        continue;
                    }
                    let text = serde_json::to_string(&difference).unwrap_or_default();
                    format!("its history leads to something else; from it to what is allowed: {text}")
                }
            };
            self.history.violated(Law::Trail, &format!("{}/{}: {what}", name.0, name.1));
        }
    }

    /// What the policies of each resource allow.
    fn allowed(&self) -> BTreeMap<Name, Vec<Arc<PolicyAllows>>> {
        let mut allowed: BTreeMap<Name, Vec<Arc<PolicyAllows>>> = BTreeMap::new();
        self.watcher.each(|name, known| {
            if known.object.is_some() {
                allowed.entry(name.clone()).or_default();
            }
        });
        self.api.read(|store| {
            let Some(kind) = store.kinds().find(POLICIES.0, POLICIES.1) else { return };
            for (key, stored) in store.objects(kind, None) {
                let owner = policy::owner(&stored.value);
                if let Some((owner, allows)) = owner.zip(read(stored).and_then(|policy| fold(&policy).allows)) {
                    allowed.entry((key.namespace.to_string(), owner)).or_default().push(allows);
                }
            }
        });
        allowed
    }
}

fn read<T: DeserializeOwned>(stored: &Stored) -> Option<T> {
    serde_json::from_value(stored.value.clone()).ok()
}
