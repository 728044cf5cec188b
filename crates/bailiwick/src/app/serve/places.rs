//! Who may have a connection.
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bailiwick_core::store::Caller;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proxies::TrustedProxies;

/// The places of a listener: so many in all, and so many for one address.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    most: usize,
    most_of_one: usize,
    /// Proxies speak for many clients.
    exempt: TrustedProxies,
    taken: Mutex<HashMap<Caller, usize>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    places: Arc<Places>,
    of_one: Option<Caller>,
}

impl Places {
    pub(super) fn new(most: usize, most_of_one: usize, exempt: TrustedProxies) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(most));
        Arc::new(Self { all, most, most_of_one, exempt, taken: Mutex::default() })
    }

    /// A place for a connection from `address`, if there is one.
    ///
    /// # Security
    /// An address counts as quotas count it: IPv6 by its /64, all of which one host has to itself (THR-11). Who connects from
    /// this machine is a proxy on it, or whoever runs it.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let is_exempt = address.to_canonical().is_loopback() || self.exempt.hold(address);
        let of_one = (!is_exempt).then(|| Caller::from_address(address));
        if let Some(caller) = &of_one {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(caller.clone()).or_insert(0);
            if *count == self.most_of_one {
                return None;
            }
            *count += 1;
        }
        Some(Place { _of_all: of_all, places: Arc::clone(self), of_one })
    }

    /// Waits until every place is given back.
    pub(super) async fn all_back(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.all.acquire_many(all).await;
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.most - self.all.available_permits()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(caller) = &self.of_one else { return };
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(caller) {
            *count -= 1;
            // What nobody uses takes no memory.
            if *count == 0 {
                taken.remove(caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, most_of_one: usize) -> Arc<Places> {
        Places::new(most, most_of_one, TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // LIM-11, THR-11
    #[test]
    fn one_address_takes_its_share_and_leaves_the_others_theirs() {
        let places = places(100, 3);
        for of_one in [
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"],
        ] {
            let held = of_one.map(|text| places.take(address(text)).unwrap());
            assert!(places.take(address(of_one[0])).is_none());
            drop(held);
            assert!(places.take(address(of_one[0])).is_some());
        }
        assert!(places.taken.lock().unwrap().is_empty(), "nothing is kept of who is gone");
        let _here = [(); 10].map(|()| places.take(address("127.0.0.1")).unwrap());
        let _proxy = [(); 10].map(|()| places.take(address("10.1.2.3")).unwrap());
        assert_eq!(places.taken(), 20);
    }

    #[test]
    fn all_together_take_no_more_than_there_are() {
        let places = places(4, 3);
        let _held: Vec<_> = (1..=4).map(|n| places.take(address(&format!("192.0.2.{n}"))).unwrap()).collect();
        for from in ["192.0.2.9", "127.0.0.1", "10.0.0.1"] {
            assert!(places.take(address(from)).is_none());
        }
        assert_eq!(places.taken.lock().unwrap().len(), 4, "who is turned away leaves nothing behind");
    }

    #[test]
    fn many_threads_never_have_more_places_than_one_address_may() {
        let places = places(1000, 5);
        let most = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let place = places.take(address("192.0.2.1"));
                        let taken = places.taken.lock().unwrap().values().copied().max().unwrap_or(0);
                        most.fetch_max(taken, std::sync::atomic::Ordering::Relaxed);
                        drop(place);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 5);
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.taken(), 0);
    }
}
