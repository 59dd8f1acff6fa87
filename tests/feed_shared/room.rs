//! Bounds on lists.

use super::*;

#[tokio::test(start_paused = true)]
async fn lists_beyond_a_bound_wait_and_cost_nobody_else() {
    let client = Recorder::new(daily);
    let settings = FeedSettings {
        lists: Bound { resource: 1, namespace: 2, process: 8 },
        requests_per_minute: 1000.try_into().expect("a rate"),
        ..FeedSettings::default()
    };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    let watch =
        |of: &Process, namespace: &str, customer: &str| of.feeds.watch(&who(namespace, customer), request(customer));
    for customer in ["one", "two"] {
        assert!(watch(&process, "greedy", customer).problems.is_empty(), "{customer}");
    }
    let waiting = watch(&process, "greedy", "three");
    assert_eq!(waiting.problems.len(), 1, "{waiting:?}");
    assert!(waiting.message.contains("may have 2 (--max-lists-per-namespace)"), "{}", waiting.message);
    assert!(watch(&process, "modest", "three").problems.is_empty(), "another namespace has room");
    let applied = process.feeds.watch_applied(&who("greedy", "applied"), request("four"), true);
    assert!(applied.problems.is_empty(), "an applied spec keeps its list over a restart");
    process.feeds.unwatch(&who("greedy", "applied"));
    assert!(watch(&process, "greedy", "one").problems.is_empty(), "a list that is used already costs nothing");
    assert_eq!(process.feeds.left_out(), [0, 1, 0]);
    pass(60).await;
    assert_eq!(client.count(), 3, "the list without room is not fetched for its sake");

    process.wakes();
    process.feeds.unwatch(&who("greedy", "two"));
    assert_eq!(process.wakes(), [who("greedy", "three")]);
    let admitted = watch(&process, "greedy", "three");
    assert!(admitted.allowlist.is_some() && admitted.problems.is_empty(), "{admitted:?}");
    assert_eq!(process.feeds.left_out(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_wakes_who_waits_for_that_very_room() {
    let client = Recorder::new(daily);
    let settings = FeedSettings { lists: Bound { resource: 1, namespace: 2, process: 4 }, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    let places = [("a", "one"), ("a", "two"), ("b", "three")];
    for (namespace, customer) in places {
        let view = process.feeds.watch(&who(namespace, customer), request(customer));
        assert!(view.problems.is_empty(), "{namespace}/{customer}");
    }
    process.feeds.watch(&who("a", "full"), request("four"));
    process.feeds.watch(&who("c", "late"), request("five"));
    assert_eq!(process.feeds.left_out(), [0, 1, 1], "one by its namespace, one by the process");
    process.wakes();
    process.feeds.unwatch(&who("b", "three"));
    assert_eq!(process.wakes(), [who("c", "late")], "not the one that its namespace has no room for");
    assert!(process.feeds.watch(&who("c", "late"), request("five")).problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_room_is_lost_on_a_resource_that_wants_it_no_more() {
    let lists = Bound { resource: 1, namespace: 2, process: 40 };
    let settings = FeedSettings { lists, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, Recorder::new(daily));
    for (name, customer) in [("1", "one"), ("2", "two"), ("3", "three"), ("4", "three"), ("5", "four")] {
        process.feeds.watch(&who("a", name), request(customer));
    }
    assert_eq!(process.feeds.left_out(), [0, 3, 0]);
    process.wakes();
    process.feeds.unwatch(&who("a", "1"));
    assert_eq!(process.wakes(), [who("a", "3")]);
    pass(61).await;
    assert_eq!(process.wakes()[0], who("a", "4"), "the first says nothing more: a suspended or invalid one does that");
    process.feeds.watch(&who("a", "5"), request("four"));
    for name in ["3", "4"] {
        process.feeds.watch(&who("a", name), request("three"));
    }
    process.feeds.watch(&who("a", "2"), request("four"));
    process.wakes();
    assert!(process.feeds.watch(&who("a", "3"), request("three")).problems.is_empty(), "the room that `2` left");
    pass(1).await;
    assert!(process.wakes().contains(&who("a", "4")), "the list that it waits for is one of its namespace now");
}

#[tokio::test(start_paused = true)]
async fn lists_that_nothing_needs_are_forgotten_beyond_the_bound() {
    let client = Recorder::new(daily);
    let lists = Bound { resource: 1, namespace: 100, process: 8 };
    let settings =
        FeedSettings { lists, requests_per_minute: 1000.try_into().expect("a rate"), ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    for number in 0..40 {
        let customer = format!("made{number}");
        process.feeds.watch(&who("churn", "one"), request(&customer));
        pass(2).await;
    }
    assert!(process.feeds.snapshot().len() <= 9, "{}", process.feeds.snapshot().len());
    assert!(process.feeds.snapshot().iter().any(|list| list.key.customer.as_deref() == Some("made39")));
}
