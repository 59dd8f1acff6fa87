//! The operator's tables at one moment, as `/debug/state` serves and `explain` reads them. Pure.

use crate::crd::CitrixAllowlistSpec;
use crate::feed::FeedSnapshot;
use crate::names::{NameSnapshot, NameState};
use crate::server::StatePieces;
use connectivity_allowlist::visible::visible;
use connectivity_allowlist::{Directions, Geo};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// The version of the schema: it changes only if a reader of the old one would misread it.
pub const VERSION: u32 = 1;

/// The operator's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DebugState {
    /// The version of the schema.
    pub version: u32,
    /// Whether this replica leads. The tables of one that does not are empty, or what they were when it last led.
    #[serde(default)]
    pub leading: bool,
    /// The lists.
    #[serde(default)]
    pub lists: Vec<ListState>,
    /// The names.
    #[serde(default)]
    pub names: Vec<KnownName>,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListState {
    /// The entry of the table: cloud, customer and form.
    pub key: String,
    /// The cloud of the API.
    pub cloud: String,
    /// The customer; absent where one document serves every customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The requested geo, where the form needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<String>,
    /// The requested direction, where the form needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// How many resources need it.
    pub resources: usize,
    /// How many seconds ago it was fetched or confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// When the vendor published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Until when the vendor vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// About when it is fetched again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_fetch: Option<String>,
    /// Its place in the queue of due requests, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_place: Option<usize>,
    /// The reason of the condition `FeedCurrent`.
    pub reason: String,
    /// Whether a newer list is held back until a further fetch confirms it.
    pub held_back: bool,
    /// How many requests in a row have failed.
    pub failures: u32,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownName {
    /// The name.
    pub name: String,
    /// `answered`, `absent`, `failing`, `stale` or `waiting`, as the metrics count them.
    pub state: String,
    /// What failed, where it is failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many seconds an address stays after DNS stops returning it: the longest retention of any resource.
    pub retention_seconds: u64,
    /// In how many seconds it is queried again; absent while it is being queried, 0 where that is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_question_seconds: Option<u64>,
    /// How many addresses the newest round of answers evicted.
    pub evicted: usize,
    /// Its addresses, refused ones included.
    #[serde(default)]
    pub addresses: Vec<KnownAddress>,
    /// When and for whom it was learned; absent where no pod taught it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<KnownLearned>,
}

/// How a name was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownLearned {
    /// How many seconds ago it was learned, or read back after a restart.
    pub since_seconds: u64,
    /// How many seconds ago a pod last asked for it.
    pub asked_seconds: u64,
    /// The last pods that asked, as `namespace/name`, where the cluster's DNS says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
}

/// One address of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownAddress {
    /// The address.
    pub address: IpAddr,
    /// The server that answered it.
    pub server: SocketAddr,
    /// How many seconds ago it was first answered.
    pub first_seen_seconds: u64,
    /// How many seconds ago it was last answered.
    pub last_seen_seconds: u64,
    /// The TTL it was last answered with, in seconds.
    pub ttl_seconds: u64,
    /// For how many seconds it has been missing from answers; absent where the newest answer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_seconds: Option<u64>,
    /// Why it is refused, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// For how many seconds it has been in force; absent where it is not, or nothing is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_seconds: Option<u64>,
}

