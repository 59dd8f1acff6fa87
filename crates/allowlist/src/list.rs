//! What the vendor's list says, whatever form it came in. Pure.

use crate::document::ListForm;
use crate::net::{Direction, DomainName, NamePattern, PortSet};
use ipnet::IpNet;
use jiff::Timestamp;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One list, read. Everything in it that could be understood exactly is in `entries`; everything else is in `problems`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// The form it came in, which decides what it can say at all.
    pub form: ListForm,
    /// When the vendor published it, in the vendor's own spelling.
    pub version: Option<String>,
    /// When the vendor asks for the next fetch; `None` where absent or unreadable.
    pub valid_until: Option<Timestamp>,
    /// What to allow, one entry for each endpoint of each service, in the list's order.
    pub entries: Vec<Entry>,
    /// What could not be understood, each about one entry.
    pub problems: Vec<ListProblem>,
}

/// One endpoint of one service, in one direction and region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The service's name as the vendor writes it.
    pub service: Arc<str>,
    /// Which way connections are opened. A service listed for both stands as two entries.
    pub direction: Direction,
    /// The region it serves.
    pub geo: EntryGeo,
    /// Exact names, sorted, none twice.
    pub names: Vec<DomainName>,
    /// Wildcards, sorted, none twice.
    pub patterns: Vec<NamePattern>,
    /// Networks, each canonical, sorted, none twice. Not yet through the guard, and therefore not merged: two that pass
    /// it may join to one that is too wide.
    pub networks: Vec<IpNet>,
    /// Ports; `None` where the list gives none: then nothing is opened, and it is reported.
    pub ports: Option<PortSet>,
    /// Whether the vendor calls it essential for core functionality; `None` where the list does not say: `format=zscaler`
    /// and the static lists cannot, nor does a `format=json` that says it of no service.
    pub required: Option<bool>,
    /// The vendor's remark.
    pub notes: Option<Arc<str>>,
}

/// The region an entry serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryGeo {
    /// Every region: the list says `all`, or nothing.
    All,
    /// One region, in the vendor's lower-case spelling; possibly one that is not known here yet.
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

/// A part of the list that could not be understood exactly, with its scope, so that it can be reported where it matters.
/// Texts have at most 256 characters, and nothing in them acts on what shows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListProblem {
    /// What sort of problem it is.
    pub kind: ListProblemKind,
    /// The direction of the entry, where it could be read.
    pub direction: Option<Direction>,
    /// The region of the entry.
    pub geo: EntryGeo,
    /// The service of the entry, where it could be read.
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
    /// So many such parts that the rest is only counted: beyond [`MOST_LIST_PROBLEMS`](crate::document::MOST_LIST_PROBLEMS).
    TooMany,
}

impl Allowlist {
    /// An identity of what the list says, without when it was published and how long it holds: equal for equal content,
    /// within one process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.form.hash(&mut hasher);
        self.entries.hash(&mut hasher);
        self.problems.hash(&mut hasher);
        hasher.finish()
    }
}
