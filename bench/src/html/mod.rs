//! Results as a page: one HTML file that needs nothing else, no script, no font, no picture from anywhere.
//!
//! The markup is XML as well, so that a test can hold it to being well-formed. Light and dark are one document: the style
//! sheet has every colour.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::{cli::ReportArgs, output::Output, report, run::Failure};

pub mod chart;
pub mod compare;
pub mod number;
pub mod peers;
pub mod run;
pub mod scale;

const STYLE: &str = include_str!("style.css");

/// `dhcp-storm report`: the page of results in JSON.
///
/// # Errors
/// The file cannot be read or is no result, or the page cannot be written.
pub fn report(args: &ReportArgs) -> Result<bool, Failure> {
    let page = render(&read(&args.file)?).with_context(|| args.file.display().to_string())?;
    Output::open(&args.html)?.write(&page)?;
    Ok(true)
}

/// JSON of a file.
///
/// # Errors
/// It cannot be read, or is no JSON.
pub fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The page of a result, whichever it is.
fn render(result: &Value) -> anyhow::Result<String> {
    match result["kind"].as_str().unwrap_or(report::KIND) {
        report::KIND => Ok(run::render(&report::Report::read(result)?)),
        peers::KIND => Ok(peers::render(&peers::Results::read(result)?)),
        other => bail!("`{other}` is a kind of result that this version knows nothing of"),
    }
}

/// A whole page.
fn page(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                // As XML has it: an element that is empty says so.
                (PreEscaped("<meta charset=\"utf-8\"/>"))
                (PreEscaped("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"))
                (PreEscaped("<meta name=\"color-scheme\" content=\"light dark\"/>"))
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

/// A figure in large letters.
struct Tile {
    what: String,
    figure: String,
    unit: String,
    class: &'static str,
}

impl Tile {
    /// `what` it is, and the figure with its unit after a blank.
    fn new(what: impl Into<String>, figure: &str) -> Self {
        let (figure, unit) = figure.split_once(' ').unwrap_or((figure, ""));
        Self { what: what.into(), figure: figure.into(), unit: unit.into(), class: "" }
    }

    fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }
}

fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        ul class="tiles" {
            @for tile in tiles {
                li {
                    span class="what" { (tile.what) }
                    span class=(format!("figure {}", tile.class)) {
                        (tile.figure)
                        @if !tile.unit.is_empty() { " " span class="unit" { (tile.unit) } }
                    }
                }
            }
        }
    }
}

/// A part of the page with its heading and what must be known to read it.
fn part(heading: &str, words: &str, content: &Markup) -> Markup {
    html! {
        section {
            h2 { (heading) }
            @if !words.is_empty() { p { (words) } }
            (content)
        }
    }
}

/// A table; the first column names the rows.
fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div class="wide" {
            table {
                @if !head.is_empty() { thead { tr { @for cell in head { th { (cell) } } } } }
                tbody {
                    @for row in rows {
                        tr { @for (i, cell) in row.iter().enumerate() { @if i == 0 { th { (cell) } } @else { td { (cell) } } } }
                    }
                }
            }
        }
    }
}

/// Names and values, one below the other.
fn facts(facts: &[(&str, String)]) -> Markup {
    let rows: Vec<Vec<String>> = facts.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    html! {
        table {
            tbody {
                @for row in &rows { tr { th { (row[0]) } td class="words" { (row[1]) } } }
            }
        }
    }
}
