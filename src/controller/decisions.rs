//! What resources share: a thousand resources of one customer mostly ask the same of the same list, and differ in their
//! names and their pods alone. Each station's last few results are kept with what they were made from; whoever comes
//! with the same takes the result, and nothing is looked up by anything weaker than equality.

use crate::crd::CitrixAllowlistSpec;
use crate::facts::ClusterFacts;
use crate::feed::Allowlist;
use crate::guard::Guard;
use crate::names::Addresses;
use crate::objects::prepared::Prepared;
use crate::plan::{self, Inherited, Plan, Selection};
use crate::render::{self, Limits, PreviousLayout};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many results of a station are kept. Enough for a few kinds of resource that change at the same moment; few, since
/// what is kept here is kept in memory while nothing happens.
const MOST: usize = 8;

/// Results with what they were made from, the newest first.
type Held<K, V> = VecDeque<(K, Arc<V>)>;

/// The last few results of one station.
#[derive(Debug)]
struct Recent<K, V>(Mutex<Held<K, V>>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Recent<K, V> {
    fn lock(&self) -> MutexGuard<'_, Held<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest result made from something that is `like` what is asked for.
    fn newest(&self, like: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        self.lock().iter().find(|(key, _)| like(key)).map(|(_, result)| Arc::clone(result))
    }

    /// The result made from the `same`, else the one that `make` makes now, which is kept under `key`, and with it
    /// those only that may be of `use` still. Made outside the lock: others need not wait for it.
    fn get_or_make(
        &self,
        same: impl Fn(&K) -> bool,
        of_use: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        make: impl FnOnce() -> V,
    ) -> Arc<V> {
        {
            let mut held = self.lock();
            if let Some(found) = held.iter().position(|(key, _)| same(key)).and_then(|index| held.remove(index)) {
                let result = Arc::clone(&found.1);
                held.push_front(found);
                return result;
            }
        }
        let made = Arc::new(make());
        let mut held = self.lock();
        held.retain(|(key, _)| of_use(key));
        held.truncate(MOST - 1);
        held.push_front((key(), Arc::clone(&made)));
        made
    }
}

/// What a selection is made from, its spec reduced to its essence.
type SelectionKey = (CitrixAllowlistSpec, Arc<Allowlist>, Arc<Guard>);
/// What a plan is made from; the selection stands for spec, list and guard.
type PlanKey = (Arc<Selection>, Arc<Addresses>, Arc<ClusterFacts>);
/// What contents are made from.
type ContentKey = (Arc<Plan>, LabelSelector, PreviousLayout);

/// What the stations between a list and its objects made last.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    selections: Recent<SelectionKey, Selection>,
    plans: Recent<PlanKey, Plan>,
    contents: Recent<ContentKey, Prepared>,
}

/// A spec without what neither selections nor plans depend on.
fn essence(spec: &CitrixAllowlistSpec) -> CitrixAllowlistSpec {
    CitrixAllowlistSpec {
        pod_selector: LabelSelector::default(),
        refresh: crate::crd::Refresh::default(),
        mode: crate::crd::Mode::default(),
        suspend: false,
        ..spec.clone()
    }
}

impl Decisions {
    /// What a spec wants of a list.
    pub fn selection(&self, spec: &CitrixAllowlistSpec, list: &Arc<Allowlist>, guard: &Arc<Guard>) -> Arc<Selection> {
        let spec = essence(spec);
        self.selections.get_or_make(
            |held| Arc::ptr_eq(&held.1, list) && Arc::ptr_eq(&held.2, guard) && held.0 == spec,
            // A guard that was replaced judges nothing any more.
            |held| Arc::ptr_eq(&held.2, guard),
            || (spec.clone(), Arc::clone(list), Arc::clone(guard)),
            || plan::select(&spec, list, guard),
        )
    }

