use super::*;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

fn resource(text: &str) -> ResourceRef {
    ResourceRef::new("citrix", text)
}

fn observed(pattern: &str, within: &[&str], opens: bool) -> ObservedPattern {
    let pattern = NamePattern::parse(pattern).expect("a pattern");
    ObservedPattern { pattern, within: within.iter().map(|glob| (*glob).to_owned()).collect(), opens }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[test]
fn every_resource_that_observes_a_pattern_learns_its_names() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("wide"), &[observed("*.blob.example.net", &[], true)].into());
    learned.observe(&resource("narrow"), &[observed("*.blob.example.net", &["citrix*"], true)].into());
    learned.observe(&resource("other"), &[observed("*.example.org", &[], true)].into());
    assert_eq!(learned.ask(&name("a.blob.example.net"), None, now), [resource("wide")]);
    assert_eq!(learned.ask(&name("citrix1.blob.example.net"), None, now), [resource("narrow"), resource("wide")]);
    assert_eq!(learned.ask(&name("citrix1.blob.example.net"), None, now), [], "it is known");
    assert_eq!(learned.ask(&name("a.b.blob.example.net"), None, now), [], "a star is one label");
    assert_eq!(learned.names(&resource("narrow")).len(), 1);
    assert_eq!(learned.opening(&name("a.blob.example.net")), [resource("wide")]);
}

#[test]
fn suggested_names_open_nothing() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("asks"), &[observed("*.example.net", &[], false)].into());
    assert_eq!(learned.ask(&name("a.example.net"), None, now), [resource("asks")]);
    assert_eq!(learned.names(&resource("asks")).len(), 1);
    assert_eq!(learned.opening(&name("a.example.net")), []);
}

#[test]
fn a_resource_that_observes_later_learns_at_the_next_question() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("one"), &[observed("*.example.net", &[], true)].into());
    learned.ask(&name("a.example.net"), None, now);
    learned.observe(&resource("two"), &[observed("*.example.net", &[], true)].into());
    assert_eq!(learned.ask(&name("a.example.net"), None, now), [resource("two")]);
}

#[test]
fn only_names_that_are_new_to_somebody_are_counted() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    let names: BTreeSet<DomainName> = (0..600).map(|number| name(&format!("n{number}.example.net"))).collect();
    learned.restore(&resource("one"), &names, now);
    learned.observe(&resource("one"), &[observed("*.example.net", &[], true)].into());
    for known in &names {
        assert_eq!(learned.ask(known, None, now), [], "an earlier process learned it");
    }
    assert_eq!(learned.ask(&name("new.example.net"), None, now), [resource("one")]);
    assert_eq!(learned.lacking(&name("new.example.net"), None), []);
    assert_eq!(learned.lacking(&name("other.example.net"), None), [resource("one")], "nobody has asked for it");
}

#[test]
fn a_full_pattern_forgets_the_name_that_nobody_asks_for() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("one"), &[observed("*.example.net", &[], true)].into());
    for number in 0..MOST_LEARNED {
        learned.ask(&name(&format!("n{number}.example.net")), None, now + Duration::from_secs(number as u64));
    }
    let later = now + Duration::from_secs(1000);
    learned.ask(&name("n0.example.net"), None, later);
    learned.ask(&name("more.example.net"), None, later);
    let names = learned.names(&resource("one"));
    assert_eq!(names.len(), MOST_LEARNED);
    assert!(
        names.contains("n0.example.net") && names.contains("more.example.net") && !names.contains("n1.example.net")
    );
    assert_eq!(learned.take_forgotten(), [(ForgottenCause::MadeRoom, 1)].into());
    assert_eq!(learned.count(), MOST_LEARNED);
}

#[test]
fn restored_names_are_cut_to_what_a_pattern_may_learn() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("one"), &[observed("*.example.net", &[], true)].into());
    let many = (0..MOST_LEARNED + 10).map(|number| name(&format!("n{number}.example.net")));
    let others = [name("kept.example.org")].into_iter();
    learned.restore(&resource("one"), &many.chain(others).collect(), now);
    learned.ask(&name("n7.example.net"), None, now + Duration::from_secs(1));
    learned.ask(&name("more.example.net"), None, now + Duration::from_secs(2));
    let names = learned.names(&resource("one"));
    assert_eq!(names.len(), MOST_LEARNED + 1, "with the one of another pattern");
    assert!(["n7.example.net", "more.example.net", "kept.example.org"].iter().all(|name| names.contains(*name)));
}

