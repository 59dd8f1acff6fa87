//! A document of any of the vendor's forms becomes an [`Allowlist`]. Pure.
//!
//! The content shows the form, so a saved document needs no label. What can be understood exactly gets one spelling. What cannot
//! becomes a problem of that one entry, and never fails the list.

mod addresses;
mod budget;
mod certificates;
mod encoding;
mod endpoint;
mod form;
mod json;
mod names;
mod ports;
mod regions;
mod static_list;
mod zscaler;

pub use budget::MOST_MEMORY;
pub use form::ListForm;
pub(crate) use json::timestamp;
pub use json::to_json;

use crate::list::{Allowlist, Entry, EntryGeo, ListProblem, ListProblemKind};
use crate::net::{Direction, PortRange, PortSet, Protocol};
use crate::query::{Directions, Geo};
use crate::visible::{shortened, visible};
use form::FormRules;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// The most problems that one list reports: a document of problems alone must not fill the memory.
pub const MOST_LIST_PROBLEMS: usize = 1000;

/// The most names, wildcards and networks of one list, each counted for every region and direction: some thirty times as many as
/// the longest known list, which has 293. A larger one is not this vendor's, and would fill the memory and the DNS servers: a
/// document of 4 MiB can name a hundred thousand targets for each of as many regions.
pub const MOST_TARGETS: usize = 10_000;
/// The longest version that is kept, in characters; the vendor's is a time. Every status contains it.
const LONGEST_VERSION: usize = 64;

/// The longest text of a problem, in characters.
const LONGEST_TEXT: usize = 256;
/// The name of a service without one.
const UNNAMED: &str = "(unnamed)";
/// The longest quoted name of a field, in characters; the vendor's longest has 15.
const LONGEST_FIELD: usize = 40;

/// One document, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedDocument {
    /// Its list. Its `valid_until` is the document's own, which only `format=json` has.
    pub allowlist: Allowlist,
    /// How long the list is valid after its receipt, for forms without an end of validity.
    pub lifetime: Option<Duration>,
}

impl ParsedDocument {
    /// The list, with its `valid_until` if the form counts it from the document's receipt.
    #[must_use]
    pub fn received_at(self, received: Timestamp) -> Allowlist {
        let mut allowlist = self.allowlist;
        if let Some(lifetime) = self.lifetime {
            let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
            allowlist.valid_until = Some(received.saturating_add(lifetime).unwrap_or(Timestamp::MAX));
        }
        allowlist
    }
}

/// What the static lists do not state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticListDefaults {
    /// The ports of every name: TCP 443, since the vendor's documentation wants HTTPS for nearly all. The hosts for checks of
    /// certificates have TCP 80 and 443 too: it wants HTTP for these, during the installation of a Cloud Connector and
    /// periodically after it.
    pub ports: Option<PortSet>,
    /// How long such a list is valid: a day.
    pub lifetime: Duration,
}

impl Default for StaticListDefaults {
    fn default() -> Self {
        let https = PortRange::single(443).map(|range| (Protocol::Tcp, range));
        Self { ports: PortSet::new(https), lifetime: Duration::from_secs(24 * 3600) }
    }
}

/// What the reader has to know besides the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The customer, whose id replaces placeholders. Without it, a placeholder is a problem.
    pub customer: Option<&'a str>,
    /// The customer of a template's request, whose id counts as one more placeholder.
    pub template_customer: Option<&'a str>,
    /// The geo and direction of a `format=zscaler` request, for entries whose ids do not state them.
    pub scope: Option<(Geo, Directions)>,
    /// What the static lists do not state.
    pub static_list: StaticListDefaults,
}

impl<'a> Reading<'a> {
    /// Reads for one customer, with defaults for the rest.
    #[must_use]
    pub fn for_customer(customer: &'a str) -> Self {
        Self { customer: Some(customer), ..Self::default() }
    }
}

/// Why a document is no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON, or JSON that breaks off.
    #[error("it is not JSON ({0})")]
    NotJson(String),
    /// It is text in an unknown encoding, or broken in the encoding of its first bytes.
    #[error("{0}; UTF-8 is needed, or UTF-16 with its byte order mark")]
    Encoding(&'static str),
    /// It is JSON of another kind.
    #[error(
        "it is no list: an object with a `services` array, or one of products with `AllowList`, is needed; this is {0}"
    )]
    NotAList(String),
    /// It would take more memory than any list of the vendor's.
    #[error(
        "it would take more than {} MiB of memory, fifty times what the longest list known takes: it is no list",
        MOST_MEMORY >> 20
    )]
    TooHeavy,
    /// It holds more than any list of the vendor's.
    #[error("it holds more than {MOST_TARGETS} names and networks, each counted for every region and direction")]
    TooLong,
    /// It has services, but nothing of any of them can be understood.
    #[error("no service of {0} can be understood; the first: {1}")]
    NothingUsable(usize, String),
}