/// The tables as the JSON of a [`DebugState`], a piece for each list and each name. A name is read when its piece is taken.
pub fn pieces(
    leading: bool,
    lists: Vec<FeedSnapshot>,
    names: impl Iterator<Item = NameSnapshot> + Send + 'static,
) -> StatePieces {
    let head = format!(r#"{{"version":{VERSION},"leading":{leading},"lists":["#);
    let lists = lists.into_iter().enumerate().map(|(index, snapshot)| item(index, &list(&snapshot)));
    let names = names.enumerate().map(|(index, snapshot)| item(index, &name(&snapshot)));
    let text = |text: &str| std::iter::once(text.as_bytes().to_vec());
    Box::new(text(&head).chain(lists).chain(text(r#"],"names":["#)).chain(names).chain(text("]}")))
}

/// An item of a list in JSON, with the comma before it.
fn item(index: usize, item: &impl Serialize) -> Vec<u8> {
    let mut piece = if index == 0 { vec![] } else { vec![b','] };
    // Numbers and texts: nothing in it fails to become JSON.
    let _ = serde_json::to_writer(&mut piece, item);
    piece
}

impl DebugState {
    /// The same without characters that act on a terminal: a list, a DNS server or a pod that poses as the operator may send any
    /// text.
    #[must_use]
    pub fn made_visible(mut self) -> Self {
        let show = |text: &mut String| {
            if let Cow::Owned(shown) = visible(text) {
                *text = shown;
            }
        };
        for list in &mut self.lists {
            let optional = [&mut list.customer, &mut list.geo, &mut list.direction, &mut list.version];
            optional.into_iter().chain([&mut list.valid_until, &mut list.next_fetch]).flatten().for_each(show);
            [&mut list.key, &mut list.cloud, &mut list.reason].into_iter().for_each(show);
        }
        for name in &mut self.names {
            [&mut name.name, &mut name.state].into_iter().chain(&mut name.error).for_each(show);
            name.addresses.iter_mut().flat_map(|known| &mut known.refused).for_each(show);
            name.learned.iter_mut().flat_map(|learned| &mut learned.pods).for_each(show);
        }
        self
    }

    /// The list that a resource follows.
    #[must_use]
    pub fn list_of(&self, spec: &CitrixAllowlistSpec) -> Option<&ListState> {
        let (cloud, geo, direction) = (spec.asked_cloud(), Geo::from(spec.geo), Directions::from(spec.direction));
        self.lists.iter().find(|list| {
            list.cloud == cloud.as_str()
                && list.customer.as_ref().is_none_or(|customer| *customer == spec.customer_id)
                && list.geo.as_ref().is_none_or(|asked| asked == geo.as_str())
                && list.direction.as_ref().is_none_or(|asked| asked == direction.as_str())
        })
    }
}

fn list(list: &FeedSnapshot) -> ListState {
    ListState {
        key: list.key.to_string(),
        cloud: list.key.cloud.as_str().to_owned(),
        customer: list.key.customer.as_deref().map(str::to_owned),
        geo: list.key.scope.map(|(geo, _)| geo.as_str().to_owned()),
        direction: list.key.scope.map(|(_, directions)| directions.as_str().to_owned()),
        resources: list.subscribers,
        age_seconds: list.age.map(|age| age.as_secs()),
        version: list.version.clone(),
        valid_until: list.valid_until.map(|time| time.to_string()),
        next_fetch: list
            .next_fetch
            .and_then(|time| Timestamp::from_second(time.as_second()).ok())
            .map(|time| time.to_string()),
        queue_place: list.queue_place,
        reason: list.reason.as_str().to_owned(),
        held_back: list.held_back,
        failures: list.failures,
    }
}

fn name(name: &NameSnapshot) -> KnownName {
    KnownName {
        name: name.name.to_string(),
        state: name.state.label().to_owned(),
        error: match &name.state {
            NameState::Failing { error, .. } => Some(error.to_string()),
            _ => None,
        },
        retention_seconds: name.retention.as_secs(),
        next_question_seconds: name.next_question.map(|wait| wait.as_secs()),
        evicted: name.evicted,
        addresses: name
            .addresses
            .iter()
            .map(|cached| KnownAddress {
                address: cached.address,
                server: cached.server,
                first_seen_seconds: cached.first_seen.as_secs(),
                last_seen_seconds: cached.last_seen.as_secs(),
                ttl_seconds: cached.ttl.as_secs(),
                missing_seconds: cached.missing.map(|missing| missing.as_secs()),
                refused: cached.refused.as_deref().map(str::to_owned),
                in_force_seconds: cached.in_force.map(|time| time.as_secs()),
            })
            .collect(),
        learned: name.learned.as_ref().map(|learned| KnownLearned {
            since_seconds: learned.since.as_secs(),
            asked_seconds: learned.asked.as_secs(),
            pods: learned.pods.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn known(name: &str) -> NameSnapshot {
        NameSnapshot {
            name: name.parse().expect("a name"),
            state: NameState::Waiting,
            retention: Duration::from_secs(3600),
            evicted: 0,
            next_question: None,
            addresses: vec![],
            learned: None,
        }
    }

    fn read(pieces: StatePieces) -> DebugState {
        serde_json::from_slice(&pieces.flatten().collect::<Vec<u8>>()).expect("the JSON of a state")
    }

    #[test]
    fn the_pieces_are_the_json_of_the_state() {
        let empty = read(pieces(false, vec![], std::iter::empty()));
        assert_eq!(empty, DebugState { version: VERSION, ..DebugState::default() });
        let state = read(pieces(true, vec![], ["a.example.com", "b.example.com"].map(known).into_iter()));
        assert!(state.leading);
        let names: Vec<&str> = state.names.iter().map(|known| &*known.name).collect();
        assert_eq!(names, ["a.example.com", "b.example.com"]);
    }

    /// Formerly the whole answer was made for each reader before its first byte was sent: 9.6 MB for a table of 4,096 names.
    #[test]
    fn a_name_is_read_when_its_piece_is_taken() {
        let (read, reads) = std::sync::mpsc::channel();
        let names = std::iter::from_fn(move || read.send(()).ok().map(|()| known("a.example.com")));
        let mut pieces = pieces(true, vec![], names);
        let first: Vec<u8> = pieces.by_ref().take(3).flatten().collect();
        assert!(first.ends_with(br#"addresses":[]}"#), "{}", String::from_utf8_lossy(&first));
        assert_eq!(reads.try_iter().count(), 1);
    }
}
