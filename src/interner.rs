//! Stores equal values once: thousands of resources of one customer have most in common. Pure.

use crate::lock::lock;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, Weak};

/// Knows the values in use, and forgets each with its last user.
#[derive(Debug)]
pub struct Interner<T: ?Sized> {
    known: Mutex<Known<T>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known<T: ?Sized> {
    values: HashMap<u64, Weak<T>>,
    /// From how many values on those without a user are looked for.
    full: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { values: HashMap::new(), full: 16 }), hasher: RandomState::new() }
    }
}

impl<T: ?Sized + Hash + Eq> Interner<T> {
    /// Returns the equal value that is in use already, or else this one.
    pub fn intern(&self, value: impl AsRef<T> + Into<Arc<T>>) -> Arc<T> {
        let key = self.hasher.hash_one(value.as_ref());
        let mut known = lock(&self.known);
        if let Some(equal) = known.values.get(&key).and_then(Weak::upgrade).filter(|known| **known == *value.as_ref()) {
            return equal;
        }
        if known.values.len() >= known.full {
            known.values.retain(|_, value| value.strong_count() > 0);
            known.full = 2 * known.values.len().max(8);
        }
        let shared: Arc<T> = value.into();
        known.values.insert(key, Arc::downgrade(&shared));
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
        assert!(shared.known.lock().expect("a lock").values.len() <= 20, "a value without a user is forgotten");
        assert!(Arc::ptr_eq(&first, &shared.intern(vec![1, 2])));
    }
}
