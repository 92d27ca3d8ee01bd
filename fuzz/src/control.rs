//! The control socket: bytes that somebody writes to it. Input: what one connection sends.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    panic,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use dhcp_xdp::{
    config::{Vrf, Vrfs},
    control::{Backend, Control, ReleaseError, SOCKET_NAME},
    journal::JournalStatus,
    lease::{Binding, BindingState, HwAddress, Space, SpacedAddress},
    stats::{LeaseStats, Ledger, SCHEMA, Stats},
};
use ipnet::Ipv4Net;
use tempfile::TempDir;

use crate::Seed;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server with a few leases.
struct Fake {
    bindings: Mutex<BTreeMap<SpacedAddress, Binding>>,
    vrfs: Vrfs,
}

impl Fake {
    fn new() -> Self {
        let states = [BindingState::Bound, BindingState::Offered, BindingState::Released, BindingState::Declined];
        let bindings = (10u8..18).zip(states.into_iter().cycle()).map(|(host, state)| {
            let address = Ipv4Addr::new(192, 0, 2, host);
            let mut chaddr = [0; 16];
            chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, host]);
            let hw = HwAddress { htype: 1, hlen: 6, chaddr };
            let client_id = (0..host % 4).collect();
            (
                address.into(),
                Binding {
                    space: Space::GLOBAL,
                    address,
                    state,
                    generation: 1,
                    started_s: 1,
                    expires_s: u32::MAX,
                    hw,
                    client_id,
                    limits: Default::default(),
                    agent_info: [1, 2, b'c', host].into_iter().collect(),
                },
            )
        });
        let red = Vrf { space: Space(7), name: "red".into(), id: b"\x00red".to_vec() };
        Self { bindings: Mutex::new(bindings.collect()), vrfs: Vrfs::new(vec![red]) }
    }

    fn bindings(&self) -> std::sync::MutexGuard<'_, BTreeMap<SpacedAddress, Binding>> {
        self.bindings.lock().unwrap_or_else(PoisonError::into_inner)
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
            journal: JournalStatus::default(),
            leases: LeaseStats::default(),
            leasequery_tcp: None,
            ping_check: None,
            events: Default::default(),
        }
    }
    fn trouble(&self) -> Option<String> {
        None
    }
    fn leases(&self, each: &mut dyn FnMut(Binding) -> ControlFlow<()>) {
        for binding in self.bindings().values() {
            if each(binding.clone()).is_break() {
                return;
            }
        }
    }
    fn vrfs(&self) -> &Vrfs {
        &self.vrfs
    }
    fn lease(&self, at: SpacedAddress) -> Option<Binding> {
        self.bindings().get(&at).cloned()
    }
    fn in_pool(&self, at: SpacedAddress) -> bool {
        at.address.octets()[3] < 99
    }
    fn subnet_of(&self, at: SpacedAddress) -> Option<Ipv4Net> {
        Ipv4Net::new(at.address, 24).ok().map(|net| net.trunc())
    }
    fn release(&self, at: SpacedAddress) -> Result<Binding, ReleaseError> {
        match self.bindings().get(&at) {
            Some(binding) if binding.state == BindingState::Bound => Ok(binding.clone()),
            Some(_) => Err(ReleaseError::NotLeased(at.address)),
            None => Err(ReleaseError::NotInPool(at.address)),
        }
    }
}

/// One of control's threads has panicked. Whoever asked sees no more of that than a connection that ends.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

fn socket() -> &'static PathBuf {
    static RUNNING: OnceLock<(TempDir, Control, PathBuf)> = OnceLock::new();
    let start = || {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name().is_some_and(|name| name.starts_with("control")) {
                HAS_PANICKED.store(true, Ordering::SeqCst);
            }
            before(info);
        }));
        let dir = TempDir::new().expect("a temporary folder");
        let path = dir.path().join(SOCKET_NAME);
        let control = Control::start(&path, Arc::new(Fake::new())).expect("a control socket");
        (dir, control, path)
    };
    &RUNNING.get_or_init(start).2
}

/// What comes back for these bytes, up to the end of the connection.
fn exchange(bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    // It may close its end before all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no end of the answer");
    }
    answer
}

/// Any bytes: what is answered is HTTP, never of status 500, and it ends.
pub fn run(data: &[u8]) {
    let answer = exchange(data);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
    let status = answer.get(9..12).unwrap_or_default();
    assert_ne!(status, b"500", "{:?}", String::from_utf8_lossy(&answer));
    assert!(!HAS_PANICKED.swap(false, Ordering::SeqCst), "a thread of control panicked");
}

/// Each request, and some that are none.
pub fn seeds() -> Vec<Seed> {
    let request = |line: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes();
    vec![
        ("health", request("GET /v1/health")),
        ("stats", request("GET /v1/stats")),
        ("leases", request("GET /v1/leases")),
        ("leases-filtered", request("GET /v1/leases?state=bound&subnet=192.0.2.0/28&hw_address=02:00:00:00:00:0a")),
        ("leases-by-client-id", request("GET /v1/leases?client_id=00-01")),
        ("leases-by-half-a-byte", request("GET /v1/leases?hw_address=02:0")),
        ("leases-by-circuit", request("GET /v1/leases?circuit_id=c%0a&remote_id=0x0102")),
        ("lease", request("GET /v1/leases/192.0.2.10")),
        ("release", request("POST /v1/leases/192.0.2.10/release")),
        ("release-of-an-offer", request("POST /v1/leases/192.0.2.11/release")),
        ("wrong-method", request("DELETE /v1/stats")),
        ("wrong-escape", request("GET /v1/leases?state=%ff%")),
        (
            "chunked",
            b"POST /v1/leases/192.0.2.10/release HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                .to_vec(),
        ),
        ("pipelined", [request("GET /v1/health"), request("GET /v1/leases/192.0.2.99")].concat()),
        ("noise", vec![0xff; 64]),
    ]
}
