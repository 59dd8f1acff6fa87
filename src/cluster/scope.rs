//! Where the operator reads and writes: the whole cluster, or named namespaces.

use super::object::Object;
use crate::objects::kind::Kind;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource};

/// The whole cluster, or named namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The namespaces that are watched, each by itself; a single `None` watches every one.
    pub(super) namespaces: Vec<Option<String>>,
}

impl Scope {
    /// The cluster if no namespace is named; else these only (`--watch-namespace`): Roles then suffice.
    #[must_use]
    pub fn of(mut namespaces: Vec<String>) -> Self {
        namespaces.sort_unstable();
        namespaces.dedup();
        let namespaces = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
        Self { namespaces }
    }

    /// One API for the cluster, or one for each namespace, with the namespace.
    pub(super) fn apis<K>(&self, client: &Client) -> Vec<(Option<String>, Api<K>)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.each(|namespace| match namespace {
            None => Api::all(client.clone()),
            Some(namespace) => Api::namespaced(client.clone(), namespace),
        })
    }

    /// The same for a kind that the operator writes.
    pub(super) fn apis_of(&self, client: &Client, kind: &'static Kind) -> Vec<(Option<String>, Api<Object>)> {
        self.each(|namespace| match namespace {
            None => Api::all_with(client.clone(), &kind),
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        })
    }

    fn each<A>(&self, api: impl Fn(Option<&str>) -> A) -> Vec<(Option<String>, A)> {
        self.namespaces.iter().map(|namespace| (namespace.clone(), api(namespace.as_deref()))).collect()
    }
}
