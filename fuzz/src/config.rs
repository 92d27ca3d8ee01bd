//! Configuration: a file, or the quick flags. Input: a text; one that starts with `--` is flags, one a line.

use dhcp_xdp::{
    config::{self, Config, InterfaceState, Link, Machine, Place, QuickFlags, Rejected, Severity},
    lease::Space,
};

use crate::Seed;

/// A machine with an interface that has an address, and one that hides tags.
struct Lab;

impl Machine for Lab {
    fn interface(&self, name: &str) -> InterfaceState {
        let present = |addresses: &[[u8; 4]], hides_vlan_tags| {
            let addresses = addresses.iter().copied().map(Into::into).collect();
            InterfaceState::Present(Link { addresses, rx_queues: 2, hides_vlan_tags })
        };
        match name {
            "eth1" => present(&[[192, 0, 2, 1]], false),
            "eth2" => present(&[], true),
            _ => InterfaceState::Missing,
        }
    }

    fn cpus(&self) -> Vec<usize> {
        vec![0, 1]
    }
}

/// Any text: it is refused with a place for each finding, or what comes of it can be served.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = if text.starts_with("--") { flags(text).check(&Lab) } else { config::parse("f", text, &Lab) };
    match checked {
        Ok(checked) => can_be_served(&checked.config),
        Err(rejected) => is_told(&rejected, text),
    }
}

fn flags(text: &str) -> QuickFlags {
    let mut flags = QuickFlags::default();
    for line in text.lines() {
        let (flag, value) = line.split_once('=').unwrap_or((line, ""));
        let given = || Some(value.to_owned());
        match flag {
            "--interface" => flags.interface = value.to_owned(),
            "--subnet" => flags.subnet = value.to_owned(),
            "--pool" => flags.pool = given(),
            "--router" => flags.router = given(),
            "--dns" => flags.dns = given(),
            "--lease-time" => flags.lease_time_s = value.parse().ok(),
            "--state-dir" => flags.state_dir = given(),
            "--workers" => flags.workers = value.parse().ok(),
            "--busy-poll" => flags.busy_poll = true,
            "--durability" => flags.durability = given(),
            _ => {}
        }
    }
    flags
}

fn is_told(rejected: &Rejected, text: &str) {
    assert!(rejected.findings.iter().any(|finding| finding.severity == Severity::Error), "{rejected:?}");
    let lines = text.lines().count().max(1) + 1;
    for finding in &rejected.findings {
        let shown = finding.to_string();
        // What is wrong within an expression is shown below, in two lines more.
        let shown_lines = if finding.excerpt.is_some() { 3 } else { 1 };
        assert_eq!(shown.lines().count(), shown_lines, "{shown:?}");
        assert!(!finding.message.is_empty());
        match finding.place {
            Place::Line { line, column, .. } => assert!((1..=lines).contains(&line) && column >= 1, "{finding:?}"),
            Place::File(_) => panic!("a text has lines: {finding:?}"),
            Place::Flag(_) | Place::CommandLine => {}
        }
    }
}

/// What the server takes for granted of a checked configuration.
fn can_be_served(config: &Config) {
    assert!(!config.interfaces.is_empty() && !config.subnets.is_empty());
    assert!(config.address_count() <= config::MAX_ADDRESSES);
    let mut ranges: Vec<(Space, u32, u32)> = Vec::new();
    for subnet in &config.subnets {
        let times = subnet.lease;
        assert!(0 < times.min_s && times.min_s <= times.default_s && times.default_s <= times.max_s, "{times:?}");
        assert!(times.t1_permille < times.t2_permille && times.t2_permille <= 1000, "{times:?}");
        for pool in &subnet.pools {
            assert!(pool.first <= pool.last);
            assert!(subnet.prefix.contains(&pool.first) && subnet.prefix.contains(&pool.last));
            ranges.push((subnet.space, pool.first.into(), pool.last.into()));
        }
        assert!(subnet.options.iter().all(|option| !matches!(option.code, 0 | 255) && option.data.len() <= 255));
        assert!(subnet.boot_file.len() <= 127);
        if let Some(name) = &subnet.interface {
            assert!(config.interfaces.iter().any(|interface| interface.name == *name));
        }
    }
    ranges.sort_unstable();
    let apart = |pair: &[(Space, u32, u32)]| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1;
    assert!(ranges.windows(2).all(apart), "pools of one space overlap");
    if config.address_count() < 10_000 {
        let total = config.lease_table([1, 2]).counts().total;
        assert_eq!(total, config.address_count(), "each address has its place");
    }
    for (vrf, other) in config.subnets.vrfs().iter().zip(config.subnets.vrfs().iter().skip(1)) {
        assert!(vrf.id != other.id && vrf.space != other.space && vrf.space != Space::GLOBAL);
        assert_eq!(config.subnets.vrfs().named(&config.subnets.vrfs().name_of(vrf.space)), Some(vrf.space));
    }
    for interface in &config.interfaces {
        assert!(interface.workers_per_queue > 0 && interface.frames_per_queue.is_power_of_two());
        assert!(interface.frames_per_queue >= interface.workers_per_queue * 256);
        assert!(interface.name.len() <= 15);
    }
}

