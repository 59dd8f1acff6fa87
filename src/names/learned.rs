//! Names that pods were seen to ask for under wildcards: which resources learn them, and when they are forgotten. Pure: `now` is an
//! argument.
//!
//! Observation teaches names, never addresses. A learned name is then an ordinary name of the table: it is queried, judged by the
//! guard and retained as every other.

mod allowance;

use self::allowance::Allowance;
use super::zones::above;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::{DomainName, NamePattern};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many names each pattern of a resource may learn. Antrea, which observes answers too, has 1,024 for a pattern; 256 of them are
/// a quarter of one policy's peers.
pub const MOST_LEARNED: usize = 256;

/// How far apart names that nobody asks for are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// A wildcard of a resource under which names are learned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObservedPattern {
    /// The wildcard. Each star stands for exactly one label here.
    pub pattern: NamePattern,
    /// Globs, one of which a name has to match; every name where there are none.
    pub within: Vec<String>,
    /// Whether learned names are allowed; otherwise they are only suggested.
    pub opens: bool,
}

impl ObservedPattern {
    /// Whether a name is learned under it.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        let is_within = |glob: &String| wildmatch::WildMatch::new(glob).matches(name.as_str());
        self.pattern.matches_labels(name) && (self.within.is_empty() || self.within.iter().any(is_within))
    }
}

/// What one resource has learned.
#[derive(Debug, Default)]
struct OfResource {
    patterns: Arc<[ObservedPattern]>,
    names: Arc<BTreeSet<DomainName>>,
}

/// The pods that asked for a name, and the resources that select them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Each as `namespace/name`.
    pub pods: Vec<String>,
    /// The resources; none where no resource selects any of the pods.
    pub resources: BTreeSet<ResourceRef>,
}

impl Asker {
    /// Whether a name counts for a resource; for each where it is not known who asked.
    fn counts_for(asked_by: Option<&Self>, resource: &ResourceRef) -> bool {
        asked_by.is_none_or(|by| by.resources.contains(resource))
    }
}

/// How many pods are remembered for a name, for people to see.
const MOST_PODS: usize = 3;

/// Why a name is learned no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForgottenCause {
    /// Nobody has asked for it for a whole retention.
    Unasked,
    /// Its pattern was full, and it made room for another name.
    MadeRoom,
}

impl ForgottenCause {
    /// Each.
    pub const ALL: [Self; 2] = [Self::Unasked, Self::MadeRoom];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unasked => "unasked",
            Self::MadeRoom => "room",
        }
    }
}

/// When a name was last asked for, and by whom.
#[derive(Debug)]
struct Asked {
    since: Instant,
    at: Instant,
    /// The last few pods, where they are known, the newest last.
    pods: Vec<String>,
    /// The revision of the patterns for which every resource has learned it.
    revision: u64,
}

impl Asked {
    /// Remembers who asked.
    fn note(&mut self, asked_by: Option<&Asker>) {
        for pod in asked_by.iter().flat_map(|by| &by.pods) {
            self.pods.retain(|known| known != pod);
            if self.pods.len() == MOST_PODS {
                self.pods.remove(0);
            }
            self.pods.push(pod.clone());
        }
    }
}

/// A learned name at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedSnapshot {
    /// How long ago it was learned, or read back after a restart.
    pub since: Duration,
    /// How long ago a pod last asked for it.
    pub asked: Duration,
    /// The last pods that asked, where the cluster's DNS says so: `namespace/name`.
    pub pods: Vec<String>,
}

/// The names that each resource has learned.
#[derive(Debug)]
pub struct Learned {
    resources: BTreeMap<ResourceRef, OfResource>,
    /// The resources with a pattern, by the pattern's zone: a name is compared only with patterns of the zones it is in.
    patterns: BTreeMap<DomainName, BTreeMap<NamePattern, BTreeSet<ResourceRef>>>,
    asked: HashMap<DomainName, Asked>,
    retention: Duration,
    revision: u64,
    /// When to look next for names to forget.
    next: Option<Instant>,
    /// When a pod last asked for anything.
    heard: Option<Instant>,
    allowance: Allowance,
    /// Names that no resource has learned any more, since they were last taken.
    forgotten: BTreeMap<ForgottenCause, usize>,
}

