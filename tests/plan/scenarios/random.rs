//! Properties over random worlds.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A step of a world.
#[derive(Clone, Debug)]
enum Step {
    /// The list: which of the services, and whether the next fetch confirms it.
    Publish(u8, bool),
    /// A name's answer: which name, which addresses.
    Answer(bool, u8),
    /// DNS fails for a name; what is known of it stays.
    Fail(bool),
    /// Another process takes over.
    Restart,
    /// Time passes, in minutes.
    Pass(u16),
    /// The list is lost.
    NoList,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_u8..8, any::<bool>()).prop_map(|(services, confirmed)| Step::Publish(services, confirmed)),
        3 => (any::<bool>(), 0_u8..8).prop_map(|(name, addresses)| Step::Answer(name, addresses)),
        2 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Restart),
        2 => (0_u16..180).prop_map(Step::Pass),
        1 => Just(Step::NoList),
    ]
}

fn services(which: u8) -> Vec<Value> {
    let all = [service("DaaS", &[A], &[NETWORK]), service("More", &[B], &[]), inbound("Cloud", &["20.9.0.0/24"])];
    all.into_iter().enumerate().filter(|(index, _)| which & (1 << index) != 0).map(|(_, service)| service).collect()
}

const ADDRESSES: [&str; 3] = ["13.64.0.1", "13.64.0.2", "13.64.0.3"];

fn take(scene: &mut Scene, step: &Step) {
    let name = |first: bool| if first { A } else { B };
    match step {
        Step::Publish(which, confirmed) => {
            // Two lists in a row are two words of the vendor, even where neither is fetched twice.
            scene.confirm();
            scene.apply();
            scene.publish(&services(*which));
            if *confirmed {
                scene.confirm();
            }
        }
        Step::Answer(first, which) => {
            let of = ADDRESSES.into_iter().enumerate().filter(|(index, _)| which & (1 << index) != 0);
            let addresses: Vec<&str> = of.map(|(_, address)| address).collect();
            scene.answer(name(*first), &addresses);
        }
        Step::Fail(first) => {
            let (addresses, state) =
                scene.answers.get(name(*first)).cloned().unwrap_or_else(|| (Vec::new(), failing()));
            let ever_answered = state.is_definitive();
            let state = NameState::Failing { error: "SERVFAIL".into(), stale: false, ever_answered };
            scene.answers.insert(name(*first).to_owned(), (addresses, state));
        }
        Step::Restart => scene.restart(),
        Step::Pass(minutes) => scene.pass(Duration::from_secs(60 * u64::from(*minutes))),
        Step::NoList => scene.lacks_list = true,
    }
}

/// The directions that have a policy.
fn directions(scene: &Scene) -> BTreeSet<connectivity_allowlist::net::Direction> {
    scene.objects.keys().filter_map(ObjectKey::direction).collect()
}

fn both_ways() -> Scene {
    let mut scene = Scene::new();
    scene.edit("direction", json!("all"));
    scene.begin_with(&services(7));
    scene.apply();
    scene
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Neither the vendor nor DNS nor a restart takes the last policy of a direction away, and no rule means everything.
    #[test]
    fn no_direction_ever_loses_its_last_policy(steps in prop::collection::vec(step(), 1..24)) {
        let mut scene = both_ways();
        let mut had = directions(&scene);
        prop_assert_eq!(had.len(), 2);
        for step in &steps {
            take(&mut scene, step);
            scene.apply();
            let has = directions(&scene);
            prop_assert!(has.is_superset(&had), "{step:?} took a direction of {had:?} away");
            had = has;
            for object in scene.objects.iter().filter(|(key, _)| key.is_policy()).map(|(_, object)| object) {
                let spec: NetworkPolicySpec = serde_json::from_str(object.body.json.get()).expect("a spec");
                let peers = spec.egress.iter().flatten().map(|rule| (rule.to.as_ref(), rule.ports.as_ref()));
                let from = spec.ingress.iter().flatten().map(|rule| (rule.from.as_ref(), rule.ports.as_ref()));
                for (peers, ports) in peers.chain(from) {
                    prop_assert!(peers.is_some_and(|peers| !peers.is_empty()), "everybody: {spec:?}");
                    prop_assert!(ports.is_some_and(|ports| !ports.is_empty()), "every port: {spec:?}");
                }
            }
        }
    }

    /// Deciding on what was just decided and applied changes nothing.
    #[test]
    fn deciding_twice_gives_the_same(steps in prop::collection::vec(step(), 1..16)) {
        let mut scene = both_ways();
        for step in &steps {
            take(&mut scene, step);
            let first = scene.apply();
            let decision = scene.decide();
            prop_assert!(decision.changes(&scene.existing()).writes.is_empty(), "after {step:?}");
            prop_assert_eq!(scene.carry_out(&decision), first);
        }
    }

    /// A failure shrinks nothing: DNS that fails, a list that is lost, a restart.
    #[test]
    fn a_failure_shrinks_nothing(
        before in prop::collection::vec(step(), 0..12),
        failures in prop::collection::vec(prop_oneof![
            any::<bool>().prop_map(Step::Fail), Just(Step::NoList), Just(Step::Restart), (0_u16..600).prop_map(Step::Pass)
        ], 1..8),
    ) {
        let mut scene = both_ways();
        for step in &before {
            take(&mut scene, step);
            scene.apply();
        }
        for first in [true, false] {
            take(&mut scene, &Step::Fail(first));
        }
        scene.apply();
        let policies = |scene: &Scene| {
            let policies = scene.objects.iter().filter(|(key, _)| key.is_policy());
            policies.map(|(key, object)| (key.clone(), object.clone())).collect::<BTreeMap<_, _>>()
        };
        let held = policies(&scene);
        for step in &failures {
            take(&mut scene, step);
            if let Step::Restart = step {
                take(&mut scene, &Step::Fail(true));
                take(&mut scene, &Step::Fail(false));
            }
            scene.apply();
            prop_assert_eq!(policies(&scene), held.clone(), "after {:?}", step);
        }
    }
}
