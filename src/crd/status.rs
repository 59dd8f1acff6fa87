//! What the operator answers.

use crate::explain_texts::explained;
use connectivity_allowlist::visible::shortened;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most problems that status lists; the rest are counted in `problemsTotal`.
pub const MOST_PROBLEMS: usize = 50;
/// The longest message of a problem in status, in characters.
pub const LONGEST_MESSAGE: usize = 256;
/// The most wildcards that status lists; uncovered ones come first where there are more.
pub const MOST_WILDCARDS: usize = 50;
/// The most suggested names that status lists for one wildcard: the rest are counted.
pub const MOST_SUGGESTED: usize = 50;
/// The most zones of each list that status names.
pub const MOST_ZONES: usize = 50;

/// What the operator found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
// To kstatus a resource without any status is done: Flux and `helm --wait` would not wait for an operator that is away.
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct CitrixAllowlistStatus {
    /// The generation of the spec that this status speaks of; -1 where the operator has not seen the resource yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, FeedCurrent, NamesResolved, WildcardsCovered, PoliciesApplied; Reconciling and Stalled while they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The list in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedStatus>,
    /// Counts over the list and what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The wildcards of the list, and by what each is covered; at most 50, uncovered ones first where there are more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wildcards: Vec<WildcardStatus>,
    /// The zones that the cluster's DNS has to forward to the operator. Absent where the operator answers no questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarder: Option<ForwarderStatus>,
    /// Names of the NetworkPolicies applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What Enforce would change, in Audit mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_apply: Option<WouldApply>,
    /// What could not be honoured, at most 50 entries: where there are more, some of each kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// How many problems there are, those beyond the 50 included.
    pub problems_total: i64,
    /// The value of the annotation citrix-allowlist.io/refresh-requested-at that was last acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh: Option<String>,
}

/// The list in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct FeedStatus {
    /// Which Citrix Cloud it is from: Global or Japan.
    pub cloud: String,
    /// When the vendor published it. While no list may be followed, the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Until when the vendor vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// When it was last fetched or confirmed unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<String>,
    /// About when it is asked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_fetch: Option<String>,
    /// The id of the last request, which Citrix's support asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
}

/// Counts over the list and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Summary {
    /// The state in one word: the reason of the worst condition. `Applied` if all is well. Absent until the operator has seen the
    /// resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How many problems there are: `problemsTotal`.
    pub problems: i64,
    /// Services with at least one entry in use.
    pub services: i64,
    /// Distinct exact names wanted.
    pub names: i64,
    /// Of these, names with at least one address.
    pub names_resolved: i64,
    /// The two as one text: `198/200`.
    pub resolved: String,
    /// Wildcards that nothing covers: neither names of the spec nor the forwarder.
    pub wildcards: i64,
    /// Covered wildcards and all of them: `5/6`.
    pub wildcards_covered: String,
    /// Distinct addresses from names.
    pub addresses: i64,
    /// Distinct CIDRs in the policies.
    pub cidrs: i64,
    /// NetworkPolicies.
    pub policies: i64,
    /// CIDRs that policies allowed before the operator started and that neither the list nor DNS nor the spec explains:
    /// they stay until DNS has answered for `addressRetention`. Absent where there is none.
    #[serde(skip_serializing_if = "is_none")]
    pub inherited: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_none(count: &i64) -> bool {
    *count == 0
}

/// A wildcard of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct WildcardStatus {
    /// The wildcard.
    #[schemars(length(max = 256))]
    pub pattern: String,
    /// By what it is covered.
    pub covered_by: CoveredBy,
    /// How many names stand in for it: from the spec, from the list, and those that pods asked for.
    pub names: i64,
    /// How many of these names pods asked for.
    #[serde(skip_serializing_if = "is_none")]
    pub learned: i64,
    /// Since when it is covered so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Names that pods asked for and that `observe: Suggest` does not allow, at most 50, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suggested: Vec<String>,
    /// How many such names there are.
    #[serde(skip_serializing_if = "is_none")]
    pub suggested_total: i64,
}

/// By what a wildcard is covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum CoveredBy {
    /// By names of the spec.
    Names,
    /// By the names that pods ask for: the cluster's DNS forwards its zone to the operator.
    Observed,
    /// By nothing: names under it are allowed only where the list has them.
    // A later version may know more; to this one, they cover nothing.
    #[default]
    #[serde(other)]
    Nobody,
}

