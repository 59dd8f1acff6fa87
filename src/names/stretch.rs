//! How much less often names are queried when they need more queries than a server gets. Pure.
//!
//! The queries of a second are shared like water: a namespace that needs no more than its share gets all it needs, and its rest
//! goes to the others. Every name of a namespace that needs more is queried less often, by one factor.

use std::collections::BTreeMap;
use std::sync::Arc;

/// From this factor on, names count as late.
const LATE: f64 = 1.5;
/// Below this factor they no longer do.
const IN_TIME: f64 = 1.2;

/// By what factor the names of each namespace are queried less often, if they are. `wanted` and `bound` are queries a second.
#[must_use]
pub fn factors(wanted: &BTreeMap<Arc<str>, f64>, bound: f64) -> BTreeMap<Arc<str>, f64> {
    let mut ascending: Vec<(&Arc<str>, f64)> = wanted.iter().map(|(namespace, wants)| (namespace, *wants)).collect();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut left = bound;
    let mut others = ascending.len();
    let mut factors = BTreeMap::new();
    for (namespace, wants) in ascending {
        let share = left / others as f64;
        if wants > share && share > 0.0 {
            factors.insert(Arc::clone(namespace), wants / share);
        }
        left -= wants.min(share);
        others -= 1;
    }
    factors
}

/// Whether this factor makes names late, given whether they were `before`.
#[must_use]
pub fn is_late(factor: f64, before: bool) -> bool {
    factor >= if before { IN_TIME } else { LATE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(wants: &[f64]) -> BTreeMap<Arc<str>, f64> {
        wants.iter().enumerate().map(|(number, wants)| (format!("n{number}").into(), *wants)).collect()
    }

    #[test]
    fn small_users_get_all_and_the_rest_share_what_is_left() {
        assert_eq!(factors(&wanted(&[100.0, 899.0]), 1000.0), BTreeMap::new());
        assert_eq!(factors(&wanted(&[100.0, 1800.0]), 1000.0), BTreeMap::from([("n1".into(), 2.0)]));
        let both = BTreeMap::from([("n1".into(), 2.0), ("n2".into(), 4.0)]);
        assert_eq!(factors(&wanted(&[200.0, 800.0, 1600.0]), 1000.0), both);
        assert!(is_late(1.5, false) && !is_late(1.4, false) && is_late(1.3, true) && !is_late(1.1, true));
    }

    proptest! {
        #[test]
        fn the_bound_is_kept_and_used_and_no_share_is_stretched(
            wants in prop::collection::vec(0.1f64..5000.0, 1..12),
            bound in 1.0f64..4000.0,
        ) {
            let wanted = wanted(&wants);
            let factors = factors(&wanted, bound);
            let queries = |namespace: &Arc<str>, wants: f64| wants / factors.get(namespace).copied().unwrap_or(1.0);
            let sum: f64 = wanted.iter().map(|(namespace, wants)| queries(namespace, *wants)).sum();
            prop_assert!(sum <= bound * 1.000_001);
            prop_assert!(factors.is_empty() || sum >= bound * 0.999_999, "nothing is left over: {sum} of {bound}");
            for (namespace, wants) in &wanted {
                prop_assert!(*wants > bound / wanted.len() as f64 || !factors.contains_key(namespace));
                prop_assert!(factors.get(namespace).is_none_or(|factor| *factor >= 1.0));
            }
        }
    }
}
