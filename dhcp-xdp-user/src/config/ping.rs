//! `[ping_check]`, and which subnets have their addresses probed.

use std::time::Duration;

use super::{
    Config, PingCheck,
    check::Checker,
    file::{FileForm, PingCheckForm, Settings, SubnetForm},
};
use crate::lease::Space;

/// Whether addresses of a subnet are probed.
///
/// Those of a VPN are not: the server's own routes lead elsewhere.
pub(super) fn of_subnet(
    checker: &mut Checker<'_>,
    form: &FileForm,
    given: &SubnetForm,
    settings: Settings<'_>,
    space: Space,
) -> bool {
    if space != Space::GLOBAL {
        if let Some(own) = given.ping_check.as_ref().filter(|own| *own.get_ref()) {
            checker.error(own.span(), "addresses of a VPN cannot be probed: the server has no route into it");
        }
        return false;
    }
    let of_all = form.ping_check.as_ref().is_some_and(|table| table.get_ref().enabled);
    settings.ping_check.map_or(of_all, |own| *own.get_ref())
}

/// How addresses are probed, where a subnet has them probed.
pub(super) fn settings(checker: &mut Checker<'_>, form: &FileForm, config: &Config) -> Option<PingCheck> {
    let none = PingCheckForm::default();
    let (given, at) = form.ping_check.as_ref().map_or((&none, 0..0), |table| (table.get_ref(), table.span()));
    let timeout_ms = checker.number(given.timeout_ms.as_ref(), 10..=5000, 500, " milliseconds").unsigned_abs();
    let check = PingCheck {
        timeout: Duration::from_millis(timeout_ms),
        requests: checker.number(given.requests.as_ref(), 1..=3, 1, " echo requests") as u8,
        max_per_s: checker.number(given.max_per_s.as_ref(), 1..=2000, 200, " addresses a second") as u32,
        remember_s: checker.number(given.remember_s.as_ref(), 0..=86_400, 60, " seconds") as u32,
    };
    if !config.subnets.iter().any(|subnet| subnet.ping_check) {
        if form.ping_check.is_some() && !given.enabled {
            checker.warn(at, "switches nothing on; set enabled = true, or ping_check = true in a subnet");
        }
        return None;
    }
    let longest_ms = timeout_ms * u64::from(check.requests);
    if longest_ms >= u64::from(config.offer_hold_s) * 1000 {
        checker.error(
            given.timeout_ms.as_ref().map_or(at, toml::Spanned::span),
            format!(
                "{} echo request(s) of {timeout_ms} milliseconds last until the offer is no longer held; expected less than \
                 offer_hold_s, {} seconds, all together",
                check.requests, config.offer_hold_s
            ),
        );
    }
    if let (0, Some(quarantine)) = (config.decline_quarantine_s, &form.decline_quarantine_s) {
        checker.error(
            quarantine.span(),
            "found 0, with which an address that answers to the ping check would be offered again at once; expected 1 \
             second or more",
        );
    }
    Some(check)
}
