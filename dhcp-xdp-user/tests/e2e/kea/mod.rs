//! Kea side by side: the same client messages to our server and to Kea, which was given an equivalent configuration made from
//! ours, each on a link of its own; the replies are compared field by field.
//!
//! Every difference is in [`KNOWN`] with the sentence that makes ours right, or the test fails. What is not compared: which
//! address of a pool a client gets (only what it is to the client), the order of options, and padding.
//!
//! A message is known to be dealt with when the renewal that was sent after it is acknowledged: both servers take messages
//! one after the other. So silence is told from slowness without waiting.

mod compare;
mod configuration;
mod known;
mod messages;
mod world;

use std::{
    collections::BTreeMap,
    env, fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use xtask::lab::{Kea, Server, Veth, raw::RawSocket};

use self::{
    compare::{Answer, Seen, differences},
    known::KNOWN,
    messages::{Case, Dice, Meant},
    world::{Client, RELAYED, World},
};
use crate::{
    site::{Direct, stop},
    test,
};

/// Names another seed, to play a failure again.
const SEED: &str = "DHCP_XDP_KEA_SEED";
/// Client messages sent to each server.
const MESSAGES: usize = 4000;
/// Clients at a time.
const CLIENTS: u32 = 60;
/// Longest wait for an answer to a renewal.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn tests() -> Vec<Trial> {
    vec![
        test("kea_answers_as_we_do_or_the_difference_is_known", side_by_side),
        test("the_known_differences_from_kea_are_documented", documented),
    ]
}

fn documented() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences-from-kea.md");
    let made = known::document();
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if env::var_os("DHCP_XDP_WRITE_DOCS").is_some() {
        fs::write(&path, &made)?;
        return Ok(());
    }
    ensure!(kept == made, "docs/differences-from-kea.md is out of date: run this test with DHCP_XDP_WRITE_DOCS=1");
    Ok(())
}

/// One of the two servers as its clients see it.
struct Twin {
    /// Its place in [`World::given`].
    index: usize,
    socket: RawSocket,
    /// The client whose renewals show how far the server is, and its address.
    prober: (Client, Ipv4Addr),
    xid: u32,
}

impl Twin {
    /// Lets the prober take a lease.
    fn new(index: usize, site: &Direct) -> Result<Self> {
        let socket = RawSocket::open(site.client_end())?;
        let mut twin = Self { index, socket, prober: (Client::number(0xfffe), Ipv4Addr::UNSPECIFIED), xid: 1 };
        for step in 0..2 {
            let client = twin.prober.0.clone();
            let offered = twin.prober.1;
            twin.xid += 1;
            let xid = twin.xid;
            twin.socket.send(&messages::first_lease(step).frame(&client, xid, &|_| offered))?;
            let reply = twin.wait_for(xid, &client)?;
            twin.prober.1 = reply.last().context("the prober got no lease")?.yiaddr;
        }
        Ok(twin)
    }

    /// What comes in until the reply to `xid` has come, that one last.
    fn wait_for(&self, xid: u32, client: &Client) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Some(frame) = self.socket.receive(deadline)? {
            let read = Seen::read(&frame, client.mac, RELAYED.mac, self.index == 1);
            let Some(reply) = read.with_context(|| format!("server {}: {frame:02x?}", self.index))? else { continue };
            let is_last = reply.xid == xid;
            seen.push(reply);
            if is_last {
                return Ok(seen);
            }
        }
        bail!("server {} does not answer within {} s", self.index, PATIENCE.as_secs())
    }

    /// Sends a message; the answer to it, if there is one.
    fn ask(&mut self, case: &Case, world: &World) -> Result<Option<Seen>> {
        let client = &world.clients[case.client];
        let (asked, probed) = (self.xid + 1, self.xid + 2);
        self.xid += 2;
        let fill_in = |meant: Meant| world.fill_in(self.index, case.client, meant);
        self.socket.send(&case.frame(client, asked, &fill_in))?;
        self.socket.send(&messages::probe(&self.prober.0, self.prober.1, probed))?;
        let mut replies = self.wait_for(probed, client)?;
        replies.pop();
        ensure!(replies.len() <= 1, "{} answers to one {}", replies.len(), case.name);
        let answer = replies.pop();
        ensure!(answer.as_ref().is_none_or(|answer| answer.xid == asked), "an answer to nothing: {}", case.name);
        Ok(answer)
    }
}

