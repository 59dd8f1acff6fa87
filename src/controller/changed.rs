//! Why a reconcile writes, and what it tells people of what changed. Pure.

use super::conflicts::UNNAMED;
use crate::crd::FIELD_MANAGER;
use crate::direction::PolicyDirection as _;
use crate::names::Addresses;
use crate::objects::changes::{Changes, ForeignEdit, Interference};
use crate::objects::key::ObjectKey;
use crate::pipeline::Basis;
use crate::reason::Reason;
use crate::status::Note;
use crate::trail::{Cause, Difference, IsolatedPods, Isolation, PolicyAllows, WriteCause};
use connectivity_allowlist::Allowlist;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The inputs of the last decision that was applied, to know which of them changed.
#[derive(Clone, Debug)]
pub struct LastInputs {
    list: Arc<Allowlist>,
    addresses: Arc<Addresses>,
    generation: i64,
    audits: bool,
}

impl LastInputs {
    /// Those of a decision for a resource of this generation.
    pub fn of(basis: &Basis, generation: i64, audits: bool) -> Self {
        let (list, addresses) = (Arc::clone(&basis.list), Arc::clone(&basis.addresses));
        Self { list, addresses, generation, audits }
    }

    /// Which inputs differ from those of before; sorted, never empty.
    fn causes(&self, before: &Self) -> Vec<Cause> {
        let is_mode = self.audits != before.audits;
        let is_list = !Arc::ptr_eq(&self.list, &before.list) && self.list != before.list;
        let causes = [
            (Cause::List, is_list),
            (Cause::Answer, !Arc::ptr_eq(&self.addresses, &before.addresses) && self.addresses != before.addresses),
            (Cause::Spec, self.generation != before.generation && !is_mode),
            (Cause::Mode, is_mode),
        ];
        let causes: Vec<Cause> = causes.into_iter().filter(|(_, is_one)| *is_one).map(|(cause, _)| cause).collect();
        if causes.is_empty() { vec![Cause::Cluster] } else { causes }
    }
}

/// Why each object of a decision is written.
#[derive(Debug)]
pub struct Causes {
    /// For an object that nobody else changed.
    own: Arc<WriteCause>,
    /// For those that another client changed.
    repairs: BTreeMap<ObjectKey, Arc<WriteCause>>,
}

impl Causes {
    /// Of one object.
    pub fn of(&self, key: &ObjectKey) -> &Arc<WriteCause> {
        self.repairs.get(key).unwrap_or(&self.own)
    }
}

/// Why a decision is written. `before` has the inputs of the last one in this session; `is_first` says that the resource never had a
/// policy.
pub fn causes(
    inputs: &LastInputs,
    before: Option<&LastInputs>,
    is_first: bool,
    (spec_writer, transaction): (Option<Arc<str>>, Option<&str>),
    changes: &Changes,
) -> Causes {
    let causes = match before {
        Some(before) => inputs.causes(before),
        None if is_first => vec![Cause::Spec],
        None => vec![Cause::Restart],
    };
    let by = spec_writer.filter(|_| causes.iter().any(|cause| matches!(cause, Cause::Spec | Cause::Mode)));
    let own = WriteCause {
        causes,
        by,
        list: inputs.list.version.as_deref().map(Arc::from),
        transaction_id: transaction.map(Arc::from),
        generation: inputs.generation,
        addresses: Some(Arc::clone(&inputs.addresses)),
    };
    let repair = |edit: &ForeignEdit| {
        let by = Some(Arc::clone(&edit.manager)).filter(|manager| &**manager != UNNAMED);
        (edit.key.clone(), Arc::new(WriteCause { causes: vec![Cause::Repair], by, ..own.clone() }))
    };
    let repairs = changes.foreign_edits.iter().map(repair).collect();
    Causes { own: Arc::new(own), repairs }
}