    /// What a selection means once DNS has answered, where nothing but that decides it.
    pub fn plan(
        &self,
        spec: &CitrixAllowlistSpec,
        selection: &Arc<Selection>,
        addresses: &Arc<Addresses>,
        facts: &Arc<ClusterFacts>,
        guard: &Arc<Guard>,
    ) -> Arc<Plan> {
        self.plans.get_or_make(
            |(of, known, about)| {
                // What resources remember of a name after a restart is equal mostly, and not the same.
                Arc::ptr_eq(of, selection)
                    && Arc::ptr_eq(about, facts)
                    && (Arc::ptr_eq(known, addresses) || known == addresses)
            },
            // Facts change rarely, and a selection is of use while somebody can find it.
            |(of, _, about)| Arc::ptr_eq(about, facts) && Arc::strong_count(of) > 1,
            || (Arc::clone(selection), Arc::clone(addresses), Arc::clone(facts)),
            || {
                let inherited = Inherited::default();
                plan::decide(&plan::Inputs {
                    spec,
                    selection,
                    addresses,
                    facts,
                    guard,
                    inherited: &inherited,
                    declared_ports: None,
                })
            },
        )
    }

    /// What the objects of a plan say.
    pub fn prepared(
        &self,
        pod_selector: &LabelSelector,
        plan: &Arc<Plan>,
        limits: &Limits,
        previous: PreviousLayout,
    ) -> Arc<Prepared> {
        self.contents.get_or_make(
            |(of, selector, layout)| Arc::ptr_eq(of, plan) && *layout == previous && selector == pod_selector,
            |(of, ..)| Arc::strong_count(of) > 1,
            || (Arc::clone(plan), pod_selector.clone(), previous),
            || {
                let before = self.contents.newest(|(_, selector, _)| selector == pod_selector);
                Prepared::of(render::content(pod_selector, plan, limits, &previous), before.as_deref())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::GuardSettings;
    use serde_json::json;

    fn spec(fields: serde_json::Value) -> CitrixAllowlistSpec {
        serde_json::from_value(fields).expect("a spec")
    }

    #[test]
    fn equal_questions_share_an_answer_and_others_do_not() {
        let decisions = Decisions::default();
        let facts = Arc::new(ClusterFacts::default());
        let guard = Arc::new(Guard::new(GuardSettings::default(), &facts));
        let list = Arc::new(Allowlist::default());
        let one = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "a" } } }));
        let other = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "b" } } }));
        let selection = decisions.selection(&one, &list, &guard);
        assert!(Arc::ptr_eq(&selection, &decisions.selection(&other, &list, &guard)), "pods are no part of it");
        let inbound = spec(json!({ "customerId": "acme", "direction": "inbound" }));
        assert!(!Arc::ptr_eq(&selection, &decisions.selection(&inbound, &list, &guard)));
        assert!(!Arc::ptr_eq(&selection, &decisions.selection(&one, &Arc::new(Allowlist::default()), &guard)));

        let (known, equal) = (Arc::new(Addresses::default()), Arc::new(Addresses::default()));
        let plan = decisions.plan(&one, &selection, &known, &facts, &guard);
        assert!(Arc::ptr_eq(&plan, &decisions.plan(&other, &selection, &equal, &facts, &guard)));
        let newer = Arc::new(ClusterFacts { nat64_prefix: "64:ff9b::/96".parse().ok(), ..ClusterFacts::default() });
        assert!(!Arc::ptr_eq(&plan, &decisions.plan(&one, &selection, &known, &newer, &guard)));

        let limits = Limits::default();
        let content = |spec: &CitrixAllowlistSpec| {
            decisions.prepared(&spec.pod_selector, &plan, &limits, PreviousLayout::default())
        };
        assert!(Arc::ptr_eq(&content(&one), &content(&one)));
        assert!(!Arc::ptr_eq(&content(&one), &content(&other)), "policies hold the selector");
    }

    #[test]
    fn few_are_kept_and_the_newest_of_them() {
        let recent: Recent<usize, usize> = Recent::default();
        let get = |wanted: usize| *recent.get_or_make(|held| *held == wanted, |_| true, || wanted, || wanted * 10);
        for wanted in 0..2 * MOST {
            assert_eq!((get(wanted), get(wanted)), (wanted * 10, wanted * 10));
        }
        let held: Vec<usize> = recent.lock().iter().map(|(key, _)| *key).collect();
        assert_eq!(held, (MOST..2 * MOST).rev().collect::<Vec<_>>());
    }
}
