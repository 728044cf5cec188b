//! How much memory the bodies of all requests may take together.
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_core::{request::ClientAddr, store::Caller, units::ByteSize};

/// Among how many numbers addresses are shared out. Two that meet in one have one share together, which is rare, and by a
/// key of this process that no client knows.
const ADDRESSES: usize = 1 << 12;

/// Which part of the whole one address may have.
const PARTS: u64 = 8;

/// The memory for bodies. Cheap to clone: it is shared, not copied.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: u64,
    held: AtomicU64,
    by_address: Box<[AtomicU64]>,
    key: RandomState,
}

impl Memory {
    pub(super) fn new(most: ByteSize) -> Self {
        Self(Arc::new(Shared {
            most: most.as_u64(),
            held: AtomicU64::new(0),
            by_address: (0..ADDRESSES).map(|_| AtomicU64::new(0)).collect(),
            key: RandomState::new(),
        }))
    }

    /// How much is held now, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Nothing yet, for a request from `client` whose body holds at most `longest`.
    ///
    /// # Security
    /// An address counts as quotas count it. One has an eighth of the whole, but room for one body in any case. Who connects
    /// from this machine is a proxy on it that is not trusted to tell for whom it speaks, or whoever runs it.
    pub(super) fn nothing(&self, client: Option<ClientAddr>, longest: u64) -> Held {
        let counted = client.filter(|client| !client.0.to_canonical().is_loopback());
        let number = counted.map(|client| self.number(client.0));
        let most_of_one = (self.0.most / PARTS).max(longest);
        Held { memory: self.clone(), number, most_of_one, bytes: AtomicU64::new(0) }
    }

    fn number(&self, address: IpAddr) -> usize {
        let hash = self.0.key.hash_one(Caller::from_address(address));
        usize::try_from(hash % ADDRESSES as u64).unwrap_or(0)
    }
}

/// What one body holds, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Memory,
    /// Which of the numbers counts for its address.
    number: Option<usize>,
    most_of_one: u64,
    bytes: AtomicU64,
}

/// The memory for bodies is used up, or the client's share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory for request bodies is used up")]
pub(super) struct UsedUp;

impl Held {
    /// Holds so many bytes more.
    pub(super) fn take(&self, bytes: u64) -> Result<(), UsedUp> {
        if bytes == 0 {
            return Ok(());
        }
        let shared = &*self.memory.0;
        add_within(&shared.held, bytes, shared.most)?;
        if let Some(of_one) = self.of_address()
            && let Err(used_up) = add_within(of_one, bytes, self.most_of_one)
        {
            shared.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(used_up);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn of_address(&self) -> Option<&AtomicU64> {
        self.number.map(|number| &self.memory.0.by_address[number])
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes == 0 {
            return;
        }
        self.memory.0.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(of_one) = self.of_address() {
            of_one.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

fn add_within(number: &AtomicU64, bytes: u64, most: u64) -> Result<(), UsedUp> {
    let sum = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= most);
    number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).map(drop).map_err(|_| UsedUp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<ClientAddr> {
        Some(ClientAddr(text.parse().unwrap()))
    }

    #[test]
    fn the_whole_is_given_out_once_and_comes_back_with_whoever_had_it() {
        let memory = Memory::new(ByteSize::kib(1));
        let (one, other) = (memory.nothing(None, 0), memory.nothing(None, 0));
        one.take(1000).unwrap();
        assert_eq!(other.take(25), Err(UsedUp));
        other.take(24).unwrap();
        assert_eq!((memory.held(), one.take(1), one.take(0)), (1024, Err(UsedUp), Ok(())));
        assert_eq!(one.take(u64::MAX), Err(UsedUp));
        drop(one);
        assert_eq!(memory.held(), 24);
        other.take(1000).unwrap();
        drop(other);
        assert_eq!(memory.held(), 0);
    }

    // THR-11
    #[test]
    fn one_address_has_an_eighth_and_room_for_one_body() {
        let memory = Memory::new(ByteSize::kib(8));
        for of_one in [["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", "2001:db8::2"]] {
            let [first, second] = of_one.map(|text| memory.nothing(client(text), 1));
            first.take(1024).unwrap();
            assert_eq!(second.take(1), Err(UsedUp), "{of_one:?}");
            assert_eq!(memory.held(), 1024, "what was refused is not held");
            drop(first);
            second.take(1024).unwrap();
        }
        let long = memory.nothing(client("192.0.2.2"), 4096);
        long.take(4096).unwrap();
        assert_eq!(long.take(1), Err(UsedUp));
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            memory.nothing(client(here), 1).take(4096).unwrap();
        }
    }

    #[test]
    fn many_at_once_never_hold_more_than_there_is() {
        let memory = Memory::new(ByteSize::kib(1));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let held: Vec<_> = (0..4).map(|_| memory.nothing(client("192.0.2.1"), 300)).collect();
                        let taken = held.iter().filter(|held| held.take(100).is_ok()).count();
                        assert!(taken <= 3, "{taken} hundreds of 300 bytes");
                        assert!(memory.held() <= 1024);
                    }
                });
            }
        });
        assert_eq!(memory.held(), 0);
        assert!(memory.0.by_address.iter().all(|number| number.load(Ordering::Relaxed) == 0));
    }
}
