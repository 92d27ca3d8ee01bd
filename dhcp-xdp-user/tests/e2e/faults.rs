//! What an operator's machine does to a server: disks that stall, refuse or lose the state directory, files that are not what
//! they were, kills at the worst of times. What is promised holds, it is said, and service returns by itself.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dhcproto::v4::MessageType;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::{
    command,
    lab::{Process, Server, Veth, raw::RawSocket, wait_for},
    workspace,
};

use crate::{
    disks::{Ext4, Memory},
    net::{Datagram, Reply, discover, replies, request},
    site::{Direct, INSIDE, SERVER, state_of, stop},
    test,
};

pub fn tests() -> Vec<Trial> {
    vec![
        test("while_the_disk_stalls_offers_go_out_and_no_ack_does", stalls),
        test("while_nobody_may_write_no_ack_is_sent_and_service_returns_by_itself", immutable),
        test("when_the_state_directory_is_removed_no_ack_is_sent_until_it_is_there_again", removed),
        test("a_server_killed_while_it_starts_or_stops_keeps_every_lease", killed_at_the_edges),
        test("a_state_directory_that_cannot_be_used_is_refused_in_one_line", unusable),
        test("a_damaged_journal_is_refused_checked_repaired_and_served_again", damaged),
        test("leases_move_to_another_server_by_export_and_import", moved),
    ]
}

/// A client that is only frames.
pub struct Client {
    socket: RawSocket,
    pub mac: [u8; 6],
    pub xid: u32,
}

impl Client {
    pub fn new(site: &Direct, number: u8) -> Result<Self> {
        let socket = RawSocket::open(site.client_end())?;
        Ok(Self { socket, mac: [2, 0, 0, 0, 7, number], xid: u32::from(number) << 16 })
    }

