//! Executes a reconcile's writes, and records how each ended.

use super::Context;
use super::changed::Causes;
use super::contention::{Conflicts, LastWrite};
use crate::cluster::apply::{Done, WriteError};
use crate::objects::changes::{Change, Changes, Precondition};
use crate::objects::digest::Digest;
use crate::objects::key::ObjectKey;
use crate::objects::moves::Moving;
use crate::objects::owner::OwnerRef;
use std::collections::BTreeMap;

/// Puts the writes in order and executes them. Several first policies of a resource are dry-run together before any is
/// written. If one is refused after all, those written are rolled back: both directions appear, or none. Returns the objects
/// that still differ.
pub(super) async fn write(
    owner: &OwnerRef,
    (context, causes): (&Context, &Causes),
    conflicts: &mut Conflicts,
    activates: bool,
    moving: &Moving<'_>,
    changes: &mut Changes,
) -> Result<Vec<ObjectKey>, WriteError> {
    let current = context.writer.bodies(&moving.to_read(&changes.writes)).await?;
    changes.writes = moving.in_order(std::mem::take(&mut changes.writes), &current);
    let first_policies = changes.writes.iter().filter_map(|change| match change {
        Change::Create(key, desired) if key.is_policy() => Some((key, desired)),
        _ => None,
    });
    let first: Vec<_> = first_policies.collect();
    if activates && first.len() > 1 {
        let dry_runs = first.into_iter().map(|(key, desired)| context.writer.dry_run(key, desired));
        futures::future::try_join_all(dry_runs).await?;
    }
    let (mut created, mut ineffective) = (Vec::new(), Vec::new());
    let mut widened: BTreeMap<ObjectKey, Option<Digest>> = BTreeMap::new();
    for change in &changes.writes {
        let second = second_write(context, &mut widened, change)?;
        let change = second.as_ref().unwrap_or(change);
        let key = change.key();
        let result = context.writer.carry_out(owner, change, causes.of(key)).await;
        record(context, conflicts, changes, change, &result);
        match result {
            Ok(Done::Created) if key.is_policy() => created.push(key.clone()),
            Ok(Done::Ineffective) => ineffective.push(key.clone()),
            // A policy that existed, unseen by the watch, isolated its pods before: it stays.
            Ok(_) => {}
            Err(error) => {
                if activates && key.is_policy() && !matches!(error, WriteError::NotLeading) {
                    roll_back(owner, (context, causes), conflicts, &created).await;
                }
                return Err(error);
            }
        }
    }
    Ok(ineffective)
}

/// Records a write at once, whatever becomes of the others: with an outdated record, the object would later look as if another
/// client had reverted it.
fn record(
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
        // It may have been executed all the same.
        (Err(WriteError::Unavailable { .. }), _) => None,
        (Err(_), _) => return,
    };
    let observed = context.owned.get(key);
    let (at, fields) = observed.map(|observed| (observed.written_at, observed.fields)).unwrap_or_default();
    match digest {
        Some(digest) => drop(conflicts.written.insert(key.clone(), LastWrite { digest, at, fields })),
        None => drop(conflicts.written.remove(key)),
    }
    if result.is_ok()
        && let Some(edit) = changes.foreign_edits.iter().find(|edit| edit.key == *key)
    {
        conflicts.reverted(edit, context.clock.instant());
    }
}

async fn roll_back(
    owner: &OwnerRef,
    (context, causes): (&Context, &Causes),
    conflicts: &mut Conflicts,
    created: &[ObjectKey],
) {
    for key in created {
        conflicts.written.remove(key);
        let Some(observed) = context.owned.get(key) else { continue };
        let change = Change::Delete(key.clone(), Precondition::from(&observed));
        if let Err(error) = context.writer.carry_out(owner, &change, causes.of(key)).await {
            tracing::warn!(object = %key.name, %error, "a first policy could not be taken back; it is completed on the next try");
        }
    }
}

/// The second write of an object that was first written widened, with the rules it loses still in it. Its precondition is
/// what the first write left.
fn second_write(
    context: &Context,
    written: &mut BTreeMap<ObjectKey, Option<Digest>>,
    change: &Change,
) -> Result<Option<Change>, WriteError> {
    let Change::Update(key, desired, _) = change else { return Ok(None) };
    let Some(before) = written.insert(key.clone(), desired.digest()) else { return Ok(None) };
    let current = context.owned.get(key).filter(|current| current.digest == before);
    let current = current.ok_or_else(|| WriteError::Changed(key.clone()))?;
    Ok(Some(Change::Update(key.clone(), desired.clone(), Precondition::from(&current))))
}