/// What the server gave the client by this answer, or the client gave back by its message.
fn take_note(world: &mut World, server: usize, case: &Case, answer: Option<&Seen>) {
    let owned = world.given[server][case.client].lease;
    let named = [case.ciaddr, case.requested.unwrap_or(Meant::None)];
    let given = &mut world.given[server][case.client];
    match answer {
        Some(Seen { kind: 2, yiaddr, .. }) => given.offered = Some(*yiaddr),
        Some(Seen { kind: 5, yiaddr, .. }) if !yiaddr.is_unspecified() => {
            (given.lease, given.previous, given.offered) = (Some(*yiaddr), Some(*yiaddr), None);
        }
        // RELEASE, DECLINE.
        None if matches!(case.kind, 4 | 7) && named.contains(&Meant::Own) && case.oddity.is_none() => {
            given.lease = None;
            given.previous = if case.kind == 7 { owned } else { None };
            given.offered = None;
        }
        _ => {}
    }
}

fn side_by_side() -> Result<()> {
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let text = configuration::ours();
    let (ours, theirs) = (Direct::new(Veth::default())?, Direct::new(Veth::default())?);
    let server = Server::start_configured(&ours.inside, ours.state(), &text)?;
    let _kea = Kea::start(&theirs.lab, &theirs.inside, configuration::kea(&text)?)?;
    let mut twins = [Twin::new(0, &ours)?, Twin::new(1, &theirs)?];
    let told = play(seed, &mut twins)?;
    drop(twins);
    stop(server, ours.server_end())?;
    judge(seed, &told)
}

/// Sends all messages to both; each difference with how often there was one, and the first message that showed it.
fn play(seed: u64, twins: &mut [Twin; 2]) -> Result<BTreeMap<(String, String), (usize, Case)>> {
    let mut dice = Dice::new(seed);
    let mut world = World::new(CLIENTS);
    let mut told: BTreeMap<(String, String), (usize, Case)> = BTreeMap::new();
    for _ in 0..MESSAGES {
        let case = Case::any(&mut dice, &world);
        let mut answers: [Option<Answer>; 2] = [None, None];
        for (twin, answer) in twins.iter_mut().zip(&mut answers) {
            let requested = world.fill_in(twin.index, case.client, case.requested.unwrap_or(case.ciaddr));
            let seen = twin.ask(&case, &world).with_context(|| format!("seed {seed}: {case:?}"))?;
            let class = seen.as_ref().map(|seen| world.class(twin.index, case.client, requested, seen.yiaddr));
            take_note(&mut world, twin.index, &case, seen.as_ref());
            *answer = seen.zip(class).map(|(seen, class)| seen.answer(class));
        }
        let (found, is_lasting) = differences(answers[0].as_ref(), answers[1].as_ref());
        for difference in found {
            let name = match case.oddity {
                Some(oddity) => format!("{} with {oddity:?}", case.name),
                None => case.name.to_owned(),
            };
            told.entry((name, difference)).or_insert_with(|| (0, case.clone())).0 += 1;
        }
        if is_lasting {
            world.replace(case.client);
        }
    }
    Ok(told)
}

/// Every difference must be known, and every known one must still be there.
fn judge(seed: u64, told: &BTreeMap<(String, String), (usize, Case)>) -> Result<()> {
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut shown = [0; KNOWN.len()];
    for ((name, difference), (count, case)) in told {
        if let Some(at) = KNOWN.iter().position(|known| known.covers(name, difference)) {
            shown[at] += count;
            continue;
        }
        let of = unknown.entry(difference).or_default();
        let first = if of.is_empty() { format!(", the first {case:?}") } else { String::new() };
        of.push(format!("{name} ({count}{first})"));
    }
    let list: String = unknown.iter().map(|(difference, of)| format!("{difference}: {}\n", of.join(", "))).collect();
    ensure!(list.is_empty(), "seed {seed}: differences from Kea that nobody has explained:\n{list}");
    let gone = KNOWN.iter().zip(shown).find(|(_, count)| *count == 0);
    ensure!(gone.is_none(), "seed {seed}: no message shows this known difference any more: {gone:?}");
    Ok(())
}
