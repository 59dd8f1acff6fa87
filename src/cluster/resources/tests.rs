use super::*;
use futures::FutureExt as _;
use kube::runtime::watcher;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

fn object(namespace: &str, name: &str, generation: i64) -> DeserializeGuard<CitrixAllowlist> {
    let object = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1",
        "kind": "CitrixAllowlist",
        "metadata": { "name": name, "namespace": namespace, "uid": name, "generation": generation },
        "spec": { "customerId": "kitsune" },
    });
    serde_json::from_value(object).expect("a resource")
}

fn unreadable(namespace: &str, name: &str) -> DeserializeGuard<CitrixAllowlist> {
    let metadata = json!({ "name": name, "namespace": namespace });
    let object =
        json!({ "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "metadata": metadata });
    serde_json::from_value(object).expect("a guard takes anything")
}

type Given = (Option<String>, Result<Event<DeserializeGuard<CitrixAllowlist>>, watcher::Error>);

/// The changes of each event in turn; after each, the store agrees with them.
fn changes_of(store: &Arc<ResourceStore>, namespaces: &[Option<&str>], events: Vec<Given>) -> Vec<Vec<ResourceChange>> {
    let namespaces = namespaces.iter().map(|namespace| namespace.map(str::to_owned));
    let mut changes = Box::pin(changes(futures::stream::iter(events), namespaces, Arc::clone(store)));
    let mut all = Vec::new();
    while let Some(changes) = changes.next().now_or_never().expect("events are there already") {
        for change in &changes {
            match change {
                ResourceChange::Changed(key) => assert!(store.get(key).is_some(), "{key} changed and cannot be read"),
                ResourceChange::Gone(key) => assert!(store.get(key).is_none(), "{key} is gone and can be read"),
            }
        }
        all.push(changes);
    }
    all
}

fn changed(name: &str) -> Vec<ResourceChange> {
    vec![ResourceChange::Changed(ResourceRef::new("web", name))]
}

fn gone(name: &str) -> Vec<ResourceChange> {
    vec![ResourceChange::Gone(ResourceRef::new("web", name))]
}

/// Formerly all of them were kept: 256 KiB for each resource, and some 900 suspended resources filled 256 MiB.
#[test]
fn only_read_metadata_is_kept() {
    let mut guarded = object("web", "a", 1);
    let resource = guarded.0.as_mut().expect("a resource");
    let annotations = [
        ("kubectl.kubernetes.io/last-applied-configuration", "x".repeat(200_000)),
        ("kitsune.example/note", "y".repeat(50_000)),
        (REFRESH_ANNOTATION, "now".to_owned()),
    ];
    resource.metadata.annotations = Some(annotations.map(|(name, value)| (name.to_owned(), value)).into());
    resource.metadata.managed_fields = Some(vec![Default::default()]);
    let store = Arc::new(ResourceStore::default());
    changes_of(&store, &[None], vec![(None, Ok(Event::Apply(guarded)))]);
    let kept = store.get(&ResourceRef::new("web", "a")).expect("it is kept");
    assert_eq!(kept.annotations(), &BTreeMap::from([(REFRESH_ANNOTATION.to_owned(), "now".to_owned())]));
    assert_eq!(kept.metadata.managed_fields, None);
}

#[test]
fn a_listing_is_readable_early_and_complete_after_all_scopes() {
    let store = Arc::new(ResourceStore::default());
    let from = |namespace: &str, event| (Some(namespace.to_owned()), Ok(event));
    let first = vec![
        from("web", Event::Init),
        from("web", Event::InitApply(object("web", "a", 1))),
        from("web", Event::InitDone),
        from("db", Event::Init),
        from("web", Event::Apply(object("web", "b", 1))),
    ];
    let both = [Some("web"), Some("db")];
    assert_eq!(changes_of(&store, &both, first), [vec![], changed("a"), vec![], vec![], changed("b")]);
    assert!(!*store.listed().borrow(), "db has not been listed");
    let rest = vec![from("db", Event::Init), from("db", Event::InitDone)];
    assert_eq!(changes_of(&store, &[Some("db")], rest), [vec![], vec![]]);
    assert!(*store.listed().borrow());
    assert_eq!(store.all().len(), 2, "the list of one namespace does not concern another");
}

#[test]
fn a_relist_drops_deleted_objects_and_keeps_unreadable_ones() {
    let store = Arc::new(ResourceStore::default());
    let all = |event| (None, Ok(event));
    let events = vec![
        all(Event::Init),
        all(Event::InitApply(object("web", "stays", 1))),
        all(Event::InitApply(object("web", "vanishes", 1))),
        all(Event::InitApply(object("web", "breaks", 1))),
        all(Event::InitDone),
        all(Event::Apply(object("web", "stays", 1))),
        (None, Err(watcher::Error::NoResourceVersion)),
        all(Event::Init),
        // The list breaks off, and starts again.
        all(Event::InitApply(object("web", "vanishes", 1))),
        all(Event::Init),
        all(Event::InitApply(object("web", "stays", 2))),
        all(Event::InitApply(unreadable("web", "breaks"))),
        all(Event::InitDone),
        all(Event::Delete(object("web", "stays", 2))),
    ];
    let at_first = [vec![], changed("stays"), changed("vanishes"), changed("breaks"), vec![], vec![], vec![], vec![]];
    let then = [vec![], vec![], changed("stays"), vec![], gone("vanishes"), gone("stays")];
    assert_eq!(changes_of(&store, &[None], events), [&at_first[..], &then[..]].concat());
    assert_eq!(store.all(), [ResourceRef::new("web", "breaks")]);
}

#[test]
fn a_foreign_status_is_reported_and_our_own_is_not() {
    let store = ResourceStore::default();
    let of = |policies: &str| {
        let DeserializeGuard(resource) = object("web", "a", 1);
        let status = CitrixAllowlistStatus { policies: vec![policies.to_owned()], ..CitrixAllowlistStatus::default() };
        CitrixAllowlist { status: Some(status), ..resource.expect("a resource") }
    };
    assert_eq!(store.insert(of("a former leader's")), changed("a"));
    assert_eq!(store.insert(of("of a former leader too")), vec![], "this process has written nothing yet");
    store.say(&ResourceRef::new("web", "a"), Arc::new(of("ours").status.expect("a status")));
    assert_eq!(store.insert(of("ours")), vec![]);
    assert_eq!(store.insert(of("forged")), changed("a"));
    let wiped = CitrixAllowlist { status: None, ..of("") };
    assert_eq!(store.insert(wiped.clone()), changed("a"));
    assert_eq!(store.insert(wiped), vec![], "it does not change");
    assert_eq!(store.insert(of("ours")), vec![]);
}

proptest! {
    /// Over lists that break off and start again, each resource's newest generation is reported once it can be read, and the
    /// store ends like the cluster.
    #[test]
    fn relists_lose_nothing(steps in prop::collection::vec((0..4_u8, 0..3_u8, any::<bool>()), 0..40)) {
        let store = Arc::new(ResourceStore::default());
        let mut cluster: BTreeMap<String, i64> = BTreeMap::new();
        let mut events: Vec<Given> = Vec::new();
        let mut generation = 0;
        let list = |cluster: &BTreeMap<String, i64>, events: &mut Vec<Given>, whole: bool| {
            events.push((None, Ok(Event::Init)));
            let most = if whole { usize::MAX } else { 1 };
            let objects = cluster.iter().take(most).map(|(name, generation)| object("web", name, *generation));
            events.extend(objects.map(|object| (None, Ok(Event::InitApply(object)))));
            if whole {
                events.push((None, Ok(Event::InitDone)));
            }
        };
        list(&cluster, &mut events, true);
        for (step, number, seen) in steps {
            let name = format!("r{number}");
            match step {
                // A change that no watch sees shows in the next list.
                0..=2 => {
                    generation += 1;
                    let event = if step < 2 {
                        cluster.insert(name.clone(), generation);
                        Some(Event::Apply(object("web", &name, generation)))
                    } else {
                        cluster.remove(&name).map(|generation| Event::Delete(object("web", &name, generation)))
                    };
                    match event {
                        Some(event) if seen => events.push((None, Ok(event))),
                        Some(_) => list(&cluster, &mut events, true),
                        None => {}
                    }
                }
                _ => list(&cluster, &mut events, false),
            }
        }
        list(&cluster, &mut events, true);
        let changes = changes_of(&store, &[None], events);
        let last = |key: &ResourceRef| changes.iter().flatten().rev().find(|change| match change {
            ResourceChange::Changed(of) | ResourceChange::Gone(of) => of == key,
        });
        let mut known: Vec<(String, i64)> = Vec::new();
        for key in store.all() {
            prop_assert_eq!(last(&key), Some(&ResourceChange::Changed(key.clone())));
            let generation = store.get(&key).and_then(|resource| resource.metadata.generation);
            known.push((key.name.to_string(), generation.unwrap_or_default()));
        }
        known.sort();
        prop_assert_eq!(known, cluster.into_iter().collect::<Vec<_>>());
    }
}
