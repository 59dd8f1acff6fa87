//! Somebody else keeps changing what is ours: undone a few times, then backed off from and reported. Pure.

use crate::cluster::key::ObjectKey;
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

/// What somebody did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interference {
    /// Changed it.
    Edited,
    /// Deleted it.
    Deleted,
}

/// Foreign edits of one resource's objects.
#[derive(Clone, Debug, Default)]
pub struct Contention {
    edits: BTreeMap<ObjectKey, Edits>,
}

#[derive(Clone, Debug)]
struct Edits {
    manager: Arc<str>,
    count: u32,
    last: Instant,
    /// Whether the newest edit was left as it is.
    stands: bool,
    paused_until: Option<Instant>,
}

/// What to do about a foreign edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Undo it now.
    Undo,
    /// Leave it until then.
    Leave(Instant),
}

impl Contention {
    /// Says what to do about an interference by `manager` that was found now. To be asked once for each time it would be
    /// undone.
    pub fn found(&mut self, key: &ObjectKey, manager: &Arc<str>, what: Interference, now: Instant) -> Verdict {
        let longest = match what {
            Interference::Edited => FORGOTTEN_AFTER,
            Interference::Deleted => LONGEST_ABSENCE,
        };
        let fresh = Edits { manager: Arc::clone(manager), count: 0, last: now, stands: false, paused_until: None };
        let edits = self.edits.entry(key.clone()).or_insert(fresh);
        let paused = edits.paused_until.map(|until| until.min(edits.last + longest));
        if let Some(until) = paused.filter(|until| now < *until) {
            edits.stands = true;
            return Verdict::Leave(until);
        }
        if now.duration_since(edits.last) > FORGOTTEN_AFTER {
            edits.count = 0;
        }
        edits.manager = Arc::clone(manager);
        edits.last = now;
        edits.stands = false;
        edits.count += 1;
        // The pause counts from this undoing: the next edit, however soon, stands until it is over.
        edits.paused_until = edits
            .count
            .checked_sub(UNDONE_AT_ONCE)
            .map(|beyond| now + FIRST_PAUSE.saturating_mul(1 << beyond.min(5)).min(FORGOTTEN_AFTER));
        Verdict::Undo
    }

    /// Objects that somebody keeps changing, with who does, as long as it lasts.
    pub fn contested(&self, now: Instant) -> impl Iterator<Item = (&ObjectKey, &Arc<str>)> {
        let lasting = move |edits: &Edits| {
            (edits.stands || edits.count > UNDONE_AT_ONCE) && now.duration_since(edits.last) <= FORGOTTEN_AFTER
        };
        self.edits.iter().filter(move |(_, edits)| lasting(edits)).map(|(key, edits)| (key, &edits.manager))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::key::Kind;

    #[test]
    fn a_slip_is_undone_and_a_war_is_not_fought() {
        let key = ObjectKey { kind: Kind::Policy, namespace: "web".into(), name: "a-egress".into() };
        let manager: Arc<str> = "kubectl-edit".into();
        let mut contention = Contention::default();
        let mut now = Instant::now();
        for edit in 1..=UNDONE_AT_ONCE {
            assert_eq!(contention.found(&key, &manager, Interference::Edited, now), Verdict::Undo, "edit {edit}");
            assert_eq!(contention.contested(now).count(), 0, "a slip is nobody's business");
        }
        assert!(matches!(contention.found(&key, &manager, Interference::Edited, now), Verdict::Leave(_)));
        assert_eq!(contention.contested(now).count(), 1, "what is left as it is has to be told");
        let mut undone = 0;
        for _ in 0..600 {
            undone += u32::from(contention.found(&key, &manager, Interference::Edited, now) == Verdict::Undo);
            now += Duration::from_secs(1);
        }
        assert!((3..=5).contains(&undone), "undone {undone} times in ten minutes of an edit every second");
        assert_eq!(contention.contested(now).map(|(key, _)| &*key.name).collect::<Vec<_>>(), ["a-egress"]);
        let later = now + FORGOTTEN_AFTER * 2;
        assert_eq!(contention.contested(later).count(), 0);
        assert_eq!(contention.found(&key, &manager, Interference::Edited, later), Verdict::Undo);
    }

    #[test]
    fn what_keeps_being_deleted_is_never_missed_for_long() {
        let key = ObjectKey { kind: Kind::Policy, namespace: "web".into(), name: "a-egress".into() };
        let manager: Arc<str> = "somebody".into();
        let mut contention = Contention::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            if let Verdict::Leave(until) = contention.found(&key, &manager, Interference::Deleted, now) {
                assert!(until - now <= LONGEST_ABSENCE);
                now = until;
                assert_eq!(contention.found(&key, &manager, Interference::Deleted, now), Verdict::Undo);
            }
        }
        assert_eq!(contention.contested(now).count(), 1, "and it is told");
    }
}
