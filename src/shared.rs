//! Values of which equal ones are held once: what thousands of resources of one customer have in common. Pure.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Knows the values that somebody holds; forgets each with its last holder.
#[derive(Debug)]
pub struct Shared<T: ?Sized> {
    known: Mutex<HashMap<u64, Weak<T>>>,
    hasher: RandomState,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), hasher: RandomState::new() }
    }
}

impl<T: ?Sized + Hash + Eq> Shared<T> {
    /// The one that is held already where it is equal, else this one.
    pub fn share(&self, value: impl AsRef<T> + Into<Arc<T>>) -> Arc<T> {
        let key = self.hasher.hash_one(value.as_ref());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = known.get(&key).and_then(Weak::upgrade).filter(|held| **held == *value.as_ref()) {
            return held;
        }
        if known.len() >= 2 * known.values().filter(|value| value.strong_count() > 0).count().max(8) {
            known.retain(|_, value| value.strong_count() > 0);
        }
        let shared: Arc<T> = value.into();
        known.insert(key, Arc::downgrade(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_stored_once_until_the_last_user_drops() {
        let shared: Shared<[u32]> = Shared::default();
        let first = shared.share(vec![1, 2]);
        assert!(Arc::ptr_eq(&first, &shared.share(vec![1, 2])));
        assert!(!Arc::ptr_eq(&first, &shared.share(vec![1, 3])));
        for number in 0..200 {
            drop(shared.share(vec![number]));
        }
        assert!(shared.known.lock().expect("a lock").len() <= 20, "what nobody holds is forgotten");
        assert!(Arc::ptr_eq(&first, &shared.share(vec![1, 2])));
    }
}
