//! What the model does that no other server can be asked for: faults, compaction, rights, controllers, and the same history for
//! the same seed. Its answers to ordinary requests are compared with a real API server in `differential`.

use citrix_allowlist::cluster::client::READ_TIMEOUT;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use simulate::api::{ApiFailure, ApiServer, Fate, Kinds, Phase, Rights, WatchFault, quota};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const NAMESPACE: &str = "team";

fn server() -> ApiServer {
    let begin = Instant::now();
    let epoch: jiff::Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
    let clock = move || epoch + begin.elapsed();
    let server = ApiServer::new(Kinds::new(&[]), Arc::new(clock), 7);
    server.add_namespace(NAMESPACE).expect("a namespace");
    server
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn map(name: &str) -> ConfigMap {
    owned(name, &[])
}

fn owned(name: &str, owners: &[&ConfigMap]) -> ConfigMap {
    let owner = |owner: &&ConfigMap| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid() });
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    let map = json!({ "metadata": { "name": name, "ownerReferences": owners }, "data": { "k": "v" } });
    serde_json::from_value(map).expect("a ConfigMap")
}

async fn create(client: &Client, map: &ConfigMap) -> ConfigMap {
    maps(client).create(&PostParams::default(), map).await.expect("a ConfigMap")
}

async fn names(client: &Client) -> Vec<String> {
    let list = maps(client).list(&ListParams::default()).await.expect("a list");
    list.iter().map(|map| map.name_any()).collect()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no answer: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_follows_changes_for_hours() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let mut events = std::pin::pin!(watcher(maps(&client), Config::default().labels("app=x")).default_backoff());
    let other = client.clone();
    let changes = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
        create(&other, &map("plain")).await;
        create(&other, &map("labelled")).await;
        for labels in [json!({ "app": "x" }), Value::Null] {
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            maps(&other).patch("labelled", &PatchParams::default(), &patch).await.expect("a patch");
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = events.try_next().await.expect("no error").expect("no end");
        seen.push(match event {
            Event::Init => "init".to_owned(),
            Event::InitDone => "listed".to_owned(),
            Event::InitApply(map) | Event::Apply(map) => format!("+{}", map.name_any()),
            Event::Delete(map) => format!("-{}", map.name_any()),
        });
    }
    assert_eq!(seen, ["init", "listed", "+labelled", "-labelled"]);
    changes.await.expect("the changes");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_gets_bookmarks_and_its_end_in_time() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let parameters = WatchParams::default().timeout(290);
    let begin = Instant::now();
    let mut watch = maps(&client).watch(&parameters, "0").await.expect("a watch").boxed();
    let mut bookmarks = Vec::new();
    while let Some(event) = watch.try_next().await.expect("no error") {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
        bookmarks.push(begin.elapsed().as_secs());
    }
    assert_eq!((bookmarks, begin.elapsed().as_secs()), (vec![60, 120, 180, 240, 288], 290));
}

#[tokio::test(start_paused = true)]
async fn what_was_compacted_is_expired() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    for name in ["a", "b", "c"] {
        create(&client, &map(name)).await;
    }
    let page = maps(&client).list(&ListParams::default().limit(1)).await.expect("a page");
    let token = page.metadata.continue_.clone().expect("a token");
    let version = page.metadata.resource_version.clone().expect("a version");
    maps(&client).delete("b", &DeleteParams::default()).await.expect("a deletion");
    // A list goes on as it began.
    let rest = ListParams::default().continue_token(&token);
    let found = maps(&client).list(&rest).await.expect("the rest");
    assert_eq!(found.iter().map(|map| map.name_any()).collect::<Vec<_>>(), ["b", "c"]);
    server.with(|store| store.compact(store.revision()));
    let refused = maps(&client).list(&rest).await.expect_err("410");
    assert_eq!(code(&refused), 410);
    let mut watch = maps(&client).watch(&WatchParams::default(), &version).await.expect("a watch").boxed();
    let event = watch.try_next().await.expect("no error").expect("an event");
    assert!(matches!(&event, WatchEvent::Error(status) if status.code == 410), "{event:?}");
    assert!(watch.try_next().await.expect("no error").is_none());
}

