//! The objects of the cluster, one counter of revisions, and the log of changes that watches read.

use super::kinds::{ApiKind, Kinds};
use super::select::Selection;
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The current time, as the caller has it.
pub type WorldClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The first revision. A cluster has written its own objects before anything else, and a version is not mistaken for another
/// small number in a message.
const FIRST: u64 = 1000;

/// Where an object is: its kind's number, its namespace (empty for the whole cluster), its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The number of its kind in [`Kinds`].
    pub kind: usize,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A version of an object. Its text is made once, however often it is sent.
#[derive(Debug)]
pub struct Stored {
    /// The object as the API server sends it.
    pub value: Value,
    /// As it is stored, if that is not how it is read: without the default of a status that nobody wrote, or with empty labels
    /// that were applied. The next write stores it otherwise, even if it changes nothing.
    stored: Option<Value>,
    text: OnceLock<Bytes>,
}

impl Stored {
    pub(super) fn new(value: Value) -> Arc<Self> {
        Arc::new(Self { value, stored: None, text: OnceLock::new() })
    }

    /// Whether an object is already stored in this form.
    pub(super) fn is_stored_as(&self, kind: &ApiKind, form: &Value) -> bool {
        // Versions are not in the stored form.
        let versionless = |value: &Value| {
            let mut value = value.clone();
            value["metadata"].as_object_mut().and_then(|metadata| metadata.remove("resourceVersion"));
            value
        };
        !kind.custom || versionless(self.stored.as_ref().unwrap_or(&self.value)) == versionless(form)
    }

    /// The object as JSON.
    pub fn text(&self) -> &Bytes {
        self.text.get_or_init(|| self.value.to_string().into())
    }

    /// A text of its metadata; empty if it is not there.
    #[must_use]
    pub fn metadata(&self, field: &str) -> &str {
        text(&self.value, field)
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.metadata("resourceVersion").parse().unwrap_or_default()
    }

    /// Whether its deletion waits for finalizers.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.value["metadata"].get("deletionTimestamp").is_some()
    }
}

/// A text of an object's metadata.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"].get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A change of one object.
#[derive(Clone, Debug)]
pub struct StoreChange {
    /// Its revision.
    pub revision: u64,
    /// The account that made it; empty for the cluster itself.
    pub by: Arc<str>,
    /// The object.
    pub key: Key,
    /// The version before; `None` if it was created.
    pub before: Option<Arc<Stored>>,
    /// The version after; `None` if it was deleted.
    pub after: Option<Arc<Stored>>,
}

/// What a watch shows of a change.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub kind: &'static str,
    pub object: Arc<Stored>,
}

/// The objects of a cluster and their history. The history grows until it is compacted: a world does that now and then.
pub struct Store {
    pub(super) kinds: Kinds,
    objects: BTreeMap<Key, Arc<Stored>>,
    log: VecDeque<StoreChange>,
    revision: u64,
    compacted: u64,
    clock: WorldClock,
    random: fastrand::Rng,
    /// Whether a change may have made work for the garbage collector since it last found none.
    pub(super) may_have_garbage: bool,
    /// Who makes the changes from now on.
    pub(super) author: Arc<str>,
    /// The most objects of one page by their resource, whatever its limit: a server may give fewer than a client asks for.
    pub(super) largest_page: fn(&str) -> usize,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty cluster. `seed` decides the uids and generated names.
    #[must_use]
    pub fn new(kinds: Kinds, clock: WorldClock, seed: u64) -> Self {
        Self {
            kinds,
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            revision: FIRST,
            compacted: 0,
            clock,
            random: fastrand::Rng::with_seed(seed),
            may_have_garbage: false,
            author: Arc::from(""),
            largest_page: |_| usize::MAX,
        }
    }

    /// Gives at most this many objects of a resource (`networkpolicies`) in a page, whatever its limit.
    pub fn set_largest_page(&mut self, objects: fn(&str) -> usize) {
        self.largest_page = objects;
    }

    /// The kinds that are served.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The newest revision that a watch can no longer begin at.
    #[must_use]
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The current time, to whole seconds, as objects spell it.
    pub(super) fn now(&self) -> String {
        (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The current time as a header of HTTP has it.
    pub(super) fn date(&self) -> HeaderValue {
        let text = (self.clock)().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub(super) fn uid(&mut self) -> String {
        let (high, low) = (self.random.u64(..), self.random.u64(..));
        // Version 4, variant 1, as Go's uuid has them.
        let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
        let (high, low) = (format!("{high:016x}"), format!("{low:016x}"));
        format!("{}-{}-{}-{}-{}", &high[..8], &high[8..12], &high[12..], &low[..4], &low[4..])
    }

    /// The ending of a generated name: five letters that spell nothing.
    pub(super) fn suffix(&mut self) -> String {
        let letters = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(letters[self.random.usize(..letters.len())])).collect()
    }

    /// An object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    /// Every object of a kind, by namespace and name; of one namespace, if it is named.
    pub fn objects(&self, kind: usize, namespace: Option<&str>) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        let first = Key { kind, namespace: namespace.unwrap_or_default().to_owned(), name: String::new() };
        let namespace = namespace.map(str::to_owned);
        self.objects.range(first..).take_while(move |(key, _)| {
            key.kind == kind && namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
        })
    }

    /// Every object of the cluster.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.objects.iter()
    }

