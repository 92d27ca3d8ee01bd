//! Requestors of memory against a real table and a real journal. Each reply is decoded by `dhcproto`.

mod active;
mod bulk;
mod hostile;
mod listening;
#[path = "../../../../tests/e2e/reply.rs"]
mod reply;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use dhcproto::v4::{DhcpOption, OptionCode};
use reply::Reply;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::watch,
};

use super::{
    ActiveSettings, Counters, Settings, StreamReader, TcpStats, World, connection, query::tests::message,
    server::Shared, throttle::Throttle,
};
use crate::{
    clock::Clock,
    config::{self, AnyMachine, Config, Durability},
    journal::{Journal, Lane, Ticket},
    lease::{Binding, Client, HwAddress, LeaseTable, SpacedAddress},
    wake::Wake,
    wire::options::Codes,
};

/// The server's address.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What a requestor of a whole database asks for (RFC 6926 7.2), and more.
const WANTED: (u8, &[u8]) = (55, &[51, 58, 59, 61, 82, 91, 152, 153, 156, 157]);

const BULK: u8 = 14;
const ACTIVE: u8 = 16;

const LEASE_ACTIVE: u8 = 13;
const LEASE_UNASSIGNED: u8 = 11;
const DONE: u8 = 15;
const STATUS: u8 = 17;
const TLS: u8 = 18;

/// A client and its lease.
#[derive(Clone, Copy)]
struct Lent {
    /// 0; or 1, which is in the VPN `red`, with the same addresses.
    subnet: u16,
    /// Last octets of its address, 10.0.0.0/16.
    address: u16,
    /// When it was bound, seconds ago, and how long from then on.
    ago_s: u32,
    for_s: u32,
    client_id: &'static [u8],
    agent_info: &'static [u8],
}

impl Default for Lent {
    fn default() -> Self {
        Self { subnet: 0, address: 1, ago_s: 100, for_s: 3600, client_id: b"", agent_info: b"" }
    }
}

/// What is served.
struct Site {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    lane: Lane,
    journal: Option<Journal>,
    dir: tempfile::TempDir,
}

fn settings() -> Settings {
    Settings {
        listen: vec![],
        max_connections: 4,
        max_connections_per_source: 4,
        max_queries: 3,
        bindings_per_s: None,
        data_timeout: Duration::from_secs(20),
        active: Some(ActiveSettings {
            idle: Duration::from_secs(20),
            send_timeout: Duration::from_secs(20),
            withhold: Codes::default(),
        }),
    }
}

fn address(last: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + u32::from(last))
}

fn hw(last: u16) -> HwAddress {
    let mut chaddr = [0; 16];
    chaddr[..2].copy_from_slice(&[2, 7]);
    chaddr[4..6].copy_from_slice(&last.to_be_bytes());
    HwAddress { htype: 1, hlen: 6, chaddr }
}

fn config(addresses: u16) -> Config {
    let pool = format!("{}-{}", address(1), address(addresses));
    let text = format!(
        "[[interface]]\nname = \"eth1\"\n[leasequery]\nallow = [\"127.0.0.0/8\"]\noptions = [\"routers\"]\n\
         [[subnet]]\nprefix = \"10.0.0.0/16\"\npools = [\"{pool}\"]\nlease_time_s = 3600\nrenewal_jitter = 0.0\n\
         renewal_slack = 0.0\noptions = {{ routers = [\"10.0.255.1\"], time-offset = 7 }}\n\
         [[subnet]]\nprefix = \"10.0.0.0/16\"\nvrf = \"red\"\nserver_id = \"10.0.255.2\"\npools = [\"10.0.0.1-10.0.0.2\"]\n"
    );
    config::parse("f", &text, &AnyMachine).unwrap_or_else(|why| panic!("{why}")).config
}

impl Site {
    /// With so many addresses, from 10.0.0.1 on; who may ask is on the loopback interface.
    fn new(addresses: u16) -> Self {
        Self::with(addresses, |_| {})
    }