#[tokio::test(start_paused = true)]
async fn faults_come_over_requests_as_they_are_set() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let fates = [
        Fate::AnswerBroken,
        Fate::Broken,
        Fate::Refused(ApiFailure::too_many_requests(3)),
        Fate::Silent,
        Fate::AnswerSilent,
        Fate::Slow { request: Duration::from_secs(2), answer: Duration::from_secs(3) },
    ];
    let mut fates = fates.into_iter();
    server.set(|hooks| hooks.fates = Some(Box::new(move |_, _| fates.next().unwrap_or_default())));
    let begin = Instant::now();
    let mut results = Vec::new();
    for name in ["lost", "broken", "throttled", "silent", "unanswered", "slow"] {
        let map = map(name);
        let parameters = PostParams::default();
        let result = timeout(Duration::from_secs(60), async { maps(&client).create(&parameters, &map).await }).await;
        results.push(match result {
            Ok(Ok(_)) => "written".to_owned(),
            Ok(Err(kube::Error::Api(status))) => {
                format!("{} after {:?}", status.code, status.details.map(|it| it.retry_after_seconds))
            }
            Ok(Err(_)) => "no answer".to_owned(),
            Err(_) => "silence".to_owned(),
        });
    }
    assert_eq!(results[..3], ["no answer", "no answer", "429 after Some(3)"]);
    assert_eq!(results[3..], ["silence", "silence", "written"]);
    assert_eq!(begin.elapsed(), Duration::from_secs(125));
    assert_eq!(names(&client).await, ["lost", "slow", "unanswered"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_arrives_after_its_client_gave_up() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let slow = Fate::Slow { request: Duration::from_secs(10), answer: Duration::ZERO };
    server.set(|hooks| {
        hooks.fates = Some(Box::new(move |call, _| if call.is_write() { slow.clone() } else { Fate::Served }))
    });
    let (parameters, map) = (PostParams::default(), map("late"));
    let given_up = timeout(Duration::from_secs(5), async { maps(&client).create(&parameters, &map).await }).await;
    assert!(given_up.is_err());
    assert_eq!(names(&client).await, Vec::<String>::new());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(names(&client).await, ["late"]);
}

#[tokio::test(start_paused = true)]
async fn watches_are_held_ended_and_broken() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let parameters = WatchParams::default();
    let mut watch = maps(&client).watch(&parameters, "0").await.expect("a watch").boxed();
    assert_eq!(server.fault_watches(WatchFault::Held, |call| call.plural == "configmaps"), 1);
    create(&client, &map("a")).await;
    assert!(timeout(READ_TIMEOUT / 2, watch.next()).await.is_err(), "nothing arrives");
    server.fault_watches(WatchFault::None, |_| true);
    let event = watch.try_next().await.expect("no error");
    assert!(matches!(&event, Some(WatchEvent::Added(map)) if map.name_any() == "a"), "{event:?}");
    server.fault_watches(WatchFault::Repeated, |_| true);
    let event = watch.try_next().await.expect("no error");
    assert!(matches!(&event, Some(WatchEvent::Added(map)) if map.name_any() == "a"), "once more: {event:?}");
    server.fault_watches(WatchFault::Ended, |_| true);
    assert!(watch.try_next().await.expect("no error").is_none());
    watch = maps(&client).watch(&parameters, "0").await.expect("a watch").boxed();
    watch.try_next().await.expect("what there is");
    server.fault_watches(WatchFault::Broken, |_| true);
    watch.try_next().await.expect_err("a broken connection");
    watch = maps(&client).watch(&parameters, "0").await.expect("a watch").boxed();
    watch.try_next().await.expect("what there is");
    server.fault_watches(WatchFault::Held, |_| true);
    let begin = Instant::now();
    watch.try_next().await.expect_err("a connection that its client gives up");
    assert_eq!(begin.elapsed(), READ_TIMEOUT);
    drop(watch);
    assert_eq!(server.open_watches(), []);
}

#[tokio::test(start_paused = true)]
async fn rights_are_asked_by_verb_resource_and_name() {
    let server = server();
    let mut rights = Rights::default();
    rights.grant("operator", Some(NAMESPACE), &[
        json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "create"] }),
        json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["one"], "verbs": ["get", "watch"] }),
    ]);
    server.set(|hooks| hooks.rights = Some(rights));
    let client = server.client("operator", NAMESPACE);
    create(&client, &map("a")).await;
    let refused = maps(&client).get("a").await.expect_err("403");
    let expected = r#"configmaps "a" is forbidden: User "operator" cannot get resource "configmaps" in API group "" in the namespace "team""#;
    assert!(matches!(&refused, kube::Error::Api(status) if status.message == expected), "{refused}");
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let named = |name: &str| WatchParams::default().fields(&format!("metadata.name={name}"));
    drop(leases.watch(&named("one"), "0").await.expect("the one Lease").boxed());
    assert_eq!(leases.watch(&named("two"), "0").await.map(drop).map_err(|error| code(&error)), Err(403));
    assert_eq!(code(&leases.get("one").await.expect_err("404")), 404);
    server.set(|hooks| hooks.rights.iter_mut().for_each(|rights| rights.revoke("operator", "configmaps", "list")));
    assert_eq!(code(&maps(&client).list(&ListParams::default()).await.expect_err("403")), 403);
}

