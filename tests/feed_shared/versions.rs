//! Which of two lists is in use: newer, older, shorter, expired.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_shrunk_list_is_believed_at_the_second_fetch() {
    let client = Recorder::new(|_, count| names(if count == 1 { 10 } else { 3 }, "2026-06-01T01:00:00Z"));
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, FeedRequest { min_interval: Duration::from_secs(1000), ..request("acme") });
    pass(3600 + 310).await;
    let held_back = process.view(&me);
    assert_eq!((held_back.reason, held_back.problems.len(), client.count()), (Reason::FeedShrank, 1, 2));
    assert_eq!(held_back.allowlist.expect("the old list").entries[0].names.len(), 10);
    pass(1100).await;
    let believed = process.view(&me);
    assert_eq!(believed.allowlist.expect("the new list").entries[0].names.len(), 3);
    assert_eq!((believed.confirmations, believed.problems.len(), client.count()), (2, 0, 3));
}

/// A list of these networks, published on a day of June 2026, valid until the first: past it at once.
fn networks(day: u32, ips: &[&str]) -> Result<Fetched, FetchError> {
    let value = json!({
        "meta": { "version": format!("2026-06-{day:02}T00:00:00Z"), "validUntil": "2026-06-01T00:00:00Z" },
        "services": [{ "name": "Net", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": "us", "ips": ips }] }],
    });
    let validators = Validators::new(None, Some("Mon, 01 Jun 2026 00:00:00 GMT".to_owned()));
    Ok(Fetched::Document { body: value.to_string().into_bytes(), validators, content_type: None })
}

const OLD: [&str; 3] = ["20.111.0.0/24", "20.111.1.0/24", "20.111.2.0/24"];
const NEW: [&str; 4] = ["20.111.0.0/24", "20.111.1.0/24", "20.111.2.0/24", "20.111.8.0/24"];

#[tokio::test(start_paused = true)]
async fn an_older_list_of_another_edge_takes_nothing_back() {
    let client = Recorder::new(|_, count| if count % 2 == 1 { networks(2, &NEW) } else { networks(1, &OLD) });
    let store = Arc::new(MemoryStore::default());
    let clock = Clock::simulated("2026-06-02T12:00:00Z".parse().expect("a time"));
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(10).await;
    let first = process.view(&me);
    for token in 0..6 {
        process.feeds.refresh(&me, &token.to_string());
        pass(60).await;
        let view = process.view(&me);
        let list = view.allowlist.clone().expect("a list");
        assert_eq!(list.entries[0].networks.len(), 4, "after {} fetches", client.count());
        assert_eq!((list.version.as_deref(), view.digest), (Some("2026-06-02T00:00:00Z"), first.digest));
        let older = client.count().is_multiple_of(2);
        assert_eq!(view.message.contains("older list, 2026-06-01T00:00:00Z"), older, "{}", view.message);
    }
    assert_eq!(client.count(), 7);
    assert_eq!(store.saved().lists[0].state.older_since, None, "the newest answer was the newer list");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_list_yields_to_its_predecessor_across_restarts() {
    let client = Recorder::new(|_, count| if count == 1 { networks(2, &NEW) } else { networks(1, &OLD) });
    let store = Arc::new(MemoryStore::default());
    let clock = Clock::simulated("2026-06-02T12:00:00Z".parse().expect("a time"));
    let me = who("citrix", "me");
    let networks_after = async |hours: u64| {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        process.feeds.restore().await;
        process.feeds.watch(&me, request("acme"));
        pass(hours * 3600).await;
        process.view(&me).allowlist.expect("a list").entries[0].networks.len()
    };
    for _ in 0..4 {
        assert_eq!(networks_after(20).await, 4, "80 hours of older answers");
    }
    assert_eq!(networks_after(30).await, 3, "110 hours: longer than the usual validity of 84");
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_fetched_unconditionally_until_a_newer_one() {
    // A server that takes only the services for its content: validUntil rolls on, Last-Modified stays.
    let clock = Clock::simulated(epoch());
    let client = Recorder::new(move |request, _| {
        if !request.validators.is_empty() {
            return Ok(Fetched::NotModified);
        }
        let until = Timestamp::from_second((clock.now().as_second() / 7200 + 1) * 7200).expect("a time");
        names(4, &until.to_string())
    });
    let process = Process::start(FeedSettings::default(), clock, Arc::new(MemoryStore::default()), client.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, FeedRequest { max_interval: Duration::from_secs(5000), ..request("acme") });
    for hour in 1..=24 {
        pass(3600).await;
        let view = process.view(&me);
        assert_eq!((view.reason, view.current), (Reason::Fetched, true), "hour {hour}: {}", view.message);
    }
    let conditional = client.sent().iter().filter(|(_, request)| !request.validators.is_empty()).count();
    assert!(conditional > 8, "within its validity it is asked whether it changed: {conditional}");
}

#[tokio::test(start_paused = true)]
async fn a_304_that_nobody_asked_for_is_no_confirmation() {
    let client = Recorder::new(|_, count| if count == 1 { networks(1, &OLD) } else { Ok(Fetched::NotModified) });
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(900).await;
    let view = process.view(&me);
    assert_eq!((view.reason, view.confirmations), (Reason::FeedMalformed, 1));
    assert!(
        view.message.starts_with("the API answers 304 to a request without condition; the list of"),
        "{}",
        view.message
    );
}