/// Reads a document of any form. Its memory is counted before anything is built of it.
///
/// # Errors
/// The document is no list. A list without any service is one: the caller decides whether it may replace a fuller one.
pub fn parse(bytes: &[u8], reading: &Reading<'_>) -> Result<ParsedDocument, DocumentError> {
    let text = encoding::utf8(bytes)?;
    budget::weigh(&text)?;
    let root: Value = serde_json::from_slice(&text).map_err(|error| DocumentError::NotJson(error.to_string()))?;
    let Value::Object(root) = root else {
        return Err(DocumentError::NotAList(kind_of(&root).to_owned()));
    };
    let mut forms = ListForm::ALL.iter().map(|form| form.rules());
    match (forms.find(|form| (form.recognise)(&root)), root.get("services")) {
        (Some(form), _) => (form.read)(&root, reading),
        (None, Some(other)) => {
            Err(DocumentError::NotAList(format!("an object whose `services` is {}", kind_of(other))))
        }
        (None, None) => {
            let fields: Vec<String> = root.keys().map(|name| named(name)).take(5).collect();
            Err(DocumentError::NotAList(format!("an object with the fields [{}]", fields.join(", "))))
        }
    }
}

/// One item of `services`, which must be an object; anything else is reported by its place.
fn service_object<'a>(index: usize, service: &'a Value, problems: &mut Problems) -> Option<&'a Map<String, Value>> {
    let object = service.as_object();
    if object.is_none() {
        let message = format!("a service is an object; this is {}", kind_of(service));
        problems.malformed(&Scope::whole_list(), &format!("services[{index}]"), &message);
    }
    object
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A text, which may be written as a number; `None` if absent, null or empty.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A text for people: nothing in it acts on a terminal.
fn shown(value: Option<&Value>) -> Option<String> {
    text(value).map(|text| visible(&text).into_owned())
}

/// The same for a remark, whose lines become one.
fn remark(value: Option<&Value>) -> Option<String> {
    text(value).map(|text| visible(&text.replace(['\n', '\r', '\t'], " ")).into_owned())
}

/// The name of a field, shortened: any text can be one.
fn named(field: &str) -> String {
    match field.char_indices().nth(LONGEST_FIELD) {
        Some((at, _)) => format!("{}…", visible(&field[..at])),
        None => visible(field).into_owned(),
    }
}

/// A value as a problem quotes it: texts without quotes; the problem shortens long ones.
fn quoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An array's items, or the one item in its place.
fn items(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(single) => std::slice::from_ref(single),
    }
}

/// The part of the list that a problem concerns.
#[derive(Clone, Debug)]
struct Scope<'a> {
    service: Option<&'a str>,
    direction: Option<Direction>,
    geo: EntryGeo,
}

impl Scope<'_> {
    const fn whole_list() -> Self {
        Self { service: None, direction: None, geo: EntryGeo::All }
    }
}

/// Collects problems up to the bound, and counts the rest.
#[derive(Debug, Default)]
struct Problems {
    kept: Vec<ListProblem>,
    beyond: usize,
    /// Names, wildcards and networks read so far.
    targets: usize,
}

impl Problems {
    fn malformed(&mut self, scope: &Scope<'_>, subject: &str, message: &str) {
        if self.kept.len() >= MOST_LIST_PROBLEMS {
            self.beyond += 1;
            return;
        }
        let cut = |text| shortened(text, LONGEST_TEXT);
        self.kept.push(ListProblem {
            kind: ListProblemKind::Malformed,
            direction: scope.direction,
            geo: scope.geo.clone(),
            service: scope.service.map(cut),
            subject: cut(subject),
            message: cut(message),
        });
    }

    fn count(&mut self, targets: usize) {
        self.targets = self.targets.saturating_add(targets);
    }

    const fn is_too_long(&self) -> bool {
        self.targets > MOST_TARGETS
    }

    /// The list, once its services are read: an error if there are some, but none is understood.
    fn into_list(mut self, form: ListForm, services: usize, entries: Vec<Entry>) -> Result<Allowlist, DocumentError> {
        if self.is_too_long() {
            return Err(DocumentError::TooLong);
        }
        if entries.is_empty()
            && services > 0
            && let Some(first) = self.kept.first()
        {
            return Err(DocumentError::NothingUsable(services, first.message.clone()));
        }
        if self.beyond > 0 {
            self.kept.push(ListProblem {
                kind: ListProblemKind::TooMany,
                direction: None,
                geo: EntryGeo::All,
                service: None,
                subject: "problems of the list".to_owned(),
                message: format!("{} more parts of the list cannot be understood", self.beyond),
            });
        }
        let entries = entries.into_iter().map(Arc::new).collect();
        Ok(Allowlist { form, entries, problems: self.kept, ..Allowlist::default() })
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
