//! The VLANs of a subnet or network: `vlan = 100`, `vlan = "100.200"`, `vlan = "100.1-4094"`, and `inner` by itself.

use toml::{Spanned, Value};

use super::{VlanRange, Vlans, check::Checker};

/// VLAN identifiers that a tag can have (IEEE 802.1Q 9.6: 0 is no VLAN, 4095 reserved).
const IDS: VlanRange = VlanRange { first: 1, last: 4094 };
const FORMS: &str = "a VLAN as 100, a range as \"100-199\", or outer and inner as \"100.200\" or \"100.1-4094\"";

/// The VLANs that are written in `vlan` and `inner`.
pub(super) fn vlans(
    checker: &mut Checker<'_>,
    vlan: Option<&Spanned<Value>>,
    inner: Option<&Spanned<Value>>,
) -> Option<Vlans> {
    let read = |given: &Spanned<Value>| match given.get_ref() {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Some(outer) = vlan else {
        if let Some(inner) = inner {
            checker.error(inner.span(), format!("has no effect without `vlan`, the outer one; expected {FORMS}"));
        }
        return None;
    };
    let text = read(outer);
    let (first, second) = text.split_once('.').map_or((&text[..], None), |(first, second)| (first, Some(second)));
    if let (Some(_), Some(inner)) = (second, inner) {
        checker.error(inner.span(), format!("the inner VLAN is set twice: here and in vlan = \"{text}\""));
    }
    let inner_text = inner.map(|inner| (read(inner), inner.span()));
    let inner = second.map(|second| (second.to_owned(), outer.span())).or(inner_text);
    let inner = inner.map(|(text, at)| (range(&text), text, at));
    match (range(first), inner) {
        (Some(outer), None) => Some(Vlans { outer, inner: None }),
        (Some(outer), Some((Some(inner), _, at))) => {
            if outer.first != outer.last && inner != IDS {
                checker.error(at, "found a range of outer VLANs with some inner ones; expected one outer VLAN, or \"1-4094\" for the inner");
            }
            Some(Vlans { outer, inner: Some(inner) })
        }
        (None, _) => {
            checker.error(outer.span(), format!("found `{text}`; expected {FORMS}, of 1 to 4094"));
            None
        }
        (_, Some((None, text, at))) => {
            checker.error(at, format!("found the inner VLAN `{text}`; expected {FORMS}, of 1 to 4094"));
            None
        }
    }
}

fn range(text: &str) -> Option<VlanRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let id = |text: &str| text.trim().parse::<u16>().ok().filter(|id| IDS.contains(*id));
    let range = VlanRange { first: id(first)?, last: id(last)? };
    (range.first <= range.last).then_some(range)
}
