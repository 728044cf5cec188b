//! Whether there is a standing queue, and which share of requests is refused to make it shorter.
use std::time::Duration;

/// How long waits are looked at before anything is made of them.
const WINDOW: Duration = Duration::from_millis(500);

/// All requests, in the measure of shares.
const ALL: u32 = 1 << 16;
/// The share that is admitted in any case.
const LEAST: u32 = ALL / 16;

/// A wait for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is over, and took so long.
    Over(Duration),
    /// It has taken so long, and is not over.
    SoFar(Duration),
}

/// Decides from how long turns were waited for. It knows no clock and no runtime.
#[derive(Debug)]
pub(super) struct Queue {
    target: Duration,
    began: Duration,
    last_look: Duration,
    /// The shortest wait that was over since then.
    least: Option<Duration>,
    /// Which share of requests is admitted while there is a queue.
    admitted: u32,
}

impl Queue {
    /// No queue at the time `now`. A wait above `target` is too long.
    pub(super) const fn new(target: Duration, now: Duration) -> Self {
        Self { target, began: now, last_look: now, least: None, admitted: ALL }
    }

    /// Looks at the time `now` at a wait; the share of requests, of 65,536, that is to be refused until the next look.
    pub(super) fn look(&mut self, now: Duration, wait: Wait) -> u16 {
        let (Wait::Over(waited) | Wait::SoFar(waited)) = wait;
        if let Wait::Over(waited) = wait {
            self.least = Some(self.least.map_or(waited, |least| least.min(waited)));
        }
        // The whole machine stood still: whatever waited, did so for that.
        if now.saturating_sub(self.last_look) > WINDOW {
            (self.began, self.least) = (now, None);
        }
        self.last_look = now;
        if now.saturating_sub(self.began) >= WINDOW {
            self.admitted = self.judged(self.least.unwrap_or(waited));
            (self.began, self.least) = (now, None);
        }
        // The queue is empty just now, whatever it was before: to refuse would leave a processor idle.
        if waited < self.target / 8 && matches!(wait, Wait::Over(_)) {
            return 0;
        }
        u16::try_from(ALL - self.admitted).unwrap_or(u16::MAX)
    }

    /// The share that is admitted from now on.
    fn judged(&self, least: Duration) -> u32 {
        if least <= self.target {
            return (self.admitted + self.admitted / 4).min(ALL);
        }
        // In proportion, since the wait is; but to half at most, since one window may be like no other, and by an eighth at
        // least, since it has to become shorter.
        let in_proportion = u128::from(self.admitted) * self.target.as_micros() / least.as_micros().max(1);
        let admitted = u32::try_from(in_proportion).unwrap_or(ALL);
        admitted.clamp(self.admitted / 2, self.admitted - self.admitted / 8).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(200);

    /// Looks every 100 ms, each time at a wait that is over; the last share.
    fn after(queue: &mut Queue, now: &mut Duration, waits: impl IntoIterator<Item = u64>) -> u16 {
        looks(queue, now, waits.into_iter().map(|millis| Wait::Over(Duration::from_millis(millis))))
    }

    fn looks(queue: &mut Queue, now: &mut Duration, waits: impl IntoIterator<Item = Wait>) -> u16 {
        let looks = waits.into_iter().map(|wait| {
            *now += Duration::from_millis(100);
            queue.look(*now, wait)
        });
        looks.last().unwrap()
    }

    fn fresh() -> (Queue, Duration) {
        (Queue::new(TARGET, Duration::from_secs(9)), Duration::from_secs(9))
    }

    #[test]
    fn a_burst_is_no_standing_queue() {
        let (mut queue, mut now) = fresh();
        for waits in
            [&[900, 0, 900, 900, 900, 900, 190, 900, 100, 900][..], &[199; 50], &[200; 50], &[5_000; 4]]
        {
            assert_eq!(after(&mut queue, &mut now, waits.iter().copied()), 0, "{waits:?}");
            after(&mut queue, &mut now, [0; 5]);
        }
    }

    #[test]
    fn a_machine_that_stood_still_has_no_queue() {
        let (mut queue, mut now) = fresh();
        for wait in [Wait::Over, Wait::SoFar] {
            now += Duration::from_secs(60);
            assert_eq!(queue.look(now, wait(Duration::from_secs(60))), 0);
            assert_eq!(looks(&mut queue, &mut now, [wait(Duration::from_secs(60)); 4]), 0);
            assert_eq!(after(&mut queue, &mut now, [1]), 0);
        }
    }

    #[test]
    fn a_standing_queue_has_a_growing_share_refused_and_never_all() {
        let (mut queue, mut now) = fresh();
        let mut shares = Vec::new();
        for _ in 0..40 {
            shares.push(after(&mut queue, &mut now, [400; 5]));
        }
        assert_eq!(shares[0], 1 << 15, "twice as long as it may be: half of them");
        assert!(shares.is_sorted());
        assert_eq!(u32::from(*shares.last().unwrap()), ALL - LEAST);
        // The longest of queues, too.
        assert_eq!(u32::from(after(&mut queue, &mut now, [u64::from(u32::MAX); 9])), ALL - LEAST);
    }

    // It is not waited for the end of a wait that is too long in any case.
    #[test]
    fn a_turn_that_does_not_come_at_all_is_a_queue() {
        let (mut queue, mut now) = fresh();
        let waits = (1..=5).map(|look| Wait::SoFar(Duration::from_millis(100 * look)));
        assert_eq!(u32::from(looks(&mut queue, &mut now, waits)), ALL / 2);
    }

    #[test]
    fn a_queue_a_little_too_long_has_an_eighth_refused() {
        let (mut queue, mut now) = fresh();
        assert_eq!(u32::from(after(&mut queue, &mut now, [400, 300, 201, 300, 400])), ALL / 8);
    }

    #[test]
    fn the_share_shrinks_with_the_queue_and_is_nothing_while_there_is_none() {
        let (mut queue, mut now) = fresh();
        after(&mut queue, &mut now, [2_000; 50]);
        let mut last = after(&mut queue, &mut now, [150; 5]);
        assert!(last > 0 && u32::from(last) < ALL - LEAST);
        assert_eq!(after(&mut queue, &mut now, [24]), 0, "a turn that comes at once");
        assert!(after(&mut queue, &mut now, [150]) > 0, "the queue was there again at once");
        for _ in 0..12 {
            let share = after(&mut queue, &mut now, [150; 5]);
            assert!(share <= last);
            last = share;
        }
        assert_eq!(last, 0);
    }

    // Who is admitted waits for the sum of the work of all others; a queue of clients that come again at once.
    #[test]
    fn a_closed_loop_settles_around_the_target() {
        let (mut queue, mut now) = fresh();
        let mut waited = 2_000;
        let mut settled = Vec::new();
        for look in 0..1000 {
            let share = after(&mut queue, &mut now, [waited]);
            // 2 s of work if all is admitted; a refusal costs a fiftieth.
            let admitted = 1.0 - f64::from(share) / 65_536.0;
            waited = u64::try_from(Duration::from_secs_f64(2.0 * admitted + 0.04).as_millis()).unwrap();
            if look > 100 {
                settled.push(waited);
            }
        }
        assert!(settled.iter().all(|waited| (100..=400).contains(waited)), "{settled:?}");
    }
}