    /// The changes since a revision that are still in the log.
    pub fn changes(&self, since: u64) -> impl Iterator<Item = &StoreChange> {
        let from = self.log.partition_point(|change| change.revision <= since);
        self.log.range(from..)
    }

    /// The objects of a kind as they were at a revision, which must not be compacted.
    pub(super) fn objects_at(&self, kind: usize, namespace: Option<&str>, revision: u64) -> BTreeMap<Key, Arc<Stored>> {
        let mut objects: BTreeMap<Key, Arc<Stored>> =
            self.objects(kind, namespace).map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        let from = self.log.partition_point(|change| change.revision <= revision);
        for change in self.log.range(from..).rev().filter(|change| is_in(&change.key, kind, namespace)) {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// What a watch on these objects shows after `since`.
    pub(super) fn events(&self, kind: usize, namespace: Option<&str>, select: &Selection, since: u64) -> Vec<Event> {
        let changes = self.changes(since).filter(|change| is_in(&change.key, kind, namespace));
        changes.filter_map(|change| event(change, select)).collect()
    }

    /// Writes an object with a new revision: as it is read, and as it is stored.
    pub(super) fn put(&mut self, kind: &ApiKind, key: Key, value: Value, stored: Value) -> Arc<Stored> {
        // Go's own types are stored in a form that has nothing empty.
        let stored = Some(stored).filter(|stored| kind.custom && *stored != value);
        self.store(key, value, stored)
    }

    /// Writes an object that is read as it is stored.
    pub(super) fn put_whole(&mut self, key: Key, value: Value) -> Arc<Stored> {
        self.store(key, value, None)
    }

    fn store(&mut self, key: Key, mut value: Value, stored: Option<Value>) -> Arc<Stored> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let stored = Arc::new(Stored { value, stored, text: OnceLock::new() });
        let before = self.objects.insert(key.clone(), Arc::clone(&stored));
        let after = Some(Arc::clone(&stored));
        self.log_change(key, before, after);
        stored
    }

    /// Removes an object; returns its last version.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        self.log_change(key.clone(), Some(Arc::clone(&before)), None);
        Some(before)
    }

    fn log_change(&mut self, key: Key, before: Option<Arc<Stored>>, after: Option<Arc<Stored>>) {
        self.may_have_garbage |= after.is_none() || ties(before.as_ref()) != ties(after.as_ref());
        self.log.push_back(StoreChange { revision: self.revision, by: Arc::clone(&self.author), key, before, after });
    }

    /// Forgets the changes up to a revision: watches and lists that begin there end with 410.
    pub fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        let gone = self.log.partition_point(|change| change.revision <= self.compacted);
        drop(self.log.drain(..gone));
    }

    /// Installs or uninstalls a kind. All its objects go with it, and its watches end. Returns whether the kind is known.
    pub fn install(&mut self, group: &str, plural: &str, installed: bool) -> bool {
        let Some(number) = self.kinds.known(group, plural) else { return false };
        if !installed {
            let keys: Vec<Key> = self.objects(number, None).map(|(key, _)| key.clone()).collect();
            for key in &keys {
                self.remove(key);
            }
        }
        self.kinds.set_installed(number, installed);
        true
    }
}

/// What the garbage collector looks at.
fn ties(object: Option<&Arc<Stored>>) -> Option<[&Value; 3]> {
    object.map(|object| {
        ["ownerReferences", "finalizers", "deletionTimestamp"].map(|field| &object.value["metadata"][field])
    })
}

fn is_in(key: &Key, kind: usize, namespace: Option<&str>) -> bool {
    key.kind == kind && namespace.is_none_or(|namespace| key.namespace == namespace)
}

/// An object that is no longer selected is deleted to a watch, with its last selected version.
fn event(change: &StoreChange, select: &Selection) -> Option<Event> {
    let selected = |object: &Option<Arc<Stored>>| object.clone().filter(|object| select.selects(&object.value));
    let (kind, object) = match (selected(&change.before), selected(&change.after)) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => {
            let mut value = before.value.clone();
            value["metadata"]["resourceVersion"] = change.revision.to_string().into();
            ("DELETED", Stored::new(value))
        }
    };
    Some(Event { kind, object })
}
