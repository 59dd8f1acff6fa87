//! What the forwarder asks of the table: which servers are asked, what was heard, and what is in force.

use super::*;

const NAME: &str = "a.example.com";

fn in_use(lasts: &[u8]) -> Arc<InUse> {
    Arc::new([(name(NAME), lasts.iter().map(|last| ip(*last)).collect())].into())
}

fn heard(lasts: &[u8]) -> Vec<HeardAnswer> {
    let addresses = lasts.iter().map(|last| ip(*last)).collect();
    let answer = Answer::Addresses { addresses, ttl: Duration::from_secs(30) };
    vec![HeardAnswer { server: server(9), family: Family::V4, answer }]
}

impl Rig {
    /// A reconcile: reads the answers, and has policies allow them.
    fn reconcile(&self, number: usize) {
        let nothing = |_: &DomainName| false;
        let (addresses, decided) = self.names.watch_applied(&daas(number), &wanted(&[NAME]), HOUR, &nothing);
        let allowed = addresses.by_name[&name(NAME)].addresses.as_slice().into();
        let in_use = Arc::new([(name(NAME), allowed)].into());
        self.names.enforce(&daas(number), Enforcement::Applied { decided, answers: addresses, in_use });
    }

    fn address_state(&self, last: u8) -> AddressState {
        self.names.address_states(&name(NAME), &[ip(last)], None)[0]
    }
}

/// A resource whose name has an address, and policies that allow it.
async fn enforced() -> Rig {
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.watch(0, &wanted(&[NAME]));
    rig.pass(ms(500)).await;
    rig.reconcile(0);
    rig
}

