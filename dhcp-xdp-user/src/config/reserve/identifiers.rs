//! What a reservation's client is recognised by, and how that is written.

use std::ops::Range;

use super::Reader;
use crate::{
    config::{
        IdKind,
        check::Checker,
        file::{ReservationForm, Text},
        values,
    },
    wire::dhcp::HTYPE_ETHERNET,
};

impl Reader<'_> {
    /// What the client is recognised by.
    pub(super) fn identifier(
        &mut self,
        checker: &mut Checker<'_>,
        form: &ReservationForm,
        at: Range<usize>,
    ) -> Option<(IdKind, Vec<u8>)> {
        let (kind, text) = setting(checker, form, at)?;
        let found = text.get_ref();
        let has_colons = !matches!(kind, IdKind::HwAddress | IdKind::ClientId) && looks_like_bytes(found);
        // Once: it may be what a whole list has, and means.
        if has_colons && !std::mem::replace(&mut self.warned_of_colons, true) {
            let digits: String = found.chars().filter(char::is_ascii_hexdigit).collect();
            let name = kind.name();
            checker.warn(
                text.span(),
                format!("{name} `{found}` is a text of {} characters here; as bytes it is \"0x{digits}\"", found.len()),
            );
        }
        if is_quoted(found) {
            let expected =
                "the text without quotes of its own; where they are part of it, all of it as bytes, \"0x27…27\"";
            checker.error(text.span(), format!("found `{found}`; expected {expected}"));
            return None;
        }
        match identifier_bytes(kind, found) {
            Ok(id) => Some((kind, id)),
            Err(expected) => {
                checker.error(text.span(), format!("found `{found}`; expected {expected}"));
                None
            }
        }
    }
}

/// The setting that says what the client is recognised by.
fn setting<'f>(checker: &mut Checker<'_>, form: &'f ReservationForm, at: Range<usize>) -> Option<(IdKind, &'f Text)> {
    let given = [
        (IdKind::FlexId, &form.flex_id),
        (IdKind::ClientId, &form.client_id),
        (IdKind::HwAddress, &form.hw_address),
        (IdKind::CircuitId, &form.circuit_id),
        (IdKind::RemoteId, &form.remote_id),
    ];
    let mut given = given.into_iter().filter_map(|(kind, text)| Some((kind, text.as_ref()?)));
    let names = || IdKind::ALL.map(IdKind::name).join(", ");
    let Some((kind, text)) = given.next() else {
        checker.error(at, format!("says of no client that it is its own; expected one of {}", names()));
        return None;
    };
    if let Some((second, _)) = given.next() {
        let (first, second) = (kind.name(), second.name());
        checker.error(at, format!("has {first} and {second}; expected one of {}", names()));
        return None;
    }
    Some((kind, text))
}

/// A text between quotes of its own, as Kea has them within those of JSON.
fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.or_else(|| text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))).is_some()
}

/// A text that may be meant as bytes: pairs of hexadecimal digits with a sign between them.
fn looks_like_bytes(text: &str) -> bool {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    [':', '-', ' '].iter().any(|sign| text.contains(*sign) && text.split(*sign).all(is_pair))
}

/// Bytes of an identifier: in hexadecimal after `0x`, a hardware address and a client identifier also with colons; else its
/// text as it is.
///
/// # Errors
/// What would be right.
pub fn identifier_bytes(kind: IdKind, text: &str) -> Result<Vec<u8>, &'static str> {
    let with_colons = || text.contains(':').then(|| values::hex(text)).flatten();
    let in_hex = text.strip_prefix("0x").map(values::hex);
    match kind {
        IdKind::HwAddress => match in_hex.flatten().or_else(|| values::hex(text)) {
            // As such ones are in no answered message.
            Some(address) if address.len() == 6 && (address[0] & 1 != 0 || address.iter().all(|byte| *byte == 0)) => {
                Err("the Ethernet address of a host, neither a group's nor zero")
            }
            Some(address) if address.len() == 6 => Ok([&[HTYPE_ETHERNET], &address[..]].concat()),
            _ => Err("an Ethernet address as \"02:00:00:00:00:01\""),
        },
        _ => {
            let id = match in_hex {
                Some(id) => id,
                None if kind == IdKind::ClientId => with_colons().or_else(|| Some(text.as_bytes().to_vec())),
                None => Some(text.as_bytes().to_vec()),
            };
            let least = if kind == IdKind::ClientId { 2 } else { 1 };
            id.filter(|id| (least..=255).contains(&id.len()))
                .ok_or("a text of 1 to 255 bytes (a client identifier has 2 at least), or bytes as \"0x0102\"")
        }
    }
}
