//! What the controller keeps of a resource between its reconciles. Everything in it can be lost: the cluster remembers.

use super::contention::Contention;
use crate::cluster::digest::Digest;
use crate::cluster::owned::ObjectKey;
use crate::crd::CitrixAllowlistStatus;
use crate::feed::{Allowlist, FeedView};
use crate::names::{AnsweredTime, Memory};
use crate::net::Direction;
use crate::plan::Inherited;
use crate::subscriber::Subscriber;
use ipnet::IpNet;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// What is kept of one resource.
#[derive(Debug, Default)]
pub struct State {
    /// The uid it had: a resource made anew under the name starts over.
    pub uid: Arc<str>,
    /// Since when its first policy has waited for names.
    pub waiting_since: Option<Instant>,
    /// Whether this process has come past the wait for its names.
    pub passed: bool,
    /// Whether its status has been brought up to date, or found to be.
    pub reported: bool,
    /// Failures in a row.
    pub failures: u32,
    /// What its objects attributed to its names before this process led.
    pub memory: Memory,
    /// What its objects allowed before this process led and no name explains, and for how long DNS has answered since.
    pub inherited: Option<(Inherited, AnsweredTime)>,
    /// Whether its objects' memory has been taken over.
    pub remembered: bool,
    /// The list that its rules follow, and for which generation.
    pub believed: Option<(i64, Arc<Allowlist>)>,
    /// What was allowed when it was last applied, to tell what changed.
    pub allowed: Option<Arc<[(Direction, IpNet)]>>,
    /// What its objects were when they were last written. One that is to be written the same again was undone.
    pub left: BTreeMap<ObjectKey, Digest>,
    /// Foreign edits of its objects.
    pub contention: Contention,
    /// The status last written: the version it was decided on, the version it got, and what it says.
    pub written: Option<Written>,
}

/// A status that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The resourceVersion of the resource that it was decided on.
    pub seen: Option<String>,
    /// The resourceVersion that the resource got by it.
    pub got: Option<String>,
    /// What it says.
    pub status: Arc<CitrixAllowlistStatus>,
}

impl State {
    /// Which list the rules follow now. A new list that leaves less than half of what the held one gives to an unchanged
    /// spec waits for a second fetch to confirm it; `count` counts what a list gives. Says whether one is held back.
    pub fn believe(
        &mut self,
        generation: i64,
        view: &FeedView,
        newest: &Arc<Allowlist>,
        count: impl Fn(&Allowlist) -> usize,
    ) -> (Arc<Allowlist>, Option<Shrunk>) {
        let held = match &self.believed {
            Some((of, held)) if *of == generation => Some(held),
            // A spec that changed is the user's word: it is read against the newest list at once.
            Some(_) => None,
            None => view.previous.as_ref(),
        };
        if let Some(held) = held.filter(|held| !Arc::ptr_eq(held, newest) && view.confirmations < 2) {
            let (before, after) = (count(held), count(newest));
            if after * 2 < before {
                let held = Arc::clone(held);
                self.believed = Some((generation, Arc::clone(&held)));
                return (held, Some(Shrunk { before, after }));
            }
        }
        self.believed = Some((generation, Arc::clone(newest)));
        (Arc::clone(newest), None)
    }
}

/// By how much a list would shrink a resource's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Endpoints by the list that is followed.
    pub before: usize,
    /// Endpoints by the one that is held back.
    pub after: usize,
}

/// What is allowed, by direction, sorted.
type AllowedSet = [(Direction, IpNet)];

/// What resources allow, each distinct set held once: a thousand resources of one customer mostly allow the same.
#[derive(Debug, Default)]
pub struct Allowed {
    sets: Mutex<HashMap<u64, Weak<AllowedSet>>>,
    hasher: RandomState,
}

impl Allowed {
    /// The one that is held already where it is equal, else this one.
    pub fn share(&self, set: Vec<(Direction, IpNet)>) -> Arc<[(Direction, IpNet)]> {
        let key = self.hasher.hash_one(&set);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = sets.get(&key).and_then(Weak::upgrade).filter(|held| **held == *set) {
            return held;
        }
        if sets.len() >= 2 * sets.values().filter(|set| set.strong_count() > 0).count().max(8) {
            sets.retain(|_, set| set.strong_count() > 0);
        }
        let shared: Arc<[(Direction, IpNet)]> = set.into();
        sets.insert(key, Arc::downgrade(&shared));
        shared
    }
}

/// The states of all resources.
#[derive(Debug, Default)]
pub struct States {
    by_resource: Mutex<HashMap<Subscriber, Arc<tokio::sync::Mutex<State>>>>,
}

impl States {
    fn lock(&self) -> MutexGuard<'_, HashMap<Subscriber, Arc<tokio::sync::Mutex<State>>>> {
        self.by_resource.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a resource.
    #[must_use]
    pub fn of(&self, who: &Subscriber) -> Arc<tokio::sync::Mutex<State>> {
        Arc::clone(self.lock().entry(who.clone()).or_default())
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, who: &Subscriber) {
        self.lock().remove(who);
    }

    /// Forgets all: another process has led since.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_held_once_and_forgotten_with_their_last_holder() {
        let set = |text: &str| vec![(Direction::Outbound, text.parse::<IpNet>().expect("a CIDR"))];
        let allowed = Allowed::default();
        let first = allowed.share(set("20.0.0.1/32"));
        assert!(Arc::ptr_eq(&first, &allowed.share(set("20.0.0.1/32"))));
        assert!(!Arc::ptr_eq(&first, &allowed.share(set("20.0.0.2/32"))));
        for index in 0..200u8 {
            drop(allowed.share(set(&format!("20.0.1.{index}/32"))));
        }
        assert!(allowed.sets.lock().expect("a lock").len() <= 20, "what nobody holds is forgotten");
        assert!(Arc::ptr_eq(&first, &allowed.share(set("20.0.0.1/32"))));
    }
}