#[tokio::test(start_paused = true)]
async fn an_address_is_in_force_once_every_resource_allows_it() {
    let mut rig = enforced().await;
    assert!(matches!(rig.address_state(1), AddressState::InForce(Some(_))));
    rig.watch(1, &wanted(&[NAME]));
    assert_eq!(rig.address_state(1), AddressState::Pending, "nothing is known of the second resource");
    rig.names.enforce(&daas(1), Enforcement::None);
    assert!(matches!(rig.address_state(1), AddressState::InForce(Some(_))), "it isolates no pod");
    rig.names.hear(&name(NAME), &heard(&[2]), None);
    assert_eq!(rig.address_state(2), AddressState::Pending);
    assert_eq!(rig.pass(ms(1)).await.len(), 2, "both are woken at once");
    rig.reconcile(0);
    assert!(matches!(rig.address_state(2), AddressState::InForce(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_and_heard_again_is_not_in_force_at_once() {
    let mut rig = enforced().await;
    rig.servers.script(|_, _, family, _| plain(family, &[3]));
    rig.pass(Duration::from_secs(2 * 3600)).await;
    // The sweep has removed it; the write that follows may be on its way.
    rig.names.hear(&name(NAME), &heard(&[1]), None);
    assert_eq!(rig.address_state(1), AddressState::Pending, "although the policies still allow it");
    rig.reconcile(0);
    assert!(matches!(rig.address_state(1), AddressState::InForce(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn what_will_not_be_allowed_is_not_waited_for() {
    let mut rig = enforced().await;
    let lie = Answer::Addresses { addresses: ["127.0.0.1".parse().expect("an address")].into(), ttl: ms(1) };
    rig.names.hear(&name(NAME), &[HeardAnswer { server: server(9), family: Family::V4, answer: lie }], None);
    assert_eq!(
        rig.names.address_states(&name(NAME), &["127.0.0.1".parse().expect("an address")], None),
        [AddressState::Never]
    );
    rig.names.hear(&name(NAME), &heard(&[2]), None);
    rig.names.enforce(&daas(0), Enforcement::AsBefore);
    assert_eq!(
        (rig.address_state(2), rig.address_state(1) == AddressState::Never),
        (AddressState::Never, false),
        "nothing is written now"
    );
    rig.names.enforce(&daas(0), Enforcement::Contested);
    assert_eq!(rig.address_state(1), AddressState::Never, "somebody else writes the policies");
    // Decided with it, and not allowed: its family is not in use.
    let (answers, decided) = rig.names.watch_applied(&daas(0), &wanted(&[NAME]), HOUR, &|_| false);
    rig.names.enforce(&daas(0), Enforcement::Applied { decided, answers, in_use: in_use(&[1]) });
    assert_eq!(rig.address_state(2), AddressState::InForce(None));
    rig.pass(ms(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_learned_name_has_its_addresses_in_the_first_reconcile() {
    let mut rig = enforced().await;
    let pattern = connectivity_allowlist::net::NamePattern::parse("*.example.com").expect("a pattern");
    let observed: Arc<[ObservedPattern]> = [ObservedPattern { pattern, within: vec![], opens: true }].into();
    rig.names.observe(&daas(0), &observed, &Arc::default());
    assert_eq!(rig.names.hear(&name("b.example.com"), &heard(&[5]), None), 1);
    assert_eq!(rig.pass(ms(1)).await, [daas(0)]);
    assert_eq!(rig.names.address_states(&name("b.example.com"), &[ip(5)], None), [AddressState::Pending]);
    let learned = rig.names.learned(&daas(0));
    assert_eq!(*learned, [name("b.example.com")].into());
    let both = rig.watch(0, &wanted(&[NAME, "b.example.com"]));
    assert_eq!(both.by_name[&name("b.example.com")].addresses, [ip(5)], "before any server is asked");
}

#[tokio::test(start_paused = true)]
async fn a_name_beyond_what_may_be_learned_now_is_not_in_force() {
    let mut rig = enforced().await;
    let pattern = connectivity_allowlist::net::NamePattern::parse("*.example.com").expect("a pattern");
    let observed: Arc<[ObservedPattern]> = [ObservedPattern { pattern, within: vec![], opens: true }].into();
    rig.names.observe(&daas(0), &observed, &Arc::default());
    let mut number = 0;
    let beyond = loop {
        let next = name(&format!("n{number}.example.com"));
        if rig.names.hear(&next, &heard(&[5]), None) == 0 {
            break next;
        }
        number += 1;
    };
    assert_eq!(number, 512, "so many at once");
    let state = || rig.names.address_states(&beyond, &[ip(5)], None);
    assert_eq!(state(), [AddressState::Never], "who wants it does not allow it");
    rig.names.enforce(&daas(0), Enforcement::None);
    assert_eq!(state(), [AddressState::InForce(None)], "and isolates no pod");
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(rig.names.hear(&beyond, &heard(&[5]), None), 1, "it is learned at a later question");
}

#[tokio::test(start_paused = true)]
async fn names_of_served_zones_are_asked_at_the_upstream_alone() {
    let mut rig = Rig::new(&[1, 2], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.names.forward_to(vec![server(9)], &[]);
    let zones = Arc::new(zones::zones_of([name("forwarded.example.com")].iter(), std::iter::empty()));
    rig.names.observe(&daas(0), &Arc::default(), &zones);
    rig.watch(0, &wanted(&["forwarded.example.com", "other.example.com"]));
    rig.pass(ms(500)).await;
    assert_eq!(rig.servers.questions(), BTreeMap::from([(server(1), 2), (server(2), 2), (server(9), 2)]));
}

#[tokio::test(start_paused = true)]
async fn zones_are_known_once_every_resource_has_said_its_own() {
    let rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let other = name("other.example.org");
    assert_eq!(rig.names.interest(&other, None), Interest::Unknown, "a standby knows none");
    assert_eq!(rig.names.interest(&other, Some(0)), Interest::Unknown, "nobody uses any");
    let zones = Arc::new(zones::zones_of([name("example.com"), name("a.example.com")].iter(), std::iter::empty()));
    assert_eq!(*zones, [name("example.com")].into(), "a name in another's zone is no zone");
    rig.names.observe(&daas(0), &Arc::default(), &zones);
    assert_eq!(rig.names.interest(&other, Some(2)), Interest::Unknown);
    rig.names.observe_nothing(&daas(1));
    rig.names.enforce(&daas(0), Enforcement::None);
    assert_eq!(rig.names.interest(&other, Some(2)), Interest::Unknown, "what the second one enforces is not known");
    rig.names.enforce(&daas(1), Enforcement::AsBefore);
    assert_eq!(rig.names.interest(&other, Some(2)), Interest::NotServed);
    assert_eq!(rig.names.interest(&name("b.example.com"), Some(2)), Interest::Unwanted);
    rig.names.unwatch(&daas(0));
    assert_eq!(rig.names.interest(&name("b.example.com"), Some(1)), Interest::Unwanted, "somebody may forward it yet");
}

#[tokio::test(start_paused = true)]
async fn zones_of_the_flag_bound_what_every_replica_answers() {
    let rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.names.forward_to(vec![server(9)], &[name("example.com")]);
    let wanted_names = [name(NAME), name("wanted.example.org")];
    let zones = Arc::new(zones::zones_of(wanted_names.iter(), std::iter::empty()));
    rig.names.observe(&daas(0), &Arc::default(), &zones);
    rig.watch(0, &wanted(&[NAME, "wanted.example.org"]));
    rig.names.enforce(&daas(0), Enforcement::None);
    for resources in [None, Some(0), Some(1)] {
        let interest = |text: &str| rig.names.interest(&name(text), resources);
        assert_eq!(interest("other.example.org"), Interest::NotServed, "{resources:?}");
        assert_eq!(interest("wanted.example.org"), Interest::NotServed, "{resources:?}: the flag leaves it out");
        assert_ne!(interest(NAME), Interest::NotServed, "{resources:?}");
    }
    assert_eq!(rig.names.interest(&name(NAME), Some(1)), Interest::Wanted);
    assert_eq!(rig.names.interest(&name("b.example.com"), Some(1)), Interest::Unwanted);
}

#[tokio::test(start_paused = true)]
async fn only_served_zones_are_probed_and_called_served() {
    let rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.names.forward_to(vec![server(9)], &[name("blob.example.net"), name("example.org")]);
    let in_use: Arc<BTreeSet<DomainName>> =
        Arc::new([name("example.net"), name("a.example.org"), name("example.com")].into());
    rig.names.observe(&daas(0), &Arc::default(), &in_use);
    let served = [name("a.example.org"), name("blob.example.net")];
    assert_eq!(BTreeSet::from_iter(rig.names.zones_due()), served.clone().into());
    rig.names.zone_probed(&served[1], ProbeOutcome::Here);
    let states = [
        (name("a.example.org"), ZoneState::Unknown),
        (name("blob.example.net"), ZoneState::Forwarded),
        (name("example.com"), ZoneState::NotServed),
        (name("example.net"), ZoneState::NotServed),
    ];
    assert_eq!(rig.names.zone_states(&in_use), states.into());
}

/// Pods choose what is learned: it takes no room from what the list names.
#[tokio::test(start_paused = true)]
async fn names_of_the_list_have_room_before_learned_ones() {
    let mut settings = NamesSettings::new(guard());
    settings.names.resource = 2;
    let rig = Rig::with(&settings, &[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let learned = [name("a.example.com"), name("b.example.com")].into();
    rig.names.restore_learned(&daas(0), &learned);
    let known = rig.watch(0, &wanted(&["a.example.com", "b.example.com", "c.example.com", "d.example.com"]));
    let has_room = |text: &str| !matches!(known.by_name[&name(text)].state, NameState::LeftOut(_));
    let having: Vec<&str> = ["a.example.com", "b.example.com", "c.example.com", "d.example.com"]
        .into_iter()
        .filter(|text| has_room(text))
        .collect();
    assert_eq!(having, ["c.example.com", "d.example.com"]);
}

/// The write of a reconcile that had read the learned names before took away what was given out after it.
#[tokio::test(start_paused = true)]
async fn what_is_learned_again_waits_for_the_next_write() {
    let mut rig = enforced().await;
    let pattern = connectivity_allowlist::net::NamePattern::parse("*.example.com").expect("a pattern");
    let observed: Arc<[ObservedPattern]> = [ObservedPattern { pattern, within: vec![], opens: true }].into();
    rig.names.observe(&daas(0), &observed, &Arc::default());
    assert!(matches!(rig.address_state(1), AddressState::InForce(Some(_))));
    rig.pass(ms(1)).await;
    assert_eq!(rig.names.hear(&name(NAME), &heard(&[1]), None), 1, "it was forgotten, and is learned");
    assert_eq!(rig.address_state(1), AddressState::Pending, "a write without it may be on its way");
    rig.pass(ms(1)).await;
    rig.reconcile(0);
    assert!(matches!(rig.address_state(1), AddressState::InForce(Some(_))));
}
