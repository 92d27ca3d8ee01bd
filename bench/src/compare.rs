//! `dhcp-storm compare`: results held against each other.
//!
//! Of several runs a side the medians are compared, and the ranges tell noise from difference: a figure became better or
//! worse only where the two ranges have nothing in common. One run a side says nothing of noise; a threshold stands in.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use anyhow::Context as _;

use crate::{
    cli::CompareArgs,
    html::{self, number},
    output::Output,
    report::{Percentiles, Report},
    run::Failure,
};

/// A difference below this share is none, however many runs there are.
const LEAST: f64 = 0.02;
/// With fewer runs a side than [`ENOUGH`], rates must differ by this share, and latencies by twice as much.
const LEAST_OF_FEW: f64 = 0.05;
/// So many runs a side say something about noise.
const ENOUGH: usize = 3;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
    Neither,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Better.
    Better,
    /// Worse.
    Worse,
    /// Another, which is neither better nor worse.
    Other,
    /// Within noise.
    Noise,
    /// One side has no such figure.
    Unknown,
}

impl Change {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Change::Better => "better",
            Change::Worse => "worse",
            Change::Other => "another",
            Change::Noise => "within noise",
            Change::Unknown => "not in both",
        }
    }

    /// Class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Change::Better => "good",
            Change::Worse => "bad",
            Change::Other | Change::Noise | Change::Unknown => "soft",
        }
    }
}

/// The values of a side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are at most this.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these values; none where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, least, most })
    }

    fn written(self, format: fn(f64) -> String) -> String {
        if self.least == self.most {
            return format(self.median);
        }
        format!("{} ({}..{})", format(self.median), format(self.least), format(self.most))
    }
}

/// A figure on both sides.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// On the side to compare with.
    pub before: Option<Spread>,
    /// On the other side.
    pub after: Option<Spread>,
    /// What became of it.
    pub change: Change,
    format: fn(f64) -> String,
}

impl Row {
    /// After over before, where both are more than 0.
    pub fn ratio(&self) -> Option<f64> {
        let (before, after) = (self.before?.median, self.after?.median);
        (before > 0.0 && after > 0.0).then_some(after / before)
    }

    /// Both sides and their ratio, in words.
    pub fn words(&self) -> [String; 3] {
        let side = |side: Option<Spread>| side.map_or_else(|| "–".into(), |spread| spread.written(self.format));
        [side(self.before), side(self.after), self.ratio().map(number::times).unwrap_or_default()]
    }
}

/// What came of a comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Why the sides may not be comparable.
    pub warnings: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Runs a side.
    pub runs: (usize, usize),
    /// Command lines a side, each once.
    pub commands: (Vec<String>, Vec<String>),
}

