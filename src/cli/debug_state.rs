//! What the tables hold at one moment, as JSON: for `explain`, and for people who look. Pure.

use crate::feed::FeedSnapshot;
use crate::names::{NameState, NamesSnapshot};
use serde_json::{Value, json};

/// The state of the tables. `version` changes when a field's meaning does.
pub(super) fn state(lists: &[FeedSnapshot], names: &NamesSnapshot) -> Value {
    json!({
        "version": 1,
        "lists": lists.iter().map(|list| json!({
            "key": list.key.to_string(),
            "resources": list.subscribers,
            "ageSeconds": list.age.map(|age| age.as_secs()),
            "version": list.version,
            "validUntil": list.valid_until.map(|time| time.to_string()),
            "nextFetch": list.next_fetch.map(|time| time.to_string()),
            "queuePlace": list.queue_place,
            "reason": list.reason.as_str(),
            "heldBack": list.held_back,
            "failures": list.failures,
        })).collect::<Vec<_>>(),
        "names": names.names.iter().map(|name| json!({
            "name": name.name.as_str(),
            "state": name.state.label(),
            "error": match &name.state { NameState::Failing { error, .. } => Some(&**error), _ => None },
            "retentionSeconds": name.retention.as_secs(),
            "nextQuestionSeconds": name.next_question.map(|wait| wait.as_secs()),
            "evicted": name.evicted,
            "addresses": name.addresses.iter().map(|held| json!({
                "address": held.address,
                "server": held.server,
                "firstSeenSeconds": held.first_seen.as_secs(),
                "lastSeenSeconds": held.last_seen.as_secs(),
                "ttlSeconds": held.ttl.as_secs(),
                "refused": held.refused.as_deref(),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