#[tokio::test(start_paused = true)]
async fn admission_alters_refuses_and_counts() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    server.set(|hooks| {
        hooks.admission.push(Box::new(|admission, object| {
            if admission.phase == Phase::Alter {
                object["data"]["added"] = "by admission".into();
            }
            match admission.key.name == "refused" {
                true => Err(ApiFailure::forbidden(
                    simulate::api::Subject { group: "", kind: "configmaps", name: "refused" },
                    "not this one",
                )),
                false => Ok(()),
            }
        }));
        hooks.admission.push(quota("few", NAMESPACE, "configmaps", 2));
    });
    let made = create(&client, &map("a")).await;
    assert_eq!(made.data.as_ref().and_then(|data| data.get("added")).map(String::as_str), Some("by admission"));
    create(&client, &map("b")).await;
    let refusal = async |name: &str| {
        let refused = maps(&client).create(&PostParams::default(), &map(name)).await.expect_err("a refusal");
        refused.to_string()
    };
    assert!(refusal("refused").await.contains(r#"configmaps "refused" is forbidden: not this one"#));
    let message =
        "exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=2, limited: count/configmaps=2";
    assert!(refusal("c").await.contains(message));
}

/// Steps the garbage collector until it has nothing to do; returns how often it had.
fn collect(server: &ApiServer) -> usize {
    std::iter::from_fn(|| server.with(|store| store.collect_garbage().then_some(()))).count()
}

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_owners() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let owner = create(&client, &map("owner")).await;
    let second = create(&client, &map("second")).await;
    create(&client, &owned("of-one", &[&owner])).await;
    create(&client, &owned("of-two", &[&owner, &second])).await;
    assert_eq!(collect(&server), 0);
    maps(&client).delete("owner", &DeleteParams::foreground()).await.expect("a deletion");
    assert_eq!(names(&client).await, ["of-one", "of-two", "owner", "second"]);
    collect(&server);
    assert_eq!(names(&client).await, ["of-two", "second"]);
    assert_eq!(maps(&client).get("of-two").await.expect("it").owner_references().len(), 1);
    maps(&client).delete("second", &DeleteParams::orphan()).await.expect("a deletion");
    collect(&server);
    let orphan = maps(&client).get("of-two").await.expect("it");
    assert_eq!((names(&client).await, orphan.owner_references().len()), (vec!["of-two".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_recreated_owner_is_another_one() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    let owner = create(&client, &map("owner")).await;
    create(&client, &owned("dependent", &[&owner])).await;
    maps(&client).delete("owner", &DeleteParams::background()).await.expect("a deletion");
    let again = create(&client, &map("owner")).await;
    assert_ne!(owner.uid(), again.uid());
    collect(&server);
    assert_eq!(names(&client).await, ["owner"]);
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_empties_itself() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    create(&client, &map("a")).await;
    create(&client, &map("b")).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let deleted = namespaces.delete(NAMESPACE, &DeleteParams::default()).await.expect("a deletion");
    let phase = deleted.left().and_then(|namespace| namespace.status?.phase);
    assert_eq!(phase.as_deref(), Some("Terminating"));
    let refused = maps(&client).create(&PostParams::default(), &map("c")).await.expect_err("403");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403
        && status.details.as_ref().is_some_and(|details| details.causes[0].reason == "NamespaceTerminating")));
    assert!(server.with(|store| store.terminate_namespaces()));
    assert_eq!(names(&client).await, ["b"]);
    while server.with(|store| store.terminate_namespaces()) {}
    assert_eq!(code(&namespaces.get(NAMESPACE).await.expect_err("404")), 404);
    let missing = maps(&client).create(&PostParams::default(), &map("c")).await.expect_err("404");
    assert!(missing.to_string().contains(r#"namespaces "team" not found"#), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn a_kind_goes_with_its_objects_and_comes_back_empty() {
    let server = server();
    let client = server.client("operator", NAMESPACE);
    create(&client, &map("a")).await;
    let mut watch = maps(&client).watch(&WatchParams::default(), "0").await.expect("a watch").boxed();
    assert!(matches!(watch.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    assert!(server.with(|store| store.install("", "configmaps", false)));
    assert!(watch.try_next().await.expect("no error").is_none(), "its watch ends");
    assert_eq!(code(&maps(&client).list(&ListParams::default()).await.expect_err("404")), 404);
    server.with(|store| store.install("", "configmaps", true));
    assert_eq!(names(&client).await, Vec::<String>::new());
}

/// What happens to a server with clients that work at the same time.
async fn history() -> Vec<String> {
    let server = server();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let clients = ["one", "two", "three"].map(|account| {
        let (client, seen) = (server.client(account, NAMESPACE), Arc::clone(&seen));
        tokio::spawn(async move {
            for round in 0..20 {
                let name = format!("map-{}", round % 5);
                let parameters = PatchParams::apply(account).force();
                let patch = json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": { "name": name },
                    "data": { account: round.to_string() },
                });
                let result = maps(&client).patch(&name, &parameters, &Patch::Apply(&patch)).await;
                let text = serde_json::to_string(&result.expect("a map")).expect("JSON");
                seen.lock().expect("a lock").push(format!("{account} {text}"));
                tokio::time::sleep(Duration::from_millis(round)).await;
            }
        })
    });
    for client in clients {
        client.await.expect("a client");
    }
    std::mem::take(&mut *seen.lock().expect("a lock"))
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let first = history().await;
    assert_eq!((first.len(), &first), (60, &history().await));
}
