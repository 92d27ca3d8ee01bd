//! Kernel parameters of the whole machine, changed for a while. What they were is noted in the laboratory's folder, so that the
//! janitor puts them back when we are killed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Lab;

/// Where what they were is noted, below a laboratory's folder.
const NOTES: &str = "parameters";

/// A kernel parameter with another value; has its former one again when this is dropped.
#[derive(Debug)]
pub struct Parameter {
    path: PathBuf,
    note: PathBuf,
}

impl Parameter {
    /// Sets a parameter, named by its path below `/proc/sys`, to at least this number.
    ///
    /// # Errors
    /// There is no such number, or it cannot be set.
    pub fn at_least(lab: &Lab, key: &str, value: u64) -> Result<Self> {
        let path = Path::new("/proc/sys").join(key);
        let before = fs::read_to_string(&path).with_context(|| format!("cannot read {key}"))?;
        let before: u64 = before.trim().parse().with_context(|| format!("{key} is no number"))?;
        let note = lab.folder(NOTES)?.join(key.replace('/', "."));
        fs::write(&note, before.to_string()).with_context(|| format!("cannot write {}", note.display()))?;
        // From here on the drop puts it back.
        let this = Self { path, note };
        if before < value {
            fs::write(&this.path, value.to_string()).with_context(|| format!("cannot set {key} to {value}"))?;
        }
        Ok(this)
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        restore(&self.path, &self.note);
    }
}

/// Puts back what is noted in a dead laboratory's folder.
pub(super) fn put_back(folder: &Path) {
    for note in fs::read_dir(folder.join(NOTES)).into_iter().flatten().flatten() {
        let key = note.file_name().to_string_lossy().replace('.', "/");
        restore(&Path::new("/proc/sys").join(key), &note.path());
    }
}

fn restore(path: &Path, note: &Path) {
    let restored = fs::read_to_string(note).and_then(|before| fs::write(path, before));
    if let Err(error) = restored.and_then(|()| fs::remove_file(note)) {
        eprintln!("{}: cannot be put back: {error}", path.display());
    }
}
