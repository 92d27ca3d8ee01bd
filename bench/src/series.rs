//! How a run went over time: counters and latency percentiles an interval, and when how many clients were done.
//!
//! Memory is bounded, whatever a run's length: when there are [`MAX_POINTS`] intervals, each two become one of double
//! length. For that the latencies of an interval are kept as the buckets of a histogram that are not empty.

use hdrhistogram::Histogram;

use crate::{measure::Counters, template::Message};

/// Most intervals kept.
pub const MAX_POINTS: usize = 600;
/// Lengths that an interval may have at first, in nanoseconds.
const LENGTHS_NS: [u64; 4] = [10_000_000, 20_000_000, 50_000_000, 100_000_000];
/// Points of the curve of clients that are done: each half percent.
pub const CURVE_POINTS: u64 = 200;
/// Bounds of the histogram of an interval: coarser than those of the run, which is what keeps them small.
const BOUNDS_NS: (u64, u64) = (100, 3_600_000_000_000);

type Buckets = Histogram<u32>;

/// Latencies of an interval: value and how often, where that is not 0.
type Sketch = Box<[(u64, u32)]>;

/// What is counted an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Exchanges begun.
    pub started: u64,
    /// Messages sent.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Good OFFERs.
    pub offers: u64,
    /// Good ACKs.
    pub bindings: u64,
    /// Exchanges that came to their end.
    pub completed: u64,
    /// Transmissions whose answer did not come before it was time to send again.
    pub lost: u64,
    /// Replies that were wrong.
    pub violations: u64,
}

impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        Self {
            started: counters.started,
            sent: counters.sent_total(),
            received: counters.received,
            offers: counters.offers,
            bindings: counters.acks,
            completed: counters.completed,
            lost: counters.timeouts,
            violations: counters.violations_total(),
        }
    }
}

impl Counts {
    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            started: with(self.started, other.started),
            sent: with(self.sent, other.sent),
            received: with(self.received, other.received),
            offers: with(self.offers, other.offers),
            bindings: with(self.bindings, other.bindings),
            completed: with(self.completed, other.completed),
            lost: with(self.lost, other.lost),
            violations: with(self.violations, other.violations),
        }
    }
}

/// An interval that is over.
#[derive(Clone, Debug)]
pub struct Interval {
    /// When it ended, in nanoseconds from the begin of the run.
    pub end_ns: u64,
    /// How long it was.
    pub length_ns: u64,
    /// What was counted in it.
    pub counts: Counts,
    latency: [Sketch; Message::COUNT],
}

/// Latency percentiles of an interval, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Half are at most this.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Interval {
    /// Percentiles of the answers to a message that came in this interval; none when there were none.
    pub fn latency(&self, message: Message) -> Option<Quantiles> {
        let sketch = &self.latency[message as usize];
        let total: u64 = sketch.iter().map(|(_, count)| u64::from(*count)).sum();
        let at = |quantile: f64| {
            let rank = (quantile * total as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            let found = sketch.iter().find(|(_, count)| {
                seen += u64::from(*count);
                seen >= rank
            });
            found.or(sketch.last()).map(|(value, _)| *value)
        };
        Some(Quantiles { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, p999: at(0.999)?, max: at(1.0)? })
    }

    /// Becomes the two together; `other` follows.
    fn merge(&mut self, other: &Interval) {
        self.end_ns = other.end_ns;
        self.length_ns += other.length_ns;
        self.counts = self.counts.zip(other.counts, |a, b| a + b);
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            *mine = merged(mine, theirs);
        }
    }
}

/// Both sketches, whose values are those of the same buckets, in one.
fn merged(a: &[(u64, u32)], b: &[(u64, u32)]) -> Sketch {
    let mut all: Vec<(u64, u32)> = [a, b].concat();
    all.sort_unstable_by_key(|(value, _)| *value);
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 = if same { kept.1.saturating_add(next.1) } else { kept.1 };
        same
    });
    all.into()
}

