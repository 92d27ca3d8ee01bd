//! The page of a comparison.

use maud::html;

use super::{page, part};
use crate::compare::{Change, Comparison};

/// The page.
pub fn render(comparison: &Comparison) -> String {
    let count = |change| comparison.rows.iter().filter(|row| row.change == change).count();
    let (better, worse) = (count(Change::Better), count(Change::Worse));
    let (a, b) = comparison.runs;
    let table = html! {
        div class="wide" {
            table {
                thead { tr { th {} th { "before" } th { "after" } th { "ratio" } th {} } }
                tbody {
                    @for row in &comparison.rows {
                        @let [before, after, ratio] = row.words();
                        tr {
                            th { (row.name) } td { (before) } td { (after) } td { (ratio) }
                            td class=(row.change.class()) { (comparison.said(row)) }
                        }
                    }
                }
            }
        }
    };
    page(
        "Comparison: dhcp-storm",
        &html! {
            header {
                h1 {
                    "Comparison"
                    span class="badge good" { (better) " better" }
                    span class=(if worse > 0 { "badge bad" } else { "badge soft" }) { (worse) " worse" }
                }
                p { (a) " run(s) before, " (b) " after" }
            }
            @if !comparison.warnings.is_empty() {
                section {
                    h2 class="warn" { "Perhaps not comparable" }
                    ul class="plain" { @for warning in &comparison.warnings { li { (warning) } } }
                }
            }
            (part("Figures", &format!("{}.", comparison.method()), &table))
            footer {
                @for (side, commands) in [("before", &comparison.commands.0), ("after", &comparison.commands.1)] {
                    @for command in commands { p { (side) ": " code { (command) } } }
                }
            }
        },
    )
}
