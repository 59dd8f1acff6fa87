//! Another client keeps changing our objects: its edits are reverted a few times, then backed off from and reported. Pure.

use crate::objects::changes::{ForeignEdit, Interference};
use crate::objects::digest::Digest;
use crate::objects::key::ObjectKey;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many edits in a row are reverted at once: a person's slip, or a tool's single sync.
const REVERTED_AT_ONCE: u32 = 3;
/// Edits further apart than this are not in a row.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// The first pause; each further edit doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause after a deletion: without the object pods are open, which is worse than a conflict. One creation in two
/// seconds is no hot loop.
const LONGEST_ABSENCE: Duration = Duration::from_secs(2);

/// The last write of one resource's objects, and who keeps changing them.
#[derive(Clone, Debug, Default)]
pub struct Conflicts {
    /// The last write of each object. One whose next write is the same was reverted.
    pub written: BTreeMap<ObjectKey, LastWrite>,
    /// Foreign edits, by object and sort.
    edits: BTreeMap<(ObjectKey, Interference), Edits>,
}

/// An object when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWrite {
    /// Digest of the fields written.
    pub digest: Digest,
    /// When the API server accepted it, to the second; `None` where that is not known.
    pub at: Option<Timestamp>,
    /// Digest of the fields that the operator owned then; `None` where that is not known.
    pub fields: Option<Digest>,
}

#[derive(Clone, Debug)]
struct Edits {
    manager: Arc<str>,
    /// How many were reverted in a row.
    count: u32,
    last: Instant,
    /// Whether the newest edit was not reverted.
    remains: bool,
    paused_until: Option<Instant>,
}

/// What to do about a foreign edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Revert it now.
    Revert,
    /// Leave it until then.
    BackOff(Instant),
}

impl Conflicts {
    /// What to do about an edit that was found now.
    pub fn found(&mut self, edit: &ForeignEdit, now: Instant) -> Reaction {
        let longest = match edit.what {
            Interference::Edited => FORGOTTEN_AFTER,
            Interference::Deleted => LONGEST_ABSENCE,
        };
        let Some(edits) = self.edits.get_mut(&(edit.key.clone(), edit.what)) else { return Reaction::Revert };
        let paused = edits.paused_until.map(|until| until.min(edits.last + longest));
        let Some(until) = paused.filter(|until| now < *until) else { return Reaction::Revert };
        edits.remains = true;
        Reaction::BackOff(until)
    }

    /// Counts an edit that was reverted now. An edit whose revert failed does not count: the API server is at fault.
    pub fn reverted(&mut self, edit: &ForeignEdit, now: Instant) {
        let before = self.edits.get(&(edit.key.clone(), edit.what));
        let in_a_row = before.filter(|edits| now.duration_since(edits.last) <= FORGOTTEN_AFTER);
        let count = in_a_row.map_or(0, |edits| edits.count) + 1;
        // The pause counts from this revert: the next edit, however soon, remains until it is over.
        let paused_until = count
            .checked_sub(REVERTED_AT_ONCE)
            .map(|beyond| now + FIRST_PAUSE.saturating_mul(1 << beyond.min(5)).min(FORGOTTEN_AFTER));
        let edits = Edits { manager: Arc::clone(&edit.manager), count, last: now, remains: false, paused_until };
        self.edits.insert((edit.key.clone(), edit.what), edits);
    }

