//! `vrfs.json`: which VPN each number in the records belongs to.
//!
//! The records have numbers alone. The file says their names to whoever reads the journal without the configuration, and keeps a
//! configuration from giving a VPN another number than its leases have. It keeps VPNs that are configured no more.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{JournalError, repair::give_to_owner_of};
use crate::{
    config::{Vrf, Vrfs, own_number},
    lease::Space,
};

const NAME: &str = "vrfs.json";
const UNFINISHED: &str = "vrfs.json.tmp";

/// A VPN as the file has it.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    number: u16,
}

/// The VPNs that a state directory knows; none where it has no such file.
///
/// # Errors
/// The file cannot be read, or is none of ours.
pub fn known_vrfs(dir: &Path) -> Result<Vrfs, JournalError> {
    let path = dir.join(NAME);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vrfs::default()),
        read => read.map_err(JournalError::io(&path, "read it"))?,
    };
    let foreign = |what| JournalError::Foreign { path: path.display().to_string(), what };
    let lines: Vec<Line> = serde_json::from_slice(&text).map_err(|_| foreign("it is no list of VPNs"))?;
    let known = Vrfs::of_names(lines.into_iter().map(|Line { name, number }| (name, Space(number))));
    known.ok_or_else(|| foreign("two of its VPNs have one number"))
}

/// Adds the configured VPNs to those that a state directory knows. Durable when it returns; nothing is written when there is nothing
/// new.
///
/// # Errors
/// One of them had another number so far, or has by chance that of one that is configured no more; the disk refuses. What was known is known still.
pub fn keep_vrfs(dir: &Path, configured: &Vrfs) -> Result<(), JournalError> {
    let known = known_vrfs(dir)?;
    for vrf in configured.iter() {
        match known.selected(&vrf.id) {
            Some(before) if before != vrf.space => {
                return Err(JournalError::Renumbered {
                    path: dir.join(NAME).display().to_string(),
                    name: vrf.name.clone(),
                    known: before.0,
                    given: vrf.space.0,
                });
            }
            _ => {}
        }
        if let Some(other) = known.iter().find(|known| known.space == vrf.space && known.id != vrf.id) {
            // By chance: nobody wrote it down.
            if vrf.space == Space(own_number(&vrf.id)) {
                let is_free = |number: &u16| known.iter().chain(configured.iter()).all(|vrf| vrf.space.0 != *number);
                return Err(JournalError::NumberTaken {
                    path: dir.join(NAME).display().to_string(),
                    other: other.name.clone(),
                    name: vrf.name.clone(),
                    number: vrf.space.0,
                    free: (1..=u16::MAX).find(is_free).unwrap_or_default(),
                });
            }
            log::warn!("leases of VPN `{}` go on as those of VPN `{}`, which has its number now", other.name, vrf.name);
        }
    }
    let is_gone = |old: &&Vrf| configured.iter().all(|vrf| vrf.space != old.space);
    let all = configured.iter().chain(known.iter().filter(is_gone));
    let all = Vrfs::new(all.cloned().collect());
    if all == known {
        return Ok(());
    }
    let lines: Vec<Line> = all.iter().map(|vrf| Line { name: vrf.name.clone(), number: vrf.space.0 }).collect();
    let text = serde_json::to_string_pretty(&lines).map_err(io::Error::other);
    let written = text.and_then(|text| write(dir, &text));
    written.map_err(JournalError::io(&dir.join(NAME), "write it"))
}

fn write(dir: &Path, text: &str) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    give_to_owner_of(dir, &unfinished);
    fs::rename(&unfinished, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn vrfs(names: &[(&str, u16)]) -> Vrfs {
        Vrfs::of_names(names.iter().map(|(name, number)| ((*name).to_owned(), Space(*number)))).unwrap()
    }

    #[test]
    fn what_was_known_once_is_known_for_good() {
        let dir = TempDir::new().unwrap();
        assert!(known_vrfs(dir.path()).unwrap().is_empty());
        keep_vrfs(dir.path(), &Vrfs::default()).unwrap();
        assert!(!dir.path().join(NAME).exists(), "without VPNs there is no file");
        keep_vrfs(dir.path(), &vrfs(&[("red", 7), ("vpn-id:00:00:01:00:00:00:02", 3)])).unwrap();
        keep_vrfs(dir.path(), &vrfs(&[("blue", 9)])).unwrap();
        let known = known_vrfs(dir.path()).unwrap();
        assert_eq!(known, vrfs(&[("red", 7), ("blue", 9), ("vpn-id:00:00:01:00:00:00:02", 3)]));
        assert_eq!((known.name_of(Space(7)), known.name_of(Space(8))), ("red".into(), "#8".into()));
    }

    #[test]
    fn a_vpn_whose_leases_have_another_number_is_refused_and_one_that_is_renamed_keeps_them() {
        let dir = TempDir::new().unwrap();
        keep_vrfs(dir.path(), &vrfs(&[("red", 7), ("blue", 9)])).unwrap();
        let error = keep_vrfs(dir.path(), &vrfs(&[("red", 9), ("blue", 7)])).unwrap_err().to_string();
        assert!(
            error.contains("the leases of VPN `blue` have number 9 in the journal, and the configuration says 7"),
            "{error}"
        );
        keep_vrfs(dir.path(), &vrfs(&[("crimson", 7)])).unwrap();
        assert_eq!(known_vrfs(dir.path()).unwrap(), vrfs(&[("crimson", 7), ("blue", 9)]));
    }

    #[test]
    fn a_vpn_that_by_chance_has_the_number_of_one_that_is_gone_is_refused() {
        let dir = TempDir::new().unwrap();
        let own = own_number(b"\x00blue");
        keep_vrfs(dir.path(), &vrfs(&[("red", own), ("green", 1)])).unwrap();
        let error = keep_vrfs(dir.path(), &vrfs(&[("blue", own)])).unwrap_err().to_string();
        let why = format!("the leases of VPN `red`, which is configured no more, have number {own} in the journal");
        assert!(error.contains(&why) && error.ends_with("[[vrf]] name = \"blue\", number = 2"), "{error}");
        keep_vrfs(dir.path(), &vrfs(&[("blue", 2)])).unwrap();
        assert_eq!(known_vrfs(dir.path()).unwrap(), vrfs(&[("red", own), ("green", 1), ("blue", 2)]));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_told_and_left_alone() {
        let dir = TempDir::new().unwrap();
        for text in [
            "",
            "{}",
            "[{\"name\": \"red\"}]",
            "[{\"name\": \"red\", \"number\": 1}, {\"name\": \"blue\", \"number\": 1}]",
        ] {
            fs::write(dir.path().join(NAME), text).unwrap();
            assert!(matches!(keep_vrfs(dir.path(), &vrfs(&[("red", 1)])), Err(JournalError::Foreign { .. })), "{text}");
            assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
        }
    }
}
