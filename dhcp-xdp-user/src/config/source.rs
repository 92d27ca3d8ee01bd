//! Where a value came from, and how a finding about it is told: a line of a file, or a flag of the command line.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The text that a configuration was read from; turns a span of it into a place that a person can go to.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    File {
        name: String,
        text: String,
        /// Spans of keys and values with the path of the field, as `subnet[0].pools[1]`.
        fields: Vec<(Range<usize>, String)>,
        /// Names of the columns, where it is a table of comma-separated values.
        columns: Vec<String>,
    },
    Flags {
        /// Each flag's value occupies a span of a text that exists only as these numbers.
        flags: Vec<(Range<usize>, &'static str)>,
    },
}

impl Source {
    /// Of a file, with its fields as far as its syntax could be read.
    pub(super) fn file(name: &str, text: &str, tree: &Spanned<DeTable<'_>>) -> Self {
        let mut fields = Vec::new();
        index_table(tree.get_ref(), "", &mut fields);
        let (name, text, columns) = (name.to_owned(), text.to_owned(), Vec::new());
        Self { origin: Origin::File { name, text, fields, columns } }
    }

    /// Of a table of comma-separated values with these columns.
    pub(super) fn table(name: String, text: &str, columns: Vec<String>) -> Self {
        Self { origin: Origin::File { name, text: text.to_owned(), fields: Vec::new(), columns } }
    }

    /// The place of a file that this one names: relative to its own directory.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        match &self.origin {
            Origin::File { name, .. } => Path::new(name).parent().unwrap_or(Path::new("")).join(path),
            Origin::Flags { .. } => PathBuf::from(path),
        }
    }

    /// A place of the text as `file:line`.
    pub(super) fn line_at(&self, offset: usize) -> String {
        match &self.origin {
            Origin::File { name, text, .. } => format!("{name}:{}", line_and_column(text, offset).0),
            Origin::Flags { .. } => Place::CommandLine.to_string(),
        }
    }

    /// Of the command line; [`add_flag`](Self::add_flag) says which flags.
    pub(super) fn flags() -> Self {
        Self { origin: Origin::Flags { flags: Vec::new() } }
    }

    /// Gives a flag a span of its own and puts it around the flag's value.
    pub(super) fn add_flag<T>(&mut self, flag: &'static str, value: T) -> Spanned<T> {
        match &mut self.origin {
            Origin::Flags { flags } => {
                // From 1: an empty span at 0 is about the command line as a whole.
                let start = flags.last().map_or(1, |(span, _)| span.end);
                flags.push((start..start + 1, flag));
                Spanned::new(start..start + 1, value)
            }
            Origin::File { .. } => Spanned::new(0..0, value),
        }
    }

    /// Whether this is the command line.
    pub fn is_flags(&self) -> bool {
        matches!(self.origin, Origin::Flags { .. })
    }

    /// Where a part of the text at `span`, by its place in the text as it is read, stands in the file.
    pub(super) fn within(&self, span: Range<usize>, part: Range<usize>) -> Range<usize> {
        let Origin::File { text, .. } = &self.origin else { return span };
        let written = text.get(span.clone()).unwrap_or("");
        let offset = |at| span.start + written_offset(written, at);
        offset(part.start)..offset(part.end).max(offset(part.start))
    }

    /// Where the value of a key stands, of the table at `span`.
    pub(super) fn value_of(&self, span: &Range<usize>, key: &str) -> Option<Range<usize>> {
        let Origin::File { fields, .. } = &self.origin else { return None };
        let (_, table) = fields.iter().rev().find(|(at, _)| at == span)?;
        let path = format!("{table}.{key}");
        // The key itself comes first.
        fields.iter().rev().find(|(_, field)| *field == path).map(|(at, _)| at.clone())
    }

    /// The line around `span`, with carets under it.
    pub(super) fn excerpt(&self, span: Range<usize>) -> Option<String> {
        let Origin::File { text, .. } = &self.origin else { return None };
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
        let (start, end) = (near(text, start, span.start, false), near(text, end, span.start, true));
        let before = text[start..span.start].trim_start();
        let line = text[start..end].trim_start().trim_end();
        let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let under = text.get(span.start..span.end.min(end)).map_or(0, |part| part.chars().count());
        Some(format!("    {line}\n    {blank}{}", "^".repeat(under.max(1))))
    }

    /// A finding about the value at `span`.
    pub(super) fn finding(&self, severity: Severity, span: Range<usize>, message: String) -> Finding {
        let message = presentable(message);
        match &self.origin {
            Origin::File { name, text, fields, columns } => {
                let (line, column) = line_and_column(text, span.start);
                let of_table = || (!span.is_empty()).then(|| column_of(text, span.start, columns)).flatten();
                let field = fields
                    .iter()
                    .filter(|_| span != (0..0))
                    .filter(|(at, _)| at.start <= span.start && span.end <= at.end.max(at.start + 1))
                    .min_by_key(|(at, _)| at.len())
                    .map(|(_, path)| presentable(path.clone()))
                    .or_else(of_table);
                let place = Place::Line { file: name.clone(), line, column };
                Finding { severity, place, field, message, excerpt: None }
            }
            Origin::Flags { flags } => {
                let place = match flags.iter().find(|(at, _)| at.contains(&span.start)) {
                    Some((_, flag)) => Place::Flag(flag),
                    None => Place::CommandLine,
                };
                Finding { severity, place, field: None, message, excerpt: None }
            }
        }
    }
}