impl CoveredBy {
    /// It, as status spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Names => "Names",
            Self::Observed => "Observed",
            Self::Nobody => "Nobody",
        }
    }
}

/// The zones of the list's names and wildcards, as the cluster's DNS forwards them to the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ForwarderStatus {
    /// The zones that the operator serves, at most 50, sorted.
    pub zones: Vec<String>,
    /// How many zones it serves.
    pub zones_total: i64,
    /// How many of them the cluster's DNS forwards to the operator.
    pub forwarded: i64,
    /// Those that it does not forward, at most 50, sorted: `citrix-allowlist forwarder config` prints the missing block.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Those for which the forwarder's own upstream leads back to it, so that it does not answer; at most 50, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looping: Vec<String>,
    /// Those that the operator does not serve, since --forward-zone leaves them out: it refuses their names. At most 50, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_served: Vec<String>,
}

/// What Enforce would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct WouldApply {
    /// Names of the NetworkPolicies that would be applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Rules over all of them.
    pub rules: i64,
    /// Peers over all of them.
    pub peers: i64,
    /// Pods that a policy would isolate for the first time, at most 20, as `name (egress)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newly_isolated_pods: Vec<String>,
    /// How many such pods there are.
    pub newly_isolated_total: i64,
}

/// One thing that could not be honoured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Problem {
    /// What sort of problem it is.
    pub kind: ProblemKind,
    /// The name, address, port or object it is about.
    #[schemars(length(max = 256))]
    pub subject: String,
    /// The service of the list, or the entry of `additional`, it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub service: Option<String>,
    /// What happened and what a person can do, at most 256 characters.
    #[schemars(length(max = 256))]
    pub message: String,
}

impl Problem {
    /// A problem whose texts are cut to what status holds. What a list or a tenant says in them may be shown by anything that
    /// reads status: nothing in it acts on a terminal.
    pub fn new(kind: ProblemKind, subject: impl AsRef<str>, service: Option<&str>, message: impl AsRef<str>) -> Self {
        let cut = |text: &str| shortened(text, LONGEST_MESSAGE);
        Self { kind, subject: cut(subject.as_ref()), service: service.map(cut), message: cut(message.as_ref()) }
    }

    /// Its subject with its service: `a.example.com (DaaS)`.
    #[must_use]
    pub fn about(&self) -> String {
        self.service.as_ref().map_or_else(|| self.subject.clone(), |service| format!("{} ({service})", self.subject))
    }

    /// It in one line: `NoPorts a.example.com (DaaS): no ports are listed`.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} {}: {}", self.kind, self.about(), self.message)
    }
}

explained! {
    /// Sorts of problems. Each is explained in the documentation under the same name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
    #[schemars(inline)]
    ProblemKind, "" {
        Wildcard:
            "The list allows every name under a wildcard, which DNS cannot enumerate and a NetworkPolicy cannot say.",
            "Name under spec.wildcards the names that your pods use, or have the cluster's DNS forward its zone to the operator.";
        NoPorts:
            "The list gives no ports for an entry; it opens nothing, since no ports in a NetworkPolicy mean every port.",
            "Where your pods need it, name it with its ports under spec.additional.";
        NoMatch:
            "A filter of the spec, or the whole of it, matches nothing of the list.",
            "Compare spec.services, geo, direction and wildcards with the names in the list.";
        Unresolved:
            "A name of the list has no address that can be used, so that nothing is opened for it.",
            "Ask the cluster's DNS for the name; where it is gone for good, the vendor's list is ahead or behind.";
        Refused:
            "An address or network lies in a range that is never opened on the vendor's or DNS's word, or a name of additional outside the domains that the administrator allows.",
            "Where it is meant, such as a private link, the operator's --allow-private-cidr opens the range, but for what clouds answer on, which nothing opens; --additional-suffix allows a domain.";
        Malformed:
            "A part of the list or of the spec cannot be understood; the rest is used.",
            "Correct it where it is the spec's; else tell Citrix's support, with the transaction id.";
        FeedShrank:
            "The newest list lost more than half of what it held, and is followed only once a second fetch confirms it.",
            "Nothing, or `refresh` to have it confirmed now.";
        Conflict:
            "Another owner's object already uses a needed name, or something keeps changing the operator's objects.",
            "Rename one of the two, stop the other writer, or hand the object over with citrix-allowlist.io/adopt: \"true\".";
        Limit:
            "A bound of the operator or of the cluster's network plugin is reached.",
            "Narrow the spec by services, geo or direction, or raise the bound that the message names.";
    }
}
