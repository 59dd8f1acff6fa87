use super::history::ResourceHistory;
use super::record::{ChangedBy, PolicyStep};
use super::rows::{RowChange, rows};
use super::*;
use crate::names::{Addresses, NameAddresses};
use connectivity_allowlist::net::{Direction, DomainName};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

fn at(seconds: i64) -> Timestamp {
    "2026-06-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
}

fn network(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// A policy of egress with one rule for these networks.
fn policy(selector: &str, networks: &[&str]) -> Arc<PolicyAllows> {
    let networks = networks.iter().map(|text| network(text)).collect();
    let rules = vec![AllowedRule { ports: vec!["TCP 443".into()], networks, others: vec![] }];
    let scope = IsolatedPods { direction: Direction::Outbound, selector: selector.into() };
    Arc::new(PolicyAllows(vec![Governed { scope, rules }]))
}

fn step(before: &[Arc<PolicyAllows>], after: &[Arc<PolicyAllows>], origin: ChangedBy) -> PolicyStep {
    PolicyStep {
        policy: "daas-egress".into(),
        resource_version: Some("7".into()),
        before: before.to_vec(),
        after: after.to_vec(),
        origin,
    }
}

#[test]
fn a_record_says_what_came_and_went_and_for_which_name() {
    let known = |address: &str| {
        Arc::new(NameAddresses { addresses: vec![address.parse().expect("an address")], ..NameAddresses::default() })
    };
    let name = |text| DomainName::parse(text).expect("a name");
    let by_name = [(name("a.example.com"), known("20.1.2.4")), (name("b.example.com"), known("20.1.2.3"))];
    let cause = WriteCause {
        causes: vec![Cause::List, Cause::Answer],
        list: Some("2026-06-01".into()),
        generation: 2,
        addresses: Some(Arc::new(Addresses { by_name: by_name.into() })),
        ..WriteCause::default()
    };
    let (before, after) = (policy("{}", &["20.1.2.3/32", "66.0.0.0/8"]), policy("{}", &["20.1.2.2/31", "20.1.2.4/32"]));
    let record = TrailRecord::of(&step(&[before], &[after], ChangedBy::Written(Arc::new(cause))), false, at(0));
    let record = record.expect("a change");
    let expected = serde_json::json!({
        "at": "2026-06-01T00:00:00Z",
        "causes": ["List", "Answer"],
        "list": "2026-06-01",
        "generation": 2,
        "policy": "daas-egress",
        "resourceVersion": "7",
        "scopes": [{
            "direction": "egress",
            "pods": "{}",
            "added": { "TCP 443": ["20.1.2.2/32", "20.1.2.4/32"] },
            "removed": { "TCP 443": ["66.0.0.0/8"] },
        }],
        "names": { "20.1.2.4/32": ["a.example.com"] },
    });
    assert_eq!(serde_json::to_value(&record).expect("JSON"), expected, "20.1.2.3 was allowed and still is");
}

#[test]
fn an_equal_set_in_other_rules_is_no_change() {
    let (before, after) = (policy("{}", &["20.1.2.0/31"]), policy("{}", &["20.1.2.0/32", "20.1.2.1/32"]));
    assert_eq!(TrailRecord::of(&step(&[before], &[after], ChangedBy::Deleted), false, at(0)), None);
}

#[test]
fn a_last_policy_opens_and_another_selector_does_both() {
    let (all, some) = (policy("{}", &["20.1.2.3/32"]), policy(r#"{"matchLabels":{"app":"vda"}}"#, &["20.1.2.3/32"]));
    let causes = |origin, is_gone| {
        TrailRecord::of(&step(std::slice::from_ref(&all), &[], origin), is_gone, at(0)).map(|record| record.causes)
    };
    assert_eq!(causes(ChangedBy::Deleted, true), Some(vec![Cause::Deletion]));
    assert_eq!(causes(ChangedBy::Deleted, false), Some(vec![Cause::Drift]));
    let record = TrailRecord::of(&step(&[all], &[some], ChangedBy::Edited(Some("kubectl-edit".into()))), false, at(0));
    let record = record.expect("a change");
    assert_eq!((record.causes, record.by.as_deref()), (vec![Cause::Drift], Some("kubectl-edit")));
    let texts = |which| record.scopes.isolation(which).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(Isolation::Ended), ["egress {}"]);
    assert_eq!(texts(Isolation::Began), [r#"egress {"matchLabels":{"app":"vda"}}"#]);
}

#[test]
fn a_history_tells_when_an_address_came_and_went() {
    let mut history = ResourceHistory::default();
    let states = [
        vec![],
        vec![policy("{}", &["20.1.2.3/32"])],
        vec![policy("{}", &["20.1.2.3/32", "20.1.2.9/32"])],
        vec![policy("{}", &["20.1.2.9/32"])],
        vec![],
    ];
    for (seconds, pair) in (0..).zip(states.windows(2)) {
        let step = step(&pair[0], &pair[1], ChangedBy::Deleted);
        history.push(TrailRecord::of(&step, false, at(3600 * seconds)).expect("a change"));
    }
    let address: Option<IpAddr> = Some("20.1.2.3".parse().expect("an address"));
    let told = |rows: Vec<rows::HistoryRow>| -> Vec<(RowChange, Timestamp, String)> {
        rows.into_iter().map(|row| (row.change, row.at, row.peer)).collect()
    };
    let one = || "20.1.2.3/32".to_owned();
    let expected = [
        (RowChange::Isolated, at(0), String::new()),
        (RowChange::Added, at(0), one()),
        (RowChange::Removed, at(7200), one()),
        (RowChange::Opened, at(10_800), String::new()),
    ];
    assert_eq!(told(rows(&history, address, None)), expected);
    let since = told(rows(&history, address, Some(at(3600))));
    assert_eq!(since, [vec![(RowChange::Before, at(3600), one())], expected[2..].to_vec()].concat());
    history.forget_before(at(10_800), Duration::from_secs(5000));
    assert_eq!(history.since(), Some(at(3600)), "the two oldest are forgotten, and what they led to is the start");
    assert_eq!(told(rows(&history, address, None)), since);
}

#[test]
fn a_history_of_another_version_or_a_broken_one_is_refused() {
    let refused = |text: &str| ResourceHistory::read(text).expect_err("refused").to_string();
    assert_eq!(refused(""), "line 1: the history is empty");
    let schema = "line 1: the schema is `v9`; `citrix-allowlist.io/history/v1` can be read";
    assert_eq!(refused(r#"{"schema":"v9"}"#), schema);
    let broken = refused("{\"schema\":\"citrix-allowlist.io/history/v1\"}\n{");
    assert!(broken.starts_with("line 2: "), "{broken}");
}

fn any_policy() -> impl Strategy<Value = Arc<PolicyAllows>> {
    let peers = prop::collection::vec((0_u8..16, 28_u8..=32), 0..6);
    let rule = (peers, prop::sample::subsequence(vec!["TCP 443", "TCP 80", "UDP 53"], 1..3), any::<bool>());
    let rules = prop::collection::vec(rule, 0..3);
    (any::<bool>(), any::<bool>(), rules).prop_map(|(outbound, all, rules)| {
        let rule = |(peers, ports, other): (Vec<(u8, u8)>, Vec<&str>, bool)| AllowedRule {
            ports: ports.into_iter().map(Arc::from).collect(),
            networks: peers
                .iter()
                .map(|(last, length)| IpNet::new([20, 1, 2, *last].into(), *length).expect("a network").trunc())
                .collect(),
            others: if other { vec!["any address".into()] } else { vec![] },
        };
        let rules = rules.into_iter().map(rule).filter(|rule| !rule.networks.is_empty() || !rule.others.is_empty());
        let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
        let selector = if all { "{}" } else { r#"{"matchLabels":{"a":"b"}}"# };
        let scope = IsolatedPods { direction, selector: selector.into() };
        Arc::new(PolicyAllows(vec![Governed { scope, rules: rules.collect() }]))
    })
}

proptest! {
    #[test]
    fn replayed_records_give_what_is_in_force(
        states in prop::collection::vec(prop::collection::vec(any_policy(), 0..4), 1..8),
        forgotten in 0_i64..8,
    ) {
        let (mut history, mut before, mut replayed) = (ResourceHistory::default(), Vec::new(), InForce::default());
        for (seconds, after) in (0..).zip(states) {
            let step = step(&before, &after, ChangedBy::Edited(None));
            let changed = InForce::of(&before) != InForce::of(&after);
            let record = TrailRecord::of(&step, false, at(seconds));
            prop_assert_eq!(record.is_some(), changed);
            if let Some(record) = record {
                let text = serde_json::to_string(&record).expect("JSON");
                let read: TrailRecord = serde_json::from_str(&text).expect("a record");
                prop_assert_eq!(&read, &record);
                replayed.replay(&read);
                history.push(record);
            }
            prop_assert_eq!(&replayed, &InForce::of(&after));
            before = after;
        }
        let read = ResourceHistory::read(&history.text()).expect("a history");
        prop_assert_eq!(&read, &history);
        history.forget_before(at(forgotten), Duration::ZERO);
        prop_assert_eq!(history.end(), replayed.clone());
        let read = ResourceHistory::read(&history.text()).expect("a history");
        prop_assert_eq!(read.end(), replayed.clone());
        // As if a byte were packed into none: nothing fits, until only the start is left.
        let packed = history.packed(|text| Ok::<_, ()>(vec![0; if text.lines().count() > 1 { history::LARGEST + 1 } else { 1 }]));
        prop_assert_eq!(packed, Ok(Some(vec![0])));
        prop_assert_eq!((history.records().count(), history.end()), (0, replayed));
    }
}
