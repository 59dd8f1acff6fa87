//! Somebody else keeps changing what is ours: undone a few times, then backed off from and reported. Pure.

use crate::objects::changes::{ForeignEdit, Interference};
use crate::objects::digest::Digest;
use crate::objects::key::ObjectKey;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many edits in a row are undone at once: a person's slip, or a tool's single sync.
const UNDONE_AT_ONCE: u32 = 3;
/// Edits further apart than this are not in a row.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// The first pause; each further edit doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause where an object was deleted: without it pods are open, which is worse than any quarrel. One creation
/// in two seconds is no hot loop.
const LONGEST_ABSENCE: Duration = Duration::from_secs(2);

/// What one resource's objects were when they were last written, and who keeps changing them.
#[derive(Clone, Debug, Default)]
pub struct Conflicts {
    /// What its objects were when they were last written. One that is to be written the same again was undone.
    pub left: BTreeMap<ObjectKey, Left>,
    /// Foreign edits of its objects.
    pub contention: Contention,
}

/// What an object was when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it says.
    pub digest: Digest,
    /// When the API server took it, to the second; `None` where that is not known.
    pub at: Option<Timestamp>,
    /// Which fields of it the operator held then; `None` where that is not known.
    pub held: Option<Digest>,
}

/// Foreign edits of one resource's objects.
#[derive(Clone, Debug, Default)]
pub struct Contention {
    edits: BTreeMap<(ObjectKey, Interference), Edits>,
}

#[derive(Clone, Debug)]
struct Edits {
    manager: Arc<str>,
    /// How many were undone in a row.
    count: u32,
    last: Instant,
    /// Whether the newest edit was left as it is.
    stands: bool,
    paused_until: Option<Instant>,
}

/// What to do about a foreign edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Undo it now.
    Undo,
    /// Leave it until then.
    Leave(Instant),
}

impl Contention {
    /// Says what to do about an edit that was found now.
    pub fn found(&mut self, edit: &ForeignEdit, now: Instant) -> Reaction {
        let longest = match edit.what {
            Interference::Edited => FORGOTTEN_AFTER,
            Interference::Deleted => LONGEST_ABSENCE,
        };
        let Some(edits) = self.edits.get_mut(&(edit.key.clone(), edit.what)) else { return Reaction::Undo };
        let paused = edits.paused_until.map(|until| until.min(edits.last + longest));
        match paused.filter(|until| now < *until) {
            Some(until) => {
                edits.stands = true;
                Reaction::Leave(until)
            }
            None => Reaction::Undo,
        }
    }

    /// Counts an edit that was undone now. One whose undoing failed is none: the API server's trouble is no quarrel.
    pub fn undone(&mut self, edit: &ForeignEdit, now: Instant) {
        let manager = Arc::clone(&edit.manager);
        let fresh = Edits { manager, count: 0, last: now, stands: false, paused_until: None };
        let edits = self.edits.entry((edit.key.clone(), edit.what)).or_insert(fresh);
        if now.duration_since(edits.last) > FORGOTTEN_AFTER {
            edits.count = 0;
        }
        edits.manager = Arc::clone(&edit.manager);
        edits.last = now;
        edits.stands = false;
        edits.count += 1;
        // The pause counts from this undoing: the next edit, however soon, stands until it is over.
        edits.paused_until = edits
            .count
            .checked_sub(UNDONE_AT_ONCE)
            .map(|beyond| now + FIRST_PAUSE.saturating_mul(1 << beyond.min(5)).min(FORGOTTEN_AFTER));
    }

    /// Objects that somebody keeps changing, with who does, as long as it lasts.
    pub fn contested(&self, now: Instant) -> BTreeMap<&ObjectKey, &Arc<str>> {
        let lasting = move |edits: &Edits| {
            (edits.stands || edits.count > UNDONE_AT_ONCE) && now.duration_since(edits.last) <= FORGOTTEN_AFTER
        };
        self.edits
            .iter()
            .filter(move |(_, edits)| lasting(edits))
            .map(|((key, _), edits)| (key, &edits.manager))
            .collect()
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

    /// Finds an edit, and undoes it where that is the verdict.
    fn meet(contention: &mut Contention, edit: &ForeignEdit, now: Instant) -> Reaction {
        let verdict = contention.found(edit, now);
        if verdict == Reaction::Undo {
            contention.undone(edit, now);
        }
        verdict
    }

    #[test]
    fn a_slip_is_undone_and_a_war_is_not_fought() {
        let edit = edit(Interference::Edited);
        let mut contention = Contention::default();
        let mut now = Instant::now();
        for number in 1..=UNDONE_AT_ONCE {
            assert_eq!(meet(&mut contention, &edit, now), Reaction::Undo, "edit {number}");
            assert_eq!(contention.contested(now).len(), 0, "a slip is nobody's business");
        }
        assert!(matches!(meet(&mut contention, &edit, now), Reaction::Leave(_)));
        assert_eq!(contention.contested(now).len(), 1, "what is left as it is has to be told");
        let mut undone = 0;
        for _ in 0..600 {
            undone += u32::from(meet(&mut contention, &edit, now) == Reaction::Undo);
            now += Duration::from_secs(1);
        }
        assert!((3..=5).contains(&undone), "undone {undone} times in ten minutes of an edit every second");
        assert_eq!(contention.contested(now).keys().map(|key| &*key.name).collect::<Vec<_>>(), ["a-egress"]);
        let later = now + FORGOTTEN_AFTER * 2;
        assert_eq!(contention.contested(later).len(), 0);
        assert_eq!(meet(&mut contention, &edit, later), Reaction::Undo);
    }

    #[test]
    fn what_keeps_being_deleted_is_never_missed_for_long() {
        let edit = edit(Interference::Deleted);
        let mut contention = Contention::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            if let Reaction::Leave(until) = meet(&mut contention, &edit, now) {
                assert!(until - now <= LONGEST_ABSENCE);
                now = until;
                assert_eq!(meet(&mut contention, &edit, now), Reaction::Undo);
            }
        }
        assert_eq!(contention.contested(now).len(), 1, "and it is told");
    }

    /// An API server that fails for a while had an edit left as it was for ten minutes.
    #[test]
    fn an_edit_whose_undoing_fails_is_no_quarrel() {
        let edit = edit(Interference::Edited);
        let mut contention = Contention::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            assert_eq!(contention.found(&edit, now), Reaction::Undo);
            now += Duration::from_secs(1);
        }
        assert_eq!(contention.contested(now).len(), 0);
    }

    /// A policy that was deleted four times in ten minutes had its first edit stand for minutes.
    #[test]
    fn deletions_do_not_let_an_edit_stand() {
        let mut contention = Contention::default();
        let now = Instant::now();
        for _ in 0..10 {
            contention.undone(&edit(Interference::Deleted), now);
        }
        assert_eq!(contention.found(&edit(Interference::Edited), now), Reaction::Undo);
    }
}
