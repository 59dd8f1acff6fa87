//! Whether the last policies of a direction stay although nothing is left to allow. Pure.
//!
//! Deleting the last policy opens the pods that it selects. So only the user's word deletes it: the resource is deleted, `mode` or
//! `direction` no longer ask for it, or the user selects otherwise and that matches nothing. Neither the vendor's list nor DNS
//! nor the cluster can do that.

use super::decide::EmptyReason;
use crate::crd::{
    AdditionalDirection, AdditionalEndpoint, CitrixAllowlistSpec, CloudChoice, GeoChoice, InboundPort, Observe,
    Wildcard,
};
use crate::fnv::fnv1a;
use connectivity_allowlist::net::Direction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// The version of the digest, at the start of its text. A digest of another version is not compared, and keeps the policy.
const SCHEME: &str = "v1-";

/// A digest of a user's selection for one direction: the same in every process and every version. It is compared and never
/// trusted: a client that may change a policy's annotation may delete the policy too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelectionDigest(u64);

impl fmt::Display for SelectionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{:016x}", self.0)
    }
}

/// The text is no [`SelectionDigest`] of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest such as {SCHEME}0123456789abcdef")]
pub struct UnknownDigest;

impl FromStr for SelectionDigest {
    type Err = UnknownDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(SCHEME).filter(|digits| digits.len() == 16).ok_or(UnknownDigest)?;
        u64::from_str_radix(digits, 16).map(Self).map_err(|_| UnknownDigest)
    }
}

/// The selecting fields of a spec. A new field, here or in a type used here, must be left out if it has its default: an upgrade
/// must not look like an edit.
#[derive(Serialize)]
struct SelectingFields<'a> {
    customer: &'a str,
    cloud: CloudChoice,
    geo: GeoChoice,
    include: Vec<String>,
    exclude: Vec<String>,
    required_only: bool,
    wildcards: Vec<Wildcard>,
    additional: Vec<&'a AdditionalEndpoint>,
    inbound_ports: Vec<&'a InboundPort>,
    pods: &'a LabelSelector,
    #[serde(skip_serializing_if = "Option::is_none")]
    observe_wildcards: Option<Observe>,
}

impl SelectionDigest {
    /// The digest of a spec's selection for a direction: `customerId`, `cloud`, `geo`, `services`, `wildcards`, `observeWildcards`, `podSelector`,
    /// the `additional` entries of the direction, and for inbound `inboundPorts`. The order of lists does not matter.
    #[must_use]
    pub fn of(spec: &CitrixAllowlistSpec, direction: Direction) -> Self {
        let sorted = |texts: &[String]| {
            let mut texts: Vec<String> = texts.to_vec();
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        let mut wildcards: Vec<Wildcard> = spec.wildcards.clone();
        for wildcard in &mut wildcards {
            (wildcard.names, wildcard.within) = (sorted(&wildcard.names), sorted(&wildcard.within));
        }
        wildcards.sort_unstable_by(|a, b| a.pattern.cmp(&b.pattern));
        let is_of_direction = |entry: &&AdditionalEndpoint| match entry.direction {
            AdditionalDirection::Outbound => direction == Direction::Outbound,
            AdditionalDirection::Inbound => direction == Direction::Inbound,
        };
        let mut additional: Vec<&AdditionalEndpoint> = spec.additional.iter().filter(is_of_direction).collect();
        additional.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut inbound_ports: Vec<&InboundPort> =
            spec.inbound_ports.iter().filter(|_| direction == Direction::Inbound).collect();
        inbound_ports.sort_unstable_by_key(|port| port.listed);
        let fields = SelectingFields {
            customer: &spec.customer_id,
            cloud: spec.cloud,
            geo: spec.geo,
            include: sorted(&spec.services.include),
            exclude: sorted(&spec.services.exclude),
            required_only: spec.services.required_only,
            wildcards,
            additional,
            inbound_ports,
            pods: &spec.pod_selector,
            observe_wildcards: Some(spec.observe_wildcards).filter(|observe| *observe != Observe::default()),
        };
        // Text and numbers always become JSON, with fields in the order of their declaration.
        Self(fnv1a(serde_json::to_vec(&fields).unwrap_or_default()))
    }
}

/// What a spec selects, by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    outbound: SelectionDigest,
    inbound: SelectionDigest,
}

impl Selected {
    /// The selection of a spec.
    #[must_use]
    pub fn by(spec: &CitrixAllowlistSpec) -> Self {
        let of = |direction| SelectionDigest::of(spec, direction);
        Self { outbound: of(Direction::Outbound), inbound: of(Direction::Inbound) }
    }

    /// Its digest for a direction.
    #[must_use]
    pub const fn direction(self, direction: Direction) -> SelectionDigest {
        match direction {
            Direction::Outbound => self.outbound,
            Direction::Inbound => self.inbound,
        }
    }
}

/// Whether the policies of a direction stay although nothing is left to allow. `applied` is the selection of each when it was last
/// written, `None` if unknown; `now` is the current selection.
#[must_use]
pub fn keeps(
    absence: EmptyReason,
    applied: impl IntoIterator<Item = Option<SelectionDigest>>,
    now: SelectionDigest,
) -> bool {
    // One policy of this very selection is enough: the user has not changed it since.
    absence.is_failure() || applied.into_iter().any(|applied| applied.is_none_or(|applied| applied == now))
}

#[cfg(test)]
mod tests;
