//! The configuration as written: TOML, every value with its place in the text, nothing checked but names and types
//! (by [`super::schema`]).
//!
//! Numbers are read as `i64` and addresses as text, so that a wrong one is found by the checks (all of them at once, in the
//! words of this file) and not by the reader (one at a time, in the words of Rust).

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use serde::Deserialize;
use toml::{Spanned, Value, de::DeTable};

use super::{
    check::{self, Checked},
    kea,
    machine::Machine,
    schema,
    source::{self, Finding, Place, Rejected, Severity, Source},
};

/// Longest file, bytes: some million subnets and reservations.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// A text of the file.
pub(super) type Text = Spanned<String>;
/// A number of the file.
pub(super) type Number = Spanned<i64>;
/// Options by name or number.
pub(super) type Options = BTreeMap<Text, Spanned<Value>>;

/// Declares a table of the file that also takes the settings which a subnet shares with `[defaults]`; serde's `flatten`
/// would lose `deny_unknown_fields` and the places.
macro_rules! with_settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            pub lease_time_s: Option<Number>,
            pub min_lease_time_s: Option<Number>,
            pub max_lease_time_s: Option<Number>,
            pub t1: Option<Spanned<f64>>,
            pub t2: Option<Spanned<f64>>,
            pub renewal_slack: Option<Spanned<f64>>,
            pub server_id: Option<Text>,
            pub authoritative: Option<bool>,
            pub unknown_renewals: Option<Text>,
            pub renewal_jitter: Option<Spanned<f64>>,
            pub scarce_above: Option<Spanned<f64>>,
            pub identity: Option<Text>,
            pub min_secs: Option<Number>,
            pub rapid_commit: Option<bool>,
            pub bootp: Option<bool>,
            pub bootp_lease_time_s: Option<Number>,
            pub ipv6_only: Option<bool>,
            pub auto_configure: Option<bool>,
            pub ping_check: Option<Spanned<bool>>,
            pub next_server: Option<Text>,
            pub server_name: Option<Text>,
            pub boot_file: Option<Text>,
            pub boot_files: Options,
            pub options: Options,
        }

        impl $name {
            /// The settings that a subnet takes from `[defaults]` where it sets none.
            pub fn settings(&self) -> Settings<'_> {
                Settings {
                    lease_time_s: self.lease_time_s.as_ref(),
                    min_lease_time_s: self.min_lease_time_s.as_ref(),
                    max_lease_time_s: self.max_lease_time_s.as_ref(),
                    t1: self.t1.as_ref(),
                    t2: self.t2.as_ref(),
                    renewal_slack: self.renewal_slack.as_ref(),
                    server_id: self.server_id.as_ref(),
                    authoritative: self.authoritative,
                    unknown_renewals: self.unknown_renewals.as_ref(),
                    renewal_jitter: self.renewal_jitter.as_ref(),
                    scarce_above: self.scarce_above.as_ref(),
                    identity: self.identity.as_ref(),
                    min_secs: self.min_secs.as_ref(),
                    rapid_commit: self.rapid_commit,
                    bootp: self.bootp,
                    bootp_lease_time_s: self.bootp_lease_time_s.as_ref(),
                    ipv6_only: self.ipv6_only,
                    auto_configure: self.auto_configure,
                    ping_check: self.ping_check.as_ref(),
                    next_server: self.next_server.as_ref(),
                    server_name: self.server_name.as_ref(),
                    boot_file: self.boot_file.as_ref(),
                }
            }
        }
    };
}

