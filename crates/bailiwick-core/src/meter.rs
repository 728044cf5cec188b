//! What the parts of a program measure of themselves, for whoever shows it: no format and no crate of metrics is known here.
//!
//! A part that has something to tell is [`Metered`]. It keeps plain atomics, such as those of a [`Distribution`], and is
//! asked for their values when somebody looks; so measuring costs a few additions, and nothing when nobody looks.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A part that measures itself.
pub trait Metered: Send + Sync {
    /// Gives `each` everything that is measured, in the same order each time. It must not wait for anything.
    fn meters(&self, each: &mut dyn FnMut(Meter));
}

/// Something that is measured, and its value now.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// Its name, in the way of Prometheus: `snake_case` with the unit last, and `_total` behind a counter.
    pub name: &'static str,
    /// What it tells, in a sentence without its full stop.
    pub help: &'static str,
    /// Its value.
    pub value: Value,
}

/// The value of a [`Meter`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// What only ever grows, while the process lives.
    Counter(u64),
    /// What goes up and down.
    Gauge(u64),
    /// How often which values were seen.
    Distribution(Reading),
}

/// Bounds for waits, in seconds: from a tenth of a millisecond, which nobody notices, to ten seconds, for which nobody stays.
pub const WAIT_BOUNDS: &[f64] = &[0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Counts how often which values were seen, without a lock.
#[derive(Debug)]
pub struct Distribution {
    bounds: &'static [f64],
    /// One more than there are bounds: the last is for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// In millionths, so that it can be added to.
    sum: AtomicU64,
}

/// What a [`Distribution`] has seen so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The upper bounds, each inclusive, in ascending order.
    pub bounds: &'static [f64],
    /// How many values were within each bound and above the one before; last, how many were above all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Distribution {
    /// Nothing seen yet. The bounds ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Notes how long something took, in seconds.
    pub fn record(&self, time: Duration) {
        self.note(time.as_secs_f64(), u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how many there were of something.
    pub fn record_count(&self, count: u32) {
        self.note(f64::from(count), u64::from(count) * 1_000_000);
    }

    fn note(&self, value: f64, millionths: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    /// What was seen so far. What is noted meanwhile may be in the counts and not in the sum, or the other way round.
    #[expect(clippy::cast_precision_loss, reason = "a sum beyond 2^53 millionths is 285 years of waiting")]
    pub fn reading(&self) -> Reading {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Reading { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_once_in_the_first_bound_that_holds_it() {
        let seen = Distribution::new(&[1.0, 10.0]);
        for count in [0, 1, 2, 10, 11, 1000] {
            seen.record_count(count);
        }
        assert_eq!(seen.reading(), Reading { bounds: &[1.0, 10.0], counts: vec![2, 2, 2], sum: 1024.0 });
    }

    #[test]
    fn times_are_seconds() {
        let seen = Distribution::new(WAIT_BOUNDS);
        seen.record(Duration::from_millis(5));
        seen.record(Duration::from_micros(1_500_250));
        let reading = seen.reading();
        assert_eq!(reading.sum, 1.505_25);
        assert_eq!(reading.counts, [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn nothing_is_lost_when_many_count_at_once() {
        let seen = Distribution::new(&[1.0]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| seen.record_count(2)));
            }
        });
        assert_eq!(seen.reading(), Reading { bounds: &[1.0], counts: vec![0, 80_000], sum: 160_000.0 });
    }
}
