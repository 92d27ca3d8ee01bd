//! What tells a client where to boot from: `sname`, `file`, and the boot file of each architecture (RFC 4578 2.1).

use std::collections::BTreeMap;

use toml::Value;

use super::{
    check::Checker,
    file::{Options, Text},
};

/// Most bytes of a boot file name (`file` is 128 with its NUL).
pub(super) const MAX_BOOT_FILE: usize = 127;
/// Most bytes of a server name (`sname` is 64 with its NUL).
pub(super) const MAX_SERVER_NAME: usize = 63;

/// Architectures with a name, of IANA's registry "Processor Architecture Types".
const ARCHITECTURES: [(&str, u16); 12] = [
    ("bios", 0),
    ("efi-ia32", 6),
    ("efi-x64", 7),
    ("efi-bc", 9),
    ("efi-arm32", 10),
    ("efi-arm64", 11),
    ("efi-ia32-http", 15),
    ("efi-x64-http", 16),
    ("efi-arm32-http", 18),
    ("efi-arm64-http", 19),
    ("bios-http", 20),
    ("efi-riscv64", 27),
];

/// A name for a field of the header; empty when none is given.
pub(super) fn name(checker: &mut Checker<'_>, given: Option<&Text>, most: usize) -> Vec<u8> {
    let Some(text) = given else { return Vec::new() };
    let bytes = text.get_ref().as_bytes();
    if bytes.len() > most || bytes.contains(&0) {
        checker.error(text.span(), format!("is {} bytes long; expected at most {most}, with no NUL", bytes.len()));
    }
    bytes.to_vec()
}

/// Boot files by architecture; those of a later table over those of an earlier one.
pub(super) fn by_architecture<'f>(
    checker: &mut Checker<'_>,
    tables: impl IntoIterator<Item = &'f Options>,
) -> Vec<(u16, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for (key, value) in tables.into_iter().flatten() {
        let named = ARCHITECTURES.iter().find(|(name, _)| name == key.get_ref()).map(|(_, number)| *number);
        let Some(number) = named.or_else(|| key.get_ref().parse().ok()) else {
            let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
            let found = key.get_ref();
            checker.error(
                key.span(),
                format!("found `{found}`; expected an architecture's number of RFC 4578, or one of {known}"),
            );
            continue;
        };
        match value.get_ref() {
            Value::String(file) if file.len() <= MAX_BOOT_FILE && !file.contains('\0') => {
                files.insert(number, file.clone().into_bytes());
            }
            other => checker.error(
                value.span(),
                format!("found {other}; expected a file's name of at most {MAX_BOOT_FILE} bytes, as \"ipxe.efi\""),
            ),
        }
    }
    files.into_iter().collect()
}