/// `dhcp-storm compare`.
///
/// # Errors
/// A file cannot be read or is no result of a run, or the page cannot be written.
pub fn compare(args: &CompareArgs) -> Result<bool, Failure> {
    let (before, after) = args.sides().map_err(Failure::Usage)?;
    let (before, after) = (read(before)?, read(after)?);
    let comparison = Comparison::of(&before, &after);
    let page = args.html.as_deref().map(Output::open).transpose()?;
    if page.as_ref().is_some_and(Output::is_stdout) {
        eprint!("{}", comparison.text());
    } else {
        print!("{}", comparison.text());
    }
    if let Some(page) = page {
        page.write(&html::compare::render(&comparison))?;
    }
    Ok(true)
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Report>> {
    let read = |path: &PathBuf| Report::read(&html::read(path)?).with_context(|| path.display().to_string());
    paths.iter().map(read).collect()
}

impl Comparison {
    /// Compares; each side has at least one run.
    pub fn of(before: &[Report], after: &[Report]) -> Self {
        let few = before.len().min(after.len()) < ENOUGH;
        let mut rows: Vec<Row> = figures(before, after)
            .into_iter()
            .map(|figure| figure.row(before, after, few))
            .filter(|row| row.before.is_some() || row.after.is_some())
            .collect();
        // What is 0 everywhere says nothing but that.
        rows.retain(|row| {
            [row.before, row.after].iter().flatten().any(|s| s.most != 0.0) || row.name == "wrong replies"
        });
        let commands = |side: &[Report]| {
            let all: BTreeSet<&String> = side.iter().map(|run| &run.command).collect();
            all.into_iter().cloned().collect()
        };
        Self {
            warnings: warnings(before, after),
            rows,
            runs: (before.len(), after.len()),
            commands: (commands(before), commands(after)),
        }
    }

    /// What became of a figure, in words: with a question mark where there are too few runs to be sure.
    pub fn said(&self, row: &Row) -> String {
        let sure = self.runs.0.min(self.runs.1) >= ENOUGH || !matches!(row.change, Change::Better | Change::Worse);
        format!("{}{}", row.change.name(), if sure { "" } else { "?" })
    }

    /// How noise was told from difference, in words.
    pub fn method(&self) -> String {
        let (a, b) = self.runs;
        if a.min(b) >= ENOUGH {
            return format!(
                "{a} and {b} runs, medians (least..most); better or worse where the ranges have nothing in common and the \
                 medians differ by over {}",
                number::percent(LEAST)
            );
        }
        format!(
            "{a} and {b} run(s): too few to know the noise, so that no more is known than that rates differ by over {} and \
             latencies by over {}; give {ENOUGH} or more a side",
            number::percent(LEAST_OF_FEW),
            number::percent(LEAST_OF_FEW * 2.0)
        )
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "NOT COMPARABLE? {warning}");
        }
        let head = ["", "before", "after", "ratio", ""].map(str::to_owned);
        let lines: Vec<[String; 5]> = self
            .rows
            .iter()
            .map(|row| {
                let [before, after, ratio] = row.words();
                [row.name.clone(), before, after, ratio, self.said(row)]
            })
            .collect();
        let width = |i: usize| lines.iter().chain([&head]).map(|line| line[i].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for line in [&head].into_iter().chain(&lines) {
            let [name, before, after, ratio, change] = line;
            let [n, b, a, r, _] = widths;
            let _ = writeln!(
                text,
                "{}",
                format!("{name:<n$}  {before:>b$}  {after:>a$}  {ratio:>r$}  {change}").trim_end()
            );
        }
        let _ = writeln!(text, "{}", self.method());
        text
    }
}

