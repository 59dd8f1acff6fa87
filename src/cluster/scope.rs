//! Where the operator reads and writes: the whole cluster, or named namespaces.

use super::object::Object;
use crate::objects::kind::Kind;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource};
use std::fmt::Debug;

/// The whole cluster, or named namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// These namespaces only (`--watch-namespace`): Roles then suffice.
    Namespaces(Vec<String>),
}

impl Scope {
    /// The cluster if no namespace is named.
    #[must_use]
    pub fn of(mut namespaces: Vec<String>) -> Self {
        namespaces.sort_unstable();
        namespaces.dedup();
        if namespaces.is_empty() { Self::Cluster } else { Self::Namespaces(namespaces) }
    }

    /// One API for the cluster, or one for each namespace, with the namespace.
    #[must_use]
    pub fn apis<K>(&self, client: &Client) -> Vec<(Option<String>, Api<K>)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let all = || Api::all(client.clone());
        self.apis_by(all, |namespace| Api::namespaced(client.clone(), namespace))
    }

    /// The same for a kind that the operator writes.
    pub(super) fn apis_of(&self, client: &Client, kind: &'static Kind) -> Vec<(Option<String>, Api<Object>)> {
        let all = || Api::all_with(client.clone(), &kind);
        self.apis_by(all, |namespace| Api::namespaced_with(client.clone(), namespace, &kind))
    }

    fn apis_by<K>(
        &self,
        all: impl Fn() -> Api<K>,
        namespaced: impl Fn(&str) -> Api<K>,
    ) -> Vec<(Option<String>, Api<K>)> {
        match self {
            Self::Cluster => vec![(None, all())],
            Self::Namespaces(namespaces) => {
                namespaces.iter().map(|namespace| (Some(namespace.clone()), namespaced(namespace))).collect()
            }
        }
    }
}