/// Where the byte `at` of a text as it is read stands in the text as it is written, quotes included (TOML: String).
fn written_offset(written: &str, at: usize) -> usize {
    let quotes = if written.starts_with("\"\"\"") || written.starts_with("'''") { 3 } else { 1 };
    let has_escapes = written.starts_with('"');
    let mut rest = written.get(quotes..).unwrap_or("");
    if quotes == 3 {
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    }
    let mut read = 0;
    while read < at && !rest.is_empty() {
        let (taken, stands_for) = if has_escapes { unit(rest) } else { plain(rest) };
        read += stands_for;
        rest = rest.get(taken..).unwrap_or("");
    }
    written.len() - rest.len()
}

/// Bytes of one character, and what it is when read.
fn plain(text: &str) -> (usize, usize) {
    let len = text.chars().next().map_or(0, char::len_utf8);
    (len, len)
}

/// Bytes of one character or escape sequence, and of what it is when read.
fn unit(text: &str) -> (usize, usize) {
    let Some(escape) = text.strip_prefix('\\') else { return plain(text) };
    let code = |digits: usize| {
        let value = escape.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        (2 + digits, value.and_then(char::from_u32).map_or(1, char::len_utf8))
    };
    match escape.chars().next() {
        Some('x') => code(2),
        Some('u') => code(4),
        Some('U') => code(8),
        // A backslash at the end of a line takes all space after it.
        Some(c) if c.is_whitespace() => (text.len() - escape.trim_start().len(), 0),
        Some(c) => (1 + c.len_utf8(), 1),
        None => (1, 1),
    }
}

fn index_table(table: &DeTable<'_>, path: &str, fields: &mut Vec<(Range<usize>, String)>) {
    for (key, value) in table.iter() {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        fields.push((key.span(), path.clone()));
        index_value(value, path, fields);
    }
}

fn index_value(value: &Spanned<DeValue<'_>>, path: String, fields: &mut Vec<(Range<usize>, String)>) {
    match value.get_ref() {
        DeValue::Table(table) => index_table(table, &path, fields),
        DeValue::Array(array) => {
            for (i, element) in array.iter().enumerate() {
                index_value(element, format!("{path}[{i}]"), fields);
            }
        }
        _ => {}
    }
    fields.push((value.span(), path));
}

/// Most characters of a message, or of a field's path: what the text has in it is repeated in them.
const MOST_SHOWN: usize = 400;

/// A text of which parts come from the file, as a terminal may have it: no line breaks, nothing that changes how the line reads,
/// and not without end.
fn presentable(text: String) -> String {
    // Controls, and what changes the direction of what follows (Unicode Standard Annex 9).
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.len() <= MOST_SHOWN && !text.contains(is_odd) {
        return text;
    }
    let count = text.chars().count();
    let show = |c: char| if is_odd(c) { c.escape_unicode().to_string() } else { c.to_string() };
    if count <= MOST_SHOWN {
        return text.chars().map(show).collect();
    }
    // What was found stands at the beginning, what would be right at the end.
    let start: String = text.chars().take(MOST_SHOWN / 2).map(show).collect();
    let end: String = text.chars().skip(count - MOST_SHOWN / 2).map(show).collect();
    format!("{start}…{end}")
}

