//! What a user may say.

use super::{Period, schema, status::CitrixAllowlistStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Keeps NetworkPolicies equal to what Citrix's Connectivity AllowList API says for one customer.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "citrix-allowlist.io",
    version = "v1alpha1",
    kind = "CitrixAllowlist",
    plural = "citrixallowlists",
    shortname = "cal",
    category = "citrix",
    namespaced,
    status = "CitrixAllowlistStatus",
    derive = "PartialEq",
    cel,
    doc = "Keeps NetworkPolicies in its namespace equal to what Citrix's Connectivity AllowList API says for one customer.",
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be at most 63 characters: it becomes a label of every object kept"),
    printcolumn(name = "Customer", type_ = "string", json_path = ".spec.customerId", description = "The Citrix customer"),
    printcolumn(name = "Geo", type_ = "string", json_path = ".spec.geo", description = "The region asked for"),
    printcolumn(name = "Direction", type_ = "string", json_path = ".spec.direction", description = "The direction asked for"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the policies in the cluster say what the newest list and the newest answers say"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", description = "Whether policies are applied (Enforce) or only computed (Audit)"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary.status", description = "The state in one word: the reason of the worst condition"),
    printcolumn(name = "Problems", type_ = "integer", json_path = ".status.problemsTotal", description = "Problems: kubectl describe, or explain, lists them"),
    printcolumn(name = "Names", type_ = "string", json_path = ".status.summary.resolved", description = "Names with addresses, of all names"),
    printcolumn(name = "Wildcards", type_ = "integer", json_path = ".status.summary.wildcards", description = "Wildcards that nothing covers"),
    printcolumn(name = "Policies", type_ = "integer", json_path = ".status.summary.policies", description = "NetworkPolicies applied"),
    // Strings, not dates: kubectl prints a date in the future as <invalid>.
    printcolumn(name = "Valid-Until", type_ = "string", json_path = ".status.feed.validUntil", description = "Until when the vendor vouches for the list"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is, or is not, ready"
    ),
    printcolumn(name = "Next-Fetch", type_ = "string", priority = 1, json_path = ".status.feed.nextFetch", description = "When the list is asked for again"),
    printcolumn(name = "Version", type_ = "string", priority = 1, json_path = ".status.feed.version", description = "When the vendor published the list")
)]
#[serde(rename_all = "camelCase")]
pub struct CitrixAllowlistSpec {
    /// The Citrix Cloud customer id, which the vendor's list puts into customer-specific names: 1 to 12 letters and
    /// digits. Citrix Cloud shows it under Identity and Access Management.
    // No separate length: the API server would report that alone, and hide what is wrong with `test-customer`.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9]{1,12}$"))]
    pub customer_id: String,

    /// The region whose endpoints are allowed: `us`, `eu`, `ap-s`, `jp`, or `all`. Endpoints that the list gives for
    /// every region are always included.
    #[serde(default)]
    pub geo: GeoChoice,

    /// Which way connections are opened: `outbound` (selected pods to Citrix Cloud), `inbound` (Citrix Cloud to
    /// selected pods), or `all`.
    #[serde(default)]
    pub direction: DirectionChoice,

    /// Which Citrix Cloud is asked: `Global`, `Japan`, or `Auto`: Japan's for geo `jp`, the global one for every other.
    #[serde(default)]
    pub cloud: CloudChoice,

    /// The pods of this namespace that the policies select. Empty selects every pod of the namespace, which isolates
    /// them all: what nothing allows is then cut.
    #[serde(default)]
    #[schemars(schema_with = "schema::label_selector")]
    pub pod_selector: LabelSelector,

    /// Which of the list's services are allowed; every one unless said otherwise.
    #[serde(default)]
    pub services: Services,

    /// Names that stand in for a wildcard of the list, which DNS cannot enumerate and NetworkPolicy cannot say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pattern"]))]
    pub wildcards: Vec<Wildcard>,

    /// Whether exact names known from the list stand in for its wildcards too (`Auto`), or only the names under
    /// `wildcards` do (`None`).
    #[serde(default)]
    pub expand_wildcards: ExpandWildcards,

    /// What becomes of names that pods ask for under wildcards of the list, where the cluster's DNS forwards their zones to the
    /// operator: `Allow`, `Suggest` (they are learned, and not allowed), or `Off`. An entry of `wildcards` may say otherwise.
    /// It does nothing where nothing is forwarded.
    #[serde(default)]
    pub observe_wildcards: Observe,

    /// Endpoints of your own that the same pods need: an identity provider, a proxy, domain controllers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub additional: Vec<AdditionalEndpoint>,