/// What a resource's policies allowed at three moments of a reconcile.
pub struct Moments<'a> {
    /// After the last reconcile; `None` for the first of a session.
    pub last: Option<&'a [Arc<PolicyAllows>]>,
    /// Before this one wrote.
    pub before: &'a [Arc<PolicyAllows>],
    /// After it wrote.
    pub after: &'a [Arc<PolicyAllows>],
}

/// The events of a reconcile: pods that are open or isolated since, what is allowed in addition or no longer, and what was put
/// right.
pub fn notes(moments: &Moments<'_>, causes: &Causes, changes: &Changes) -> Vec<Note> {
    let is_repair = |edit: &ForeignEdit| edit.key.is_policy();
    let repaired = changes.foreign_edits.iter().find(|edit| is_repair(edit)).map(|edit| &edit.key);
    let cause = repaired.map_or(&causes.own, |key| causes.of(key));
    let drift = moments.last.map(|last| Difference::of(last, moments.before)).unwrap_or_default();
    let written = Difference::of(moments.before, moments.after);
    let mut notes = isolation_notes(&drift, "a policy was deleted or changed by another client");
    notes.extend(isolation_notes(&written, &causes_text(cause)));
    notes.extend(repairs(changes));
    let (added, removed) = written.counts();
    if added + removed > 0 && repaired.is_none() {
        let list = cause.list.as_deref().map_or_else(|| "without a version".to_owned(), |list| format!("of {list}"));
        let noun = if added == 1 { "CIDR" } else { "CIDRs" };
        let message = format!("{added} {noun} added, {removed} removed. Cause: {}. List {list}.", causes_text(cause));
        notes.push(Note { warning: false, reason: Reason::Applied, message });
    }
    notes
}

fn causes_text(cause: &WriteCause) -> String {
    let texts: Vec<&str> = cause.causes.iter().map(|cause| cause.text()).collect();
    match &cause.by {
        Some(by) => format!("{} (by {by})", texts.join("; ")),
        None => texts.join("; "),
    }
}

fn isolation_notes(difference: &Difference, cause: &str) -> Vec<Note> {
    let note = |reason, scope: &IsolatedPods, text: &str| {
        let (pods, direction) = (pods(&scope.selector), scope.direction.object_suffix());
        let message = text.replace("{pods}", &pods).replace("{direction}", direction);
        Note { warning: true, reason, message: format!("{message} Cause: {cause}.") }
    };
    let opened = difference.isolation(Isolation::Ended).map(|scope| {
        note(Reason::Opened, scope, "{pods} have no {direction} policy of this resource any more: they are open, unless another policy selects them.")
    });
    let isolated = difference.isolation(Isolation::Began).map(|scope| {
        note(Reason::Isolated, scope, "{pods} have an {direction} policy since now: what no policy allows is cut.")
    });
    opened.chain(isolated).collect()
}

/// Pods, as a person reads it at the beginning of a sentence.
fn pods(selector: &str) -> String {
    if selector == "{}" { "All pods of the namespace".to_owned() } else { format!("Pods that {selector} selects") }
}

/// What was put right, by who changed it: one sentence for each object.
fn repairs(changes: &Changes) -> impl Iterator<Item = Note> {
    let is_written = |edit: &&ForeignEdit| changes.writes.iter().any(|change| *change.key() == edit.key);
    changes.foreign_edits.iter().filter(is_written).map(|edit| {
        let (kind, name) = (edit.key.kind.name, &edit.key.name);
        let message = match (&edit.what, &*edit.manager) {
            (Interference::Deleted, _) => format!("{kind} {name} was deleted by another client; it is created again."),
            (Interference::Edited, UNNAMED) => {
                format!("A field of {kind} {name} was removed by another client; it is put right.")
            }
            (Interference::Edited, FIELD_MANAGER) => {
                format!("{kind} {name} was changed by another client under the operator's own name; it is put right.")
            }
            (Interference::Edited, manager) => format!("{kind} {name} was changed by {manager}; it is put right."),
        };
        Note { warning: false, reason: Reason::Applied, message }
    })
}
