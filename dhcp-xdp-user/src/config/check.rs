//! From the file as written to the configuration as used: every check, all findings at once.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use toml::Spanned;

use super::{
    Config, Durability, Interface, LoadBalance, Subnets, XdpMode,
    file::{FileForm, InterfaceForm, Number, Text},
    levels::Levels,
    machine::{InterfaceState, Link, Machine},
    schema::Complaint,
    source::{Finding, Rejected, Severity, Source},
};
use crate::{journal::CompactionPolicy, wire::options::Codes};

/// Where the journal and the control socket are unless the configuration says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/dhcp-xdp";
/// Most addresses of all pools together: what one lease table is made for (about 8 GiB of slots).
pub const MAX_ADDRESSES: u64 = 1 << 26;
/// Most subnets: a subnet is named by a `u16`.
const MAX_SUBNETS: usize = 1 << 16;
/// Most workers of a queue.
const MAX_WORKERS: i64 = 64;
/// Longest name of an interface (`IFNAMSIZ` less the NUL).
const MAX_INTERFACE_NAME: usize = 15;
/// Most findings of a severity that are told one by one.
pub(super) const MOST_FINDINGS: usize = 100;
/// A week, in seconds; nothing shorter-lived than a lease needs longer.
const WEEK_S: i64 = 7 * 24 * 3600;

/// A configuration that can be used, and what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// Warnings, in the order of the text.
    pub warnings: Vec<Finding>,
}

/// Collects findings while a form is turned into a configuration.
pub(super) struct Checker<'a> {
    /// The text that is being read.
    pub source: &'a Source,
    /// The configuration itself.
    pub main: &'a Source,
    /// Whether `source` is another one than `main`.
    pub is_elsewhere: bool,
    machine: &'a dyn Machine,
    /// What the machine said of each interface: it is asked once, however many subnets there are.
    links: HashMap<String, InterfaceState>,
    findings: Findings,
}

/// What was found, with the place in the text; of each severity no more than a person reads, and how many more there were.
#[derive(Default)]
pub(super) struct Findings {
    pub list: Vec<(usize, Finding)>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Adds a finding, which is made only when it is wanted: finding its line takes as long as the text is.
    pub fn add(&mut self, severity: Severity, at: usize, finding: impl FnOnce() -> Finding) {
        let count = if severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        *count += 1;
        if *count <= MOST_FINDINGS {
            self.list.push((at, finding()));
        }
    }

    /// Those that were left out, as one more of each severity.
    pub fn end(&mut self, source: &Source) {
        for (severity, count, what) in
            [(Severity::Error, self.errors, "errors"), (Severity::Warning, self.warnings, "warnings")]
        {
            if let Some(more) = count.checked_sub(MOST_FINDINGS).filter(|more| *more > 0) {
                self.list.push((usize::MAX, source.finding(severity, 0..0, format!("and {more} more {what}"))));
            }
        }
    }
}

impl Checker<'_> {
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(Severity::Error, span, message);
    }

    /// An error about a part of a text, by its place within the text as it is read.
    pub fn error_within(&mut self, text: &Text, within: Range<usize>, message: impl Into<String>) {
        let at = self.source.within(text.span(), within);
        let source = self.source;
        self.findings.add(Severity::Error, at.start, || {
            let finding = source.finding(Severity::Error, at.clone(), message.into());
            Finding { excerpt: source.excerpt(at), ..finding }
        });
    }

    pub fn warn(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(Severity::Warning, span, message);
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: impl Into<String>) {
        let source = self.source;
        self.findings.add(severity, span.start, || source.finding(severity, span, message.into()));
    }

    /// Reads another text, named at `at` of this one: what is found there has its places, and stands with what is found at `at`.
    pub fn elsewhere<T>(&mut self, source: &Source, at: usize, read: impl FnOnce(&mut Checker<'_>) -> T) -> T {
        let mut other = Checker {
            source,
            main: self.main,
            is_elsewhere: true,
            machine: self.machine,
            links: std::mem::take(&mut self.links),
            findings: Findings::default(),
        };
        let result = read(&mut other);
        self.links = other.links;
        other.findings.end(source);
        other.findings.list.sort_by_key(|(at, _)| *at);
        self.findings.list.extend(other.findings.list.into_iter().map(|(_, finding)| (at, finding)));
        result
    }

    /// A number within bounds, or `default` when it is missing (or wrong, which is an error).
    pub fn number(
        &mut self,
        given: Option<&Number>,
        bounds: std::ops::RangeInclusive<i64>,
        default: i64,
        unit: &str,
    ) -> i64 {
        let Some(number) = given else { return default };
        if bounds.contains(number.get_ref()) {
            return *number.get_ref();
        }
        let (min, max) = bounds.into_inner();
        self.error(number.span(), format!("found {}; expected {min} to {max}{unit}", number.get_ref()));
        default
    }

    /// One of these words, or none when it is missing (or another one, which is an error).
    pub fn word<T: Copy>(&mut self, given: Option<&Text>, words: &[(&str, T)]) -> Option<T> {
        let text = given?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| word == text.get_ref()) {
            return Some(*meant);
        }
        let (last, first) = words.split_last()?;
        let first = first.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.error(text.span(), format!("found `{}`; expected {first} or {}", text.get_ref(), last.0));
        None
    }

    /// What is known of an interface.
    pub fn interface(&mut self, name: &str) -> InterfaceState {
        let ask = || self.machine.interface(name);
        self.links.entry(name.to_owned()).or_insert_with(ask).clone()
    }

    /// Why a program cannot be run, as far as that is known.
    pub fn program(&self, path: &std::path::Path) -> Option<String> {
        self.machine.program(path)
    }

    /// A unicast IPv4 address.
    pub fn address(&mut self, given: &Text) -> Option<Ipv4Addr> {
        let text = given.get_ref();
        match text.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() => {
                self.error(given.span(), format!("found {ip}; expected an address of a host as 192.0.2.1"));
                None
            }
            Ok(ip) => Some(ip),
            Err(_) => {
                self.error(given.span(), format!("found `{text}`; expected an IPv4 address as 192.0.2.1"));
                None
            }
        }
    }
}