    /// Where selected pods listen for what the list says is reached from outside: the list names the published port,
    /// NetworkPolicy sees the pod's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["listed"]))]
    pub inbound_ports: Vec<InboundPort>,

    /// Whether selected pods may reach the cluster's DNS (`Auto`). With `None`, an egress policy cuts them off from
    /// it unless another policy allows it.
    #[serde(default)]
    pub dns_egress: DnsEgress,

    /// Which IP families the policies hold: `IPv4`, `IPv6`, `Dual`, or `Auto`: what the cluster's own networks are.
    #[serde(default)]
    pub ip_families: IpFamilies,

    /// How long an address outlives its last sighting in DNS, so that pods which still hold it are not cut off: 1m to
    /// 168h, as `1h` or `90m`.
    #[serde(default = "default_address_retention")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')")
        .message("addressRetention must be from 1m to 168h"))]
    pub address_retention: Period,

    /// Bounds on when the list is asked for again; in between, the list's own `validUntil` decides.
    #[serde(default)]
    pub refresh: Refresh,

    /// `Enforce` keeps the policies in the cluster; `Audit` computes and reports, and removes policies that Enforce
    /// had applied.
    #[serde(default)]
    pub mode: Mode,

    /// Leaves everything applied as it is and does nothing until false again.
    #[serde(default)]
    pub suspend: bool,
}

const fn default_address_retention() -> Period {
    Period::new(Duration::from_secs(3600))
}

/// The region asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum GeoChoice {
    /// United States
    #[serde(rename = "us")]
    Us,
    /// European Union
    #[serde(rename = "eu")]
    Eu,
    /// Asia Pacific South
    #[serde(rename = "ap-s")]
    ApS,
    /// Japan
    #[serde(rename = "jp")]
    Jp,
    /// Every region
    #[default]
    #[serde(rename = "all")]
    All,
}

/// Which way connections are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DirectionChoice {
    /// Citrix Cloud to selected pods
    #[serde(rename = "inbound")]
    Inbound,
    /// Selected pods to Citrix Cloud
    #[default]
    #[serde(rename = "outbound")]
    Outbound,
    /// Both
    #[serde(rename = "all")]
    All,
}

/// Which Citrix Cloud is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum CloudChoice {
    /// Japan's for geo `jp`, the global one for every other
    #[default]
    Auto,
    /// The global one: US, EU, AP-S
    Global,
    /// Japan's own
    Japan,
}

/// Which of the list's services are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Services {
    /// Names of services to allow, `*` standing for any characters and `?` for one; every service where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    // No character that acts on a terminal or hides: a tenant would write on the screen of the person who asks why nothing matches.
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$"))
    )]
    pub include: Vec<String>,
    /// Names of services to leave out, with the same wildcards; wins over `include`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$"))
    )]
    pub exclude: Vec<String>,
    /// Whether only entries that the vendor marks as required are allowed.
    pub required_only: bool,
}

/// Names that stand in for one wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[x_kube(validation = Rule::new(
    // Not a regular expression: the API server prices one at more than a resource may cost. This is exact where the
    // pattern's `*` stand for whole labels at its start, as the vendor's do; where not, the operator says the rest.
    "self.names.all(name, name.startsWith(self.pattern.substring(0, self.pattern.indexOf('*'))) \
     && name.endsWith(self.pattern.substring(self.pattern.lastIndexOf('*') + 1)) \
     && size(name) >= size(self.pattern) && size(name.split('.')) >= size(self.pattern.split('.')))"
).message("each of wildcards.names must match wildcards.pattern, where `*` stands for one or more characters"), validation = Rule::new(
    "size(self.names) > 0 || has(self.observe) || has(self.within)"
).message("an entry of wildcards needs at least one name in names, or observe, or within"))]
pub struct Wildcard {
    /// The wildcard as the list has it: `*.citrixworkspacesapi.jp`. Each `*` stands for one or more characters.
    #[schemars(length(min = 3, max = 253), regex(pattern = r"^[a-z0-9_.-]*[*][a-z0-9_.*-]*$"))]
    pub pattern: String,
    /// Exact names that selected pods use under the wildcard; each must match the pattern.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 3, max = 253), regex(pattern = r"^[a-z0-9_][a-z0-9_.-]*$")))]
    pub names: Vec<String>,
    /// What becomes of names that pods ask for under it, instead of what `observeWildcards` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe: Option<Observe>,
    /// Which of these names are learned: globs, `*` standing for any characters and `?` for one; every name where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9_.*?-]+$")))]
    pub within: Vec<String>,
}

/// What becomes of names that pods ask for under a wildcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Observe {
    /// They are allowed
    #[default]
    Allow,
    /// They are learned, and not allowed
    Suggest,
    /// They are not learned
    Off,
}

