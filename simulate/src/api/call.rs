//! What a request asks for.

use super::failure::ApiFailure;
use http::Method;
use http::request::Parts;
use std::collections::BTreeMap;

/// A request, as rights and faults see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Who asks.
    pub account: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The API group; empty for the core.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The resource, such as `configmaps`.
    pub plural: String,
    /// The namespace; `None` for all, or for a resource without.
    pub namespace: Option<String>,
    /// The object.
    pub name: Option<String>,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
    /// The parameters of the query.
    pub query: BTreeMap<String, String>,
}

impl Call {
    /// Reads a request's line.
    pub(super) fn read(account: &str, parts: &Parts) -> Result<Self, ApiFailure> {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path = parts.uri.path();
        let mut segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned);
        let group = match segments.next().as_deref() {
            Some("api") => String::new(),
            Some("apis") => segments.next().ok_or_else(ApiFailure::no_resource)?,
            _ => return Err(ApiFailure::no_resource()),
        };
        let version = segments.next().ok_or_else(ApiFailure::no_resource)?;
        let rest: Vec<String> = segments.collect();
        let (namespace, rest) = match rest.as_slice() {
            [first, namespace, rest @ ..] if first == "namespaces" && !rest.is_empty() && rest[0] != "status" => {
                (Some(namespace.clone()), rest)
            }
            other => (None, other),
        };
        let plural = rest.first().cloned().ok_or_else(ApiFailure::no_resource)?;
        let name = rest.get(1).cloned();
        // A namespace is in itself, as far as rights are concerned.
        let namespace = namespace.or_else(|| name.clone().filter(|_| group.is_empty() && plural == "namespaces"));
        let mut call = Self {
            account: account.to_owned(),
            verb: "get",
            group,
            version,
            plural,
            namespace,
            subresource: rest.get(2).cloned(),
            name,
            query,
        };
        let watches = matches!(call.parameter("watch"), "true" | "1");
        call.verb = match (&parts.method, &call.name) {
            (&Method::GET, Some(_)) => "get",
            (&Method::GET, None) if watches => "watch",
            (&Method::GET, None) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, Some(_)) => "update",
            (&Method::PATCH, Some(_)) => "patch",
            (&Method::DELETE, Some(_)) => "delete",
            (&Method::DELETE, None) => "deletecollection",
            _ => return Err(ApiFailure::method_not_allowed()),
        };
        Ok(call)
    }

    /// A parameter of the query; empty if it is not there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The resource with its subresource, as roles name it.
    #[must_use]
    pub fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.plural),
            None => self.plural.clone(),
        }
    }

    /// The one object that is asked for: by path, or by the field selector of a list.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        let selected = || self.parameter("fieldSelector").strip_prefix("metadata.name=");
        self.name.as_deref().or_else(selected)
    }

    /// Whether the request changes anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}