/// Takes a figure out of a run, if the run has it.
type Take = Box<dyn Fn(&Report) -> Option<f64>>;
/// Takes a figure out of a distribution.
type Quantile = fn(&Percentiles) -> f64;
/// What should be alike in all runs, and where a report says it.
type Circumstance = (&'static str, fn(&Report) -> String);

/// A figure of a run.
struct Figure {
    name: String,
    value: Take,
    better: Better,
    format: fn(f64) -> String,
    /// How much more it differs between runs than a rate does.
    noise: f64,
}

impl Figure {
    fn row(&self, before: &[Report], after: &[Report], few: bool) -> Row {
        let side = |runs: &[Report]| Spread::of(runs.iter().filter_map(|run| (self.value)(run)));
        let (before, after) = (side(before), side(after));
        let least = if few { LEAST_OF_FEW * self.noise } else { LEAST };
        let change = match (before, after) {
            (Some(before), Some(after)) => change(before, after, self.better, least),
            _ => Change::Unknown,
        };
        Row { name: self.name.clone(), before, after, change, format: self.format }
    }
}

fn change(before: Spread, after: Spread, better: Better, least: f64) -> Change {
    let apart = before.most < after.least || after.most < before.least;
    let base = before.median.abs().max(after.median.abs());
    if !apart || (after.median - before.median).abs() <= least * base {
        return Change::Noise;
    }
    match better {
        Better::Neither => Change::Other,
        Better::Higher if after.median > before.median => Change::Better,
        Better::Lower if after.median < before.median => Change::Better,
        _ => Change::Worse,
    }
}

/// What is compared: what the runs have.
fn figures(before: &[Report], after: &[Report]) -> Vec<Figure> {
    let runs = || before.iter().chain(after);
    let figure = |name: &str, better, format, value: fn(&Report) -> Option<f64>| Figure {
        name: name.to_owned(),
        value: Box::new(value),
        better,
        format,
        noise: 1.0,
    };
    let aim = runs().next().map_or("bindings", Report::aim);
    let mut figures = vec![
        figure(&format!("{aim} a second"), Better::Higher, number::count, |run| Some(run.aim_per_s())),
        figure("messages lost", Better::Lower, number::percent, |run| Some(run.summary.lost_ratio)),
        figure("wrong replies", Better::Lower, number::count, |run| Some(run.summary.violations as f64)),
        figure("until half were done", Better::Lower, number::seconds, |run| time_to(run, "p50")),
        figure("until 99 % were done", Better::Lower, number::seconds, |run| time_to(run, "p99")),
        figure("until all were done", Better::Lower, number::seconds, |run| time_to(run, "all")),
    ];
    let messages: BTreeSet<&String> = runs().flat_map(|run| run.summary.latency_us.keys()).collect();
    let percentiles: [(&str, Quantile); 5] =
        [("p50", |p| p.p50), ("p90", |p| p.p90), ("p99", |p| p.p99), ("p99.9", |p| p.p999), ("max", |p| p.max)];
    for message in messages {
        for (name, of) in percentiles {
            let key = message.clone();
            let value = move |run: &Report| run.summary.latency_us.get(&key).filter(|p| p.count > 0).map(of);
            figures.push(Figure {
                name: format!("{} {name}", message.to_uppercase()),
                value: Box::new(value),
                better: Better::Lower,
                format: number::micros,
                noise: 2.0,
            });
        }
    }
    figures
        .push(figure("generator's processor", Better::Neither, number::percent, |run| Some(run.generator.cpu_share)));
    figures
}

/// Only where each client takes part once is there a time by which all are done.
fn time_to(run: &Report, share: &str) -> Option<f64> {
    run.summary.time_to_done_s.get(share).copied().flatten().filter(|_| run.settings.once)
}

/// What differs between the runs that should not.
fn warnings(before: &[Report], after: &[Report]) -> Vec<String> {
    let circumstances: [Circumstance; 14] = [
        ("scenario", |r| r.settings.scenario.clone()),
        ("clients", |r| r.settings.clients.to_string()),
        ("rate", |r| r.settings.rate_per_s.map_or_else(|| "max".into(), number::count)),
        ("window", |r| r.settings.window.map_or_else(|| "none".into(), |w| w.to_string())),
        ("duration", |r| format!("{} s", r.settings.duration_s)),
        ("each client once", |r| r.settings.once.to_string()),
        ("back-off scale", |r| r.settings.backoff_scale.to_string()),
        ("host", |r| r.host.name.clone()),
        ("kernel", |r| r.host.kernel.clone()),
        ("processor", |r| format!("{} × {}", r.host.cpus, r.host.cpu_model)),
        ("sockets", |r| r.generator.socket.clone()),
        ("XDP mode", |r| r.generator.xdp_mode.clone()),
        ("AF_XDP mode", |r| r.generator.bind_mode.clone()),
        ("version of dhcp-storm", |r| r.version.clone()),
    ];
    let mut warnings: Vec<String> = circumstances
        .into_iter()
        .filter_map(|(name, of)| {
            let values = |side: &[Report]| side.iter().map(of).collect::<BTreeSet<String>>();
            let (a, b) = (values(before), values(after));
            let written = |side: BTreeSet<String>| side.into_iter().collect::<Vec<_>>().join(", ");
            (a != b || a.len() > 1).then(|| format!("{name}: {} and {}", written(a), written(b)))
        })
        .collect();
    for (side, runs) in [("before", before), ("after", after)] {
        let partial = runs.iter().filter(|run| !run.complete).count();
        if partial > 0 {
            warnings.push(format!("{partial} of {} runs {side} are partial", runs.len()));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.iter().copied()).unwrap()
    }

    #[test]
    fn ranges_that_overlap_are_noise_and_others_are_not() {
        let (a, b) = (spread(&[100.0, 102.0, 104.0]), spread(&[110.0, 112.0, 120.0]));
        assert_eq!(change(a, b, Better::Higher, LEAST), Change::Better);
        assert_eq!(change(b, a, Better::Higher, LEAST), Change::Worse);
        assert_eq!(change(a, b, Better::Lower, LEAST), Change::Worse);
        assert_eq!(change(a, spread(&[103.0, 130.0, 140.0]), Better::Higher, LEAST), Change::Noise);
        assert_eq!(change(spread(&[100.0]), spread(&[101.0]), Better::Higher, LEAST), Change::Noise);
        assert_eq!(change(spread(&[0.0]), spread(&[0.0]), Better::Lower, LEAST), Change::Noise);
        assert_eq!(change(spread(&[0.0]), spread(&[3.0]), Better::Lower, LEAST), Change::Worse);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(spread(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of([f64::NAN]), None);
    }
}
