//! Carries a reconcile's writes out.

use super::Context;
use super::subject::Subject;
use crate::cluster::apply::{Done, WriteError};
use crate::cluster::changes::{Change, Changes, Precondition};
use crate::cluster::digest::Digest;
use crate::cluster::key::{Kind, ObjectKey};
use crate::cluster::moves::Moving;
use crate::cluster::prepared::Desired;
use std::collections::BTreeMap;

/// Puts the writes in order and carries them out. Returns the objects that differ still.
pub(super) async fn write(
    subject: &Subject<'_>,
    context: &Context,
    activates: bool,
    moving: &Moving<'_>,
    changes: &mut Changes,
) -> Result<Vec<ObjectKey>, WriteError> {
    let to_read = moving.to_read(&changes.writes);
    let held = context.writer.policies(&to_read).await?;
    changes.writes = moving.in_order(std::mem::take(&mut changes.writes), &held);
    carry_out(subject, context, activates, changes).await
}

/// Carries the writes out in their order. Where a resource has several first policies, they are dry-run together before
/// any is written, and taken back together where one is refused after all: both directions appear, or none. Returns the
/// objects that differ still.
async fn carry_out(
    subject: &Subject<'_>,
    context: &Context,
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
        match context.writer.carry_out(&subject.identity, again.as_ref().unwrap_or(change)).await {
            Ok(Done::Created) if change.key().kind == Kind::Policy => written.push(change.key().clone()),
            Ok(Done::Ineffective) => ineffective.push(change.key().clone()),
            // One that was there already, unseen by the watch, isolated its pods before: it stays.
            Ok(_) => {}
            Err(error) => {
                let of_policy = change.key().kind == Kind::Policy;
                if activates && of_policy && !matches!(error, WriteError::NotLeading) {
                    take_back(subject, context, &written).await;
                }
                return Err(error);
            }
        }
    }
    Ok(ineffective)
}

fn first_policy(change: &Change) -> Option<(&ObjectKey, &Desired)> {
    match change {
        Change::Create(key, desired) if key.kind == Kind::Policy => Some((key, desired)),
        _ => None,
    }
}

async fn take_back(subject: &Subject<'_>, context: &Context, written: &[ObjectKey]) {
    for key in written {
        let Some(observed) = context.owned.get(key) else { continue };
        let change = Change::Delete(key.clone(), Precondition::from(&observed));
        if let Err(error) = context.writer.carry_out(&subject.identity, &change).await {
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
