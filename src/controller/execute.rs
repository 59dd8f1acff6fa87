//! Carries a reconcile's writes out, and remembers of each how it ended.

use super::Context;
use super::contention::{Conflicts, Left};
use crate::cluster::apply::{Done, WriteError};
use crate::objects::changes::{Change, Changes, Precondition};
use crate::objects::desired::Desired;
use crate::objects::digest::Digest;
use crate::objects::key::ObjectKey;
use crate::objects::moves::Moving;
use crate::objects::owner::OwnerRef;
use std::collections::BTreeMap;

/// Puts the writes in order and carries them out. Returns the objects that differ still.
pub(super) async fn write(
    owner: &OwnerRef,
    context: &Context,
    conflicts: &mut Conflicts,
    activates: bool,
    moving: &Moving<'_>,
    changes: &mut Changes,
) -> Result<Vec<ObjectKey>, WriteError> {
    let to_read = moving.to_read(&changes.writes);
    let held = context.writer.bodies(&to_read).await?;
    changes.writes = moving.in_order(std::mem::take(&mut changes.writes), &held);
    carry_out(owner, context, conflicts, activates, changes).await
}

/// Carries the writes out in their order. Where a resource has several first policies, they are dry-run together before
/// any is written, and taken back together where one is refused after all: both directions appear, or none. Returns the
/// objects that differ still.
async fn carry_out(
    owner: &OwnerRef,
    context: &Context,
    conflicts: &mut Conflicts,
    activates: bool,
    changes: &Changes,
) -> Result<Vec<ObjectKey>, WriteError> {
    let first: Vec<_> = changes.writes.iter().filter_map(first_policy).collect();
    if activates && first.len() > 1 {
        let asked = first.into_iter().map(|(key, desired)| context.writer.dry_run(key, desired));
        futures::future::try_join_all(asked).await?;
    }
    let (mut written, mut ineffective) = (Vec::new(), Vec::new());
    let mut widened: BTreeMap<ObjectKey, Option<Digest>> = BTreeMap::new();
    for change in &changes.writes {
        let again = again(context, &mut widened, change)?;
        let change = again.as_ref().unwrap_or(change);
        let result = context.writer.carry_out(owner, change).await;
        remember(context, conflicts, changes, change, &result);
        match result {
            Ok(Done::Created) if change.key().is_policy() => written.push(change.key().clone()),
            Ok(Done::Ineffective) => ineffective.push(change.key().clone()),
            // One that was there already, unseen by the watch, isolated its pods before: it stays.
            Ok(_) => {}
            Err(error) => {
                let of_policy = change.key().is_policy();
                if activates && of_policy && !matches!(error, WriteError::NotLeading) {
                    roll_back(owner, context, conflicts, &written).await;
                }
                return Err(error);
            }
        }
    }
    Ok(ineffective)
}

fn first_policy(change: &Change) -> Option<(&ObjectKey, &Desired)> {
    match change {
        Change::Create(key, desired) if key.is_policy() => Some((key, desired)),
        _ => None,
    }
}

/// Remembers what a write left, at once and whatever becomes of the others: an object that is not known to be as it was
/// left would be taken for one that somebody undid.
fn remember(
    context: &Context,
    conflicts: &mut Conflicts,
    changes: &Changes,
    change: &Change,
    result: &Result<Done, WriteError>,
) {
    let key = change.key();
    let digest = match (result, change) {
        (Ok(_), Change::Create(_, desired) | Change::Update(_, desired, _)) => desired.digest(),
        (Ok(_), Change::Delete(..)) => None,
        // It may have been carried out all the same.
        (Err(WriteError::Unavailable { .. }), _) => None,
        (Err(_), _) => return,
    };
    let observed = context.owned.get(key);
    let (at, held) = observed.map(|observed| (observed.written_at, observed.held)).unwrap_or_default();
    match digest {
        Some(digest) => drop(conflicts.left.insert(key.clone(), Left { digest, at, held })),
        None => drop(conflicts.left.remove(key)),
    }
    if result.is_ok()
        && let Some(edit) = changes.foreign_edits.iter().find(|edit| edit.key == *key)
    {
        conflicts.contention.undone(edit, context.clock.instant());
    }
}

async fn roll_back(owner: &OwnerRef, context: &Context, conflicts: &mut Conflicts, written: &[ObjectKey]) {
    for key in written {
        conflicts.left.remove(key);
        let Some(observed) = context.owned.get(key) else { continue };
        let change = Change::Delete(key.clone(), Precondition::from(&observed));
        if let Err(error) = context.writer.carry_out(owner, &change).await {
            tracing::warn!(object = %key.name, %error, "a first policy could not be taken back; it is completed on the next try");
        }
    }
}

/// The second write of an object that was first written with what it is to lose still in it: decided on what that left.
fn again(
    context: &Context,
    written: &mut BTreeMap<ObjectKey, Option<Digest>>,
    change: &Change,
) -> Result<Option<Change>, WriteError> {
    let Change::Update(key, desired, _) = change else { return Ok(None) };
    let Some(before) = written.insert(key.clone(), desired.digest()) else { return Ok(None) };
    match context.owned.get(key) {
        Some(left) if left.digest == before => {
            Ok(Some(Change::Update(key.clone(), desired.clone(), Precondition::from(&left))))
        }
        _ => Err(WriteError::Changed(key.clone())),
    }
}