    /// Contested objects, each with the manager that keeps changing it. Who edits an object has a name, and who deletes it has
    /// none: so the editor comes first where both happen.
    pub fn contested(&self, now: Instant) -> Vec<(&ObjectKey, &Arc<str>)> {
        let lasting = |edits: &Edits| {
            (edits.remains || edits.count > REVERTED_AT_ONCE) && now.duration_since(edits.last) <= FORGOTTEN_AFTER
        };
        let contested = self.edits.iter().filter(|(_, edits)| lasting(edits));
        contested.map(|((key, _), edits)| (key, &edits.manager)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::network_policy::NETWORK_POLICY;

    fn edit(what: Interference) -> ForeignEdit {
        let key = ObjectKey::new(&NETWORK_POLICY, "web", "a-egress");
        ForeignEdit { key, manager: "kubectl-edit".into(), what }
    }

    /// Finds an edit, and reverts it where that is the reaction.
    fn meet(conflicts: &mut Conflicts, edit: &ForeignEdit, now: Instant) -> Reaction {
        let reaction = conflicts.found(edit, now);
        if reaction == Reaction::Revert {
            conflicts.reverted(edit, now);
        }
        reaction
    }

    #[test]
    fn a_slip_is_reverted_and_a_war_is_not_fought() {
        let edit = edit(Interference::Edited);
        let mut conflicts = Conflicts::default();
        let mut now = Instant::now();
        for number in 1..=REVERTED_AT_ONCE {
            assert_eq!(meet(&mut conflicts, &edit, now), Reaction::Revert, "edit {number}");
            assert_eq!(conflicts.contested(now).len(), 0, "a slip is not reported");
        }
        assert!(matches!(meet(&mut conflicts, &edit, now), Reaction::BackOff(_)));
        assert_eq!(conflicts.contested(now).len(), 1, "an edit that remains is reported");
        let mut reverted = 0;
        for _ in 0..600 {
            reverted += u32::from(meet(&mut conflicts, &edit, now) == Reaction::Revert);
            now += Duration::from_secs(1);
        }
        assert!((3..=5).contains(&reverted), "reverted {reverted} times in ten minutes of an edit every second");
        assert_eq!(conflicts.contested(now), [(&edit.key, &edit.manager)]);
        let later = now + FORGOTTEN_AFTER * 2;
        assert_eq!(conflicts.contested(later).len(), 0);
        assert_eq!(meet(&mut conflicts, &edit, later), Reaction::Revert);
    }

    #[test]
    fn what_keeps_being_deleted_is_never_missed_for_long() {
        let edit = edit(Interference::Deleted);
        let mut conflicts = Conflicts::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            if let Reaction::BackOff(until) = meet(&mut conflicts, &edit, now) {
                assert!(until - now <= LONGEST_ABSENCE);
                now = until;
                assert_eq!(meet(&mut conflicts, &edit, now), Reaction::Revert);
            }
        }
        assert_eq!(conflicts.contested(now).len(), 1, "and it is reported");
    }

    /// The name was lost: only the deletions were reported, which have none.
    #[test]
    fn who_edits_and_deletes_is_reported_by_name() {
        let edited = edit(Interference::Edited);
        let deleted = ForeignEdit { manager: "".into(), ..edit(Interference::Deleted) };
        let (mut conflicts, mut now) = (Conflicts::default(), Instant::now());
        for _ in 0..10 {
            for edit in [&edited, &deleted] {
                meet(&mut conflicts, edit, now);
                now += Duration::from_secs(3);
            }
        }
        assert_eq!(conflicts.contested(now), [(&edited.key, &edited.manager), (&deleted.key, &deleted.manager)]);
    }

    /// An API server that failed for a while let an edit remain for ten minutes.
    #[test]
    fn an_edit_whose_revert_fails_is_not_contested() {
        let edit = edit(Interference::Edited);
        let mut conflicts = Conflicts::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            assert_eq!(conflicts.found(&edit, now), Reaction::Revert);
            now += Duration::from_secs(1);
        }
        assert_eq!(conflicts.contested(now).len(), 0);
    }

    /// The first edit of a policy that was deleted four times in ten minutes remained for minutes.
    #[test]
    fn deletions_do_not_let_an_edit_remain() {
        let mut conflicts = Conflicts::default();
        let now = Instant::now();
        for _ in 0..10 {
            conflicts.reverted(&edit(Interference::Deleted), now);
        }
        assert_eq!(conflicts.found(&edit(Interference::Edited), now), Reaction::Revert);
    }
}