/// The intervals of a run.
pub struct Series {
    length_ns: u64,
    begin_ns: u64,
    before: Counts,
    buckets: [Buckets; Message::COUNT],
    intervals: Vec<Interval>,
}

impl Series {
    /// For a run that is to take about `load_ns`: a hundred intervals or more, none longer than 100 ms at first.
    pub fn new(load_ns: u64) -> Self {
        let fits = LENGTHS_NS.into_iter().rev().find(|length| length * 100 <= load_ns);
        Self {
            length_ns: fits.unwrap_or(LENGTHS_NS[0]),
            begin_ns: 0,
            before: Counts::default(),
            buckets: std::array::from_fn(|_| {
                Buckets::new_with_bounds(BOUNDS_NS.0, BOUNDS_NS.1, 2).expect("the bounds are constants")
            }),
            intervals: Vec::with_capacity(MAX_POINTS),
        }
    }

    /// An answer came.
    #[inline]
    pub fn answered(&mut self, message: Message, waited_ns: u64) {
        self.buckets[message as usize].saturating_record(waited_ns);
    }

    /// Time has gone on: ends the interval under way if it is over. Returns whether it was.
    #[inline]
    pub fn tick(&mut self, now_ns: u64, counters: &Counters) -> bool {
        let over = now_ns >= self.begin_ns + self.length_ns;
        if over {
            self.close(now_ns - (now_ns - self.begin_ns) % self.length_ns, counters);
        }
        over
    }

    /// The run is over: what is under way counts too.
    pub fn finish(&mut self, now_ns: u64, counters: &Counters) {
        if now_ns <= self.begin_ns {
            return;
        }
        self.close(now_ns, counters);
        // A stub of an interval would look like a dip or a spike.
        if let [.., before, last] = self.intervals.as_mut_slice()
            && last.length_ns < self.length_ns / 2
        {
            before.merge(last);
            self.intervals.pop();
        }
    }

    /// What there is so far.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    fn close(&mut self, end_ns: u64, counters: &Counters) {
        let counts = Counts::from(counters);
        let latency = std::array::from_fn(|i| {
            let buckets = &mut self.buckets[i];
            // Most messages are not in a scenario.
            if buckets.is_empty() {
                return Sketch::default();
            }
            let sketch = buckets.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
            buckets.reset();
            sketch
        });
        self.intervals.push(Interval {
            end_ns,
            length_ns: end_ns - self.begin_ns,
            counts: counts.zip(self.before, u64::saturating_sub),
            latency,
        });
        (self.before, self.begin_ns) = (counts, end_ns);
        if self.intervals.len() == MAX_POINTS {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut whole = std::mem::replace(&mut self.intervals, Vec::with_capacity(MAX_POINTS)).into_iter();
        while let Some(mut interval) = whole.next() {
            if let Some(next) = whole.next() {
                interval.merge(&next);
            }
            self.intervals.push(interval);
        }
        self.length_ns *= 2;
    }
}

/// When how many clients were done: a point each half percent of them.
#[derive(Clone, Debug)]
pub struct Curve {
    clients: u64,
    next: u64,
    points: Vec<(u64, u64)>,
}

impl Curve {
    /// Of so many clients.
    pub fn new(clients: u32) -> Self {
        let clients = u64::from(clients.max(1));
        Self { clients, next: 1, points: Vec::with_capacity(CURVE_POINTS as usize) }
    }

    /// So many clients are done now.
    #[inline]
    pub fn done(&mut self, done: u64, now_ns: u64) {
        if done >= self.mark(self.next) {
            self.points.push((done, now_ns));
            while self.next <= CURVE_POINTS && done >= self.mark(self.next) {
                self.next += 1;
            }
        }
    }

    /// Clients done, and when that was, in nanoseconds from the begin.
    pub fn points(&self) -> &[(u64, u64)] {
        &self.points
    }

