//! The operator's state as text. Pure.

use super::durations::{seconds, when};
use super::memory::{OperatorReport, SeenAddress};
use crate::operator::debug_state::{KnownLearned, KnownName, ListState};
use crate::status::plural;
use crate::text::Tree;
use jiff::Timestamp;

/// The state of a name that DNS answers.
pub const ANSWERED: &str = "answered";

/// What a list's next fetch waits for, and how the last ended.
#[must_use]
pub fn queue(list: &ListState) -> Option<String> {
    let place = list.queue_place.map(|place| format!("due, and number {place} in the queue for the API's rate"));
    let failures = match list.failures {
        0 => None,
        1 => Some("1 request has failed".to_owned()),
        failures => Some(format!("{failures} requests in a row have failed")),
    };
    let held_back = "a newer list is held back until a further fetch confirms it".to_owned();
    let parts = [place, failures, list.held_back.then_some(held_back)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Many answered names in one sentence.
#[must_use]
pub fn together(names: &[&KnownName]) -> Option<String> {
    let seen = names.iter().filter_map(|known| known.addresses.iter().map(|cached| cached.last_seen_seconds).min());
    let (newest, oldest) = (seen.clone().min()?, seen.max()?);
    let next = names.iter().filter_map(|known| Some((known.next_question_seconds?, &known.name))).min();
    let next = next.map(|(wait, name)| format!("; next, {name} in {}", seconds(wait))).unwrap_or_default();
    let seen = if newest == oldest { seconds(oldest) } else { format!("{} to {}", seconds(newest), seconds(oldest)) };
    Some(format!("{} answered, last seen {seen} ago{next}; -o yaml lists each", names.len()))
}

/// The state of a name: `NAME: 2 addresses, last seen 12 s ago, TTL 300 s; asked again in 288 s`.
#[must_use]
pub fn of_name(known: &KnownName) -> String {
    let usable: Vec<_> = known.addresses.iter().filter(|cached| cached.refused.is_none()).collect();
    let refused = known.addresses.len() - usable.len();
    let mut text = format!("{}: ", known.name);
    if known.state != ANSWERED {
        let error = known.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        text.push_str(&format!("{}{error}, ", known.state));
    }
    text.push_str(&format!("{} {}", usable.len(), plural(usable.len(), "address", "addresses")));
    if refused > 0 {
        text.push_str(&format!(", {refused} refused"));
    }
    if let Some(newest) = usable.iter().min_by_key(|cached| cached.last_seen_seconds) {
        let (seen, ttl) = (seconds(newest.last_seen_seconds), seconds(newest.ttl_seconds));
        text.push_str(&format!(", last seen {seen} ago, TTL {ttl}"));
    }
    let missing = usable.iter().filter(|cached| cached.missing_seconds.is_some()).count();
    if missing > 0 {
        text.push_str(&format!(", {missing} of them given no more"));
    }
    text.push_str(&match known.next_question_seconds {
        None => "; being asked".to_owned(),
        Some(0) => "; asked again now".to_owned(),
        Some(wait) => format!("; asked again in {}", seconds(wait)),
    });
    text
}

/// Where the operator's state is from, or why there is none.
#[must_use]
pub fn of_operator(operator: &OperatorReport) -> Tree {
    Tree::leaf(match operator {
        OperatorReport::Read(memory) => format!("read from the operator: {}", memory.source),
        OperatorReport::Unread { error } => {
            format!("the operator's own memory, of when DNS gave what, could not be read: {error}")
        }
    })
}

/// When and for whom a name was learned.
#[must_use]
pub fn of_learned(learned: &KnownLearned) -> String {
    let KnownLearned { since_seconds, asked_seconds, pods } = learned;
    let by = if pods.is_empty() { String::new() } else { format!(" by {}", pods.join(", ")) };
    format!(
        "learned {} ago, since a pod asked for it; last asked for {} ago{by}",
        seconds(*since_seconds),
        seconds(*asked_seconds)
    )
}

/// When DNS returned an address, and how long it stays.
#[must_use]
pub fn of_address(seen: &SeenAddress, peer: &str, now: Timestamp) -> Vec<Tree> {
    let name = if seen.name == peer { String::new() } else { format!("{}: ", seen.name) };
    let resolved = format!("resolved {} by {}", when(&seen.resolved_at, now), seen.server);
    let until = if seen.missing {
        format!("given no more since: valid until {} unless DNS gives it again", seen.valid_until)
    } else {
        format!("valid until {} at least", seen.valid_until)
    };
    let next = match seen.next_question.as_ref().and_then(|next| next.parse::<Timestamp>().ok()) {
        Some(next) => format!("asked again in {}", seconds(next.duration_since(now).as_secs().try_into().unwrap_or(0))),
        None => "being asked".to_owned(),
    };
    let in_force = seen.in_force_since.as_ref().map(|since| format!("in force since {}", when(since, now)));
    let lines = [format!("{name}{resolved}, TTL {}", seconds(seen.ttl_seconds)), format!("{until}; {next}")];
    lines.into_iter().chain(in_force).map(Tree::leaf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(mut value: serde_json::Value) -> KnownName {
        value["name"] = "a.example.com".into();
        value["retentionSeconds"] = 3600.into();
        value["evicted"] = 0.into();
        for address in value["addresses"].as_array_mut().expect("addresses") {
            address["server"] = "10.96.0.10:53".into();
            address["firstSeenSeconds"] = 900.into();
            address["ttlSeconds"] = 300.into();
        }
        serde_json::from_value(value).expect("a name")
    }

    #[test]
    fn a_name_has_its_addresses_its_error_and_its_next_query() {
        let well = known(json!({ "state": "answered", "nextQuestionSeconds": 288, "addresses": [
            { "address": "13.64.0.1", "lastSeenSeconds": 12 },
            { "address": "13.64.0.2", "lastSeenSeconds": 700, "missingSeconds": 600 },
            { "address": "127.0.0.1", "lastSeenSeconds": 12, "refused": "loopback" },
        ] }));
        assert_eq!(
            of_name(&well),
            "a.example.com: 2 addresses, 1 refused, last seen 12 s ago, TTL 5 min, 1 of them given no more; asked again in 4 min"
        );
        let failing = known(json!({ "state": "failing", "error": "SERVFAIL", "addresses": [] }));
        assert_eq!(of_name(&failing), "a.example.com: failing (SERVFAIL), 0 addresses; being asked");
        let text = together(&[&well, &failing]).expect("a sentence");
        assert_eq!(text, "2 answered, last seen 12 s ago; next, a.example.com in 4 min; -o yaml lists each");
        assert_eq!(together(&[]), None);
    }

    #[test]
    fn a_list_has_its_place_in_the_queue_and_its_failures() {
        let mut list: ListState = serde_json::from_value(json!({
            "key": "Global/acme/json", "cloud": "Global", "resources": 1, "reason": "Fetched", "heldBack": false, "failures": 0,
        }))
        .expect("a list");
        assert_eq!(queue(&list), None);
        (list.queue_place, list.failures, list.held_back) = (Some(3), 2, true);
        let text = queue(&list).expect("a sentence");
        let start = "due, and number 3 in the queue for the API's rate; 2 requests in a row have failed; ";
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn a_missing_address_has_the_time_of_its_removal() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
        let seen = |missing, next: Option<&str>| SeenAddress {
            name: "a.example.com".to_owned(),
            server: "10.96.0.10:53".parse().expect("a server"),
            resolved_at: "2026-05-31T23:59:30Z".to_owned(),
            ttl_seconds: 60,
            valid_until: "2026-06-01T00:30:00Z".to_owned(),
            next_question: next.map(str::to_owned),
            missing,
            in_force_since: Some("2026-05-31T23:00:00Z".to_owned()),
        };
        let texts = |seen: &SeenAddress, peer: &str| -> Vec<String> {
            of_address(seen, peer, now).into_iter().map(|tree| tree.text).collect()
        };
        let lines = texts(&seen(false, Some("2026-06-01T00:00:20Z")), "a.example.com");
        assert_eq!(lines[0], "resolved 2026-05-31T23:59:30Z (30 s ago) by 10.96.0.10:53, TTL 60 s");
        assert_eq!(lines[1], "valid until 2026-06-01T00:30:00Z at least; asked again in 20 s");
        assert_eq!(lines[2], "in force since 2026-05-31T23:00:00Z (60 min ago)");
        let lines = texts(&seen(true, None), "13.64.0.1");
        assert!(lines[0].starts_with("a.example.com: resolved "), "{lines:?}");
        let until = "given no more since: valid until 2026-06-01T00:30:00Z unless DNS gives it again; being asked";
        assert_eq!(lines[1], until);
    }

    #[test]
    fn a_learned_name_has_its_pods() {
        let learned = |pods: &[&str]| KnownLearned {
            since_seconds: 7200,
            asked_seconds: 4,
            pods: pods.iter().map(ToString::to_string).collect(),
        };
        let text = "learned 2 h ago, since a pod asked for it; last asked for 4 s ago";
        assert_eq!(of_learned(&learned(&[])), text);
        assert_eq!(of_learned(&learned(&["web/a", "web/b"])), format!("{text} by web/a, web/b"));
    }
}