    fn with(addresses: u16, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut lanes) =
            Journal::start(dir.path(), Durability::Sync, vec![Arc::new(Wake::new().unwrap())]).unwrap();
        let config = Arc::new(config(addresses));
        let leases = Arc::new(config.lease_table([1, 2]));
        let (clock, followers) = (Clock::start(), journal.followers());
        let world = World { config, leases, index: None, clock, followers, known_since_s: 0 };
        let mut settings = settings();
        change(&mut settings);
        let throttle = Throttle::new(settings.bindings_per_s);
        let shared = Arc::new(Shared { settings, world, throttle, counters: Counters::default() });
        Self { shared, stop: watch::Sender::new(false), lane: lanes.pop().unwrap(), journal: Some(journal), dir }
    }

    fn leases(&self) -> &LeaseTable {
        &self.shared.world.leases
    }

    fn now_s(&self) -> u32 {
        self.shared.world.clock.now_s()
    }

    /// Binds, and waits until that is durable.
    fn bind(&mut self, lent: Lent) -> Binding {
        let binding = self.lend(lent);
        self.record(&binding);
        binding
    }

    /// Binds, in the table alone.
    fn lend(&self, lent: Lent) -> Binding {
        let (hw, address, then_s) = (hw(lent.address), address(lent.address), self.now_s() - lent.ago_s);
        let leases = Arc::clone(&self.shared.world.leases);
        let Lent { subnet, client_id, agent_info, .. } = lent;
        let key = leases.key(subnet, &hw, client_id);
        let at = SpacedAddress::new(self.shared.world.config.subnets[usize::from(subnet)].space, address);
        let client = Client { key, subnet, hw: &hw, client_id, limits: &[], agent_info };
        leases.offer(&client, Some(address), then_s + 30, then_s).unwrap();
        let bound = leases.bind(&client, address, then_s + lent.for_s, then_s).unwrap();
        let binding = leases.get(at, then_s).unwrap();
        assert_eq!(bound.lease, binding.lease());
        binding
    }

    fn release(&mut self, last: u16) {
        let lease = self.leases().release_address(address(last), self.now_s()).unwrap().lease;
        let binding = self.leases().get(lease.address, self.now_s()).unwrap();
        self.record(&binding);
    }

    fn record(&mut self, binding: &Binding) {
        let ticket = self.submit(binding);
        while self.lane.durable() < ticket {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn submit(&mut self, binding: &Binding) -> Ticket {
        let (lease, kept) = (binding.lease(), binding.kept());
        self.lane.submit(&lease, &binding.hw, &binding.client_id, kept).unwrap()
    }

    /// A connection whose two ends hold so many bytes each.
    fn connect_narrow(&self, bytes: usize) -> Requestor {
        let (here, there) = tokio::io::duplex(bytes);
        let served = tokio::spawn(connection::serve(there, SERVER, Arc::clone(&self.shared), self.stop.subscribe()));
        Requestor { stream: here, reader: StreamReader::default(), served }
    }

    fn connect(&self) -> Requestor {
        self.connect_narrow(64 << 10)
    }

    fn stats(&self) -> TcpStats {
        self.shared.counters.read()
    }

    /// How often connections ended for this reason.
    fn ended(&self, reason: &str) -> u64 {
        self.stats().ended[reason]
    }
}

/// Waits until something is so, and not for ever.
async fn until(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never came to that");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A requestor.
struct Requestor {
    stream: DuplexStream,
    reader: StreamReader,
    served: tokio::task::JoinHandle<()>,
}

impl Reply {
    fn has(&self, code: u8) -> bool {
        self.message.opts().get(OptionCode::from(code)).is_some()
    }

    fn status(&self) -> Option<u8> {
        self.number(151).map(|status| status as u8)
    }

    fn base_time(&self) -> u32 {
        self.number(152).unwrap()
    }

    fn state(&self) -> u32 {
        self.number(156).unwrap()
    }

    fn last(&self) -> u16 {
        let [.., high, low] = self.message.ciaddr().octets();
        u16::from_be_bytes([high, low])
    }
}

impl Requestor {
    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, message: &[u8]) {
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend(message);
        self.write(&framed).await;
    }

    async fn ask(&mut self, kind: u8, xid: u32, options: &[(u8, &[u8])]) {
        self.send(&message(kind, xid, options)).await;
    }

    /// The next reply; `None` when the connection was closed.
    async fn next(&mut self) -> Option<Reply> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(bytes) = self.reader.message().unwrap() {
                return Some(Reply::read(bytes).unwrap());
            }
            let read = tokio::time::timeout(Duration::from_secs(30), self.stream.read(&mut buffer));
            match read.await.expect("the server says nothing").unwrap_or(0) {
                0 => {
                    assert_eq!(self.reader.held(), 0, "cut within a message");
                    return None;
                }
                len => self.reader.push(&buffer[..len]),
            }
        }
    }

    async fn reply(&mut self) -> Reply {
        self.next().await.expect("the connection was closed")
    }

    /// All replies up to the one that ends a query, and that one.
    async fn all(&mut self) -> (Vec<Reply>, Reply) {
        let mut replies = Vec::new();
        loop {
            let reply = self.reply().await;
            if reply.kind == DONE {
                return (replies, reply);
            }
            replies.push(reply);
        }
    }

    async fn closes(mut self) -> bool {
        let closed = self.next().await.is_none();
        drop(self.stream);
        self.served.await.unwrap();
        closed
    }
}
