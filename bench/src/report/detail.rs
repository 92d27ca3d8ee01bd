//! Distributions and their course over time, as they are in a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    measure::Latency,
    series::{self, Counts, Interval, Quantiles},
    template::Message,
};

/// A latency distribution.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values in it.
    pub count: u64,
    /// Half are below.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
    /// 99.9 % are below.
    pub p999: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    #[serde(default)]
    pub mean: f64,
}

impl From<&Latency> for Percentiles {
    fn from(latency: &Latency) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(latency.value_at_quantile(quantile));
        Self {
            count: latency.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(latency.max()),
            mean: latency.mean() / 1000.0,
        }
    }
}

/// When how many clients were done, a point each half percent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Seconds from the begin.
    pub time_s: Vec<f64>,
    /// Clients done.
    pub clients_done: Vec<u64>,
}

impl From<&series::Curve> for Curve {
    fn from(curve: &series::Curve) -> Self {
        let (clients_done, time_s) =
            curve.points().iter().map(|(done, ns)| (*done, rounded(*ns as f64 / 1e9, 1e6))).unzip();
        Self { time_s, clients_done }
    }
}

/// Rates and latency percentiles over time: columns of equal length, an entry an interval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// Ends of the intervals, seconds from the begin.
    pub time_s: Vec<f64>,
    /// Exchanges begun.
    pub started_per_s: Vec<f64>,
    /// Messages sent.
    pub sent_per_s: Vec<f64>,
    /// Frames received.
    pub received_per_s: Vec<f64>,
    /// Good OFFERs.
    pub offers_per_s: Vec<f64>,
    /// Good ACKs.
    pub bindings_per_s: Vec<f64>,
    /// Exchanges that came to their end.
    pub completed_per_s: Vec<f64>,
    /// Transmissions without an answer when it was time to send again, which is seconds after they left.
    pub lost_per_s: Vec<f64>,
    /// Wrong replies.
    pub violations_per_s: Vec<f64>,
    /// Percentiles of `latency_us` by message; nothing where no answer came.
    pub latency_us: BTreeMap<String, Percentile>,
}

/// Latency percentiles over time, in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Percentile {
    /// Half are at most this.
    pub p50: Vec<Option<f64>>,
    /// 90 % are at most this.
    pub p90: Vec<Option<f64>>,
    /// 99 % are at most this.
    pub p99: Vec<Option<f64>>,
    /// 99.9 % are at most this.
    pub p999: Vec<Option<f64>>,
    /// The largest.
    pub max: Vec<Option<f64>>,
}

impl From<&series::Series> for Series {
    fn from(of: &series::Series) -> Self {
        let intervals = of.intervals();
        let rate = |count: fn(&Counts) -> u64| {
            let per_s = |i: &Interval| rounded(count(&i.counts) as f64 * 1e9 / i.length_ns.max(1) as f64, 10.0);
            intervals.iter().map(per_s).collect()
        };
        let latency = Message::ALL.into_iter().filter_map(|message| {
            let found: Vec<Option<Quantiles>> = intervals.iter().map(|i| i.latency(message)).collect();
            let us = |of: fn(&Quantiles) -> u64| {
                found.iter().map(|q| q.as_ref().map(|q| rounded(of(q) as f64 / 1e3, 10.0))).collect()
            };
            found.iter().any(Option::is_some).then(|| {
                let percentile = Percentile {
                    p50: us(|q| q.p50),
                    p90: us(|q| q.p90),
                    p99: us(|q| q.p99),
                    p999: us(|q| q.p999),
                    max: us(|q| q.max),
                };
                (message.name().to_owned(), percentile)
            })
        });
        Self {
            time_s: intervals.iter().map(|i| rounded(i.end_ns as f64 / 1e9, 1e6)).collect(),
            started_per_s: rate(|c| c.started),
            sent_per_s: rate(|c| c.sent),
            received_per_s: rate(|c| c.received),
            offers_per_s: rate(|c| c.offers),
            bindings_per_s: rate(|c| c.bindings),
            completed_per_s: rate(|c| c.completed),
            lost_per_s: rate(|c| c.lost),
            violations_per_s: rate(|c| c.violations),
            latency_us: latency.collect(),
        }
    }
}

/// Quantiles of a whole distribution: finer towards its tail, as far as there are values to tell.
pub(super) fn distribution(latency: &[Latency; Message::COUNT]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let of = |latency: &Latency| {
        let tenths = (0..9).map(|tenth| f64::from(tenth) / 10.0);
        // 0.9, 0.92 .. 0.98, 0.99, 0.992 and so on.
        let tails = (1..7).flat_map(|nines| {
            let rest = 10f64.powi(-nines);
            (0..5).map(move |fifth| 1.0 - rest * (1.0 - f64::from(fifth) * 0.18))
        });
        let known = tenths.chain(tails).filter(|quantile| (1.0 - quantile) * latency.len() as f64 >= 1.0);
        let mut points: Vec<(f64, f64)> =
            known.map(|q| (rounded(q, 1e8), latency.value_at_quantile(q) as f64 / 1e3)).collect();
        points.push((1.0, latency.max() as f64 / 1e3));
        points
    };
    let any = Message::ALL.into_iter().filter(|message| !latency[*message as usize].is_empty());
    any.map(|message| (message.name().to_owned(), of(&latency[message as usize]))).collect()
}

/// Rounded to a whole number of `1 / parts`: more digits would say nothing.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