    /// When this share of the clients was done, if it was.
    pub fn time_to(&self, share: f64) -> Option<u64> {
        let wanted = (share * self.clients as f64).ceil() as u64;
        self.points.iter().find(|(done, _)| *done >= wanted).map(|(_, at)| *at)
    }

    /// Clients that make point number `n` of [`CURVE_POINTS`].
    fn mark(&self, n: u64) -> u64 {
        if n > CURVE_POINTS { u64::MAX } else { (self.clients * n).div_ceil(CURVE_POINTS).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counters(acks: u64) -> Counters {
        Counters { acks, started: acks, ..Counters::default() }
    }

    #[test]
    fn counts_and_latencies_fall_into_the_interval_in_which_they_came() {
        let mut series = Series::new(10 * SECOND);
        series.answered(Message::Request, 1_000_000);
        assert!(!series.tick(99_999_999, &counters(5)));
        assert!(series.tick(100_000_001, &counters(5)));
        series.answered(Message::Request, 9_000_000);
        series.finish(200_000_000, &counters(12));
        let [first, second] = series.intervals() else { panic!("{:?}", series.intervals()) };
        assert_eq!((first.counts.bindings, second.counts.bindings), (5, 7));
        assert_eq!((first.end_ns, second.end_ns), (100_000_000, 200_000_000));
        let p50 = |interval: &Interval| interval.latency(Message::Request).unwrap().p50;
        assert!(p50(first).abs_diff(1_000_000) < 10_000 && p50(second).abs_diff(9_000_000) < 90_000);
        assert_eq!(first.latency(Message::Discover), None);
    }

    #[test]
    fn a_run_of_any_length_keeps_a_bounded_number_of_points_and_loses_no_count() {
        let mut series = Series::new(10 * SECOND);
        for i in 1..=20_000u64 {
            series.answered(Message::Discover, i * 1000);
            series.tick(i * 100_000_000, &counters(i));
        }
        series.finish(2_000_000_000_001, &counters(20_000));
        let intervals = series.intervals();
        assert!((MAX_POINTS / 2..MAX_POINTS).contains(&intervals.len()), "{}", intervals.len());
        assert_eq!(intervals.iter().map(|i| i.counts.bindings).sum::<u64>(), 20_000);
        assert_eq!(intervals.iter().map(|i| i.length_ns).sum::<u64>(), 2_000_000_000_001);
        let last = intervals.last().unwrap().latency(Message::Discover).unwrap();
        assert!(last.p50 <= last.max && last.max.abs_diff(20_000_000) < 200_000, "{last:?}");
    }

    #[test]
    fn a_long_silence_is_one_interval_of_its_length() {
        let mut series = Series::new(SECOND);
        series.tick(SECOND + 5_000_000, &counters(100));
        assert_eq!((series.intervals()[0].length_ns, series.intervals().len()), (SECOND, 1));
    }

    #[test]
    fn a_stub_at_the_end_joins_the_interval_before() {
        let mut series = Series::new(10 * SECOND);
        series.tick(100_000_000, &counters(10));
        series.finish(101_000_000, &counters(11));
        assert_eq!(series.intervals().len(), 1);
        assert_eq!((series.intervals()[0].counts.bindings, series.intervals()[0].length_ns), (11, 101_000_000));
    }

    #[test]
    fn the_curve_has_a_point_each_half_percent_and_knows_when_shares_were_reached() {
        let mut curve = Curve::new(10_000);
        for done in 1..=9_990u64 {
            curve.done(done, done * 1000);
        }
        assert_eq!(curve.points().len(), 199);
        assert_eq!(curve.time_to(0.5), Some(5_000_000));
        assert_eq!(curve.time_to(0.99), Some(9_900_000));
        assert_eq!(curve.time_to(1.0), None);
        curve.done(10_000, 1);
        assert_eq!((curve.points().len(), curve.time_to(1.0)), (200, Some(1)));
        let mut few = Curve::new(3);
        (1..=3).for_each(|done| few.done(done, done));
        assert_eq!(few.points(), [(1, 1), (2, 2), (3, 3)]);
    }
}
