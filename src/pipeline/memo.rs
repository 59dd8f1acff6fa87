//! Results that resources share. A thousand resources of one customer usually select the same of the same list, and differ
//! only in their names and pods. The last few results of each stage are cached with their inputs; equal inputs get the cached
//! result. Only equality counts, never a hash.

use super::prepared::Prepared;
use super::request::Choices;
use crate::engines::{Engines, Layout, Limits};
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::lock::lock;
use crate::names::{Addresses, InUse};
use crate::plan::{self, Coverage, Inherited, KnownZones, Plan, Selection};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::DomainName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

/// How many results of a stage are cached: enough for a few kinds of resource that change at the same moment, and few, since
/// they stay in memory.
const MOST: usize = 8;
/// How many names and networks the cached results of a stage have in all, at most; the newest is cached in any case. So a few large
/// results do not take as much memory as everything else.
const MOST_WEIGHT: usize = 8192;

/// A result with its inputs.
#[derive(Debug)]
struct Known<K, V> {
    key: K,
    result: Arc<V>,
    /// About how many names and networks it has.
    weight: usize,
}

/// The last few results of one stage, the newest first.
#[derive(Debug)]
struct Recent<K, V>(Mutex<VecDeque<Known<K, V>>>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Recent<K, V> {
    /// The newest result whose key `matches`.
    fn newest(&self, matches: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        lock(&self.0).iter().find(|known| matches(&known.key)).map(|known| Arc::clone(&known.result))
    }

    /// Returns the cached result whose key `matches`, or makes and caches one, and evicts those that `keep` rejects. The
    /// result is made outside the lock, so that no other thread waits.
    fn get_or_make(
        &self,
        matches: impl Fn(&K) -> bool,
        keep: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        weight: impl FnOnce(&V) -> usize,
        make: impl FnOnce() -> V,
    ) -> Arc<V> {
        let mut cached = lock(&self.0);
        if let Some(found) = cached.iter().position(|known| matches(&known.key)).and_then(|index| cached.remove(index))
        {
            let result = Arc::clone(&found.result);
            cached.push_front(found);
            return result;
        }
        drop(cached);
        let made = Arc::new(make());
        let mut weight = weight(&made);
        let newest = Known { key: key(), result: Arc::clone(&made), weight };
        let mut cached = lock(&self.0);
        cached.retain(|known| keep(&known.key));
        let fits = |known: &&Known<K, V>| {
            weight += known.weight;
            weight <= MOST_WEIGHT
        };
        let fitting = cached.iter().take(MOST - 1).take_while(fits).count();
        cached.truncate(fitting);
        cached.push_front(newest);
        made
    }
}

/// The inputs of a selection.
type SelectionKey = (Choices, Arc<Allowlist>, Arc<Guard>, Arc<BTreeSet<DomainName>>);
/// The inputs of a plan; the selection implies spec, list and guard.
type PlanKey = (Arc<Selection>, Arc<Addresses>, Arc<ClusterFacts>);
/// The inputs of contents.
type ContentKey = (Arc<Plan>, LabelSelector, Vec<Layout>);

/// The last few results of the stages between a list and its objects.
#[derive(Debug, Default)]
pub struct Memo {
    selections: Recent<SelectionKey, Selection>,
    coverages: Recent<(Arc<Selection>, KnownZones), Coverage>,
    plans: Recent<PlanKey, Plan>,
    contents: Recent<ContentKey, Prepared>,
    in_use: Recent<Arc<Plan>, InUse>,
}

impl Memo {
    /// What a resource selects of a list, with the names that it has learned.
    pub fn selection(
        &self,
        choices: &Choices,
        list: &Arc<Allowlist>,
        guard: &Arc<Guard>,
        learned: &Arc<BTreeSet<DomainName>>,
    ) -> Arc<Selection> {
        self.selections.get_or_make(
            |known| {
                Arc::ptr_eq(&known.1, list)
                    && Arc::ptr_eq(&known.2, guard)
                    && known.3 == *learned
                    && known.0 == *choices
            },
            // A replaced guard is never used again.
            |known| Arc::ptr_eq(&known.2, guard),
            || (choices.clone(), Arc::clone(list), Arc::clone(guard), Arc::clone(learned)),
            |selection| selection.endpoints.len(),
            || plan::select(choices.spec(), list, guard, learned),
        )
    }

    /// By what the wildcards of a selection are covered.
    pub fn coverage(&self, selection: &Arc<Selection>, known: &KnownZones) -> Arc<Coverage> {
        self.coverages.get_or_make(
            |(of, zones)| Arc::ptr_eq(of, selection) && zones == known,
            |(of, _)| Arc::strong_count(of) > 1,
            || (Arc::clone(selection), known.clone()),
            |coverage| coverage.wildcards.len(),
            || Coverage::of(selection, known),
        )
    }

    /// The plan of a selection with DNS' answers, where it depends on nothing else.
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
                // After a restart, addresses recovered by several resources are usually equal, but separate values.
                Arc::ptr_eq(of, selection)
                    && Arc::ptr_eq(about, facts)
                    && (Arc::ptr_eq(known, addresses) || known == addresses)
            },
            // A selection that only this key refers to cannot be found again.
            |(of, _, about)| Arc::ptr_eq(about, facts) && Arc::strong_count(of) > 1,
            || (Arc::clone(selection), Arc::clone(addresses), Arc::clone(facts)),
            |plan| plan.names + plan.addresses,
            || {
                let (spec, inherited) = (choices.spec(), &Inherited::default());
                let declared_ports = None;
                plan::decide(&plan::PlanInputs { spec, selection, addresses, facts, guard, inherited, declared_ports })
            },
        )
    }

    /// The addresses that a plan allows for each name.
    pub fn in_use(&self, plan: &Arc<Plan>) -> Arc<InUse> {
        self.in_use.get_or_make(
            |of| Arc::ptr_eq(of, plan),
            |of| Arc::strong_count(of) > 1,
            || Arc::clone(plan),
            InUse::len,
            || plan.in_use(),
        )
    }

    /// The contents of a plan's objects.
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
            |_| plan.names + plan.addresses,
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

    impl Recent<usize, usize> {
        fn keys(&self) -> Vec<usize> {
            lock(&self.0).iter().map(|known| known.key).collect()
        }
    }

    fn spec(fields: serde_json::Value) -> Choices {
        Choices::of(&serde_json::from_value(fields).expect("a spec"))
    }

    #[test]
    fn equal_inputs_share_a_result_and_others_do_not() {
        let memo = Memo::default();
        let facts = Arc::new(ClusterFacts::default());
        let guard = Arc::new(Guard::new(GuardSettings::default(), &facts));
        let (list, none) = (Arc::new(Allowlist::default()), Arc::default());
        let one = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "a" } } }));
        let other = spec(json!({ "customerId": "acme", "podSelector": { "matchLabels": { "app": "b" } } }));
        let selection = memo.selection(&one, &list, &guard, &none);
        assert!(Arc::ptr_eq(&selection, &memo.selection(&other, &list, &guard, &none)), "pods are no part of it");
        let inbound = spec(json!({ "customerId": "acme", "direction": "inbound" }));
        assert!(!Arc::ptr_eq(&selection, &memo.selection(&inbound, &list, &guard, &none)));
        assert!(!Arc::ptr_eq(&selection, &memo.selection(&one, &Arc::new(Allowlist::default()), &guard, &none)));

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
        let get = |wanted: usize| *recent.get_or_make(|key| *key == wanted, |_| true, || wanted, |_| 1, || wanted * 10);
        for wanted in 0..2 * MOST {
            assert_eq!((get(wanted), get(wanted)), (wanted * 10, wanted * 10));
        }
        assert_eq!(recent.keys(), (MOST..2 * MOST).rev().collect::<Vec<_>>());
    }

    #[test]
    fn large_ones_do_not_take_the_memory_of_all_others() {
        let recent: Recent<usize, usize> = Recent::default();
        let get = |weight: usize| drop(recent.get_or_make(|key| *key == weight, |_| true, || weight, |_| weight, || 0));
        let quarter = MOST_WEIGHT / 4;
        (0..4).rev().for_each(|less| get(quarter - less));
        assert_eq!(recent.keys(), [quarter, quarter - 1, quarter - 2, quarter - 3], "together they have room");
        get(90);
        assert_eq!(recent.keys(), [90, quarter, quarter - 1, quarter - 2], "the oldest has none any more");
        get(3 * MOST_WEIGHT);
        assert_eq!(recent.keys(), [3 * MOST_WEIGHT], "the newest is cached in any case");
        get(1);
        assert_eq!(recent.keys(), [1]);
    }
}
