//! Refusals as the API server words them: a `Status` with code, reason, message and details.

use serde_json::{Map, Value, json};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiFailure {
    /// The HTTP status.
    pub code: u16,
    /// The machine's word for it, such as `Conflict`.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// What it is about: name, group, kind, causes, and `retryAfterSeconds`.
    pub details: Value,
    /// A token to continue an expired list with.
    pub continue_token: Option<String>,
}

/// A resource as refusals name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The API group; empty for the core.
    pub group: &'a str,
    /// The resource's plural, or the kind where a refusal is about an object's content.
    pub kind: &'a str,
    /// The object's name; empty for all.
    pub name: &'a str,
}

impl Subject<'_> {
    fn qualified(&self) -> String {
        match self.group {
            "" => self.kind.to_owned(),
            group => format!("{}.{group}", self.kind),
        }
    }

    fn details(&self) -> Value {
        let parts = [("name", self.name), ("group", self.group), ("kind", self.kind)];
        let details: Map<String, Value> = parts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        details.into()
    }
}

/// A field that a validation refuses.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Invalid {
    pub field: String,
    pub reason: &'static str,
    pub message: String,
}

impl ApiFailure {
    fn new(code: u16, reason: &'static str, message: String, details: Value) -> Self {
        Self { code, reason, message, details, continue_token: None }
    }

    /// 404: there is no such object.
    #[must_use]
    pub fn not_found(subject: Subject<'_>) -> Self {
        let message = format!("{} {:?} not found", subject.qualified(), subject.name);
        Self::new(404, "NotFound", message, subject.details())
    }

    /// 404: nothing is served under this path.
    #[must_use]
    pub fn no_resource() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self::new(404, "NotFound", message, json!({}))
    }

    /// 405: the resource has no such verb.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::new(405, "MethodNotAllowed", message, json!({}))
    }

    /// 409: an object of this name exists.
    #[must_use]
    pub fn already_exists(subject: Subject<'_>) -> Self {
        let message = format!("{} {:?} already exists", subject.qualified(), subject.name);
        Self::new(409, "AlreadyExists", message, subject.details())
    }

    /// 409: the object is another, or newer.
    #[must_use]
    pub fn conflict(subject: Subject<'_>, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {:?}: {why}", subject.qualified(), subject.name);
        Self::new(409, "Conflict", message, subject.details())
    }

    /// 409: other managers have these fields.
    pub(super) fn apply_conflict(conflicts: &[(String, Vec<String>)]) -> Self {
        let all = conflicts.iter().flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)));
        let causes: Vec<Value> = all
            .clone()
            .map(|(manager, path)| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path })
            })
            .collect();
        let message = match all.clone().collect::<Vec<_>>().as_slice() {
            [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
            several => {
                let mut sorted: Vec<_> = conflicts.iter().collect();
                sorted.sort();
                let lines = sorted.iter().flat_map(|(manager, paths)| {
                    let paths = paths.iter().map(|path| format!("- {path}"));
                    std::iter::once(format!("conflicts with {manager}:")).chain(paths)
                });
                let lines: Vec<String> = lines.collect();
                format!("Apply failed with {} conflicts: {}", several.len(), lines.join("\n"))
            }
        };
        Self::new(409, "Conflict", message, json!({ "causes": causes }))
    }

    /// 403: an admission plugin, a quota or RBAC forbids it.
    #[must_use]
    pub fn forbidden(subject: Subject<'_>, why: &str) -> Self {
        let message = match subject.name {
            "" => format!("{} is forbidden: {why}", subject.qualified()),
            name => format!("{} {name:?} is forbidden: {why}", subject.qualified()),
        };
        Self::new(403, "Forbidden", message, subject.details())
    }

    /// 422: the object is not valid.
    pub(super) fn invalid(subject: Subject<'_>, fields: &[Invalid]) -> Self {
        let spelled: Vec<String> =
            fields.iter().map(|invalid| format!("{}: {}", invalid.field, invalid.message)).collect();
        let all = match spelled.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let message = format!("{} {:?} is invalid: {all}", subject.qualified(), subject.name);
        let mut details = subject.details();
        details["causes"] = fields
            .iter()
            .map(|invalid| json!({ "reason": invalid.reason, "message": invalid.message, "field": invalid.field }))
            .collect();
        Self::new(422, "Invalid", message, details)
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into(), Value::Null)
    }

    /// 415: a body of another type.
    #[must_use]
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message.into(), Value::Null)
    }

    /// 410: the revision was compacted.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into(), Value::Null)
    }

    /// 429: too many requests; the client may ask again after so many seconds.
    #[must_use]
    pub fn too_many_requests(after: u32) -> Self {
        let message = "the server has received too many requests and has asked us to try again later".to_owned();
        Self::new(429, "TooManyRequests", message, json!({ "retryAfterSeconds": after }))
    }

    /// 500: the server fails.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        let details = json!({ "causes": [{ "message": message }] });
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"), details)
    }

    /// 500 without a reason: what the API server answers to an error that it has no word for.
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self::new(500, "", message.into(), Value::Null)
    }

    /// 422: a patch that does not fit the object.
    pub(super) fn unprocessable(message: String) -> Self {
        Self::new(422, "Invalid", message, Value::Null)
    }

    /// 422: an apply without a manager.
    pub(super) fn no_manager() -> Self {
        Self::wrong_option("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
    }

    /// 422: force without an apply.
    pub(super) fn no_force() -> Self {
        Self::wrong_option("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch")
    }

    fn wrong_option(field: &str, reason: &'static str, message: &str) -> Self {
        let subject = Subject { group: "meta.k8s.io", kind: "PatchOptions", name: "" };
        Self::invalid(subject, &[Invalid { field: field.to_owned(), reason, message: message.to_owned() }])
    }

    /// 504: the server does not have this revision yet.
    #[must_use]
    pub fn too_new(wanted: u64, newest: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {newest}");
        let causes = json!([{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }]);
        Self::new(504, "Timeout", message, json!({ "causes": causes, "retryAfterSeconds": 1 }))
    }

    /// The same with another cause in its details.
    #[must_use]
    pub fn because(mut self, reason: &str, message: &str, field: &str) -> Self {
        self.details["causes"] = json!([{ "reason": reason, "message": message, "field": field }]);
        self
    }

    /// The seconds of `Retry-After`, if the answer has one.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.details.get("retryAfterSeconds").and_then(Value::as_u64)
    }

    /// The body of the answer.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.clone().into();
        }
        status
    }
}
