//! What the controller keeps of a resource between its reconciles. Everything in it can be lost: the cluster remembers.

use super::contention::Contention;
use crate::cluster::digest::Digest;
use crate::cluster::key::ObjectKey;
use crate::crd::CitrixAllowlistStatus;
use crate::feed::{Allowlist, FeedView};
use crate::names::{AnsweredTime, Memory};
use crate::net::Direction;
use crate::plan::Inherited;
use crate::plan::keep::SelectionDigest;
use crate::subscriber::Subscriber;
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is kept of one resource.
#[derive(Debug, Default)]
pub struct State {
    /// The uid it had: a resource made anew under the name starts over.
    pub uid: Arc<str>,
    /// The generation that it has now, and when this process looked at it first.
    pub looked_at: Option<(i64, Instant)>,
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
    pub left: BTreeMap<ObjectKey, Left>,
    /// What its spec selected when this process first found that a direction has nothing to allow, for policies that do
    /// not say what was selected when they were written: those of 0.1.0.
    pub first_selected: BTreeMap<Direction, SelectionDigest>,
    /// The directions whose last policies were kept when it was last applied; and whether what they remember has been taken
    /// over since the list had something for them again.
    pub kept: BTreeMap<Direction, bool>,
    /// Foreign edits of its objects.
    pub contention: Contention,
    /// Set where policies were written and ConfigMaps and status wait for the policies of others.
    pub told_later: Option<ToldLater>,
    /// The status last written: the version it was decided on, the version it got, and what it says.
    pub written: Option<Written>,
}

/// What an object was when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it says.
    pub digest: Digest,
    /// When the API server took it, to the second; `None` where that is not known.
    pub at: Option<Timestamp>,
    /// Which fields of it the operator held then; `None` where that is not known.
    pub held: Option<Digest>,
}

/// What is to be told of policies that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldLater {
    /// What rules that were in place already gained and lost, for an event.
    pub told: Option<String>,
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
        count: impl Fn(&Arc<Allowlist>) -> usize,
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
