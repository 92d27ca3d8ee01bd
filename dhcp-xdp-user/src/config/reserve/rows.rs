//! Reservations as a table of comma-separated values: its first line names the columns, each other one is a reservation.

use std::ops::Range;

use toml::Spanned;

use super::{Home, Reader};
use crate::config::{
    check::Checker,
    file::ReservationForm,
    source::{self, Source},
};

/// Columns of a table of reservations; its first line has their names.
const COLUMNS: [&str; 13] = [
    "flex_id",
    "hw_address",
    "client_id",
    "circuit_id",
    "remote_id",
    "address",
    "vrf",
    "hostname",
    "lease_time_s",
    "next_server",
    "server_name",
    "boot_file",
    "classes",
];

impl Reader<'_> {
    /// Reads a table.
    pub(super) fn table(
        &mut self,
        checker: &mut Checker<'_>,
        home: Home,
        at: Range<usize>,
        name: String,
        text: &str,
    ) -> Source {
        let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let columns = rows.headers().cloned();
        let names = columns.iter().flatten().map(str::to_owned).collect();
        let source = Source::table(name, text, names);
        checker.elsewhere(&source, at.start, |checker| {
            let names = past_blank_lines(text, 0);
            let names = names..names;
            let columns = match columns {
                Ok(columns) => columns,
                Err(error) => return checker.error(names, error.to_string()),
            };
            if let Some(unknown) = columns.iter().find(|name| !COLUMNS.contains(name)) {
                let known = COLUMNS.join(", ");
                let message = format!(
                    "found a column `{unknown}`; the first line names columns of {known}, with a comma between them"
                );
                return checker.error(names, message);
            }
            let twice = columns.iter().enumerate().find(|(at, name)| columns.iter().take(*at).any(|one| one == *name));
            if let Some((_, name)) = twice {
                return checker.error(names, format!("found the column `{name}` twice; expected it once"));
            }
            self.all.reserve(text.len() / 32);
            let mut row = csv::StringRecord::new();
            loop {
                let start = rows.position().byte() as usize;
                match rows.read_record(&mut row) {
                    Ok(true) => {
                        let start = row.position().map_or(start, |position| position.byte() as usize);
                        let start = past_blank_lines(text, start);
                        let form = of_row(checker, &columns, &row, text, start);
                        self.read(checker, home, &form, start..start);
                    }
                    Ok(false) => return,
                    Err(error) => {
                        let start = error.position().map_or(start, |position| position.byte() as usize);
                        let start = past_blank_lines(text, start);
                        checker.error(start..start, one_line(&error));
                    }
                }
            }
        });
        source
    }
}

/// Where the next line is that has a record: the reader counts what it skips to the record behind it.
fn past_blank_lines(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        at += rest.len() - rest.trim_start().len();
        match text.get(at..) {
            Some(comment) if comment.starts_with('#') => at += comment.find('\n').unwrap_or(comment.len()),
            _ => return at,
        }
    }
}

/// A row of a table, which begins at `start`, as the form that it stands for; an empty cell is not there.
fn of_row(
    checker: &mut Checker<'_>,
    columns: &csv::StringRecord,
    row: &csv::StringRecord,
    table: &str,
    start: usize,
) -> ReservationForm {
    let mut form = ReservationForm::default();
    let cells = row.iter().zip(source::cells(table, start));
    for (column, (cell, at)) in columns.iter().zip(cells).filter(|(_, (cell, _))| !cell.is_empty()) {
        let text = || Some(Spanned::new(at.clone(), cell.to_owned()));
        match column {
            "flex_id" => form.flex_id = text(),
            "hw_address" => form.hw_address = text(),
            "client_id" => form.client_id = text(),
            "circuit_id" => form.circuit_id = text(),
            "remote_id" => form.remote_id = text(),
            "address" => form.address = text(),
            "vrf" => form.vrf = text(),
            "hostname" => form.hostname = text(),
            "next_server" => form.next_server = text(),
            "server_name" => form.server_name = text(),
            "boot_file" => form.boot_file = text(),
            "classes" => {
                let name = |name: &str| Spanned::new(at.clone(), name.to_owned());
                form.classes = cell.split_whitespace().map(name).collect();
            }
            _ => match cell.parse() {
                Ok(seconds) => form.lease_time_s = Some(Spanned::new(at.clone(), seconds)),
                Err(_) => checker.error(at, format!("found `{cell}`; expected seconds as 3600")),
            },
        }
    }
    form
}

fn one_line(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("found {len} cells; the first line has {expected_len}")
        }
        _ => error.to_string(),
    }
}