/// What `[defaults]` and `[[subnet]]` have in common, save for options, which are merged by code.
#[derive(Clone, Copy, Default)]
pub(super) struct Settings<'a> {
    pub lease_time_s: Option<&'a Number>,
    pub min_lease_time_s: Option<&'a Number>,
    pub max_lease_time_s: Option<&'a Number>,
    pub t1: Option<&'a Spanned<f64>>,
    pub t2: Option<&'a Spanned<f64>>,
    pub renewal_slack: Option<&'a Spanned<f64>>,
    pub server_id: Option<&'a Text>,
    pub authoritative: Option<bool>,
    pub unknown_renewals: Option<&'a Text>,
    pub renewal_jitter: Option<&'a Spanned<f64>>,
    pub scarce_above: Option<&'a Spanned<f64>>,
    pub identity: Option<&'a Text>,
    pub min_secs: Option<&'a Number>,
    pub rapid_commit: Option<bool>,
    pub bootp: Option<bool>,
    pub bootp_lease_time_s: Option<&'a Number>,
    pub ipv6_only: Option<bool>,
    pub auto_configure: Option<bool>,
    pub ping_check: Option<&'a Spanned<bool>>,
    pub next_server: Option<&'a Text>,
    pub server_name: Option<&'a Text>,
    pub boot_file: Option<&'a Text>,
}

impl<'a> Settings<'a> {
    /// These, with `defaults` where a value is missing.
    pub fn or(self, defaults: Settings<'a>) -> Settings<'a> {
        Settings {
            lease_time_s: self.lease_time_s.or(defaults.lease_time_s),
            min_lease_time_s: self.min_lease_time_s.or(defaults.min_lease_time_s),
            max_lease_time_s: self.max_lease_time_s.or(defaults.max_lease_time_s),
            t1: self.t1.or(defaults.t1),
            t2: self.t2.or(defaults.t2),
            renewal_slack: self.renewal_slack.or(defaults.renewal_slack),
            server_id: self.server_id.or(defaults.server_id),
            authoritative: self.authoritative.or(defaults.authoritative),
            unknown_renewals: self.unknown_renewals.or(defaults.unknown_renewals),
            renewal_jitter: self.renewal_jitter.or(defaults.renewal_jitter),
            scarce_above: self.scarce_above.or(defaults.scarce_above),
            identity: self.identity.or(defaults.identity),
            min_secs: self.min_secs.or(defaults.min_secs),
            rapid_commit: self.rapid_commit.or(defaults.rapid_commit),
            bootp: self.bootp.or(defaults.bootp),
            bootp_lease_time_s: self.bootp_lease_time_s.or(defaults.bootp_lease_time_s),
            ipv6_only: self.ipv6_only.or(defaults.ipv6_only),
            auto_configure: self.auto_configure.or(defaults.auto_configure),
            ping_check: self.ping_check.or(defaults.ping_check),
            next_server: self.next_server.or(defaults.next_server),
            server_name: self.server_name.or(defaults.server_name),
            boot_file: self.boot_file.or(defaults.boot_file),
        }
    }
}

with_settings! {
    /// `[defaults]`.
    DefaultsForm {}
}

with_settings! {
    /// `[[subnet]]`.
    SubnetForm {
        prefix: Option<Text>,
        network: Option<Text>,
        interface: Option<Text>,
        vlan: Option<Spanned<Value>>,
        inner: Option<Spanned<Value>>,
        reservations: Option<Text>,
        pools: Vec<Text>,
        exclude: Vec<Text>,
        allow_classes: Option<Spanned<Vec<Text>>>,
        deny_classes: Vec<Text>,
        known_clients_only: bool,
        vrf: Option<Text>,
        /// `[[subnet.pool]]`, each of which is one of `pools`.
        pool: Vec<Spanned<PoolForm>>,
    }
}

with_settings! {
    /// `[[network]]`.
    NetworkForm {
        name: Option<Text>,
        interface: Option<Text>,
        vlan: Option<Spanned<Value>>,
        inner: Option<Spanned<Value>>,
        vrf: Option<Text>,
        subnets: Vec<Text>,
        reservations: Option<Text>,
    }
}

/// `[[reservation]]`, in the file or in one of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReservationForm {
    pub flex_id: Option<Text>,
    pub hw_address: Option<Text>,
    pub client_id: Option<Text>,
    pub circuit_id: Option<Text>,
    pub remote_id: Option<Text>,
    pub address: Option<Text>,
    pub vrf: Option<Text>,
    pub hostname: Option<Text>,
    pub classes: Vec<Text>,
    pub lease_time_s: Option<Number>,
    pub next_server: Option<Text>,
    pub server_name: Option<Text>,
    pub boot_file: Option<Text>,
    pub options: Options,
}

