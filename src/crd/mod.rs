//! The `CitrixAllowlist` resource: what a user may say, and what the operator answers. No logic beyond reading a field.

mod convert;
mod period;
mod schema;
pub mod spec;
pub mod status;

pub use period::Period;
pub use spec::{
    AdditionalDirection, AdditionalEndpoint, CitrixAllowlist, CitrixAllowlistSpec, CloudChoice, DirectionChoice,
    DnsEgress, ExpandWildcards, GeoChoice, InboundPort, IpFamilies, Mode, Observe, PortProfile, Refresh, Services,
    Wildcard,
};
pub use status::{
    CitrixAllowlistStatus, CoveredBy, FeedStatus, ForwarderStatus, Problem, ProblemKind, Summary, WildcardStatus,
    WouldApply,
};

/// The field manager of everything the operator applies, and the value of `app.kubernetes.io/managed-by`.
pub const FIELD_MANAGER: &str = "citrix-allowlist-operator";
/// The label every object the operator keeps carries: the name of its `CitrixAllowlist`.
pub const ALLOWLIST_LABEL: &str = "citrix-allowlist.io/allowlist";
/// On a resource's history, which is a ConfigMap that no decision reads: `"true"`.
pub const HISTORY_LABEL: &str = "citrix-allowlist.io/history";
/// The label that says which program manages an object (a Kubernetes recommended label).
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// On each policy: a digest of what the spec selected when the policy was last written. It changes only with the spec.
pub const SELECTION_ANNOTATION: &str = "citrix-allowlist.io/selection";
/// On the first policy of a direction: networks in that direction's policies that only the user asked for, by `additional`
/// or `wildcards`. A restart that has lost the ConfigMap knows by it what an edited spec no longer names.
pub const ADDITIONAL_ANNOTATION: &str = "citrix-allowlist.io/additional";
/// On an object that is not the operator's: `"true"` hands it over.
pub const ADOPT_ANNOTATION: &str = "citrix-allowlist.io/adopt";
/// On a `CitrixAllowlist`: any new value asks for a fetch now, within the rate limit.
pub const REFRESH_ANNOTATION: &str = "citrix-allowlist.io/refresh-requested-at";

/// The CustomResourceDefinition as it is installed.
#[must_use]
pub fn definition() -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
    <CitrixAllowlist as kube::CustomResourceExt>::crd()
}

/// The CustomResourceDefinition as YAML, as `crds/` holds it.
///
/// # Errors
/// Where it does not serialise, which no release does.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&definition())
}
