//! Names and what they do.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};

use super::behaviour::{self, Behaviour, Content, Truncation};
use crate::fixture;

type Default = Arc<dyn Fn(&str, RecordType) -> Behaviour + Send + Sync>;

/// One name and type: what it does, since when, and how often it was asked.
#[derive(Clone, Debug)]
struct Entry {
    behaviour: Behaviour,
    scripted: Instant,
    asked: usize,
}

#[derive(Clone)]
struct Table {
    entries: HashMap<String, HashMap<RecordType, Entry>>,
    default: Default,
    /// Questions for names without a script, which the default may count by.
    started: Instant,
}

/// What names do. A clone is a handle on the same zone; [`Zone::copy`] makes another one.
#[derive(Clone)]
pub struct Zone(Arc<Mutex<Table>>);

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Zone({} names)", self.table().entries.len())
    }
}

impl std::default::Default for Zone {
    /// A zone without names: everything is NXDOMAIN.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table {
            entries: HashMap::new(),
            default: Arc::new(|_, _| Behaviour::nxdomain()),
            started: Instant::now(),
        })))
    }
}

/// What a question comes to.
pub(super) struct Outcome {
    /// None for silence.
    pub(super) content: Option<Content>,
    pub(super) delay: Duration,
    pub(super) truncation: Truncation,
}

impl Zone {
    /// The name has these addresses, A and AAAA; a family without any answers empty.
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr], ttl: u32) {
        self.set(name, Behaviour::addresses(addresses, ttl));
    }

    /// The name does this when asked for A or for AAAA; each counts by itself.
    pub fn set(&self, name: &str, behaviour: Behaviour) {
        self.script(name, RecordType::A, behaviour.clone());
        self.script(name, RecordType::AAAA, behaviour);
    }

    /// The name does this when asked for this type. A type of a scripted name without a script of its own is NODATA.
    pub fn script(&self, name: &str, record_type: RecordType, behaviour: Behaviour) {
        let entry = Entry { behaviour, scripted: Instant::now(), asked: 0 };
        self.table().entries.entry(canonical(name)).or_default().insert(record_type, entry);
    }

    /// The name has no script any more.
    pub fn forget(&self, name: &str) {
        self.table().entries.remove(&canonical(name));
    }

    /// What names without a script do; it gets the name in small letters and without the last dot. Nothing is
    /// counted for them: a sequence stays at its first reply and a rotation by questions at its first window.
    pub fn default_behaviour(&self, behaviour: impl Fn(&str, RecordType) -> Behaviour + Send + Sync + 'static) {
        self.table().default = Arc::new(behaviour);
    }

    /// Names without a script have the addresses of [`fixture::address_for`].
    pub fn default_to_fixture(&self, ttl: u32) {
        self.default_behaviour(move |name, _| Behaviour::addresses(&fixture::address_for(name), ttl));
    }

    /// Another zone that does the same now, and is changed by itself.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.table().clone())))
    }

    pub(super) fn ask(&self, name: &Name, record_type: RecordType) -> Outcome {
        let key = canonical(&name.to_ascii());
        let now = Instant::now();
        let mut table = self.table();
        let (behaviour, asked, scripted) = match table.entries.get_mut(&key) {
            Some(types) => match types.get_mut(&record_type) {
                Some(entry) => {
                    entry.asked += 1;
                    (entry.behaviour.clone(), entry.asked - 1, entry.scripted)
                }
                None => (Behaviour::nodata(), 0, now),
            },
            None => {
                let (default, started) = (table.default.clone(), table.started);
                // A test's closure may well change the zone.
                drop(table);
                (default(&key, record_type), 0, started)
            }
        };
        let content = behaviour::content(&behaviour.reply, name, record_type, asked, scripted, now);
        Outcome { content, delay: behaviour.delay, truncation: behaviour.truncation }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name in small letters and without the last dot.
pub(super) fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