/// A file of reservations.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReservationsForm {
    #[serde(rename = "reservation")]
    pub reservations: Vec<Spanned<ReservationForm>>,
}

/// `[[subnet.pool]]`: a pool with options of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PoolForm {
    pub range: Option<Text>,
    pub allow_classes: Option<Spanned<Vec<Text>>>,
    pub deny_classes: Vec<Text>,
    pub known_clients_only: bool,
    pub options: Options,
}

/// `[[option_definition]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefinitionForm {
    pub code: Option<Number>,
    pub name: Option<Text>,
    #[serde(rename = "type")]
    pub kind: Option<Text>,
    pub space: Option<Text>,
}

/// `[[vrf]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VrfForm {
    pub name: Option<Text>,
    pub number: Option<Number>,
}

/// `[load_balance]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LoadBalanceForm {
    pub buckets: Vec<Text>,
    pub after_secs: Option<Number>,
}

/// `[leasequery]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaseQueryForm {
    pub allow: Vec<Text>,
    pub interfaces: Option<Vec<Text>>,
    pub queries_per_s: Option<Number>,
    pub options: Option<Vec<Text>>,
    pub tcp: Option<Spanned<LeaseQueryTcpForm>>,
}

/// `[leasequery.tcp]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaseQueryTcpForm {
    pub listen: Vec<Text>,
    pub port: Option<Number>,
    pub max_connections: Option<Number>,
    pub max_connections_per_source: Option<Number>,
    pub max_queries: Option<Number>,
    pub bindings_per_s: Option<Number>,
    pub data_timeout_s: Option<Number>,
    pub active: bool,
    pub active_insecure: bool,
    pub active_idle_s: Option<Number>,
    pub active_send_timeout_s: Option<Number>,
    pub active_withhold: Vec<Text>,
}

/// `[history]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HistoryForm {
    pub directory: Option<Text>,
    pub rotate_mib: Option<Number>,
    pub rotate_h: Option<Number>,
    pub keep_days: Option<Number>,
    pub max_mib: Option<Number>,
    pub max_lag_mib: Option<Number>,
    pub keep_free_percent: Option<Number>,
    pub keep_free_mib: Option<Number>,
}

/// `[hook]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HookForm {
    pub command: Option<Text>,
    pub events: Option<Vec<Text>>,
    pub rate_per_s: Option<Number>,
    pub timeout_s: Option<Number>,
    pub queue: Option<Number>,
}

/// `[[class]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClassForm {
    pub name: Option<Text>,
    #[serde(rename = "match")]
    pub condition: Option<Text>,
    pub spawn: Option<Text>,
    pub lease_limit: Option<Number>,
    pub ignore: bool,
    pub lease_time_s: Option<Number>,
    pub min_lease_time_s: Option<Number>,
    pub max_lease_time_s: Option<Number>,
    pub next_server: Option<Text>,
    pub server_name: Option<Text>,
    pub boot_file: Option<Text>,
    pub options: Options,
}

/// `[[interface]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InterfaceForm {
    pub name: Option<Text>,
    pub workers: Option<Number>,
    pub queues: Option<Number>,
    pub xdp_mode: Option<Text>,
    pub busy_poll: bool,
    pub cpus: Vec<Number>,
    pub frames_per_queue: Option<Number>,
}

