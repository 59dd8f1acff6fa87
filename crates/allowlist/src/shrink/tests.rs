use super::*;
use crate::document::{Reading, parse};
use serde_json::json;

/// A list of these names for geo `us`.
fn list(names: &[&str]) -> Allowlist {
    in_geo("us", names)
}

fn in_geo(geo: &str, names: &[&str]) -> Allowlist {
    let endpoint = json!({ "geo": geo, "fqdns": names });
    let services = if names.is_empty() {
        json!([])
    } else {
        json!([{ "name": "S", "direction": "outbound", "endpoints": [endpoint] }])
    };
    parse(json!({ "services": services }).to_string().as_bytes(), &Reading::default()).expect("a list").allowlist
}

const FULL: [&str; 4] = ["a.example.net", "b.example.net", "*.c.example.net", "20.1.1.1"];

#[test]
fn half_may_go_at_once_more_is_held_back() {
    assert_eq!(judge(&list(&FULL), None, &list(&FULL[..2])), Acceptance::Accept);
    assert_eq!(judge(&list(&FULL), None, &list(&FULL[..1])), Acceptance::HoldBack { lost: 3, of: 4 });
    assert_eq!(judge(&list(&FULL[..1]), None, &list(&FULL)), Acceptance::Accept, "growing is no loss");
}

#[test]
fn other_names_or_another_region_are_a_loss_too() {
    let others = ["d.example.net", "e.example.net", "f.example.net", "20.9.9.9"];
    assert_eq!(judge(&list(&FULL), None, &list(&others)), Acceptance::HoldBack { lost: 4, of: 4 });
    assert_eq!(judge(&list(&FULL), None, &in_geo("eu", &FULL)), Acceptance::HoldBack { lost: 4, of: 4 });
}

#[test]
fn the_second_time_it_is_accepted() {
    let (full, short) = (list(&FULL), list(&FULL[..1]));
    assert_eq!(judge(&full, Some(&short), &short), Acceptance::Accept);
    assert_eq!(judge(&full, Some(&short), &full), Acceptance::Accept, "back to what it was");
    let other = list(&FULL[3..]);
    let held_back = Acceptance::HoldBack { lost: 3, of: 4 };
    assert_eq!(judge(&full, Some(&short), &other), held_back, "another loss is another list");
}

#[test]
fn nothing_never_replaces_something() {
    let (full, nothing) = (list(&FULL), list(&[]));
    assert_eq!(judge(&full, None, &nothing), Acceptance::Empty);
    assert_eq!(judge(&full, Some(&nothing), &nothing), Acceptance::Empty);
    assert_eq!(judge(&nothing, None, &nothing), Acceptance::Accept);
    assert_eq!(judge(&nothing, None, &full), Acceptance::Accept);
}

#[test]
fn networks_that_are_written_differently_are_no_loss() {
    let (halves, whole) = (["20.1.0.0/25", "20.1.0.128/25", "20.1.4.0/24"], ["20.1.0.0/24", "20.1.4.0/24"]);
    assert_eq!(judge(&list(&halves), None, &list(&whole)), Acceptance::Accept);
    assert_eq!(judge(&list(&whole), None, &list(&halves)), Acceptance::Accept);
    assert_eq!(judge(&list(&halves), None, &list(&["20.1.0.0/16"])), Acceptance::Accept);
    assert_eq!(judge(&list(&whole), None, &list(&halves[..1])), Acceptance::HoldBack { lost: 2, of: 2 });
    assert_eq!(judge(&list(&whole), None, &in_geo("eu", &halves)), Acceptance::HoldBack { lost: 2, of: 2 });
}
