//! What is saved for a restart.

use super::*;

/// Formerly each start asked at once for the answer that had ended the process: six times in 195 s.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_each_answer_does_not_ask_each_time() {
    let client = Recorder::new(daily);
    let (clock, store) = (Clock::simulated(epoch()), Arc::new(MemoryStore::default()));
    let me = who("citrix", "me");
    let began = || client.count();
    // The process ends while the answer arrives, and is started again ten seconds later.
    for _ in 0..90 {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        process.feeds.watch(&me, request("acme"));
        process.feeds.refresh(&me, "now");
        let before = began();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if began() > before {
                break;
            }
        }
    }
    assert!((5..=8).contains(&began()), "{} in a quarter of an hour: 15 s, 30 s, 1, 2, 4 minutes apart", began());
    let [begun] = &store.saved().requests.begun[..] else { panic!("one fetch is begun") };
    assert_eq!(usize::try_from(begun.times), Ok(began()));

    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.watch(&me, request("acme"));
    pass(1).await;
    let message = process.view(&me).message;
    assert!(message.starts_with("the first list has not arrived yet; the fetch of 2026-06-01T"), "{message}");
    pass(910).await;
    assert_eq!(process.view(&me).reason, Reason::Fetched);
    pass(1).await;
    drop(process);
    let sent = began();
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.watch(&me, request("acme"));
    pass(60).await;
    assert_eq!(
        (process.view(&me).reason, began()),
        (Reason::Fetched, sent),
        "the saved list says that its fetch completed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_back_the_note_that_a_fetch_was_begun() {
    let client = Recorder::new(|_, _| unavailable());
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(FeedSettings::default(), Clock::simulated(epoch()), store.clone(), client.clone());
    process.feeds.watch(&who("citrix", "me"), request("acme"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.saved().requests.begun.len(), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.saved().requests.begun, []);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_is_forgotten_here_and_in_the_store() {
    let client = Recorder::new(daily);
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(FeedSettings::default(), Clock::simulated(epoch()), store.clone(), client.clone());
    let (me, other) = (who("citrix", "me"), who("citrix", "other"));
    process.feeds.watch(&me, request("acme"));
    process.feeds.watch(&other, request("other"));
    pass(10).await;
    assert_eq!(store.saved().lists.len(), 2);
    process.feeds.unwatch(&me);
    pass(300).await;
    assert!(process.feeds.watch(&me, request("acme")).allowlist.is_some(), "still known");
    process.feeds.unwatch(&me);
    pass(700).await;
    assert_eq!(process.feeds.snapshot().len(), 1);
    let kept: Vec<String> = store.saved().lists.iter().map(|list| list.key.to_string()).collect();
    assert_eq!(kept, ["Global/other/json"]);
    assert_eq!(client.count(), 2);
}

/// A store that cannot be read for a while, or holds what cannot be read.
struct BrokenStore {
    failures: Mutex<u32>,
    lists: Vec<SavedList>,
}

impl ListStore for BrokenStore {
    fn load(&self) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(async {
            let mut failures = self.failures.lock().expect("unpoisoned");
            if *failures > 0 {
                *failures -= 1;
                return Err(StoreError("the API server is away".into()));
            }
            Ok(Saved { lists: self.lists.clone(), ..Saved::default() })
        })
    }
    fn save(&self, _: SavedList) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError("no".into())) })
    }
    fn save_requests(&self, _: SavedRequests) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::pending())
    }
    fn retain(&self, _: BTreeSet<FeedKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

#[derive(Default)]
struct Heard {
    warnings: Mutex<Vec<String>>,
    fetched: Mutex<Vec<(Reason, bool)>>,
}

impl FeedObserver for Heard {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        self.fetched.lock().expect("unpoisoned").push((fetch.reason, fetch.changed));
    }
    fn store_warning(&self, message: &str) {
        self.warnings.lock().expect("unpoisoned").push(message.to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_delays_and_is_reported_and_harms_nothing() {
    let saved = Arc::new(MemoryStore::default());
    let client = Recorder::new(daily);
    let before = Process::start(FeedSettings::default(), Clock::simulated(epoch()), saved.clone(), client.clone());
    before.feeds.watch(&who("citrix", "me"), request("acme"));
    pass(10).await;
    drop(before);
    let mut corrupt = saved.saved().lists[0].clone();
    corrupt.document = Arc::from(&corrupt.document[..corrupt.document.len() / 2]);

    let store = Arc::new(BrokenStore { failures: Mutex::new(2), lists: vec![corrupt] });
    let heard = Arc::new(Heard::default());
    let process =
        Process::observed(FeedSettings::default(), Clock::simulated(epoch()), store, client.clone(), heard.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(2).await;
    assert_eq!(client.count(), 1, "the rate counts as used up where nothing is known");
    pass(50).await;
    assert_eq!(client.count(), 1, "a request that cannot be noted waits");
    pass(30).await;
    assert_eq!(client.count(), 2, "once it is known, what is corrupt is asked for again");
    assert!(process.view(&me).allowlist.is_some());
    let warnings = heard.warnings.lock().expect("unpoisoned").clone();
    let expected = [
        "cannot be read, requests wait",
        "cannot be read, requests wait",
        "is ignored (the gzip data is broken",
        "what was sent is not saved",
        "is not saved: a restart fetches it again",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning} does not hold {expected}");
    }
    assert_eq!(*heard.fetched.lock().expect("unpoisoned"), [(Reason::Fetched, true)]);
}
