//! Where results go: files that are opened before a run, so that a run whose result has no place is not begun.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Standard output, or a file.
pub enum Output {
    /// Standard output: `-`.
    Stdout,
    /// A file and its name.
    File(File, String),
}

impl Output {
    /// Makes the file, empty.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::File(file, path.display().to_string()))
    }

    /// Whether it is standard output, where nothing else may be said then.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Writes a whole text.
    ///
    /// # Errors
    /// The disk is full, or whoever read standard output is gone.
    pub fn write(self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Stdout => io::stdout().write_all(text.as_bytes()).context("cannot write to standard output"),
            Self::File(mut file, path) => {
                file.write_all(text.as_bytes()).with_context(|| format!("cannot write {path}"))
            }
        }
    }
}

/// JSON as people read it, with a line an entry; but an array, which may have hundreds of figures, on one line.
///
/// # Errors
/// What cannot be JSON: a map whose keys are no text.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, OneLineArrays::default()))?;
    bytes.push(b'\n');
    // The serializer writes UTF-8 alone.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Indents objects; what is within an array stays on its line.
#[derive(Default)]
struct OneLineArrays {
    pretty: PrettyFormatter<'static>,
    arrays: usize,
}

impl Formatter for OneLineArrays {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.arrays += 1;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.arrays -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.arrays == 0 { self.pretty.begin_object(writer) } else { writer.write_all(b"{") }
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.arrays == 0 { self.pretty.end_object(writer) } else { writer.write_all(b"}") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        match (self.arrays, first) {
            (0, _) => self.pretty.begin_object_key(writer, first),
            (_, true) => Ok(()),
            (_, false) => writer.write_all(b", "),
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.arrays == 0 { self.pretty.end_object_value(writer) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_indented_and_arrays_are_on_one_line() {
        let value = json!({"a": {"b": [1, 2, {"c": [], "d": "x"}]}, "e": {}});
        let text = json(&value).unwrap();
        assert_eq!(text, "{\n  \"a\": {\n    \"b\": [1,2,{\"c\": [], \"d\": \"x\"}]\n  },\n  \"e\": {}\n}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_place_that_does_not_exist_is_told_before_the_run() {
        let error = Output::open(Path::new("/nonexistent/x.json")).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/x.json"), "{error}");
    }
}
