//! Which keys a table of the file may have and what their values are: every unknown key and wrong type is found at once, where
//! deserialising would stop at the first.
//!
//! The forms of [`super::file`] have the same keys; a test holds the two against each other.

use std::{mem, ops::Range};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{kea, options::nearest};

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// One of these texts; which, the checks see to.
    Word(&'static [&'static str]),
    Texts,
    Integer,
    Integers,
    IntegerOrText,
    Number,
    Bool,
    /// A table whose keys the options' own checks know.
    Options,
    Table(&'static [Keys]),
    /// `[[name]]`
    Tables(&'static [Keys]),
}

/// Keys with their kinds; a table may have those of several lists.
pub(super) type Keys = &'static [(&'static str, Kind)];

use Kind::{Bool, Integer, IntegerOrText, Integers, Number, Options, Table, Tables, Text, Texts, Word};

/// What `[defaults]` and `[[subnet]]` have in common.
const SETTINGS: Keys = &[
    ("lease_time_s", Integer),
    ("min_lease_time_s", Integer),
    ("max_lease_time_s", Integer),
    ("t1", Number),
    ("t2", Number),
    ("renewal_slack", Number),
    ("server_id", Text),
    ("authoritative", Bool),
    ("unknown_renewals", Word(&["none", "attached", "all"])),
    ("renewal_jitter", Number),
    ("scarce_above", Number),
    ("identity", Word(&["client-id", "hw-address"])),
    ("min_secs", Integer),
    ("rapid_commit", Bool),
    ("bootp", Bool),
    ("bootp_lease_time_s", Integer),
    ("ipv6_only", Bool),
    ("auto_configure", Bool),
    ("ping_check", Bool),
    ("next_server", Text),
    ("server_name", Text),
    ("boot_file", Text),
    ("boot_files", Options),
    ("options", Options),
];
const SUBNET: Keys = &[
    ("prefix", Text),
    ("network", Text),
    ("interface", Text),
    ("vlan", IntegerOrText),
    ("inner", IntegerOrText),
    ("reservations", Text),
    ("pools", Texts),
    ("exclude", Texts),
    ("allow_classes", Texts),
    ("deny_classes", Texts),
    ("known_clients_only", Bool),
    ("vrf", Text),
    ("pool", Tables(&[POOL])),
];
const NETWORK: Keys = &[
    ("name", Text),
    ("interface", Text),
    ("vlan", IntegerOrText),
    ("inner", IntegerOrText),
    ("vrf", Text),
    ("subnets", Texts),
    ("reservations", Text),
];
const RESERVATION: Keys = &[
    ("flex_id", Text),
    ("hw_address", Text),
    ("client_id", Text),
    ("circuit_id", Text),
    ("remote_id", Text),
    ("address", Text),
    ("vrf", Text),
    ("hostname", Text),
    ("classes", Texts),
    ("lease_time_s", Integer),
    ("next_server", Text),
    ("server_name", Text),
    ("boot_file", Text),
    ("options", Options),
];
const POOL: Keys = &[
    ("range", Text),
    ("allow_classes", Texts),
    ("deny_classes", Texts),
    ("known_clients_only", Bool),
    ("options", Options),
];
const OPTION_DEFINITION: Keys = &[("code", Integer), ("name", Text), ("type", Text), ("space", Text)];
const VRF: Keys = &[("name", Text), ("number", Integer)];
const LOAD_BALANCE: Keys = &[("buckets", Texts), ("after_secs", Integer)];
const LEASEQUERY: Keys = &[
    ("allow", Texts),
    ("interfaces", Texts),
    ("queries_per_s", Integer),
    ("options", Texts),
    ("tcp", Table(&[LEASEQUERY_TCP])),
];
const LEASEQUERY_TCP: Keys = &[
    ("listen", Texts),
    ("port", Integer),
    ("max_connections", Integer),
    ("max_connections_per_source", Integer),
    ("max_queries", Integer),
    ("bindings_per_s", Integer),
    ("data_timeout_s", Integer),
    ("active", Bool),
    ("active_insecure", Bool),
    ("active_idle_s", Integer),
    ("active_send_timeout_s", Integer),
    ("active_withhold", Texts),
];
const PING_CHECK: Keys = &[
    ("enabled", Bool),
    ("timeout_ms", Integer),
    ("requests", Integer),
    ("max_per_s", Integer),
    ("remember_s", Integer),
];
const HISTORY: Keys = &[
    ("directory", Text),
    ("rotate_mib", Integer),
    ("rotate_h", Integer),
    ("keep_days", Integer),
    ("max_mib", Integer),
    ("max_lag_mib", Integer),
    ("keep_free_percent", Integer),
    ("keep_free_mib", Integer),
];
const HOOK: Keys =
    &[("command", Text), ("events", Texts), ("rate_per_s", Integer), ("timeout_s", Integer), ("queue", Integer)];
