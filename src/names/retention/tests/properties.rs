//! What holds of any answers in any order.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One step of a name's life: a round of these A records and TTL, of none, a failure (`Err`), or a sweep.
type Step = Option<Result<Option<(Vec<u8>, u64)>, ()>>;

fn step() -> impl Strategy<Value = (u64, Step)> {
    // 200 and 201 are lies.
    let last = prop_oneof![5 => 0u8..10, 1 => 200u8..202];
    let records = (prop::collection::vec(last, 1..4), prop::sample::select(vec![0u64, 30, 2000]));
    let step = prop_oneof![
        3 => records.prop_map(|records| Some(Ok(Some(records)))),
        2 => Just(Some(Ok(None))),
        2 => Just(Some(Err(()))),
        2 => Just(None),
    ];
    (0u64..500, step)
}

impl Name {
    fn take(&mut self, second: u64, step: &Step) {
        match step {
            Some(Ok(Some((lasts, ttl)))) => drop(self.round(second, Ok(has(lasts, *ttl)))),
            Some(Ok(None)) => drop(self.round(second, Ok(NXDOMAIN))),
            Some(Err(())) => drop(self.round(second, Err(Failure::Timeout))),
            None => drop(self.sweep(second)),
        }
    }
}

proptest! {
    #[test]
    fn an_address_is_cached_for_its_retention(steps in prop::collection::vec(step(), 1..60)) {
        let mut name = Name::new();
        let mut seen: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let mut second = 0;
        for (pause, step) in steps {
            second += pause;
            name.take(second, &step);
            if let Some(Ok(Some((lasts, ttl)))) = &step {
                seen.extend(lasts.iter().filter(|last| **last < 10).map(|last| (*last, (second, *ttl))));
            }
            let cached = name.cached.view().addresses;
            for (last, (at, ttl)) in &seen {
                if second < at + RETENTION.as_secs().max(*ttl) {
                    prop_assert!(cached.contains(&ip(*last)), "{last} answered at {at} is gone at {second}");
                }
            }
            prop_assert!(cached.iter().all(|address| judge(*address).is_none()), "a refused address is cached");
            prop_assert!(cached.is_sorted());
        }
    }

    /// The same life with additional failures never keeps less.
    #[test]
    fn a_failure_never_shortens_anything(
        steps in prop::collection::vec(step(), 1..40),
        failures in prop::collection::btree_set(0usize..40, 1..10),
    ) {
        let (mut calm, mut troubled) = (Name::new(), Name::new());
        let mut second = 0;
        for (index, (pause, step)) in steps.iter().enumerate() {
            second += pause;
            if failures.contains(&index) {
                troubled.take(second, &Some(Err(())));
            }
            calm.take(second, step);
            troubled.take(second, step);
            let more = troubled.cached.view().addresses;
            for address in calm.cached.view().addresses {
                prop_assert!(more.contains(&address), "{address} at {second}");
            }
        }
    }

    /// A round that only fails changes no address at all.
    #[test]
    fn a_failing_round_changes_no_address(steps in prop::collection::vec(step(), 1..40), servers in 1u8..4) {
        let mut name = Name::new();
        let mut second = 0;
        for (pause, step) in steps {
            second += pause;
            name.take(second, &step);
            let before = name.cached.view().addresses;
            name.cached.begin(&Family::ALL);
            for from in 0..servers {
                name.say(Family::V4, from, Err(Failure::Code("SERVFAIL".into())));
                name.say(Family::V6, from, Err(Failure::Timeout));
            }
            name.cached.finish(&BOUNDS, 0.0, name.now);
            prop_assert_eq!(name.cached.view().addresses, before);
        }
    }
}
