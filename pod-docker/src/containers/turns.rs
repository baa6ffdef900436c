//! Creations of one name take turns: a name whose creation was given up is free only when what it made is
//! taken back.

use pod_core::WorkloadName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

type Lock = tokio::sync::Mutex<()>;

/// The names that are being made. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    names: Arc<Mutex<HashMap<WorkloadName, Weak<Lock>>>>,
}

impl Turns {
    /// Waits until no other creation of this name is under way. It is whose holds what this gives.
    pub(crate) async fn take(&self, name: &WorkloadName) -> OwnedMutexGuard<()> {
        self.lock(name).lock_owned().await
    }

    fn lock(&self, name: &WorkloadName) -> Arc<Lock> {
        // Nothing in here can panic.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = names.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::default());
        names.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn one_name_is_made_once_at_a_time() {
        let turns = Turns::default();
        let name = |n: &str| WorkloadName::new(n).expect("a name");
        let first = turns.take(&name("web")).await;
        let _other = turns.take(&name("db")).await;
        let same = turns.clone();
        let mut second = tokio::spawn(async move { same.take(&name("web")).await });
        tokio::time::timeout(Duration::from_millis(50), &mut second).await.expect_err("the first still has it");
        drop(first);
        let second = second.await.expect("its turn");
        assert_eq!(turns.names.lock().expect("no panic").len(), 2);
        drop(second);
        turns.take(&name("db2")).await;
        assert!(!turns.names.lock().expect("no panic").contains_key(&name("web")), "names are forgotten");
    }
}