const CLASS: Keys = &[
    ("name", Text),
    ("match", Text),
    ("spawn", Text),
    ("lease_limit", Integer),
    ("ignore", Bool),
    ("lease_time_s", Integer),
    ("min_lease_time_s", Integer),
    ("max_lease_time_s", Integer),
    ("next_server", Text),
    ("server_name", Text),
    ("boot_file", Text),
    ("options", Options),
];
const INTERFACE: Keys = &[
    ("name", Text),
    ("workers", Integer),
    ("queues", Integer),
    ("xdp_mode", Word(&["auto", "native", "generic"])),
    ("busy_poll", Bool),
    ("cpus", Integers),
    ("frames_per_queue", Integer),
];

/// The whole file.
pub(super) const FILE: &[Keys] = &[&[
    ("state_dir", Text),
    ("durability", Word(&["sync", "interval", "off"])),
    ("sync_interval_ms", Integer),
    ("compact_at_percent", Integer),
    ("offer_hold_s", Integer),
    ("decline_quarantine_s", Integer),
    ("verify_udp_checksum", Bool),
    ("max_hops", Integer),
    ("client_subnet_selection", Bool),
    ("load_balance", Table(&[LOAD_BALANCE])),
    ("leasequery", Table(&[LEASEQUERY])),
    ("ping_check", Table(&[PING_CHECK])),
    ("history", Table(&[HISTORY])),
    ("hook", Table(&[HOOK])),
    ("option_definition", Tables(&[OPTION_DEFINITION])),
    ("defaults", Table(&[SETTINGS])),
    ("interface", Tables(&[INTERFACE])),
    ("class", Tables(&[CLASS])),
    ("vrf", Tables(&[VRF])),
    ("network", Tables(&[NETWORK, SETTINGS])),
    ("subnet", Tables(&[SUBNET, SETTINGS])),
    ("reservation", Tables(&[RESERVATION])),
    ("reservations", Text),
    ("flex_id", Text),
]];

/// A file of reservations.
pub(super) const RESERVATIONS: &[Keys] = &[&[("reservation", Tables(&[RESERVATION]))]];

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Text | Word(_) => "a text, as \"…\"",
            Texts => "a list of texts, as [\"…\"]",
            Integer => "a whole number",
            Integers => "a list of whole numbers, as [0, 1]",
            IntegerOrText => "a whole number, or a text",
            Number => "a number, as 0.5",
            Bool => "true or false",
            Options | Table(_) => "a table of settings",
            Tables(_) => "tables, each with its name in double brackets",
        }
    }
}

/// The names of all settings, of whatever table.
#[cfg(test)]
pub(super) fn all_names() -> Vec<&'static str> {
    fn add(lists: &[Keys], names: &mut Vec<&'static str>) {
        for (name, kind) in lists.iter().flat_map(|list| list.iter()) {
            names.push(name);
            if let Table(lists) | Tables(lists) = kind {
                add(lists, names);
            }
        }
    }
    let mut names = Vec::new();
    add(FILE, &mut names);
    names
}

/// Something that cannot be read as what its place demands.
pub(super) type Complaint = (Range<usize>, String);

/// Complains of all that is wrong in `table`, and takes it out, so that the rest can be read and checked.
pub(super) fn weed(table: &mut DeTable<'_>, lists: &[Keys], complaints: &mut Vec<Complaint>) {
    for (key, mut value) in mem::replace(table, DeTable::new()) {
        let known = || lists.iter().flat_map(|list| list.iter());
        let name = key.get_ref();
        if let Some((_, kind)) = known().find(|(known, _)| known == name) {
            if fits(&mut value, *kind, complaints) {
                table.insert(key, value);
            }
            continue;
        }
        let known: Vec<&str> = known().map(|(name, _)| *name).collect();
        let advice = match (kea::setting(name), nearest(name, known.iter().copied(), '_')) {
            (Some(advice), _) => advice.to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("known here are {}", known.join(", ")),
        };
        complaints.push((key.span(), format!("there is no setting `{name}`; {advice}")));
    }
}

/// Whether a value, once weeded itself, is of this kind.
fn fits(value: &mut Spanned<DeValue<'_>>, kind: Kind, complaints: &mut Vec<Complaint>) -> bool {
    let span = value.span();
    let fits = match (kind, value.get_mut()) {
        (Text | Word(_) | IntegerOrText, DeValue::String(_))
        | (Bool, DeValue::Boolean(_))
        | (Number, DeValue::Float(_)) => true,
        (Integer | IntegerOrText | Number, DeValue::Integer(digits)) => {
            i64::from_str_radix(digits.as_str(), digits.radix()).is_ok()
        }
        (Options, DeValue::Table(_)) => true,
        (Table(lists), DeValue::Table(table)) => {
            weed(table, lists, complaints);
            true
        }
        (Texts, DeValue::Array(array)) => {
            weed_elements(array, Text, complaints);
            true
        }
        (Integers, DeValue::Array(array)) => {
            weed_elements(array, Integer, complaints);
            true
        }
        (Tables(lists), DeValue::Array(array)) => {
            weed_elements(array, Table(lists), complaints);
            true
        }
        _ => false,
    };
    if !fits {
        let is_huge = matches!((kind, value.get_ref()), (Integer | IntegerOrText | Number, DeValue::Integer(_)));
        let expected = match kind {
            _ if is_huge => "a number of at most 64 bits".to_owned(),
            Word(words) => format!("one of \"{}\"", words.join("\", \"")),
            _ => kind.expected().to_owned(),
        };
        complaints.push((span, format!("found {}; expected {expected}", found(value.get_ref()))));
    }
    fits
}

