//! What Kea calls things, for those who write its names here out of habit.

/// Kea's setting, and what there is in its place.
const SETTINGS: &[(&str, &str)] = &[
    ("boot-file-name", "it is `boot_file` here"),
    ("client-class", "it is `allow_classes` here, as allow_classes = [\"voip\"]"),
    ("client-classes", "it is `[[class]]` here, or `classes` of a reservation"),
    ("control-socket", "the control socket is control.sock in `state_dir`"),
    ("decline-probation-period", "it is `decline_quarantine_s` here"),
    ("duid", "it is a part of `client_id` here: the whole of option 61, as \"0xff…\""),
    ("id", "a subnet is known by its prefix"),
    ("identifier-expression", "it is `flex_id` here"),
    ("interfaces-config", "it is `[[interface]]` here"),
    ("ip-address", "it is `address` here"),
    ("lease-database", "leases are in a journal in `state_dir`"),
    ("match-client-id", "it is `identity` here: \"client-id\" or \"hw-address\""),
    ("max-valid-lifetime", "it is `max_lease_time_s` here"),
    ("min-valid-lifetime", "it is `min_lease_time_s` here"),
    ("option-data", "it is `options` here, as options = { routers = [\"192.0.2.1\"] }"),
    ("option-def", "it is `[[option_definition]]` here"),
    ("rebind-timer", "it is `t2` here, a part of the lease time, as 0.875"),
    ("relay", "a relay agent's address lies in `prefix` here, or it names the link (option 82, sub-option 5)"),
    ("renew-timer", "it is `t1` here, a part of the lease time, as 0.5"),
    ("requesters", "it is `allow` here"),
    ("server-hostname", "it is `server_name` here"),
    ("shared-networks", "it is `[[network]]` here"),
    ("stash-agent-options", "it is always so"),
    ("subnet", "it is `prefix` here"),
    ("subnet4", "it is `[[subnet]]` here, or `subnets` of a network"),
    ("template-test", "it is `spawn` here"),
    ("test", "it is `match` here"),
    ("valid-lifetime", "it is `lease_time_s` here"),
];

/// Kea's field, function or class in an expression, and what there is in its place.
const EXPRESSIONS: &[(&str, &str)] = &[
    ("ALL", "it is `true` here"),
    ("KNOWN", "it is `known` here, without member()"),
    ("UNKNOWN", "it is `not known` here, without member()"),
    ("addrtotext", "it is `dotted` here"),
    ("hexstring", "it is `hex` here, without a separator"),
    ("ifelse", "write `(a and x == v) or (not a and y == v)` for ifelse(a, x, y) == v"),
    ("lcase", "it is `lower` here"),
    ("pkt", "its parts are `interface` and `message_length` here"),
    ("pkt4", "its parts are `hw_address`, `giaddr`, `message_type`, `xid` and others here, by themselves"),
    ("relay4", "it is `relay` here, as relay[1] or relay.circuit-id"),
    ("ucase", "it is `upper` here"),
    ("uint16totext", "it is `decimal` here"),
    ("uint32totext", "it is `decimal` here"),
    ("uint8totext", "it is `decimal` here"),
];

/// What there is in place of a setting of Kea's.
pub(super) fn setting(name: &str) -> Option<&'static str> {
    find(SETTINGS, &name.replace('_', "-"))
}

/// What there is in place of a field, function or class in Kea's expressions.
pub(crate) fn expression(name: &str) -> Option<&'static str> {
    find(EXPRESSIONS, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(kea, _)| *kea == name).map(|(_, here)| *here)
}

/// The first `{` of a text that is JSON, as Kea's configuration is, with its comments before it; no TOML begins so.
pub(super) fn json(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start();
        if !content.trim_end().is_empty() && !content.starts_with(['#', '/', '*']) {
            return content.starts_with('{').then_some(at + line.len() - content.len());
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_of_keas_is_in_the_document() {
        let document = include_str!("../../../docs/coming-from-kea.md");
        for (kea, _) in SETTINGS {
            assert!(document.contains(&format!("`{kea}`")), "{kea}");
        }
    }

    #[test]
    fn the_example_of_the_document_is_good() {
        let document = include_str!("../../../docs/coming-from-kea.md");
        let toml = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        crate::config::parse("coming-from-kea.md", toml, &crate::config::ThisMachine).unwrap();
        let json = document.split("```json\n").nth(1).unwrap();
        assert_eq!(super::json(json), Some(0));
    }
}
