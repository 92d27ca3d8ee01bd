//! The API and its client over a real socket, with a server made by hand.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;

use super::{
    Backend, Control, Filter, LeaseView, ReleaseError,
    client::{Client, ClientError},
};
use crate::{
    config::Vrfs,
    journal::JournalStatus,
    lease::{Binding, BindingState, HwAddress, Space, SpacedAddress},
    stats::{LeaseStats, Ledger, SCHEMA, Stats},
};

#[derive(Default)]
struct Fake {
    bindings: Mutex<BTreeMap<SpacedAddress, Binding>>,
    vrfs: Vrfs,
    /// Bindings made up on the way, beyond those above.
    endless: u32,
    given: AtomicU64,
    failing: Option<String>,
    /// Releases wait while somebody holds this.
    slow_disk: Mutex<()>,
    trouble: Option<String>,
}

fn binding(address: Ipv4Addr, state: BindingState) -> Binding {
    let mut chaddr = [0; 16];
    chaddr[..4].copy_from_slice(&address.octets());
    Binding {
        space: Space::GLOBAL,
        address,
        state,
        generation: 1,
        started_s: 1,
        expires_s: 2,
        hw: HwAddress { htype: 1, hlen: 6, chaddr },
        client_id: address.octets().into_iter().collect(),
        limits: Default::default(),
        agent_info: [&[1, 4][..], &address.octets(), b"\x02\x04r &", &address.octets()[3..]]
            .concat()
            .into_iter()
            .collect(),
    }
}

