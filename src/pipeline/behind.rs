//! A list that is older than the one that a former leader followed and could not save. Pure.

use super::carry::Carry;
use super::recover::Recovered;
use super::request::Request;
use crate::feed::FeedView;
use crate::guard::Origin;
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::plan::{SelectedEndpoint, Selection, Target};
use connectivity_allowlist::net::DomainName;
use connectivity_allowlist::{Allowlist, older};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a list is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// When the newer list was published.
    pub newer: Timestamp,
    /// The names whose addresses policies allow: the newer list has these of the older one.
    names: Arc<BTreeSet<DomainName>>,
}

/// When a newer list than this one was published, which a former leader followed and could not save; `None` where there is none,
/// or nothing was applied. Status names it when this process first looks at the resource.
#[must_use]
pub fn newer_list(
    carry: &Carry,
    request: &Request,
    existing: &BTreeMap<ObjectKey, Observed>,
    list: &Allowlist,
    view: &FeedView,
    now: Timestamp,
) -> Option<Timestamp> {
    let newer = match &carry.accepted {
        None => request.reported_list.filter(|_| existing.keys().any(ObjectKey::is_policy)),
        // A user's edit is followed, by what is known.
        Some((of, _)) => carry.behind.as_ref().filter(|_| *of == request.generation).map(|behind| behind.newer),
    };
    newer.filter(|newer| older::is_behind(list, *newer, view.fetched_at, now))
}

impl Behind {
    /// How a list is behind, with what was recovered just now or before.
    #[must_use]
    pub fn new(newer: Timestamp, carry: &Carry, selection: &Selection, recovered: Option<&Recovered>) -> Self {
        let known = |recovered: &Recovered| {
            Arc::new(selection.names.iter().filter(|name| recovered.addresses.knows(name)).cloned().collect())
        };
        let before = || carry.behind.as_ref().map(|behind| Arc::clone(&behind.names));
        Self { newer, names: recovered.map(known).or_else(before).unwrap_or_default() }
    }

    /// What is followed meanwhile of what the older list gives: new answers for the names that policies still allow, and the
    /// user's own entries. All else is applied already, or the newer list had withdrawn it. A direction without a policy follows
    /// the older list.
    #[must_use]
    pub fn followed(&self, selection: &Selection, existing: &BTreeMap<ObjectKey, Observed>) -> Selection {
        let applied: BTreeSet<_> = existing.keys().filter_map(ObjectKey::direction).collect();
        let is_followed = |endpoint: &&SelectedEndpoint| {
            let is_known = match &endpoint.target {
                Target::Name(name) => self.names.contains(name),
                Target::Network(_) => false,
            };
            is_known || endpoint.origin == Origin::User || !applied.contains(&endpoint.direction)
        };
        let endpoints: Vec<_> = selection.endpoints.iter().filter(is_followed).cloned().collect();
        let names = endpoints.iter().filter_map(|endpoint| match &endpoint.target {
            Target::Name(name) => Some(name.clone()),
            Target::Network(_) => None,
        });
        Selection { names: Arc::new(names.collect()), endpoints, ..selection.clone() }
    }

    /// Why status names an older list than before.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "a former leader followed the list {}, which could not be saved: until it comes again, what was applied stays",
            self.newer
        )
    }
}
