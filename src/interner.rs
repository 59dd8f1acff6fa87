//! Stores equal values once: thousands of resources of one customer have most in common. Pure.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Knows the values in use, and forgets each with its last user.
#[derive(Debug)]
pub struct Interner<T: ?Sized> {
    known: Mutex<HashMap<u64, Weak<T>>>,
    hasher: RandomState,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), hasher: RandomState::new() }
    }
}

impl<T: ?Sized + Hash + Eq> Interner<T> {
    /// Returns the equal value that is in use already, or else this one.
    pub fn intern(&self, value: impl AsRef<T> + Into<Arc<T>>) -> Arc<T> {
        let key = self.hasher.hash_one(value.as_ref());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(equal) = known.get(&key).and_then(Weak::upgrade).filter(|known| **known == *value.as_ref()) {
            return equal;
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
        let shared: Interner<[u32]> = Interner::default();
        let first = shared.intern(vec![1, 2]);
        assert!(Arc::ptr_eq(&first, &shared.intern(vec![1, 2])));
        assert!(!Arc::ptr_eq(&first, &shared.intern(vec![1, 3])));
        for number in 0..200 {
            drop(shared.intern(vec![number]));
        }
        assert!(shared.known.lock().expect("a lock").len() <= 20, "what nobody holds is forgotten");
        assert!(Arc::ptr_eq(&first, &shared.intern(vec![1, 2])));
    }
}