#[test]
fn names_that_nobody_asks_for_are_forgotten_after_the_retention() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    learned.observe(&resource("one"), &[observed("*.example.net", &[], true)].into());
    learned.ask(&name("old.example.net"), None, now);
    learned.restore(&resource("one"), &[name("restored.example.net")].into(), now + Duration::from_secs(60));
    learned.ask(&name("asked.example.net"), None, now + WEEK / 2);
    assert_eq!(learned.forget_due(&|_| true, now + WEEK), [], "nobody asks for anything");
    learned.asked_for(&name("other.example.net"), now + WEEK);
    let lost = learned.forget_due(&|_| false, now + WEEK + Duration::from_secs(60));
    assert_eq!(lost, [], "its zone is forwarded no more: nobody can ask");
    assert_eq!(learned.forget_due(&|_| true, now + WEEK + Duration::from_secs(120)), [resource("one")]);
    learned.asked_for(&name("other.example.net"), now + WEEK + Duration::from_secs(60));
    assert_eq!(learned.names(&resource("one")).len(), 2);
    assert_eq!(learned.forget_due(&|_| true, now + WEEK + Duration::from_secs(180)), [resource("one")]);
    assert_eq!(*learned.names(&resource("one")), [name("asked.example.net")].into());
    assert_eq!(learned.forget_due(&|_| true, now + WEEK + Duration::from_secs(181)), [], "it is not yet time to look");
    assert_eq!(learned.take_forgotten(), [(ForgottenCause::Unasked, 2)].into());
}

#[test]
fn a_list_that_loses_a_wildcard_for_a_while_loses_no_name() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    let patterns: Arc<[ObservedPattern]> = [observed("*.example.net", &[], true)].into();
    learned.observe(&resource("one"), &patterns);
    learned.ask(&name("a.example.net"), None, now);
    learned.observe(&resource("one"), &Arc::default());
    assert!(!learned.is_observed(&name("b.example.net")));
    learned.observe(&resource("one"), &patterns);
    assert_eq!(learned.names(&resource("one")).len(), 1);
    learned.forget_resource(&resource("one"));
    assert_eq!(learned.count(), 0);
}

/// Where the cluster's DNS says who asked, a tenant's pod teaches nothing to another tenant.
#[test]
fn a_name_counts_for_the_resources_of_the_pod_that_asked() {
    let (now, mut learned) = (Instant::now(), Learned::new(WEEK));
    for one in ["a", "b"] {
        learned.observe(&resource(one), &[observed("*.example.net", &[], true)].into());
    }
    let by = |one: &str| Asker { pods: vec![format!("web/{one}-0")], resources: [resource(one)].into() };
    let (asked, of_a, of_b) = (name("x.example.net"), by("a"), by("b"));
    assert!(learned.is_new(&asked));
    assert_eq!(learned.ask(&asked, Some(&of_a), now), [resource("a")]);
    assert_eq!(learned.ask(&asked, Some(&of_a), now), []);
    assert_eq!((learned.names(&resource("a")).len(), learned.names(&resource("b")).len()), (1, 0));
    assert_eq!(learned.lacking(&asked, Some(&of_a)), [], "b does not want it");
    assert_eq!(learned.lacking(&asked, None), [resource("b")]);
    assert!(learned.is_new(&asked), "to b");
    assert_eq!(learned.ask(&asked, Some(&of_b), now), [resource("b")]);
    assert!(!learned.is_new(&asked));
    let later = now + Duration::from_secs(60);
    let known = learned.known(&asked, later).expect("it is learned");
    assert_eq!((known.since, known.pods), (Duration::from_secs(60), vec!["web/a-0".to_owned(), "web/b-0".to_owned()]));
    let nobody = Asker { pods: vec!["web/c-0".to_owned()], resources: BTreeSet::new() };
    assert_eq!(learned.ask(&name("y.example.net"), Some(&nobody), now), [], "no resource selects that pod");
    assert_eq!(
        learned.ask(&name("y.example.net"), None, now),
        [resource("a"), resource("b")],
        "who asked is not known"
    );
}
