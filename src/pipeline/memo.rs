//! Results that resources share. A thousand resources of one customer mostly ask the same of the same list, and differ only
//! in their names and their pods. The last few results of each stage are cached with what they were made from; equal inputs
//! get the cached result. Nothing is looked up by anything weaker than equality.

use super::prepared::Prepared;
use super::request::Choices;
use crate::engines::{Engines, Layout, Limits};
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::names::Addresses;
use crate::plan::{self, Inherited, Plan, Selection};
use connectivity_allowlist::Allowlist;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many results of a stage are cached. Enough for a few kinds of resource that change at the same moment; few, since
/// they stay in memory while nothing happens.
const MOST: usize = 8;

/// Results with what they were made from, the newest first.
type Cached<K, V> = VecDeque<(K, Arc<V>)>;

/// The last few results of one stage.
#[derive(Debug)]
struct Recent<K, V>(Mutex<Cached<K, V>>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Recent<K, V> {
    fn lock(&self) -> MutexGuard<'_, Cached<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest result whose key `matches`.
    fn newest(&self, matches: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        self.lock().iter().find(|(key, _)| matches(key)).map(|(_, result)| Arc::clone(result))
    }

    /// Returns the cached result whose key `matches`, or makes and caches one, and evicts those that `keep` rejects. Made
    /// outside the lock, so that nobody waits for it.
    fn get_or_make(
        &self,
        matches: impl Fn(&K) -> bool,
        keep: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        make: impl FnOnce() -> V,
    ) -> Arc<V> {
        {
            let mut cached = self.lock();
            if let Some(found) = cached.iter().position(|(key, _)| matches(key)).and_then(|index| cached.remove(index))
            {
                let result = Arc::clone(&found.1);
                cached.push_front(found);
                return result;
            }
        }
        let made = Arc::new(make());
        let mut cached = self.lock();
        cached.retain(|(key, _)| keep(key));
        cached.truncate(MOST - 1);
        cached.push_front((key(), Arc::clone(&made)));
        made
    }
}

/// What a selection is made from.
type SelectionKey = (Choices, Arc<Allowlist>, Arc<Guard>);
/// What a plan is made from; the selection stands for spec, list and guard.
type PlanKey = (Arc<Selection>, Arc<Addresses>, Arc<ClusterFacts>);
/// What contents are made from.
type ContentKey = (Arc<Plan>, LabelSelector, Vec<Layout>);

/// The last few results of the stages between a list and its objects.
#[derive(Debug, Default)]
pub struct Memo {
    selections: Recent<SelectionKey, Selection>,
    plans: Recent<PlanKey, Plan>,
    contents: Recent<ContentKey, Prepared>,
}

impl Memo {
    /// What is wanted of a list.
    pub fn selection(&self, choices: &Choices, list: &Arc<Allowlist>, guard: &Arc<Guard>) -> Arc<Selection> {
        self.selections.get_or_make(
            |held| Arc::ptr_eq(&held.1, list) && Arc::ptr_eq(&held.2, guard) && held.0 == *choices,
            // A guard that was replaced judges nothing any more.
            |held| Arc::ptr_eq(&held.2, guard),
            || (choices.clone(), Arc::clone(list), Arc::clone(guard)),
            || plan::select(choices.spec(), list, guard),
        )
    }

    /// What a selection means once DNS has answered, where nothing but that decides it.
    pub fn plan(
        &self,
        choices: &Choices,
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
                plan::decide(&plan::PlanInputs {
                    spec: choices.spec(),
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
        engines: &Engines,
        pod_selector: &LabelSelector,
        plan: &Arc<Plan>,
        limits: &Limits,
        layouts: Vec<Layout>,
    ) -> Arc<Prepared> {
        self.contents.get_or_make(
            |(of, selector, spread)| Arc::ptr_eq(of, plan) && *spread == layouts && selector == pod_selector,
            |(of, ..)| Arc::strong_count(of) > 1,
            || (Arc::clone(plan), pod_selector.clone(), layouts.clone()),
            || {
                let before = self.contents.newest(|(_, selector, _)| selector == pod_selector);
                Prepared::of(engines, pod_selector, plan, limits, &layouts, before.as_deref())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::GuardSettings;
    use serde_json::json;

    fn spec(fields: serde_json::Value) -> Choices {
        Choices::of(&serde_json::from_value(fields).expect("a spec"))
    }

    #[test]
    fn equal_inputs_share_a_result_and_others_do_not() {
        let memo = Memo::default();
        let facts = Arc::new(ClusterFacts::default());
        let guard = Arc::new(Guard::new(GuardSettings::default(), &facts));
        let list = Arc::new(Allowlist::default());
        let one = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "a" } } }));
        let other = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "b" } } }));
        let selection = memo.selection(&one, &list, &guard);
        assert!(Arc::ptr_eq(&selection, &memo.selection(&other, &list, &guard)), "pods are no part of it");
        let inbound = spec(json!({ "customerId": "acme", "direction": "inbound" }));
        assert!(!Arc::ptr_eq(&selection, &memo.selection(&inbound, &list, &guard)));
        assert!(!Arc::ptr_eq(&selection, &memo.selection(&one, &Arc::new(Allowlist::default()), &guard)));

        let (known, equal) = (Arc::new(Addresses::default()), Arc::new(Addresses::default()));
        let plan = memo.plan(&one, &selection, &known, &facts, &guard);
        assert!(Arc::ptr_eq(&plan, &memo.plan(&other, &selection, &equal, &facts, &guard)));
        let newer = Arc::new(ClusterFacts { nat64_prefix: "64:ff9b::/96".parse().ok(), ..ClusterFacts::default() });
        assert!(!Arc::ptr_eq(&plan, &memo.plan(&one, &selection, &known, &newer, &guard)));

        let limits = Limits::default();
        let content = |app: &str| {
            let labels = [("app".to_owned(), app.to_owned())].into();
            let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
            memo.prepared(&Engines::default(), &selector, &plan, &limits, vec![Layout::default()])
        };
        assert!(Arc::ptr_eq(&content("a"), &content("a")));
        assert!(!Arc::ptr_eq(&content("a"), &content("b")), "policies hold the selector");
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
