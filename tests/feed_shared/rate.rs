//! Requests stay within the vendor's rate, and namespaces share it.

use super::*;

#[tokio::test(start_paused = true)]
async fn five_hundred_customers_keep_the_rate_limit_across_crashes() {
    let client = Recorder::new(daily);
    let clock = Clock::simulated(epoch());
    let store = Arc::new(MemoryStore::default());
    let customers = customers(500);
    let start = |client: &Arc<Recorder>| {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        for (who, request) in &customers {
            process.feeds.watch(who, request.clone());
        }
        process
    };
    // A crash loop: the process lives twenty seconds at a time, for ten minutes.
    for _ in 0..30 {
        let process = start(&client);
        pass(20).await;
        drop(process);
    }
    assert!(client.count() >= 40, "it gets ahead all the same: {}", client.count());
    // A crash in the middle of a request counts it.
    for _ in 0..10 {
        let process = start(&client);
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(process);
    }
    let process = start(&client);
    pass(95 * 60).await;
    assert_eq!(client.busiest_minute(), 5);
    assert!(customers.iter().all(|(who, _)| process.view(who).allowlist.is_some()), "{} requests", client.count());
    let asked = client.sent();
    let distinct: BTreeSet<String> = asked.iter().map(|(_, request)| customer_of(request)).collect();
    assert_eq!(distinct.len(), 500);
    assert!(asked.len() <= 505, "only what a crash cut off was asked twice: {}", asked.len());

    // Everything is known: another restart asks for nothing, and serves at once.
    drop(process);
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.restore().await;
    let (who, request) = &customers[77];
    let view = process.feeds.watch(who, request.clone());
    assert_eq!(view.allowlist.expect("a list").entries[0].names[1].as_str(), "cust77.xendesktop.net");
    for (who, request) in &customers {
        process.feeds.watch(who, request.clone());
    }
    pass(3600).await;
    assert_eq!(client.count(), asked.len());

    // A day after the epoch they are all due, and take their turns again.
    pass(24 * 3600).await;
    assert_eq!(client.busiest_minute(), 5);
    assert!(client.count() >= asked.len() + 500);
}

/// With the times of another machine's clock taken as its own, it sent up to ten in a minute.
#[tokio::test(start_paused = true)]
async fn a_successor_whose_clock_is_off_keeps_the_rate() {
    let client = Recorder::new(daily);
    let store = Arc::new(MemoryStore::default());
    for hours in [0, 24, -24, 1, 0, 300] {
        let clock = Clock::simulated(epoch() + SignedDuration::from_hours(hours));
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        for (who, request) in &customers(50) {
            process.feeds.watch(who, request.clone());
        }
        pass(25).await;
        drop(process);
    }
    assert_eq!((client.busiest_minute(), client.count()), (5, 13));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_resources_of_a_customer_cost_one_request() {
    let client = Recorder::new(daily);
    let mut process = Process::simple(&client);
    let all: Vec<ResourceRef> = (0..1000).map(|index| who("citrix", &format!("cr{index}"))).collect();
    for who in &all {
        process.feeds.watch(who, request("acme"));
    }
    pass(3600).await;
    assert_eq!(client.count(), 1);
    let mut wakes = process.wakes();
    wakes.sort();
    let mut expected = all.clone();
    expected.sort();
    assert_eq!(wakes, expected);
    let request = &client.sent()[0].1;
    assert!(
        request.url.ends_with("/v2/allowlist?customerId=acme&format=json&geo=all&direction=all"),
        "{}",
        request.url
    );
    assert_eq!(request.transaction_id.len(), 36);
    let view = process.view(&all[999]);
    assert_eq!(view.transaction_id.as_deref(), Some(request.transaction_id.as_str()));
    assert_eq!((view.reason, view.current, view.confirmations), (Reason::Fetched, true, 1));
    assert_eq!(view.next_fetch, Some(epoch() + SignedDuration::from_hours(24)));
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_host() {
    let client = Recorder::new(|request, count| match count {
        1 => Err(FetchError::RateLimited { retry_after: Some(Duration::from_secs(600)) }),
        _ => daily(request, count),
    });
    let process = Process::simple(&client);
    let (first, second, third) = (who("a", "one"), who("a", "two"), who("b", "three"));
    process.feeds.watch(&first, request("acme1"));
    pass(1).await;
    process.feeds.watch(&second, request("acme2"));
    process.feeds.watch(&third, FeedRequest { cloud: Cloud::Japan, ..request("acme3") });
    pass(590).await;
    assert_eq!(client.count(), 2, "only Japan's host was asked");
    assert_eq!(process.view(&first).reason, Reason::RateLimited);
    assert!(process.view(&third).allowlist.is_some());
    pass(100).await;
    assert_eq!(client.count(), 4);
    assert!(process.view(&first).allowlist.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_asks_for_nothing() {
    let client = Recorder::new(daily);
    let process = Process::simple(&client);
    process.leading.send_replace(false);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(3600).await;
    assert_eq!(client.count(), 0);
    process.leading.send_replace(true);
    pass(1).await;
    assert_eq!(client.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_namespace_starves_nobody() {
    let client = Recorder::new(daily);
    let settings =
        FeedSettings { lists: Bound { resource: 1, namespace: 400, process: 1000 }, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    for index in 0..400 {
        process.feeds.watch(&who("greedy", &format!("cr{index}")), request(&format!("greedy{index}")));
    }
    pass(120).await;
    let modest = who("modest", "only");
    let view = process.feeds.watch(&modest, request("modest"));
    assert_eq!((view.reason, view.allowlist), (Reason::WaitingForFeed, None));
    assert!(view.next_fetch.is_some());
    pass(62).await;
    assert!(process.view(&modest).allowlist.is_some());
    let waiting = process.feeds.snapshot().iter().filter(|entry| entry.queue_place.is_some()).count();
    assert!(waiting > 300, "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_an_expired_list_is_a_handful_of_requests() {
    let client = Recorder::new(|_, _| names(4, "2020-01-01T00:00:00Z"));
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(24 * 3600).await;
    assert!((8..=10).contains(&client.count()), "doubling from five minutes: {}", client.count());
    assert_eq!((process.view(&me).reason, process.view(&me).current), (Reason::FeedExpired, false));
}

#[tokio::test(start_paused = true)]
async fn an_unusable_customer_is_never_sent() {
    let client = Recorder::new(daily);
    let process = Process::simple(&client);
    let view = process.feeds.watch(&who("citrix", "me"), request("../../x"));
    assert_eq!(view.reason, Reason::FeedRejected);
    pass(3600).await;
    assert_eq!(client.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_on_the_same_host_counts_against_the_rate() {
    let client = Recorder::new(|request, count| {
        if request.url.contains("/moved/") && !request.url.contains("customerId=loop") {
            return names(4, "2026-06-02T00:00:00Z");
        }
        Ok(Fetched::Moved {
            url: format!(
                "https://api.cloud.com/moved/{count}?{}",
                request.url.split_once('?').map_or("", |(_, query)| query)
            ),
        })
    });
    let process = Process::simple(&client);
    let (me, circle) = (who("citrix", "me"), who("citrix", "circle"));
    process.feeds.watch(&me, request("acme"));
    process.feeds.watch(&circle, request("loop"));
    pass(50).await;
    assert!(process.view(&me).allowlist.is_some());
    pass(120).await;
    assert!(client.busiest_minute() <= 5);
    assert!(process.view(&circle).message.starts_with("the API redirects in circles"));
}