/// Checks a form. `complaints` are what made its reader leave something out.
pub(super) fn check(
    form: &FileForm,
    source: &Source,
    machine: &dyn Machine,
    complaints: Vec<Complaint>,
) -> Result<Checked, Rejected> {
    let findings = Findings::default();
    let mut checker = Checker { source, main: source, is_elsewhere: false, machine, links: HashMap::new(), findings };
    let is_whole = complaints.is_empty();
    for (at, why) in complaints {
        checker.error(at, why);
    }
    let interfaces = interfaces(&mut checker, form);
    let levels = Levels::new(&mut checker, form);
    let (mut classes, mut overlays) = super::classes::classes(&mut checker, form, &levels);
    let vrfs = super::vrfs::vrfs(&mut checker, form);
    let subnets = super::subnets::subnets(&mut checker, form, &levels, &vrfs);
    if subnets.len() > MAX_SUBNETS {
        checker.error(form.subnets[MAX_SUBNETS].span(), format!("more than {MAX_SUBNETS} subnets"));
    }
    let guarded = subnets.iter().map(|subnet| subnet.guarded_pools.len()).sum::<usize>();
    if subnets.len() <= MAX_SUBNETS && subnets.len() + guarded > MAX_SUBNETS {
        let last = form.subnets.last().map_or(0..0, Spanned::span);
        checker.error(last, format!("more than {MAX_SUBNETS} subnets and pools with classes together"));
    }
    let subnets = Subnets::new(subnets).with_vrfs(vrfs);
    let reservations = super::reserve::reservations(&mut checker, form, &subnets, &levels, &mut overlays);
    classes.knows(&reservations);
    super::subnets::warn_of_limits(&mut checker, form, &classes);
    let leasequery = super::leasequery::leasequery(&mut checker, form, &levels, &subnets);
    let config = Config {
        interfaces,
        subnets,
        reservations,
        flex_id: super::classes::flex_id(&mut checker, form, &levels),
        classes,
        state_dir: state_dir(&mut checker, form.state_dir.as_ref()),
        durability: durability(&mut checker, form),
        compaction: CompactionPolicy {
            percent: checker.number(form.compact_at_percent.as_ref(), 0..=10_000, 100, " percent").unsigned_abs()
                as u32,
            ..CompactionPolicy::default()
        },
        offer_hold_s: checker.number(form.offer_hold_s.as_ref(), 1..=3600, 30, " seconds") as u32,
        decline_quarantine_s: checker.number(form.decline_quarantine_s.as_ref(), 0..=WEEK_S, 24 * 3600, " seconds")
            as u32,
        verify_udp_checksum: form.verify_udp_checksum.unwrap_or(true),
        max_hops: checker.number(form.max_hops.as_ref(), 0..=255, 16, " relay agents") as u8,
        client_subnet_selection: form.client_subnet_selection,
        load_balance: load_balance(&mut checker, form),
        leasequery,
        ping_check: None,
        events: super::events::settings(&mut checker, form.history.as_ref(), form.hook.as_ref()),
        overlays,
        definitions: levels.into_definitions(),
    };
    let config = Config { ping_check: super::ping::settings(&mut checker, form, &config), ..config };
    let total = config.address_count();
    if total > MAX_ADDRESSES {
        let last = form.subnets.last().map_or(0..0, Spanned::span);
        checker
            .error(last, format!("all pools together have {total} addresses; a server holds at most {MAX_ADDRESSES}"));
    }
    checker.findings.end(source);
    let mut findings = checker.findings.list;
    if !is_whole {
        // Doubts may be about what was left out.
        findings.retain(|(_, finding)| finding.severity == Severity::Error);
        let complained: HashSet<String> = findings.iter().filter_map(|(_, finding)| finding.field.clone()).collect();
        let is_of = |field: &str, name: &str| {
            field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        let is_there = |name: String| complained.iter().any(|field| is_of(field, &name));
        findings.retain(|(_, finding)| !finding.missing().is_some_and(is_there));
    }
    finish(findings, config)
}

/// The share of the clients that is this server's.
fn load_balance(checker: &mut Checker<'_>, form: &FileForm) -> Option<LoadBalance> {
    let spanned = form.load_balance.as_ref()?;
    let given = spanned.get_ref();
    let mut buckets = Codes::default();
    for text in &given.buckets {
        let (first, last) = text.get_ref().split_once('-').unwrap_or((text.get_ref(), text.get_ref()));
        match (first.trim().parse::<u8>(), last.trim().parse::<u8>()) {
            (Ok(first), Ok(last)) if first <= last => {
                for bucket in first..=last {
                    buckets.insert(bucket);
                }
            }
            _ => checker
                .error(text.span(), format!("found `{}`; expected buckets from 0 to 255 as 0-127", text.get_ref())),
        }
    }
    if given.buckets.is_empty() {
        checker.error(spanned.span(), "`buckets` is missing; expected this server's as buckets = [\"0-127\"]");
    }
    let after_secs = checker.number(given.after_secs.as_ref(), 0..=65_535, 10, " seconds") as u16;
    Some(LoadBalance { buckets, after_secs })
}

fn finish(mut findings: Vec<(usize, Finding)>, config: Config) -> Result<Checked, Rejected> {
    findings.sort_by_key(|(at, _)| *at);
    // A wrong value in [defaults] is found once for each subnet that takes it.
    findings.dedup();
    let failed = findings.iter().any(|(_, finding)| finding.severity == Severity::Error);
    let findings = findings.into_iter().map(|(_, finding)| finding).collect();
    if failed { Err(Rejected { findings }) } else { Ok(Checked { config, warnings: findings }) }
}

fn state_dir(checker: &mut Checker<'_>, given: Option<&Text>) -> PathBuf {
    let Some(text) = given else { return PathBuf::from(DEFAULT_STATE_DIR) };
    let path = PathBuf::from(text.get_ref());
    if text.get_ref().is_empty() || text.get_ref().contains('\0') {
        checker.error(text.span(), format!("found `{}`; expected a directory as {DEFAULT_STATE_DIR}", text.get_ref()));
    } else if !checker.source.is_flags() && path.is_relative() {
        checker.warn(
            text.span(),
            format!("`{}` depends on where the server is started; an absolute path does not", path.display()),
        );
    }
    path
}

fn durability(checker: &mut Checker<'_>, form: &FileForm) -> Durability {
    let kind = form.durability.as_ref().map_or("sync", |text| text.get_ref().as_str());
    if kind != "interval"
        && let Some(interval) = &form.sync_interval_ms
    {
        checker.warn(interval.span(), format!("has no effect with durability = \"{kind}\""));
    }
    let interval_ms = checker.number(form.sync_interval_ms.as_ref(), 1..=60_000, 100, " milliseconds");
    match (kind, &form.durability) {
        ("interval", _) => Durability::Interval(Duration::from_millis(interval_ms.unsigned_abs())),
        ("off", _) => Durability::Off,
        ("sync", _) | (_, None) => Durability::Sync,
        (other, Some(text)) => {
            checker.error(text.span(), format!("found `{other}`; expected sync, interval or off"));
            Durability::Sync
        }
    }
}

fn interfaces(checker: &mut Checker<'_>, form: &FileForm) -> Vec<Interface> {
    if form.interfaces.is_empty() {
        checker.error(0..0, "no interface to serve; expected an [[interface]] table with name = \"eth1\"");
    }
    let mut names: Vec<&str> = Vec::new();
    form.interfaces
        .iter()
        .map(|spanned| {
            let interface = interface(checker, spanned);
            if let Some(name) = &spanned.get_ref().name {
                if names.contains(&name.get_ref().as_str()) {
                    checker.error(
                        name.span(),
                        format!("interface {} is there already; each has one [[interface]]", name.get_ref()),
                    );
                }
                names.push(name.get_ref());
            }
            interface
        })
        .collect()
}

fn interface(checker: &mut Checker<'_>, spanned: &Spanned<InterfaceForm>) -> Interface {
    let form = spanned.get_ref();
    let name = match &form.name {
        None => {
            checker.error(
                spanned.span(),
                "`name` is missing; expected the kernel's name of the interface, as name = \"eth1\"",
            );
            String::new()
        }
        Some(name) => {
            interface_name(checker, name);
            name.get_ref().clone()
        }
    };
    if let Some(name) = &form.name
        && let InterfaceState::Present(link) = checker.interface(name.get_ref())
    {
        against_link(checker, form, name, &link);
    }
    let workers = checker.number(form.workers.as_ref(), 1..=MAX_WORKERS, 1, " workers a queue");
    let frames_per_queue = checker.number(form.frames_per_queue.as_ref(), 512..=1 << 20, 16_384, " frames");
    let at = form.frames_per_queue.as_ref().map_or(spanned.span(), Spanned::span);
    if frames_per_queue.count_ones() != 1 {
        let next = frames_per_queue.unsigned_abs().next_power_of_two();
        checker.error(at, format!("found {frames_per_queue}; expected a power of two, as {next}"));
    } else if frames_per_queue < workers * 256 {
        checker.error(
            at,
            format!(
                "found {frames_per_queue}; {workers} workers need at least {}",
                (workers * 256).unsigned_abs().next_power_of_two()
            ),
        );
    }
    Interface {
        name,
        workers_per_queue: workers as u32,
        queues: form.queues.as_ref().map(|queues| checker.number(Some(queues), 1..=1024, 1, " queues") as u32),
        xdp_mode: xdp_mode(checker, form.xdp_mode.as_ref()),
        busy_poll: form.busy_poll,
        cpus: cpus(checker, form),
        frames_per_queue: frames_per_queue as u32,
    }
}

pub(super) fn interface_name(checker: &mut Checker<'_>, name: &Text) {
    let text = name.get_ref();
    if text.is_empty()
        || text.len() > MAX_INTERFACE_NAME
        || text.contains(|c: char| c == '/' || c.is_whitespace() || c == '\0')
    {
        checker.error(
            name.span(),
            format!("found `{text}`; expected an interface's name as eth1, at most {MAX_INTERFACE_NAME} bytes"),
        );
        return;
    }
    if checker.interface(text) == InterfaceState::Missing {
        checker.warn(name.span(), format!("this machine has no interface {text} at the moment (see `ip link`)"));
    }
}

/// What is asked of an interface against what it has.
fn against_link(checker: &mut Checker<'_>, form: &InterfaceForm, name: &Text, link: &Link) {
    let (name, at) = (name.get_ref(), name.span());
    if let Some(queues) = &form.queues {
        let (asked, there) = (*queues.get_ref(), i64::from(link.rx_queues));
        if asked > there {
            checker
                .warn(queues.span(), format!("found {asked}; {name} has {there} receive queue(s): those are served"));
        } else if asked < there {
            let rest = "what arrives on the others is left to the kernel";
            checker.warn(queues.span(), format!("found {asked}; {name} has {there} receive queues: {rest}"));
        }
    }
    if link.hides_vlan_tags {
        checker.warn(
            at,
            format!(
                "{name} takes VLAN tags off before XDP sees them: with tagged clients `ethtool -K {name} rxvlan off`"
            ),
        );
    }
}

fn cpus(checker: &mut Checker<'_>, form: &InterfaceForm) -> Vec<usize> {
    let allowed = checker.machine.cpus();
    let read = |cpu: &Number| {
        let number = checker.number(Some(cpu), 0..=1023, 0, " (a CPU's number)") as usize;
        if !allowed.is_empty() && !allowed.contains(&number) {
            let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            checker.warn(
                cpu.span(),
                format!("found {number}; this program may run on CPUs {allowed}: the worker runs where it may"),
            );
        }
        number
    };
    form.cpus.iter().map(read).collect()
}

fn xdp_mode(checker: &mut Checker<'_>, given: Option<&Text>) -> XdpMode {
    let Some(text) = given else { return XdpMode::Auto };
    text.get_ref().parse().unwrap_or_else(|why: String| {
        checker.error(text.span(), why);
        XdpMode::Auto
    })
}