/// `[ping_check]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PingCheckForm {
    pub enabled: bool,
    pub timeout_ms: Option<Number>,
    pub requests: Option<Number>,
    pub max_per_s: Option<Number>,
    pub remember_s: Option<Number>,
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileForm {
    pub state_dir: Option<Text>,
    pub durability: Option<Text>,
    pub sync_interval_ms: Option<Number>,
    pub compact_at_percent: Option<Number>,
    pub offer_hold_s: Option<Number>,
    pub decline_quarantine_s: Option<Number>,
    pub verify_udp_checksum: Option<bool>,
    pub max_hops: Option<Number>,
    pub client_subnet_selection: bool,
    pub load_balance: Option<Spanned<LoadBalanceForm>>,
    pub leasequery: Option<Spanned<LeaseQueryForm>>,
    pub ping_check: Option<Spanned<PingCheckForm>>,
    pub history: Option<Spanned<HistoryForm>>,
    pub hook: Option<Spanned<HookForm>>,
    #[serde(rename = "option_definition")]
    pub option_definitions: Vec<Spanned<DefinitionForm>>,
    pub defaults: DefaultsForm,
    #[serde(rename = "interface")]
    pub interfaces: Vec<Spanned<InterfaceForm>>,
    #[serde(rename = "class")]
    pub classes: Vec<Spanned<ClassForm>>,
    #[serde(rename = "vrf")]
    pub vrfs: Vec<Spanned<VrfForm>>,
    #[serde(rename = "network")]
    pub networks: Vec<Spanned<NetworkForm>>,
    #[serde(rename = "subnet")]
    pub subnets: Vec<Spanned<SubnetForm>>,
    #[serde(rename = "reservation")]
    pub own_reservations: Vec<Spanned<ReservationForm>>,
    pub reservations: Option<Text>,
    pub flex_id: Option<Text>,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, each with its line.
pub fn load(path: &Path, machine: &dyn Machine) -> Result<Checked, Rejected> {
    let name = path.display().to_string();
    let refused = |place, message| {
        Err(Rejected {
            findings: vec![Finding { severity: Severity::Error, place, field: None, message, excerpt: None }],
        })
    };
    let mut bytes = Vec::new();
    // A device has no end.
    match File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)) {
        Err(error) => return refused(Place::File(name), format!("cannot read it: {error}")),
        Ok(len) if len as u64 > MOST_BYTES => {
            return refused(Place::File(name), format!("is longer than {} MiB", MOST_BYTES >> 20));
        }
        Ok(_) => {}
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&name, text, machine),
        Err(error) => {
            let (line, column, message) = source::not_utf8(&bytes, &error);
            refused(Place::Line { file: name, line, column }, message)
        }
    }
}

/// Checks a configuration given as text; `name` is what findings call it.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str, machine: &dyn Machine) -> Result<Checked, Rejected> {
    let (mut tree, syntax_errors) = DeTable::parse_recoverable(text);
    let source = Source::file(name, text, &tree);
    let finding = |span, message| source.finding(Severity::Error, span, message);
    let of_reader = |error: &toml::de::Error| finding(error.span().unwrap_or(0..0), in_our_words(error, text));
    if let Some(at) = kea::json(text) {
        let message = "this is JSON, as Kea's configuration is; expected TOML, as in examples/dhcp-xdp.toml".to_owned();
        return Err(Rejected { findings: vec![finding(at..at + 1, message)] });
    }
    if !syntax_errors.is_empty() {
        let mut findings: Vec<Finding> = syntax_errors.iter().take(check::MOST_FINDINGS).map(of_reader).collect();
        // What the reader makes of the rest of a broken line is no news.
        findings.dedup_by(|later, first| later.line() == first.line());
        return Err(Rejected { findings });
    }
    let mut complaints = Vec::new();
    schema::weed(tree.get_mut(), schema::FILE, &mut complaints);
    match FileForm::deserialize(toml::de::Deserializer::from(tree)) {
        Ok(form) => check::check(&form, &source, machine, complaints),
        Err(error) => {
            let told = complaints.into_iter().take(check::MOST_FINDINGS).map(|(at, why)| finding(at, why));
            Err(Rejected { findings: told.chain([of_reader(&error)]).collect() })
        }
    }
}

/// The reader's message on one line; what it says of a key that is there twice, with the key.
pub(super) fn in_our_words(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    if let Some(key) = error.span().and_then(|at| text.get(at)).filter(|_| message == "duplicate key") {
        return format!(
            "found `{key}` twice; expected it once, or as tables in double brackets where there may be several"
        );
    }
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
