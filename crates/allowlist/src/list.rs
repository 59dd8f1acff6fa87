//! The vendor's list, from any form. Pure.

use crate::document::ListForm;
use crate::net::{Direction, DomainName, NamePattern, PortSet};
use ipnet::IpNet;
use jiff::Timestamp;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One list. What could be understood exactly is in `entries`; everything else is in `problems`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// Its form, which limits what it can state.
    pub form: ListForm,
    /// When the vendor published it, in the vendor's own spelling.
    pub version: Option<String>,
    /// When the vendor wants the next fetch; `None` if absent or unreadable.
    pub valid_until: Option<Timestamp>,
    /// What to allow, one entry for each endpoint of each service, in the list's order. Lists of many customers can share equal
    /// entries.
    pub entries: Vec<Arc<Entry>>,
    /// What could not be understood, one entry each.
    pub problems: Vec<ListProblem>,
}

/// One endpoint of one service, in one direction and region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The service's name as the vendor writes it.
    pub service: Arc<str>,
    /// The direction of connections. A service for both becomes two entries.
    pub direction: Direction,
    /// The region it serves.
    pub geo: EntryGeo,
    /// Exact names, sorted, none twice.
    pub names: Vec<DomainName>,
    /// Wildcards, sorted, none twice.
    pub patterns: Vec<NamePattern>,
    /// Networks, each canonical, sorted, none twice. The guard has not checked them yet, so they are not merged: two that pass may
    /// join to one that is too wide.
    pub networks: Vec<IpNet>,
    /// Ports; `None` if the list gives none: then nothing is opened, and it is reported.
    pub ports: Option<PortSet>,
    /// Whether the vendor calls it essential for core functionality; `None` if the list does not say. `format=zscaler` and the static
    /// lists cannot, and some `format=json` does not.
    pub required: Option<bool>,
    /// The vendor's remark.
    pub notes: Option<Arc<str>>,
}

/// The region an entry serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryGeo {
    /// Every region: the list has `all`, or nothing.
    All,
    /// One region, in the vendor's lower-case spelling; possibly an unknown one.
    Region(Arc<str>),
}

impl EntryGeo {
    /// The region as the list writes it; `all` for every one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Region(region) => region,
        }
    }
}

/// A part of the list that could not be understood exactly, with its scope, so that it can be reported where it matters. Texts have
/// at most 256 characters, and nothing in them acts on a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListProblem {
    /// The sort of problem.
    pub kind: ListProblemKind,
    /// The direction of the entry, if it could be read.
    pub direction: Option<Direction>,
    /// The region of the entry.
    pub geo: EntryGeo,
    /// The service of the entry, if it could be read.
    pub service: Option<String>,
    /// The name, address, port or field it is about.
    pub subject: String,
    /// What is wrong with it.
    pub message: String,
}

/// Sorts of problems of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListProblemKind {
    /// A part that cannot be understood.
    Malformed,
    /// Too many such parts: beyond [`MOST_LIST_PROBLEMS`](crate::document::MOST_LIST_PROBLEMS) they are only counted.
    TooMany,
}

impl Allowlist {
    /// A digest of the list's content, without its publication and validity: equal for equal content, within one process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.form.hash(&mut hasher);
        self.entries.hash(&mut hasher);
        self.problems.hash(&mut hasher);
        hasher.finish()
    }
}