impl Backend for Fake {
    fn stats(&self) -> Stats {
        Stats {
            schema: SCHEMA,
            version: "1.2.3".into(),
            uptime_s: 5,
            ledger: Ledger::of(&[]),
            interfaces: vec![],
            journal: JournalStatus { failing: self.failing.clone(), ..JournalStatus::default() },
            leases: LeaseStats { total: 7, ..LeaseStats::default() },
            leasequery_tcp: None,
            ping_check: None,
            events: Default::default(),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>) {
        let known = self.bindings.lock().unwrap().clone().into_values();
        let made_up = (0..self.endless).map(|i| binding(Ipv4Addr::from(0x0A00_0000 + i), BindingState::Bound));
        for binding in known.chain(made_up) {
            self.given.fetch_add(1, Ordering::Relaxed);
            if each(binding).is_break() {
                return;
            }
        }
    }

    fn lease(&self, at: SpacedAddress) -> Option<Binding> {
        self.bindings.lock().unwrap().get(&at).cloned()
    }

    fn in_pool(&self, at: SpacedAddress) -> bool {
        // Of the VPNs, all have .10 to .19.
        at.address.octets()[3] < if at.space == Space::GLOBAL { 99 } else { 20 }
    }

    fn subnet_of(&self, at: SpacedAddress) -> Option<Ipv4Net> {
        Ipv4Net::new(at.address, 24).ok().map(|net| net.trunc())
    }

    fn vrfs(&self) -> &Vrfs {
        &self.vrfs
    }

    fn release(&self, at: SpacedAddress) -> Result<Binding, ReleaseError> {
        let address = at.address;
        drop(self.slow_disk.lock().unwrap());
        let mut bindings = self.bindings.lock().unwrap();
        let binding = bindings.get_mut(&at).ok_or(ReleaseError::NotInPool(address))?;
        match binding.state {
            BindingState::Bound => {
                binding.state = BindingState::Released;
                Ok(binding.clone())
            }
            BindingState::Declined => Err(ReleaseError::NotDurable(address)),
            _ => Err(ReleaseError::NotLeased(address)),
        }
    }
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

struct Running {
    _dir: tempfile::TempDir,
    control: Control,
    client: Client,
    backend: Arc<Fake>,
}

fn run(fake: Fake) -> Running {
    run_with(fake, Duration::from_secs(60))
}

fn run_with(fake: Fake, patience: Duration) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let backend = Arc::new(fake);
    let control = Control::start_with(&path, backend.clone(), patience).unwrap();
    Running { client: Client::connect(&path).unwrap(), _dir: dir, control, backend }
}

fn some() -> Fake {
    let states = [(10, BindingState::Bound), (11, BindingState::Offered), (12, BindingState::Declined)];
    let bindings = states.map(|(last, state)| (ip(last).into(), binding(ip(last), state)));
    Fake { bindings: Mutex::new(bindings.into()), ..Fake::default() }
}

fn list(client: &Client, filter: &Filter) -> Vec<LeaseView> {
    let mut all = Vec::new();
    client
        .leases(filter, &mut |lease| {
            all.push(lease);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String) {
    match result {
        Err(ClientError::Refused { status, message }) => (status, message),
        other => panic!("{other:?}"),
    }
}

/// What a client that is not ours gets.
fn raw(path: &Path, request: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    write!(stream, "{request}\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn stats_and_health_come_through() {
    let running = run(some());
    assert_eq!(running.client.stats().unwrap().leases.total, 7);
    let health = running.client.health().unwrap();
    assert_eq!((health.status.as_str(), health.reason), ("ok", None));
    running.control.stop();
}

#[test]
fn health_says_that_the_disk_fails() {
    let running = run(Fake { failing: Some("no space left".into()), ..Fake::default() });
    let health = running.client.health().unwrap();
    assert_eq!((health.status.as_str(), health.reason.as_deref()), ("failing", Some("journal: no space left")));
    assert!(raw(running.control.path(), "GET /v1/health HTTP/1.1").starts_with("HTTP/1.1 503"));
    running.control.stop();
}

#[test]
fn health_says_that_a_worker_is_gone() {
    let running = run(Fake { trouble: Some("eth1: is gone".into()), ..Fake::default() });
    let health = running.client.health().unwrap();
    assert_eq!((health.status.as_str(), health.reason.as_deref()), ("failing", Some("eth1: is gone")));
    running.control.stop();
}

#[test]
fn leases_are_listed_and_filtered() {
    let running = run(some());
    let addresses =
        |filter: &Filter| list(&running.client, filter).into_iter().map(|l| l.address.octets()[3]).collect::<Vec<_>>();
    assert_eq!(addresses(&Filter::default()), [10, 11, 12]);
    assert_eq!(addresses(&Filter { state: Some(BindingState::Offered), ..Filter::default() }), [11]);
    let subnet = Some("192.0.2.12/30".parse().unwrap());
    assert_eq!(addresses(&Filter { subnet, ..Filter::default() }), [12]);
    assert_eq!(addresses(&Filter { hw_address: Some(vec![192, 0, 2, 10, 0, 0]), ..Filter::default() }), [10]);
    assert_eq!(addresses(&Filter { client_id: Some(vec![192, 0, 2, 11]), ..Filter::default() }), [11]);
    let circuit_id = Some(vec![192, 0, 2, 12]);
    assert_eq!(addresses(&Filter { circuit_id, ..Filter::default() }), [12]);
    assert_eq!(addresses(&Filter { remote_id: Some(b"r &\n".to_vec()), ..Filter::default() }), [10]);
    let listed = |filter| raw(running.control.path(), &format!("GET /v1/leases?{filter} HTTP/1.1"));
    for filter in ["circuit_id=0xc000020b", "circuit_id=0xC0-00-02-0b", "remote_id=r%20%26%0b"] {
        let listed = listed(filter);
        assert!(listed.contains("\"circuit_id\":\"0xc000020b\"") && listed.contains("192.0.2.11"), "{listed}");
        assert!(!listed.contains("192.0.2.10") && !listed.contains("192.0.2.12"), "{listed}");
    }
    assert!(listed("circuit_id=0x1").contains("expected a text of 1 to 255 bytes, or bytes as 0x0102"));
    running.control.stop();
}

#[test]
fn a_lease_is_shown_with_its_subnet_or_its_absence_told() {
    let running = run(some());
    let lease = running.client.lease(ip(10), None).unwrap();
    assert_eq!((lease.state.as_str(), lease.subnet), ("bound", Some("192.0.2.0/24".parse().unwrap())));
    assert_eq!(refused(running.client.lease(ip(13), None)), (404, "192.0.2.13 is free: nobody has or had it".into()));
    assert_eq!(refused(running.client.lease(ip(99), None)), (404, "192.0.2.99 is in no pool of this server".into()));
    running.control.stop();
}

#[test]
fn a_release_is_carried_out_once_and_its_failures_are_told() {
    let running = run(some());
    assert_eq!(running.client.release(ip(10), None).unwrap().state, "released");
    assert_eq!(running.backend.lease(ip(10).into()).unwrap().state, BindingState::Released);
    let (status, message) = refused(running.client.release(ip(10), None));
    assert_eq!((status, message.as_str()), (409, "nobody has 192.0.2.10: there is nothing to release"));
    assert_eq!(refused(running.client.release(ip(99), None)).0, 404);
    let (status, message) = refused(running.client.release(ip(12), None));
    assert!(status == 503 && message.contains("not on stable storage yet"), "{message}");
    running.control.stop();
}

#[test]
fn every_error_is_json_with_one_message() {
    let running = run(some());
    let cases = [
        ("GET /v1/nothing HTTP/1.1", "404", "no such path"),
        ("POST /v1/stats HTTP/1.1", "405", "takes another method"),
        ("GET /v1/leases/10.0.0 HTTP/1.1", "400", "found `10.0.0`; expected an IPv4 address"),
        ("POST /v1/leases/x/release HTTP/1.1", "400", "found `x`; expected an IPv4 address"),
        ("GET /v1/leases?state=busy HTTP/1.1", "400", "expected offered, bound"),
        ("GET /v1/leases?subnet=9 HTTP/1.1", "400", "expected a prefix"),
        ("GET /v1/leases?hw_address=zz HTTP/1.1", "400", "expected bytes in hexadecimal"),
        ("GET /v1/leases?colour=red HTTP/1.1", "400", "unknown field `colour`"),
    ];
    for (request, status, part) in cases {
        let answer = raw(running.control.path(), request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let error: super::ErrorView = serde_json::from_str(body).unwrap_or_else(|_| panic!("{request}: {body}"));
        assert!(error.error.contains(part), "{request}: {}", error.error);
    }
    running.control.stop();
}

#[test]
fn a_long_listing_is_streamed_and_not_collected() {
    let running = run(Fake { endless: 10_000_000, ..Fake::default() });
    let mut seen = 0;
    let stop = |_| {
        seen += 1;
        if seen == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut stop = stop;
    running.client.leases(&Filter::default(), &mut stop).unwrap();
    assert_eq!(seen, 10);
    // Only what fits the buffers on the way was made; a reader that goes ends the walk.
    drop(running.client);
    let given = running.backend.given.load(Ordering::Relaxed);
    assert!(given < 100_000, "{given} leases were made for a reader of 10");
    running.control.stop();
}

#[test]
fn a_whole_listing_loses_nothing_at_the_seams_of_its_chunks() {
    let running = run(Fake { endless: 20_000, ..Fake::default() });
    let all = list(&running.client, &Filter::default());
    assert_eq!(all.len(), 20_000);
    assert!(all.iter().enumerate().all(|(i, lease)| u32::from(lease.address) == 0x0A00_0000 + i as u32));
    running.control.stop();
}

/// A reader that asks for a listing and reads only the first bytes; `None` if it is refused.
fn paused_reader(running: &Running) -> Option<std::os::unix::net::UnixStream> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(running.control.path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /v1/leases HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut start = [0; 64];
    stream.read_exact(&mut start).unwrap();
    start.starts_with(b"HTTP/1.1 200").then_some(stream)
}

/// As many as there are places: each keeps a listing under way.
fn paused_readers(running: &Running) -> Option<Vec<std::os::unix::net::UnixStream>> {
    (0..4).map(|_| paused_reader(running)).collect()
}

#[test]
fn a_reader_that_pauses_too_long_gives_its_place_up_and_sees_that_its_listing_is_not_whole() {
    use std::io::Read as _;
    let running = run_with(Fake { endless: 10_000_000, ..Fake::default() }, Duration::from_millis(300));
    let readers = paused_readers(&running).expect("there are four places");
    let deadline = Instant::now() + Duration::from_secs(10);
    // All four places are free again only when each of the four has been cut off.
    while paused_readers(&running).is_none() {
        assert!(Instant::now() < deadline, "paused readers hold their places for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    for mut reader in readers {
        let mut rest = Vec::new();
        // The connection may be closed or reset; what must not come is the end of a whole listing.
        let _ = reader.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a part looks like the whole");
        assert!(rest.len() < 100 << 20, "the listing went on");
    }
    running.control.stop();
}

#[test]
fn statistics_and_health_wait_for_no_paused_reader_and_no_slow_disk() {
    let running = run(Fake { endless: 10_000_000, ..some() });
    let readers = paused_readers(&running).expect("there are four places");
    let slow = running.backend.slow_disk.lock().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Client::connect(running.control.path()).unwrap().release(ip(10), None));
        }
        std::thread::sleep(Duration::from_millis(200));
        let asked = Instant::now();
        assert!(running.client.stats().is_ok() && running.client.health().is_ok());
        let took = asked.elapsed();
        drop(slow);
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
    drop(readers);
    running.control.stop();
}

#[test]
fn no_more_listings_than_threads_run_at_once() {
    let running = run(Fake { endless: 10_000_000, ..Fake::default() });
    let readers = paused_readers(&running).expect("there are four places");
    let refusal = refused(running.client.leases(&Filter::default(), &mut |_| ControlFlow::Break(())));
    assert_eq!(refusal.0, 503);
    assert!(running.client.stats().is_ok(), "other requests are served meanwhile");
    let before = Instant::now();
    running.control.stop();
    assert!(before.elapsed() < Duration::from_secs(6), "a stuck reader does not keep the server from stopping");
    drop(readers);
}

#[test]
fn a_stopped_server_leaves_no_socket_and_its_absence_is_told() {
    let running = run(some());
    let path = running.control.path().to_owned();
    running.control.stop();
    assert!(!path.exists());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning(_))));
    assert!(matches!(running.client.stats(), Err(ClientError::NotRunning(_))));
}

/// `.10` is bound in VPN red and outside of all, `.11` in VPN `a&b` alone.
fn of_vpns() -> Fake {
    let vrfs = Vrfs::of_names([("red".to_owned(), Space(7)), ("a&b".to_owned(), Space(9))]).unwrap();
    let mut bindings = BTreeMap::new();
    for (space, last) in [(Space::GLOBAL, 10), (Space(7), 10), (Space(9), 11)] {
        let binding = Binding { space, ..binding(ip(last), BindingState::Bound) };
        bindings.insert(binding.at(), binding);
    }
    Fake { bindings: Mutex::new(bindings), vrfs, ..Fake::default() }
}

#[test]
fn an_address_that_several_vpns_have_needs_the_name_of_one() {
    let running = run(of_vpns());
    let (status, message) = refused(running.client.lease(ip(10), None));
    let names = "192.0.2.10 is in pools of several VPNs: say which, of global, a&b, red";
    assert_eq!((status, message.as_str()), (300, names));
    assert_eq!(refused(running.client.release(ip(10), None)), (300, names.into()));
    let vrf = |name| running.client.lease(ip(10), Some(name)).unwrap().vrf;
    assert_eq!((vrf("red").as_deref(), vrf("global")), (Some("red"), None));
    assert_eq!(running.client.lease(ip(11), Some("a&b")).unwrap().place(), "192.0.2.11%a&b");
    let (status, message) = refused(running.client.lease(ip(10), Some("green")));
    assert_eq!((status, message.as_str()), (400, "found VPN `green`; expected a&b, red, global"));
    let free = refused(running.client.lease(ip(12), Some("red")));
    assert_eq!(free, (404, "192.0.2.12 is free: nobody has or had it (VPN red)".into()));
    assert_eq!(
        refused(running.client.lease(ip(50), Some("red"))).1,
        "192.0.2.50 is in no pool of this server (VPN red)"
    );
    assert_eq!(refused(running.client.lease(ip(50), None)).0, 404, "only outside of all VPNs there is such an address");

    assert_eq!(running.client.release(ip(10), Some("red")).unwrap().state, "released");
    let state = |space| running.backend.lease(SpacedAddress::new(space, ip(10))).unwrap().state;
    assert_eq!((state(Space(7)), state(Space::GLOBAL)), (BindingState::Released, BindingState::Bound));
    let (status, message) = refused(running.client.release(ip(10), Some("red")));
    assert_eq!((status, message.as_str()), (409, "nobody has 192.0.2.10: there is nothing to release (VPN red)"));
    let wrong = raw(running.control.path(), "GET /v1/leases/192.0.2.10?vfr=red HTTP/1.1");
    assert!(wrong.starts_with("HTTP/1.1 400") && wrong.contains("unknown field `vfr`"), "{wrong}");
    running.control.stop();
}

#[test]
fn leases_are_listed_with_their_vpns_and_those_of_one_alone() {
    let running = run(of_vpns());
    let places = |vrf: Option<&str>| {
        let filter = Filter { vrf: vrf.map(str::to_owned), ..Filter::default() };
        list(&running.client, &filter).iter().map(LeaseView::place).collect::<Vec<_>>()
    };
    assert_eq!(places(None), ["192.0.2.10", "192.0.2.10%red", "192.0.2.11%a&b"]);
    assert_eq!(
        (places(Some("global")), places(Some("a&b"))),
        (vec!["192.0.2.10".into()], vec!["192.0.2.11%a&b".into()])
    );
    let filter = Filter { vrf: Some("green".into()), ..Filter::default() };
    let (status, message) = refused(running.client.leases(&filter, &mut |_| ControlFlow::Continue(())));
    assert_eq!((status, message.as_str()), (400, "found VPN `green`; expected a&b, red, global"));
    running.control.stop();
}