/// Small files, and flags; the commented examples are read where they are.
pub fn seeds() -> Vec<Seed> {
    let small = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"eth1\"\n\
                 pools = [\"192.0.2.10-192.0.2.250\"]\nexclude = [\"192.0.2.64/28\"]\n";
    let options = "[subnet.options]\nrouters = [\"192.0.2.254\"]\ndomain-name = \"example.net\"\nntp-servers = [\"192.0.2.9\"]\n\
                   150 = { ip = \"192.0.2.9\" }\n43 = { hex = \"0104ffffffff\" }\n";
    let flags = "--interface=eth1\n--subnet=192.0.2.0/24\n--pool=192.0.2.10-192.0.2.250\n--router=192.0.2.254\n\
                 --dns=192.0.2.53,192.0.2.54\n--lease-time=600\n--workers=2\n--durability=interval\n";
    vec![
        ("least", small.into()),
        ("options", format!("{small}{options}").into()),
        ("flags", flags.into()),
        ("flags-without-pool", "--interface=eth1\n--subnet=192.0.2.0/24\n".into()),
        (
            "pools-overlap",
            format!("{small}[[subnet]]\nprefix = \"10.0.0.0/8\"\npools = [\"10.0.0.9-10.0.0.20\", \"10.0.0.20\"]\n")
                .into(),
        ),
        ("subnets-overlap", format!("{small}[[subnet]]\nprefix = \"192.0.0.0/16\"\n").into()),
        (
            "times",
            format!("{small}lease_time_s = 60\nmin_lease_time_s = 30\nmax_lease_time_s = 90\nt1 = 0.4\nt2 = 0.8\n")
                .into(),
        ),
        ("all-addresses", small.replace("192.0.2.10-192.0.2.250", "192.0.2.0/24").into()),
        (
            "networks-and-reservations",
            "flex_id = \"relay.remote-id\"\n[[interface]]\nname = \"eth1\"\n[[network]]\nname = \"n\"\ninterface = \"eth1\"\nvlan = \"100.1-4094\"\n\
             subnets = [\"192.0.2.0/24\"]\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.20\"]\n[[subnet.pool]]\n\
             range = \"192.0.2.30\"\nknown_clients_only = true\n[[subnet]]\nprefix = \"10.0.0.0/24\"\nnetwork = \"n\"\nreservations = \"r.csv\"\n\
             [[subnet]]\nprefix = \"10.1.0.0/24\"\ninterface = \"eth1\"\nvlan = 7\ninner = 9\n[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\n\
             address = \"192.0.2.11\"\nhostname = \"h\"\n[[reservation]]\ncircuit_id = \"0x01\"\naddress = \"10.0.0.7\"\n[[reservation]]\nflex_id = \"x\"\n\
             lease_time_s = 60\n"
                .into(),
        ),
        (
            "vpns",
            "[[interface]]\nname = \"eth1\"\n[[vrf]]\nname = \"red\"\nnumber = 7\n[[network]]\nname = \"n\"\nvrf = \"vpn-id:00000100000002\"\n\
             [[subnet]]\nprefix = \"10.0.0.0/24\"\nvrf = \"red\"\npools = [\"10.0.0.10-10.0.0.20\"]\n[[subnet]]\nprefix = \"10.0.0.0/25\"\n\
             network = \"n\"\npools = [\"10.0.0.10-10.0.0.30\"]\n[[subnet]]\nprefix = \"10.0.0.0/16\"\nvrf = \"global\"\npools = [\"10.0.0.10\"]\n\
             [[reservation]]\ncircuit_id = \"c\"\naddress = \"10.0.0.77\"\nvrf = \"red\"\n[[reservation]]\ncircuit_id = \"c\"\n\
             address = \"10.0.0.77\"\nvrf = \"global\"\n"
                .into(),
        ),
        ("wrong-everywhere", "x = 1\n[[interface]]\nname = 5\n[[subnet]]\npools = [\"b-a\", \"192.0.2.300\"]\n".into()),
    ]
}
