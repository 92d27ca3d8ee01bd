//! A progress bar on a terminal; nothing where stderr goes elsewhere.

use std::{borrow::Cow, io::IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// Bytes of a file, when it is known how many there are; otherwise they are only counted.
pub(super) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    bar(what, total, "{msg} {bar:30} {bytes} of {total_bytes}, {eta} left", "{msg} {bytes} ({bytes_per_sec})")
}

/// Leases, as [`bytes`].
pub(super) fn leases(what: &'static str, total: Option<u64>) -> ProgressBar {
    bar(
        what,
        total,
        "{msg} {bar:30} {human_pos} of {human_len} leases, {eta} left",
        "{msg} {human_pos} leases ({per_sec})",
    )
}

fn bar(what: &'static str, total: Option<u64>, known: &str, unknown: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if total.is_some() { known } else { unknown };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(Cow::Borrowed(what));
    bar
}
