//! The flat index against `dashmap`: the same slots beside both, the same keys, round about.

use std::time::Instant;

use dhcp_storm::measure::median;

use crate::{
    parts::{ClientKey, Dash, Flat, Index},
    report::{Random, Report, cpu_time, ns, ns_each, resident},
};

/// Operations of a round, over all threads.
const OPS: u32 = 1 << 20;
const BATCH: usize = 64;

/// How clients come.
#[derive(Clone, Copy, Debug)]
enum Mix {
    /// Lookups; one in sixteen renews.
    ReadMostly,
    /// Each renews, as the table does it: a lookup to decide, one to bind, the slot.
    Renewals,
    /// Each slot's client goes and another one comes.
    Churn,
}

impl Mix {
    const ALL: [(Mix, &str); 3] =
        [(Mix::ReadMostly, "lookups, 1/16 renew"), (Mix::Renewals, "renewals"), (Mix::Churn, "clients come and go")];
}

/// A key of client `n` in a slot's `turn`: as good as a keyed hash.
fn key(n: u32, turn: u32) -> ClientKey {
    let mix = |mut x: u64| {
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    let seed = (u64::from(turn) << 32 | u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ClientKey([mix(seed), mix(seed ^ 0x5555_5555_5555_5555)])
}

/// One kind of index, with all of its clients in it.
struct Side<I> {
    index: I,
    slots: u32,
    fill_ns: f64,
    tail_ns: f64,
}

impl<I: Index> Side<I> {
    fn new(slots: u32, report: &Report) -> Self {
        let before = resident();
        let index = I::new(slots);
        let tail = slots - slots / 10;
        let start = Instant::now();
        let fill = |range: std::ops::Range<u32>| {
            range.for_each(|n| {
                index.insert(&key(n, 0), n);
                index.slots().write(n, &key(n, 0), 1);
            })
        };
        fill(0..tail);
        let middle = Instant::now();
        fill(tail..slots);
        let fill_ns = ns_each(middle - start, tail as usize);
        let tail_ns = ns_each(middle.elapsed(), (slots - tail) as usize);
        // A small index fits into memory that the process has already; then it cannot be told.
        let bytes = resident().saturating_sub(before) as f64 / f64::from(slots) - 64.0;
        if bytes > 0.0 {
            report.figure(&format!("{}: bytes an entry", I::NAME), format!("{bytes:.1}"));
        }
        Self { index, slots, fill_ns, tail_ns }
    }

    /// Nanoseconds an operation, over all threads.
    fn round(&self, mix: Mix, batched: bool, threads: u32, round: u32) -> f64 {
        let ops = OPS / threads;
        let lists: Vec<Vec<(u32, ClientKey)>> = (0..threads)
            .map(|thread| {
                let mut random = Random(u64::from(round * 64 + thread) * 0x9e37_79b9 + 1);
                let share = self.slots / threads;
                // Threads have clients of their own, as steering gives them, so that slots are not fought over.
                let of = |n: u32| thread * share + n;
                (0..ops).map(|_| of(random.below(share))).map(|n| (n, key(n, 0))).collect()
            })
            .collect();
        if let [list] = &lists[..] {
            let start = cpu_time();
            self.work(mix, batched, list, round);
            return ns_each(cpu_time() - start, ops as usize);
        }
        let start = Instant::now();
        std::thread::scope(|scope| {
            for list in &lists {
                scope.spawn(move || self.work(mix, batched, list, round));
            }
        });
        // With several threads the waiting for each other counts, so it is the clock's time there.
        ns_each(start.elapsed(), (ops * threads) as usize)
    }

    fn work(&self, mix: Mix, batched: bool, list: &[(u32, ClientKey)], round: u32) {
        for batch in list.chunks(BATCH) {
            if batched {
                let mut keys: Vec<ClientKey> = batch.iter().map(|(_, key)| *key).collect();
                if matches!(mix, Mix::Churn) {
                    keys.extend(batch.iter().map(|(n, _)| crate::index::key(*n, 1)));
                }
                self.index.prefetch(&keys);
            }
            for (n, key) in batch {
                self.one(mix, *n, key, round);
            }
        }
    }

    fn one(&self, mix: Mix, n: u32, key: &ClientKey, round: u32) {
        let slots = self.index.slots();
        let found = self.index.get(key).expect("each client is there");
        assert!(found == n && slots.is(found, key), "the wrong slot");
        match mix {
            Mix::ReadMostly if !n.is_multiple_of(16) => {}
            Mix::ReadMostly | Mix::Renewals => {
                assert_eq!(self.index.get(key), Some(found));
                slots.write(found, key, round);
            }
            Mix::Churn => {
                // Gone and back under another name and then its own, so that the next round finds it.
                for (from, to) in [(*key, crate::index::key(n, 1)), (crate::index::key(n, 1), *key)] {
                    self.index.remove(&from, n);
                    self.index.insert(&to, n);
                    slots.write(n, &to, round);
                }
            }
        }
    }
}

/// All mixes on one thread and on four.
pub fn compare(slots: u32, rounds: usize, report: &mut Report) {
    report.part(&format!(
        "Index: flat against dashmap, {slots} clients (ns an operation, over all threads; the slot's share is in it)"
    ));
    let flat = Side::<Flat>::new(slots, report);
    let dash = Side::<Dash>::new(slots, report);
    report.figure("flat: insert, to 90 % / the last 10 %", format!("{} / {}", ns(flat.fill_ns), ns(flat.tail_ns)));
    report.figure("dashmap: insert, to 90 % / the last 10 %", format!("{} / {}", ns(dash.fill_ns), ns(dash.tail_ns)));
    for threads in [1, 4] {
        for (mix, name) in Mix::ALL {
            let mut times = [vec![], vec![], vec![]];
            for round in 0..rounds as u32 {
                times[0].push(flat.round(mix, true, threads, round));
                times[1].push(flat.round(mix, false, threads, round));
                times[2].push(dash.round(mix, false, threads, round));
            }
            let [batched, flat, dash] = times.map(median);
            let line = format!("flat, batches {} | flat {} | dashmap {}", ns(batched), ns(flat), ns(dash));
            report.figure(&format!("{threads} threads, {name}"), line);
            report.at_most(
                &format!("flat index in batches / dashmap, {threads} threads, {name}"),
                batched / dash,
                1.0,
                "",
            );
        }
    }
}