fn weed_elements(array: &mut DeArray<'_>, kind: Kind, complaints: &mut Vec<Complaint>) {
    for mut element in mem::replace(array, DeArray::new()) {
        if fits(&mut element, kind, complaints) {
            array.push(element);
        }
    }
}

/// A value as it stands there, as far as that is short.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("`{text}`"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A file with every setting of every table.
#[cfg(test)]
pub(super) fn every_setting() -> String {
    tests::lines(FILE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;
    use crate::config::file::FileForm;

    /// A value of a kind.
    fn sample(kind: Kind) -> String {
        match kind {
            Text => "\"x\"".into(),
            Word(words) => format!("\"{}\"", words[0]),
            Texts => "[\"x\"]".into(),
            Integer | IntegerOrText => "1".into(),
            Integers => "[1]".into(),
            Number => "0.5".into(),
            Bool => "true".into(),
            Options => "{ x = 1 }".into(),
            Table(lists) => inline(lists, ""),
            Tables(lists) => format!("[{}]", inline(lists, "")),
        }
    }

    /// An inline table with all keys of the lists and something more.
    fn inline(lists: &[Keys], more: &str) -> String {
        let all = lists.iter().flat_map(|list| list.iter());
        let all: Vec<String> = all.map(|(name, kind)| format!("{name} = {}", sample(*kind))).collect();
        format!("{{ {}{more} }}", all.join(", "))
    }

    pub(super) fn lines(lists: &[Keys]) -> String {
        let all = lists.iter().flat_map(|list| list.iter());
        all.map(|(name, kind)| format!("{name} = {}\n", sample(*kind))).collect()
    }

    fn read(text: &str) -> Result<FileForm, toml::de::Error> {
        FileForm::deserialize(toml::de::Deserializer::parse(text).unwrap())
    }

    /// What serde says that it knows in a table.
    fn known_to_serde(text: &str) -> BTreeSet<String> {
        let error = read(text).unwrap_err().to_string();
        // "one of" three and more, "`a` or `b`" of two.
        let known = error.split_once(", expected ").unwrap_or_else(|| panic!("{error}")).1;
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_forms_have_the_same_keys_of_the_same_kinds() {
        read(&every_setting()).unwrap_or_else(|error| panic!("{error}"));
        for (text, lists) in [
            ("zz = 1", FILE),
            ("defaults = { zz = 1 }", &[SETTINGS][..]),
            ("interface = [{ zz = 1 }]", &[INTERFACE]),
            ("class = [{ zz = 1 }]", &[CLASS]),
            ("subnet = [{ zz = 1 }]", &[SUBNET, SETTINGS]),
            ("network = [{ zz = 1 }]", &[NETWORK, SETTINGS]),
            ("reservation = [{ zz = 1 }]", &[RESERVATION]),
            ("subnet = [{ pool = [{ zz = 1 }] }]", &[POOL]),
            ("option_definition = [{ zz = 1 }]", &[OPTION_DEFINITION]),
            ("vrf = [{ zz = 1 }]", &[VRF]),
            ("load_balance = { zz = 1 }", &[LOAD_BALANCE]),
            ("leasequery = { zz = 1 }", &[LEASEQUERY]),
            ("leasequery = { tcp = { zz = 1 } }", &[LEASEQUERY_TCP]),
            ("ping_check = { zz = 1 }", &[PING_CHECK]),
            ("history = { zz = 1 }", &[HISTORY]),
            ("hook = { zz = 1 }", &[HOOK]),
        ] {
            let known: BTreeSet<String> =
                lists.iter().flat_map(|list| list.iter()).map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(known_to_serde(text), known, "{text}");
        }
    }

    #[test]
    fn what_was_complained_of_is_taken_out_and_the_rest_can_be_read() {
        let text = "a = 1\nsync_interval_ms = 99999999999999999999\ndurability = 5\noffer_hold_s = 7\n\
                    interface = [3, { name = \"eth1\", cpus = [\"x\", 1], busy_poll = 1 }]\nsubnet = 5\n";
        let (mut tree, errors) = DeTable::parse_recoverable(text);
        assert!(errors.is_empty());
        let mut complaints = Vec::new();
        weed(tree.get_mut(), FILE, &mut complaints);
        assert_eq!(complaints.len(), 7, "{complaints:#?}");
        let form = FileForm::deserialize(toml::de::Deserializer::from(tree)).unwrap();
        assert_eq!(*form.offer_hold_s.unwrap().get_ref(), 7);
        assert_eq!(form.interfaces[0].get_ref().cpus.iter().map(|cpu| *cpu.get_ref()).collect::<Vec<_>>(), [1]);
    }
}