/// Whether names known from the list stand in for its wildcards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ExpandWildcards {
    /// They do
    #[default]
    Auto,
    /// Only the names under `wildcards` do
    None,
}

/// An endpoint of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[x_kube(
    validation = Rule::new("(has(self.fqdns) && size(self.fqdns) > 0) || (has(self.cidrs) && size(self.cidrs) > 0)")
        .message("an entry of additional needs at least one name in fqdns or one CIDR in cidrs"),
    validation = Rule::new("has(self.tcpPorts) || has(self.udpPorts) || has(self.profile)")
        .message("an entry of additional needs tcpPorts, udpPorts or a profile: without ports nothing is opened"),
    validation = Rule::new("!has(self.cidrs) || self.cidrs.all(cidr, isCIDR(cidr))")
        .message("each of additional.cidrs must be a CIDR such as 10.20.0.0/24 or 2001:db8::/64")
)]
pub struct AdditionalEndpoint {
    /// The entry's own name, which status and `explain` use as its service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9]([a-zA-Z0-9_. -]*[a-zA-Z0-9])?$"))]
    pub name: String,
    /// Which way connections are opened: `outbound` or `inbound`.
    #[serde(default)]
    pub direction: AdditionalDirection,
    /// Exact names, resolved as the list's are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 3, max = 253), regex(pattern = r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$")))]
    pub fqdns: Vec<String>,
    /// CIDRs; private ones are yours to name here. Loopback, link-local and whole-address-space ones are never opened, nor
    /// any that holds an address that clouds answer on, such as a metadata service's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 3, max = 49)))]
    pub cidrs: Vec<String>,
    /// TCP ports: `443`, `"80,443"`, `"8080-8090"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ports")]
    pub tcp_ports: Option<IntOrString>,
    /// UDP ports, written like TCP ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ports")]
    pub udp_ports: Option<IntOrString>,
    /// Ports by role, added to any given, as Citrix documents them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<PortProfile>,
}

/// Which way an endpoint of the user's own is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AdditionalDirection {
    /// From the endpoint to selected pods
    #[serde(rename = "inbound")]
    Inbound,
    /// From selected pods to the endpoint
    #[default]
    #[serde(rename = "outbound")]
    Outbound,
}

/// Ports by role, added to any given: `ActiveDirectory` (Connector Appliance to domain controllers),
/// `CloudConnectorLan` (Cloud Connector, or another Windows machine of a domain, inside its network) or
/// `ConnectorAppliance` (to DNS and time servers, and HTTPS outbound).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum PortProfile {
    /// Connector Appliance to domain controllers
    ActiveDirectory,
    /// Cloud Connector, or another Windows machine of a domain, inside its network
    CloudConnectorLan,
    /// Connector Appliance to DNS and time servers, and HTTPS outbound
    ConnectorAppliance,
}

/// Where selected pods listen for a published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct InboundPort {
    /// The port that the list names, 1 to 65535.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub listed: u16,
    /// The port that selected pods listen on, 1 to 65535.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub pod: u16,
}

/// Whether selected pods may reach the cluster's DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DnsEgress {
    /// They may
    #[default]
    Auto,
    /// Left to other policies
    None,
}

/// Which IP families the policies hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum IpFamilies {
    /// What the cluster's own networks are
    #[default]
    Auto,
    /// IPv4 only
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6 only
    #[serde(rename = "IPv6")]
    Ipv6,
    /// Both
    Dual,
}

/// Bounds on when the list is asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[x_kube(validation = Rule::new("duration(self.minInterval) <= duration(self.maxInterval)")
    .message("refresh.minInterval may not be longer than refresh.maxInterval"))]
pub struct Refresh {
    /// The shortest time between two fetches, as `5m`; never under the operator's own floor.
    #[serde(default = "default_min_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("refresh.minInterval must be at least 1s"))]
    pub min_interval: Period,
    /// The longest time between two fetches, as `24h`. The default is shorter than the 84 hours for which Citrix documents a
    /// list to be valid: asking whether it changed is cheap, and one that is published early is seen within a day.
    #[serde(default = "default_max_interval")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('720h')").message("refresh.maxInterval must be at most 720h"))]
    pub max_interval: Period,
}

const fn default_min_interval() -> Period {
    Period::new(Duration::from_secs(5 * 60))
}

const fn default_max_interval() -> Period {
    Period::new(Duration::from_secs(24 * 3600))
}

impl Default for Refresh {
    fn default() -> Self {
        Self { min_interval: default_min_interval(), max_interval: default_max_interval() }
    }
}

/// Whether policies are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Mode {
    /// They are
    #[default]
    Enforce,
    /// Everything is computed and reported, no policy is kept
    Audit,
}