impl Learned {
    /// Nothing learned yet; a name that nobody asks for is forgotten after `retention`.
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        Self {
            resources: BTreeMap::new(),
            patterns: BTreeMap::new(),
            asked: HashMap::new(),
            retention,
            revision: 0,
            next: None,
            heard: None,
            allowance: Allowance::default(),
            forgotten: BTreeMap::new(),
        }
    }

    /// The names of a resource. Whether its spec still allows each, the selection decides.
    #[must_use]
    pub fn names(&self, resource: &ResourceRef) -> Arc<BTreeSet<DomainName>> {
        self.resources.get(resource).map(|of| Arc::clone(&of.names)).unwrap_or_default()
    }

    /// How many names are learned in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.asked.len()
    }

    /// Learns names under these patterns for a resource, instead of its earlier ones. What it has learned stays until nobody has
    /// asked for it for a whole retention: a list that loses a wildcard for a while loses no name.
    pub fn observe(&mut self, resource: &ResourceRef, patterns: &Arc<[ObservedPattern]>) {
        let of = self.resources.entry(resource.clone()).or_default();
        if of.patterns == *patterns {
            return;
        }
        let before = std::mem::replace(&mut of.patterns, Arc::clone(patterns));
        self.unindex(resource, &before);
        for observed in patterns.iter() {
            let Some(zone) = observed.pattern.zone() else { continue };
            let of_zone = self.patterns.entry(zone).or_default();
            of_zone.entry(observed.pattern.clone()).or_default().insert(resource.clone());
        }
        self.revision += 1;
    }

    fn unindex(&mut self, resource: &ResourceRef, patterns: &[ObservedPattern]) {
        for observed in patterns {
            let Some(zone) = observed.pattern.zone() else { continue };
            let Some(of_zone) = self.patterns.get_mut(&zone) else { continue };
            if let Some(resources) = of_zone.get_mut(&observed.pattern) {
                resources.remove(resource);
                if resources.is_empty() {
                    of_zone.remove(&observed.pattern);
                }
            }
            if of_zone.is_empty() {
                self.patterns.remove(&zone);
            }
        }
    }

    /// A resource is gone.
    pub fn forget_resource(&mut self, resource: &ResourceRef) {
        if let Some(of) = self.resources.remove(resource) {
            self.unindex(resource, &of.patterns);
            // Nobody forgot them: they went with their resource.
            let _ = self.forget_unlearned();
        }
    }

    /// Names that an earlier process had learned for a resource, by its ConfigMap. They count as asked for now: how long ago that
    /// was, is not known.
    pub fn restore(&mut self, resource: &ResourceRef, names: &BTreeSet<DomainName>, now: Instant) {
        if names.is_empty() {
            return;
        }
        let of = self.resources.entry(resource.clone()).or_default();
        Arc::make_mut(&mut of.names).extend(names.iter().cloned());
        for name in names {
            let asked = || Asked { since: now, at: now, pods: Vec::new(), revision: 0 };
            self.asked.entry(name.clone()).or_insert_with(asked).revision = 0;
        }
        self.next.get_or_insert(now + FORGET_INTERVAL);
    }

    /// The resources that learn a name, each with how it observes it under one of its patterns.
    fn observers<'a>(&'a self, name: &'a DomainName) -> impl Iterator<Item = (&'a ResourceRef, &'a ObservedPattern)> {
        let patterns = above(name).filter_map(|zone| self.patterns.get(zone)).flatten();
        let matching = patterns.filter(|(pattern, _)| pattern.matches_labels(name));
        matching.flat_map(move |(pattern, resources)| {
            resources.iter().filter_map(move |resource| Some((resource, self.observed(resource, pattern, name)?)))
        })
    }

    /// How a resource observes a name under one of its patterns.
    fn observed(&self, resource: &ResourceRef, pattern: &NamePattern, name: &DomainName) -> Option<&ObservedPattern> {
        let patterns = &self.resources.get(resource)?.patterns;
        patterns.iter().find(|observed| observed.pattern == *pattern && observed.matches(name))
    }

    /// Whether a resource has learned a name.
    fn has(&self, resource: &ResourceRef, name: &DomainName) -> bool {
        self.resources.get(resource).is_some_and(|of| of.names.contains(name))
    }

    /// Whether some resource learns names like this one.
    #[must_use]
    pub fn is_observed(&self, name: &DomainName) -> bool {
        self.observers(name).next().is_some()
    }

    /// The resources that have learned a name and allow it.
    #[must_use]
    pub fn opening(&self, name: &DomainName) -> Vec<ResourceRef> {
        if !self.asked.contains_key(name) {
            return Vec::new();
        }
        let opening = self.observers(name).filter(|(resource, observed)| observed.opens && self.has(resource, name));
        opening.map(|(resource, _)| resource.clone()).collect()
    }

    /// The resources that would learn a name and allow it, and have not: no more names may be learned for now.
    #[must_use]
    pub fn lacking(&self, name: &DomainName, asked_by: Option<&Asker>) -> Vec<ResourceRef> {
        let opening = self.observers(name).filter(|(_, observed)| observed.opens).map(|(resource, _)| resource);
        let lacks = |resource: &&ResourceRef| !self.has(resource, name) && Asker::counts_for(asked_by, resource);
        opening.filter(lacks).cloned().collect()
    }

    /// Whether some resource observes a name and has not learned it.
    #[must_use]
    pub fn is_new(&self, name: &DomainName) -> bool {
        self.observers(name).any(|(resource, _)| !self.has(resource, name))
    }

    /// What is known of a learned name.
    #[must_use]
    pub fn known(&self, name: &DomainName, now: Instant) -> Option<LearnedSnapshot> {
        let asked = self.asked.get(name)?;
        Some(LearnedSnapshot {
            since: now.saturating_duration_since(asked.since),
            asked: now.saturating_duration_since(asked.at),
            pods: asked.pods.clone(),
        })
    }

    /// A pod asked for a name, whatever the answer.
    pub fn asked_for(&mut self, name: &DomainName, now: Instant) {
        self.heard = Some(now);
        if let Some(asked) = self.asked.get_mut(name) {
            asked.at = now;
        }
    }

    /// A pod asked for a name that has addresses. Returns the resources that learn it now: of those that select the pod, where it is
    /// known.
    pub fn ask(&mut self, name: &DomainName, asked_by: Option<&Asker>, now: Instant) -> Vec<ResourceRef> {
        if let Some(asked) = self.asked.get_mut(name) {
            asked.at = now;
            asked.note(asked_by);
            if asked.revision == self.revision {
                return Vec::new();
            }
        }
        let observers = self.observers(name).filter(|(resource, _)| Asker::counts_for(asked_by, resource));
        let observers: Vec<_> = observers.map(|(resource, observed)| (resource.clone(), observed.clone())).collect();
        let lacks = |(resource, _): &(ResourceRef, ObservedPattern)| !self.has(resource, name);
        // Only what is new to somebody costs a write.
        if observers.is_empty() || (observers.iter().any(lacks) && !self.allowance.take(now)) {
            return Vec::new();
        }
        let new = || Asked { since: now, at: now, pods: Vec::new(), revision: 0 };
        let asked = self.asked.entry(name.clone()).or_insert_with(new);
        asked.note(asked_by);
        if asked_by.is_none() {
            asked.revision = self.revision;
        }
        self.next.get_or_insert(now + FORGET_INTERVAL);
        let (mut learning, mut makes_room) = (Vec::new(), false);
        for (resource, observed) in observers {
            let Some(of) = self.resources.get_mut(&resource).filter(|of| !of.names.contains(name)) else { continue };
            let mut names = BTreeSet::clone(&of.names);
            // The ones that nobody has asked for the longest make room: of a restored ConfigMap more than one.
            let mut alike: Vec<&DomainName> = of.names.iter().filter(|known| observed.matches(known)).collect();
            let surplus = (alike.len() + 1).saturating_sub(MOST_LEARNED);
            if surplus > 0 {
                alike.sort_by_cached_key(|known| self.asked.get(*known).map(|asked| asked.at));
            }
            for oldest in alike.into_iter().take(surplus) {
                names.remove(oldest);
                makes_room = true;
                // Another resource may still have it, and this one learns it again once somebody asks.
                self.asked.entry(oldest.clone()).and_modify(|asked| asked.revision = 0);
            }
            names.insert(name.clone());
            of.names = Arc::new(names);
            learning.push(resource);
        }
        if makes_room {
            let forgotten = self.forget_unlearned();
            *self.forgotten.entry(ForgottenCause::MadeRoom).or_default() += forgotten;
        }
        learning
    }

    /// When [`Self::forget_due`] has something to do.
    #[must_use]
    pub const fn next_moment(&self) -> Option<Instant> {
        self.next
    }

    /// Forgets names that nobody has asked for, for a whole retention, where their zones are forwarded: where they are not, nobody can
    /// ask. Returns the resources that lose one.
    pub fn forget_due(&mut self, is_forwarded: &dyn Fn(&DomainName) -> bool, now: Instant) -> Vec<ResourceRef> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        // While nobody asks for anything, the cluster's DNS asks elsewhere: that is no word on any name.
        let (retention, heard) = (self.retention, self.heard);
        let is_old = |asked: &Asked| heard.is_some_and(|heard| heard.saturating_duration_since(asked.at) >= retention);
        let old = self.asked.iter().filter(|(name, asked)| is_old(asked) && is_forwarded(name));
        let old: BTreeSet<DomainName> = old.map(|(name, _)| name.clone()).collect();
        let mut losing = Vec::new();
        for (resource, of) in self.resources.iter_mut().filter(|(_, of)| !of.names.is_disjoint(&old)) {
            Arc::make_mut(&mut of.names).retain(|name| !old.contains(name));
            losing.push(resource.clone());
        }
        let forgotten = self.forget_unlearned();
        *self.forgotten.entry(ForgottenCause::Unasked).or_default() += forgotten;
        self.next = (!self.asked.is_empty()).then_some(now + FORGET_INTERVAL);
        losing
    }

    /// How many names were forgotten since the last call, by cause.
    pub fn take_forgotten(&mut self) -> BTreeMap<ForgottenCause, usize> {
        std::mem::take(&mut self.forgotten)
    }

    /// Names that no resource has any more leave no trace; returns how many these are.
    fn forget_unlearned(&mut self) -> usize {
        let (resources, before) = (&self.resources, self.asked.len());
        let learned: BTreeSet<&DomainName> = resources.values().flat_map(|of| of.names.iter()).collect();
        self.asked.retain(|name, _| learned.contains(name));
        before - self.asked.len()
    }
}

#[cfg(test)]
mod tests;
