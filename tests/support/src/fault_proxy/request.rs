//! What a request to the API server asks, in Kubernetes' own words.

use axum::http::{Method, Uri};

/// A verb, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// One object.
    Get,
    /// All objects.
    List,
    /// Changes, as they come.
    Watch,
    /// A new object.
    Create,
    /// Another version of an object.
    Update,
    /// A change of an object, server-side apply among them.
    Patch,
    /// The end of an object.
    Delete,
}

/// A request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is to be done.
    pub verb: Verb,
    /// To what: `networkpolicies`, `citrixallowlists/status`; empty for what is no resource.
    pub resource: String,
    /// In which namespace, where in one.
    pub namespace: Option<String>,
    /// To which object, where to one.
    pub name: Option<String>,
    /// Whether it only asks what would happen.
    pub dry_run: bool,
}

impl Asked {
    /// Reads a request's method and address.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut segments = uri.path().split('/').filter(|segment| !segment.is_empty());
        // `/api/v1/...` and `/apis/<group>/<version>/...`.
        let skipped = match segments.next() {
            Some("api") => 1,
            Some("apis") => 2,
            _ => usize::MAX,
        };
        let rest: Vec<&str> = if skipped == usize::MAX { Vec::new() } else { segments.skip(skipped).collect() };
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest.to_vec()),
            rest => (None, rest.to_vec()),
        };
        let (resource, name) = match rest.as_slice() {
            [resource, name, subresource, ..] => (format!("{resource}/{subresource}"), Some((*name).to_owned())),
            [resource, name] => ((*resource).to_owned(), Some((*name).to_owned())),
            [resource] => ((*resource).to_owned(), None),
            [] => (String::new(), None),
        };
        let query = uri.query().unwrap_or_default();
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")) => Verb::Watch,
            _ if name.is_none() => Verb::List,
            _ => Verb::Get,
        };
        Self { verb, resource, namespace, name, dry_run: query.contains("dryRun=") }
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.dry_run && !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_rbac_reads_them() {
        let read = |method: Method, uri: &str| {
            let asked = Asked::of(&method, &uri.parse().expect("an address"));
            let is_write = asked.is_write();
            (asked.verb, asked.resource, asked.name, is_write)
        };
        let policies = "/apis/networking.k8s.io/v1/namespaces/web/networkpolicies";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(Method::GET, &format!("{policies}?watch=true&limit=5")),
            (Verb::Watch, "networkpolicies".into(), None, false)
        );
        assert_eq!(
            read(Method::PATCH, &format!("{policies}/a-egress?force=true")),
            (Verb::Patch, "networkpolicies".into(), some("a-egress"), true)
        );
        assert_eq!(
            read(Method::POST, &format!("{policies}?dryRun=All")),
            (Verb::Create, "networkpolicies".into(), None, false)
        );
        assert_eq!(
            read(Method::PATCH, "/apis/citrix-allowlist.io/v1alpha1/namespaces/web/citrixallowlists/a/status"),
            (Verb::Patch, "citrixallowlists/status".into(), some("a"), true)
        );
        assert_eq!(read(Method::GET, "/api/v1/nodes"), (Verb::List, "nodes".into(), None, false));
        assert_eq!(read(Method::GET, "/api/v1/namespaces/web"), (Verb::Get, "namespaces".into(), some("web"), false));
        assert_eq!(read(Method::GET, "/readyz"), (Verb::List, String::new(), None, false));
    }
}