/// An end of a line that is no farther from a place than what is shown of it.
fn near(text: &str, end: usize, from: usize, is_after: bool) -> usize {
    let most = MOST_SHOWN / 2;
    let mut at = if is_after { end.min(from + most) } else { end.max(from.saturating_sub(most)) };
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Where the cells of a row of comma-separated values lie that begins at `start`: without the space and the quotes around them.
pub(super) fn cells(text: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let begin = next?;
        let rest = text.get(begin..)?;
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            !quoted && matches!(c, ',' | '\n')
        });
        let end = begin + end.unwrap_or(rest.len());
        next = text[end..].starts_with(',').then_some(end + 1);
        let cell = text[begin..end].trim();
        let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell);
        let at = begin + text[begin..end].find(inner).unwrap_or(0);
        Some(at..at + inner.len())
    })
}

/// The name of the column of a table that a place is in.
fn column_of(text: &str, at: usize, columns: &[String]) -> Option<String> {
    let line = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let column = cells(text, line).position(|cell| at <= cell.end)?;
    columns.get(column).cloned()
}

/// Line and column, both from 1; the column counts characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The first byte that is no UTF-8: its line, its column, and what to say of it.
pub(super) fn not_utf8(bytes: &[u8], error: &std::str::Utf8Error) -> (usize, usize, String) {
    let (before, from) = bytes.split_at(error.valid_up_to());
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    let found = from.first().copied().unwrap_or_default();
    (line, column, format!("found the byte 0x{found:02x}, which is not UTF-8; expected a text in UTF-8"))
}

/// Whether a finding stops the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but it is probably not what was meant.
    Warning,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, whole: it cannot be read.
    File(String),
    /// A line of a file.
    Line {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
    /// The command line, with no flag to blame.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => f.write_str(file),
            Place::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Flag(flag) => f.write_str(flag),
            Place::CommandLine => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong or doubtful, told in one line: where, which field, what was found, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it stops the configuration from being used.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Path of the field, as `subnet[0].pools[1]` (counted from 0); flags have none.
    pub field: Option<String>,
    /// What was found and what would be right.
    pub message: String,
    /// The line that it is about and carets under the place, where that helps: within an expression.
    pub excerpt: Option<String>,
}

impl Finding {
    /// The field that it says is missing, if it says so.
    pub(super) fn missing(&self) -> Option<String> {
        let whole_table =
            |message: &str| message.strip_prefix("no ")?.split_once(" to serve;").map(|(name, _)| name.to_owned());
        if let Some(name) = whole_table(&self.message) {
            return Some(name);
        }
        let name = self.message.strip_prefix('`')?.split_once("` is missing")?.0;
        Some(format!("{}.{name}", self.field.as_deref()?))
    }

    /// The line that it is about, if it is about one.
    pub(super) fn line(&self) -> Option<usize> {
        match self.place {
            Place::Line { line, .. } => Some(line),
            Place::File(_) | Place::Flag(_) | Place::CommandLine => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}: ", self.place)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        self.excerpt.iter().try_for_each(|excerpt| write!(f, "\n{excerpt}"))
    }
}

/// Why a configuration cannot be used: at least one error, in the order of the text, with the warnings among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// All that was found.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "a = 1\nstraße = 2\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 6), (2, 1));
        let two = text.find('2').unwrap();
        assert_eq!(line_and_column(text, two), (2, 10));
        assert_eq!(line_and_column(text, 1000), (3, 1));
    }

    #[test]
    fn the_innermost_field_around_a_span_is_named() {
        let text = "[[subnet]]\npools = [\"a\", \"b\"]\n[subnet.options]\nrouters = \"x\"\n";
        let source = Source::file("f", text, &DeTable::parse(text).unwrap());
        let field = |needle: &str| {
            let at = text.find(needle).unwrap();
            source.finding(Severity::Error, at..at + needle.len(), String::new()).field.unwrap()
        };
        assert_eq!(field("\"b\""), "subnet[0].pools[1]");
        assert_eq!(field("\"x\""), "subnet[0].options.routers");
        assert_eq!(field("pools"), "subnet[0].pools");
    }
}