    fn hw_address(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// The reply to a message of ours, if one comes in this time.
    pub fn ask(&mut self, payload: &[u8], limit: Duration) -> Result<Option<Reply>> {
        self.socket.send(&Datagram { mac: self.mac, ..Datagram::default() }.frame(payload))?;
        let end = Instant::now() + limit;
        while let Some(frame) = self.socket.receive(end)? {
            if frame.get(12..14) != Some(&[8, 0]) {
                continue;
            }
            if let Some(reply) = replies(&[frame])?.pop().filter(|reply| reply.message.xid() == self.xid) {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn offer(&mut self) -> Result<Reply> {
        self.xid += 1;
        let offer = self.ask(&discover(self.mac, self.xid), Duration::from_secs(2))?;
        offer.filter(|reply| reply.kind() == Some(MessageType::Offer)).context("no OFFER")
    }

    /// Asks for what was offered; the address when an ACK comes in this time.
    pub fn select(&mut self, offer: &Reply, limit: Duration) -> Result<Option<Ipv4Addr>> {
        self.xid += 1;
        let Some(reply) = self.ask(&request(offer, self.mac, self.xid)?, limit)? else { return Ok(None) };
        ensure!(reply.kind() == Some(MessageType::Ack), "{:?} to a REQUEST", reply.kind());
        Ok(Some(reply.message.yiaddr()))
    }

    fn take(&mut self) -> Result<Ipv4Addr> {
        let offer = self.offer()?;
        self.select(&offer, Duration::from_secs(3))?.context("no ACK")
    }
}

const WORDS: [&str; 8] =
    ["--interface", INSIDE, "--subnet", "198.18.0.0/15", "--pool", "198.18.1.0-198.18.1.250", "--router", SERVER];
const SILENCE: Duration = Duration::from_millis(1500);

/// `GET /v1/health`: its status and reason.
fn health(state: &Path) -> Result<(u64, Option<String>)> {
    let mut stream = UnixStream::connect(state.join("control.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("strange answer")?;
    let body = answer.split_once("\r\n\r\n").context("no body")?.1;
    let begin = body.find('{').context("no JSON")?;
    let end = body.rfind('}').context("no JSON")?;
    let health: Value = serde_json::from_str(&body[begin..=end])?;
    Ok((status, health["reason"].as_str().map(str::to_owned)))
}

fn expect_bound(server: &Server, client: &Client, address: Ipv4Addr) -> Result<()> {
    let leases = server.leases()?;
    let lease = leases.iter().find(|lease| lease["address"] == address.to_string()).context("no lease")?;
    ensure!(lease["state"] == "bound" && lease["hw_address"] == client.hw_address(), "{lease}");
    Ok(())
}

/// A client in trouble gets no ACK; after `mend` it does, by itself, and health is what it was.
fn no_ack_until(
    server: &Server,
    client: &mut Client,
    told: impl Fn(u64, Option<String>) -> bool,
    mend: impl FnOnce() -> Result<()>,
) -> Result<Ipv4Addr> {
    let offer = client.offer().context("while the disk is in trouble")?;
    let early = client.select(&offer, SILENCE)?;
    ensure!(early.is_none(), "an ACK for {early:?} while nothing can be durable");
    let (mut status, mut reason) = (0, None);
    let said = wait_for("health to say so", Duration::from_secs(10), || {
        (status, reason) = health(server.state_dir())?;
        Ok(told(status, reason.clone()).then_some(()))
    });
    said.with_context(|| format!("health is {status}, {reason:?}"))?;
    mend()?;
    // The client sends again, as clients do.
    let acked = wait_for("an ACK", Duration::from_secs(15), || client.select(&offer, SILENCE))?;
    wait_for("health to be good again", Duration::from_secs(10), || {
        Ok((health(server.state_dir())?.0 == 200).then_some(()))
    })?;
    expect_bound(server, client, acked)?;
    Ok(acked)
}

fn stalls() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let disk = Ext4::mount(&site.lab.folder("image")?)?;
    let state = disk.0.join("state");
    fs::create_dir(&state)?;
    let server = Server::start_with_log(&site.inside, &state, site.lab.path("log"), &WORDS)?;
    Client::new(&site, 1)?.take()?;
    let mut client = Client::new(&site, 2)?;
    let frozen = disk.freeze()?;
    no_ack_until(
        &server,
        &mut client,
        |status, _| status == 503,
        || {
            drop(frozen);
            Ok(())
        },
    )?;
    stop(server, site.server_end()).map(drop)
}

fn immutable() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let disk = Ext4::mount(&site.lab.folder("image")?)?;
    let state = disk.0.join("state");
    fs::create_dir(&state)?;
    let server = Server::start_with_log(&site.inside, &state, site.lab.path("log"), &WORDS)?;
    let mut first = Client::new(&site, 1)?;
    let kept = first.take()?;
    disk.set_immutable(&state, true)?;
    let is_told =
        |status, reason: Option<String>| status == 503 && reason.is_some_and(|it| it.contains("not permitted"));
    no_ack_until(&server, &mut Client::new(&site, 2)?, is_told, || disk.set_immutable(&state, false))?;
    server.kill()?;
    let server = Server::start_with_log(&site.inside, &state, site.lab.path("log"), &WORDS)?;
    expect_bound(&server, &first, kept)?;
    stop(server, site.server_end()).map(drop)
}

fn removed() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let (state, log) = (site.lab.folder("state")?, site.lab.path("log"));
    let mut server = Server::start_with_log(&site.inside, &state, &log, &WORDS)?;
    Client::new(&site, 1)?.take()?;
    fs::remove_dir_all(&state)?;
    let mut client = Client::new(&site, 2)?;
    let offer = client.offer()?;
    let early = client.select(&offer, SILENCE)?;
    ensure!(early.is_none(), "an ACK for {early:?} without a place for its record");
    let said = || Ok(fs::read_to_string(&log)?.contains("no ACK is sent").then_some(()));
    wait_for("the log to say so", Duration::from_secs(5), said)?;
    fs::create_dir(&state)?;
    let acked = wait_for("an ACK", Duration::from_secs(15), || client.select(&offer, SILENCE))?;
    // Its control socket went with the directory; what it holds is in the new one's journal.
    server.process().signal(Signal::SIGKILL)?;
    server.process().wait(Duration::from_secs(10))?;
    let server = Server::start_with_log(&site.inside, &state, &log, &WORDS)?;
    expect_bound(&server, &client, acked)?;
    stop(server, site.server_end()).map(drop)
}

fn killed_at_the_edges() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let state = site.state();
    let mut server = Server::start(&site.inside, &state, &WORDS)?;
    let mut clients = Vec::new();
    for number in 1..=20 {
        let mut client = Client::new(&site, number)?;
        clients.push((client.take()?, client));
    }
    for round in 0..16u32 {
        // While it stops.
        server.process().signal(Signal::SIGTERM)?;
        std::thread::sleep(Duration::from_millis(u64::from(round % 4) * 3));
        let _ = server.process().signal(Signal::SIGKILL);
        server.process().wait(Duration::from_secs(20))?;
        // While it starts: recovery, compaction, the program, the sockets.
        let mut command = site.inside.command(workspace::binary("dhcp-xdp")?)?;
        command.arg("serve").args(WORDS).arg("--state-dir").arg(&state);
        let mut starting = Process::spawn(&mut command, site.lab.path("starting.log"))?;
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        let _ = starting.signal(Signal::SIGKILL);
        starting.wait(Duration::from_secs(20))?;
        server = Server::start(&site.inside, &state, &WORDS)?;
        let (address, client) = &mut clients[round as usize];
        expect_bound(&server, client, *address)?;
        let again = client.take()?;
        ensure!(again == *address, "round {round}: {address} became {again}");
    }
    for (address, client) in &clients {
        expect_bound(&server, client, *address)?;
    }
    stop(server, site.server_end()).map(drop)
}

/// Runs `dhcp-xdp` with these words, in the server's namespace.
fn dhcp_xdp(site: &Direct, words: &[&str]) -> Result<Output> {
    command::finish(site.inside.command(workspace::binary("dhcp-xdp")?)?.args(words))
}

/// A `serve` that is to fail: what it says, in one line.
fn refusal(site: &Direct, state: &Path) -> Result<String> {
    let mut command = site.inside.command(workspace::binary("dhcp-xdp")?)?;
    command.arg("serve").args(WORDS).arg("--state-dir").arg(state);
    let log = site.lab.path("refused.log");
    let _ = fs::remove_file(&log);
    let mut process = Process::spawn(&mut command, &log)?;
    let status = process.wait(Duration::from_secs(15)).context("it serves")?;
    ensure!(status.code() == Some(1), "{status}: {}", process.log());
    let said = process.log();
    let last = said.lines().last().unwrap_or_default().to_owned();
    ensure!(last.starts_with("dhcp-xdp: ") && !said.contains("panicked"), "{said}");
    ensure!(site.server_end().xdp_program()?.is_none(), "a program is attached after it was refused");
    Ok(last)
}

fn unusable() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let expect = |state: &Path, words: &[&str]| -> Result<()> {
        let said = refusal(&site, state)?;
        ensure!(words.iter().all(|word| said.contains(word)), "{}: {said}", state.display());
        Ok(())
    };
    let folder = |name: &str| -> Result<PathBuf> { site.lab.folder(name) };
    // A disk that is full already.
    let full = Memory::mount(site.lab.path("full"), "64k")?;
    let state = full.0.join("state");
    fs::create_dir(&state)?;
    let _ = fs::write(full.0.join("fill"), vec![0; 1 << 20]);
    expect(&state, &["No space left on device", "state"])?;
    // One that may only be read.
    command::output(command::tool("mount")?.args(["-o", "remount,ro"]).arg(&full.0))?;
    expect(&state, &["Read-only file system"])?;
    expect(&full.0.join("other"), &["cannot make it", "Read-only file system"])?;
    // A file, a link to nowhere, a directory that everybody may write to.
    fs::write(site.lab.path("file"), "")?;
    expect(&site.lab.path("file"), &["file"])?;
    std::os::unix::fs::symlink("/nowhere/at/all", site.lab.path("link"))?;
    expect(&site.lab.path("link"), &["link"])?;
    let open = folder("open")?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    expect(&open, &["everybody may write to it", "chmod o-w"])?;
    // Files with a segment's name that are none: a folder, a pipe.
    let strange = folder("strange")?;
    fs::create_dir(strange.join("journal-0000000003.seg"))?;
    expect(&strange, &["journal-0000000003.seg: not a regular file"])?;
    // Other files are nobody's business.
    let garbage = folder("garbage")?;
    for (name, bytes) in [("journal-3.seg", &b"x"[..]), ("journal-0000000001.seg.bak", b"y"), ("core", b"z")] {
        fs::write(garbage.join(name), bytes)?;
    }
    let server = Server::start(&site.inside, &garbage, &WORDS)?;
    Client::new(&site, 1)?.take()?;
    stop(server, site.server_end())?;
    ensure!(garbage.join("journal-3.seg").exists() && garbage.join("core").exists(), "a stranger's file is gone");
    Ok(())
}

/// The oldest file of the journal that has records in it, and its bytes.
fn journal_file(state: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(state)?.filter_map(|entry| entry.ok().map(|it| it.path())).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-")));
    files.sort();
    let with_records = files.into_iter().find(|path| fs::metadata(path).is_ok_and(|it| it.len() > 3 * 64));
    let path = with_records.context("no journal")?;
    let bytes = fs::read(&path)?;
    Ok((path, bytes))
}

fn damaged() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let state = site.state();
    let server = site.serve(&[])?;
    let mut clients = Vec::new();
    for number in 1..=8 {
        let mut client = Client::new(&site, number)?;
        clients.push((client.take()?, client));
    }
    let dir = state.to_string_lossy().into_owned();
    let check = |words: &[&str]| -> Result<(Option<i32>, String)> {
        let output = dhcp_xdp(&site, &[&["journal"], words, &["--state-dir", &dir]].concat())?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok((output.status.code(), said))
    };
    // Beside a running server it may be looked at and not repaired.
    ensure!(check(&["check"])?.0 == Some(0), "{:?}", check(&["check"])?);
    let (code, said) = check(&["repair", "--yes"])?;
    ensure!(code == Some(1) && said.contains("stop that server first"), "{code:?} {said}");
    stop(server, site.server_end())?;
    let (code, said) = check(&["repair", "--yes"])?;
    ensure!(code == Some(0) && said.contains("nothing to repair"), "{code:?} {said}");
    // The second record, the third's address too: that one is lost.
    let (path, mut bytes) = journal_file(&state)?;
    let records: Vec<usize> = (64..bytes.len()).step_by(64).filter(|at| (2..6).contains(&bytes[at + 4])).collect();
    let (first, second) = (records[1], records[2]);
    for at in [first, second] {
        bytes[at + 24..at + 40].fill(0xee);
    }
    fs::write(&path, &bytes)?;
    let said = refusal(&site, &state)?;
    for word in [format!("damaged record at byte {first}"), format!("dhcp-xdp journal repair --state-dir {dir}")] {
        ensure!(said.contains(&word), "{said}");
    }
    let (code, said) = check(&["check", "--json"])?;
    let found: Value = serde_json::from_str(&said).context("JSON of check")?;
    ensure!(code == Some(1) && found["sound"] == false && found["damage"][0]["offset"] == first, "{code:?} {said}");
    let suspects: Vec<&str> =
        found["suspects"].as_array().context("no suspects")?.iter().filter_map(Value::as_str).collect();
    // Without a word of consent nothing happens.
    let (code, said) = check(&["repair"])?;
    ensure!(code == Some(1) && said.contains("nothing is changed") && fs::read(&path)? == bytes, "{code:?} {said}");
    let (code, said) = check(&["repair", "--yes"])?;
    ensure!(code == Some(0) && said.contains("Done"), "{code:?} {said}");
    ensure!(check(&["check"])?.0 == Some(0), "{:?}", check(&["check"])?);
    // All but those that it named are there.
    let server = site.serve(&[])?;
    let leases = server.leases()?;
    let lost: Vec<String> =
        clients.iter().map(|(address, _)| address.to_string()).filter(|it| state_of(&leases, it).is_none()).collect();
    ensure!(
        lost.len() == 2 && lost.iter().all(|address| suspects.contains(&address.as_str())),
        "{lost:?} of {suspects:?}"
    );
    stop(server, site.server_end()).map(drop)
}

fn moved() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let mut client = Client::new(&site, 1)?;
    let address = client.take()?;
    let file = site.lab.path("leases.csv").to_string_lossy().into_owned();
    let dir = site.state().to_string_lossy().into_owned();
    let run = |words: &[&str]| -> Result<String> {
        let output = dhcp_xdp(&site, words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{words:?}: {} {said}", output.status);
        Ok(said)
    };
    run(&["leases", "export", "--output", &file, "--state-dir", &dir])?;
    let refused = run(&["leases", "import", &file, "--state-dir", &dir]).unwrap_err().to_string();
    ensure!(refused.contains("stop that server first"), "{refused}");
    stop(server, site.server_end())?;
    // Another machine, so to speak.
    let other = site.lab.path("other");
    let there = other.to_string_lossy();
    let refused = run(&["leases", "import", &file, "--state-dir", &there]).unwrap_err().to_string();
    ensure!(refused.contains("is not there") && !other.exists(), "{refused}");
    run(&["leases", "import", &file, "--state-dir", &there, "--create"])?;
    let server = Server::start(&site.inside, &other, &WORDS)?;
    expect_bound(&server, &client, address)?;
    ensure!(client.take()? == address, "it gets another address there");
    stop(server, site.server_end()).map(drop)
}
