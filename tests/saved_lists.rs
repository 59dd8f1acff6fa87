//! Saved lists on a real API server: kept, pruned, and not believed where somebody else wrote.

use citrix_allowlist::cluster::lease::Leadership;
use citrix_allowlist::cluster::saved_lists::SavedLists;
use citrix_allowlist::feed::FeedKey;
use citrix_allowlist::feed::settings::TEMPLATE_CUSTOMER;
use citrix_allowlist::feed::store::{ListStore, SavedHost, SavedKey, SavedList, SavedRequests, SavedState};
use connectivity_allowlist::gzip::{compress, decompress};
use connectivity_allowlist::{Cloud, ListForm};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

fn list(customer: Option<&str>, previous: Option<&[u8]>) -> SavedList {
    let key = FeedKey { cloud: Cloud::Global, form: ListForm::Json, customer: customer.map(Arc::from), scope: None };
    let state = SavedState {
        list: SavedKey::of(&key),
        url: format!("https://api.example/?customerId={}", customer.unwrap_or(TEMPLATE_CUSTOMER)),
        fetched_at: "2026-06-01T00:00:00Z".parse().expect("a time"),
        last_modified: None,
        etag: None,
        older_since: None,
        transaction_id: None,
        confirmations: 1,
        stale_answers: 0,
    };
    SavedList { key, state, document: compress(b"{\"services\": []}"), previous: previous.map(compress) }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_kept_pruned_and_guarded() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("saved").await.expect("a namespace");
    let client = control_plane.client().await.expect("a client");
    let store = SavedLists::new(client.clone(), namespace.name(), Leadership::always());
    assert_eq!(store.load().await.expect("nothing yet").lists, []);

    // More than a page of them, and one that changes.
    let mut lists: Vec<SavedList> = (0..60).map(|index| list(Some(&format!("Cust{index}")), None)).collect();
    lists.push(list(None, None));
    for list in &lists {
        store.save(list.clone()).await.expect("saved");
    }
    lists[0] = list(Some("Cust0"), Some(b"{}"));
    store.save(lists[0].clone()).await.expect("saved again");
    let mut requests = SavedRequests::default();
    let sent = vec!["2026-06-01T00:00:00Z".parse().expect("a time")];
    requests.hosts.insert("https://api.example".into(), SavedHost { sent, not_before: None });
    store.save_requests(SavedRequests::default()).await.expect("saved");
    // By a clock that is off: what it says now is known by the API server's.
    let at: Timestamp = "2026-06-01T00:00:30Z".parse().expect("a time");
    requests.at = Some(at);
    store.save_requests(requests.clone()).await.expect("saved");
    let clock = store.load().await.expect("what was saved").requests_clock.expect("a clock");
    assert!((0..60).contains(&clock.duration_since(at).as_secs()), "{clock}");

    let mut saved = store.load().await.expect("what was saved");
    saved.lists.sort_by(|one, other| one.key.cmp(&other.key));
    lists.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!((&saved.lists, &saved.requests, &saved.warnings), (&lists, &requests, &Vec::new()));
    assert_eq!(decompress(&saved.lists[0].document, 100).as_deref(), Ok(&b"{\"services\": []}"[..]));

    // The list before goes once the newer one is confirmed.
    let confirmed = list(Some("Cust0"), None);
    store.save(confirmed.clone()).await.expect("saved");
    let saved = store.load().await.expect("what was saved");
    assert!(saved.lists.contains(&confirmed));

    let keys: BTreeSet<FeedKey> = [list(Some("Cust0"), None).key, list(Some("Cust1"), None).key].into();
    store.retain(keys.clone()).await.expect("pruned");
    let saved = store.load().await.expect("what is left");
    assert_eq!(saved.lists.iter().map(|list| list.key.clone()).collect::<BTreeSet<_>>(), keys);
    assert_eq!(saved.requests, requests, "pruning is about lists");

    // Another manager wrote it, and it is accepted no more; the operator's next save overwrites it.
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let name = "citrix-allowlist-feed-global-json-4375737430";
    let edit = Patch::Merge(json!({ "binaryData": { "previous.gz": "AAAA" } }));
    config_maps
        .patch(name, &PatchParams { field_manager: Some("kubectl-edit".into()), ..Default::default() }, &edit)
        .await
        .expect("an edit");
    let saved = store.load().await.expect("what is left");
    assert_eq!(saved.lists.len(), 1);
    assert_eq!(saved.warnings.len(), 1);
    assert!(saved.warnings[0].contains(name) && saved.warnings[0].contains("`kubectl-edit` has written to it"));
    store.save(confirmed).await.expect("saved");
    let saved = store.load().await.expect("what is left");
    assert_eq!((saved.lists.len(), saved.warnings.len()), (2, 0));
    let _: Arc<dyn ListStore> = Arc::new(store);
}
