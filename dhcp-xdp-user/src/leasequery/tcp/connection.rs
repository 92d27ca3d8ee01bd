//! One connection, from its first byte to its last: queries in, replies out, and what ends it.
//!
//! It runs on the one thread of [`super::server`], in small steps. What it holds is bounded: one message that is being read, a
//! chunk of replies that is being written, and the queries under way. No more queries are read than are worked on (RFC 6926
//! 8.4), and while replies wait for a requestor who does not read, nothing is made for it.

use std::{
    collections::VecDeque,
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
};

use super::{
    active::{Active, Ending},
    counters::{Asked, End},
    query::{Ask, Query, Refusal, Vpn},
    reply::{Origin, Replies, Status},
    server::Shared,
    stream::StreamReader,
    walk::{Step, Walk},
};
use crate::wire::options::Codes;

/// Bytes that are read at a time.
const READ: usize = 4 << 10;
/// Until a slot that was being changed is looked at again.
const MOMENT: Duration = Duration::from_millis(1);
/// What a query costs of bindings, whatever it asks for.
const QUERY: u32 = 1;
/// How long a closed connection is read from still, so that its last replies are not lost to a reset.
const LINGER: Duration = Duration::from_millis(200);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a query is not allowed.
const NO_VPN: &str = "there is no such VPN";

/// A bulk query under way.
struct Bulk {
    replies: Replies,
    walk: Walk,
}

/// A query under way.
enum Job {
    Bulk(Box<Bulk>),
    Active(Box<Active>),
}

/// Replies on their way into the socket.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// When they must be there.
    until: Option<Instant>,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn wrote(&mut self, len: usize) {
        self.written += len;
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
            self.until = None;
        }
    }
}

/// A connection.
struct Connection<'a> {
    shared: &'a Shared,
    server_id: Ipv4Addr,
    reader: StreamReader,
    /// The reader has no whole message.
    is_hungry: bool,
    /// Worked on in turn; an active one is alone.
    jobs: VecDeque<Job>,
    out: Outbox,
    /// Its work is paid for then.
    gate: Instant,
    /// When it is closed though nothing is wrong, while no query is under way.
    idle_until: Instant,
    /// It ends when what is in `out` is written.
    ending: Option<End>,
}

/// Serves a connection until it ends. `server_id` is the address that it came to.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    server_id: Ipv4Addr,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut from, mut to) = tokio::io::split(stream);
    let now = Instant::now();
    let mut connection = Connection {
        shared: &shared,
        server_id,
        reader: StreamReader::default(),
        is_hungry: true,
        jobs: VecDeque::new(),
        out: Outbox::default(),
        gate: now,
        idle_until: now + shared.settings.data_timeout,
        ending: None,
    };
    let end = connection.run(&mut from, &mut to, &mut stop).await;
    connection.drop_jobs();
    shared.counters.ended(end);
    let close = async {
        to.shutdown().await?;
        let mut rest = [0; READ];
        while from.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whether the requestor closes its end in time or not, it is over.
    let _ = tokio::time::timeout(LINGER, close).await;
}

impl Connection<'_> {
    async fn run(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        stop: &mut watch::Receiver<bool>,
    ) -> End {
        let mut buffer = [0; READ];
        loop {
            let now = Instant::now();
            if self.out.is_empty() {
                if let Some(end) = self.ending {
                    return end;
                }
                if now >= self.gate {
                    self.take_queries();
                    self.work();
                    if self.out.is_empty() && self.ending.is_none() && self.has_work() && now >= self.gate {
                        // Nothing was found to tell; others are to have their turn.
                        tokio::task::yield_now().await;
                        continue;
                    }
                }
            }
            if let Some(end) = self.overdue(now) {
                return end;
            }
            let due = tokio::time::Instant::from_std(self.due());
            let (is_writing, is_ending) = (!self.out.is_empty(), self.ending.is_some());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !is_ending => self.stop(),
                written = to.write(self.out.rest()), if is_writing => match written {
                    Ok(0) | Err(_) => return End::Requestor,
                    Ok(len) => self.out.wrote(len),
                },
                read = from.read(&mut buffer), if self.is_hungry && !is_ending => match read {
                    Ok(0) | Err(_) => return End::Requestor,
                    Ok(len) => {
                        self.reader.push(&buffer[..len]);
                        self.is_hungry = false;
                    }
                },
                changed = changes(&mut self.jobs, self.shared), if !is_writing && !is_ending => {
                    if let Err(ending) = changed {
                        self.end_active(&ending);
                    }
                }
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// What must not last any longer.
    fn overdue(&self, now: Instant) -> Option<End> {
        if self.out.until.is_some_and(|until| now >= until) {
            return Some(self.ending.unwrap_or(End::Blocked));
        }
        (self.out.is_empty() && self.jobs.is_empty() && now >= self.idle_until).then_some(End::Idle)
    }

    /// When to look again though nothing has happened.
    fn due(&self) -> Instant {
        if let Some(until) = self.out.until {
            return until;
        }
        let next = match self.jobs.front() {
            None => self.idle_until,
            Some(Job::Bulk(_)) => self.gate,
            Some(Job::Active(active)) if active.has_work() => self.gate,
            Some(Job::Active(active)) => active.due(),
        };
        // A message may wait for the gate.
        if self.is_hungry { next.max(self.gate) } else { self.gate }
    }

    fn has_work(&self) -> bool {
        match self.jobs.front() {
            None => false,
            Some(Job::Bulk(_)) => true,
            Some(Job::Active(active)) => active.has_work(),
        }
    }

    fn is_active(&self) -> bool {
        matches!(self.jobs.front(), Some(Job::Active(_)))
    }

    /// Begins the queries that have been read, as many as are worked on at a time.
    fn take_queries(&mut self) {
        while self.ending.is_none() && self.out.is_empty() && Instant::now() >= self.gate {
            if self.jobs.len() >= self.shared.settings.max_queries && !self.is_active() {
                return;
            }
            let query = match self.reader.message() {
                Ok(Some(message)) => Query::parse(message),
                Ok(None) => {
                    self.is_hungry = true;
                    return;
                }
                Err(error) => return self.close(End::Malformed, &error.to_string()),
            };
            self.pay(QUERY, 0);
            self.idle_until = Instant::now() + self.shared.settings.data_timeout;
            match query {
                Ok(query) => self.begin(query),
                Err(Refusal::Close(why)) => self.close(End::Malformed, why),
                Err(Refusal::Tell(origin, status, why)) => self.refuse(origin, status, why),
            }
        }
    }

    fn begin(&mut self, Query { origin, ask }: Query) {
        let is_running = |job: &Job| matches!(job, Job::Bulk(bulk) if bulk.replies.xid() == origin.xid);
        if self.jobs.iter().any(is_running) {
            // Its replies could not be told from the other one's.
            return self.close(End::Malformed, "a transaction identifier is used twice at a time");
        }
        match ask {
            Ask::Tls => {
                self.shared.counters.asked(Asked::Tls);
                self.replies(origin).tls_refused(&mut self.out.bytes);
                self.said();
            }
            Ask::Bulk(_) if self.is_active() => {
                self.refuse(origin, Status::NotAllowed, "an active query is under way on this connection");
            }
            Ask::Bulk(selection) => {
                let Some(spaces) = self.shared.world.spaces(&selection.vpn) else {
                    return self.refuse(origin, Status::NotAllowed, NO_VPN);
                };
                self.shared.counters.asked(Asked::Bulk);
                let walk = Walk::selected(selection, spaces, &self.shared.world);
                self.jobs.push_back(Job::Bulk(Box::new(Bulk { replies: self.replies(origin), walk })));
            }
            Ask::Active(vpn, start_s) => self.begin_active(origin, &vpn, start_s),
        }
    }

    fn begin_active(&mut self, origin: Origin, vpn: &Vpn, start_s: Option<u32>) {
        let Some(active) = &self.shared.settings.active else {
            // "A value that is not supported over a TCP connection": the server MUST close it (RFC 7724 8.1.1).
            return self.close(End::Malformed, "active queries are not configured");
        };
        if !self.jobs.is_empty() {
            return self.refuse(origin, Status::NotAllowed, "another query is under way on this connection");
        }
        let Some(spaces) = self.shared.world.spaces(vpn) else {
            return self.refuse(origin, Status::NotAllowed, NO_VPN);
        };
        self.shared.counters.asked(Asked::Active);
        let replies = self.replies(origin);
        match Active::begin(&self.shared.world, replies, spaces, start_s, active.idle, &mut self.out.bytes) {
            Ok(active) => {
                self.shared.counters.active(1);
                self.jobs.push_back(Job::Active(Box::new(active)));
            }
            Err(why) => {
                let mut replies = self.replies(origin);
                let base_s = self.shared.world.clock.now_s();
                replies.status(&mut self.out.bytes, base_s, Status::QueryTerminated, &why.to_string());
                self.ending = Some(End::Failed);
            }
        }
        self.said();
    }

    fn refuse(&mut self, origin: Origin, status: Status, why: &str) {
        self.shared.counters.refused(status);
        let is_active = origin.is_active();
        let base_s = self.shared.world.clock.now_s();
        self.replies(origin).end(&mut self.out.bytes, base_s, status, why);
        self.said();
        if is_active {
            // "It SHOULD close the connection after this error is signaled" (RFC 7724 8.2).
            self.close(End::Refused, why);
        }
    }

    fn replies(&self, origin: Origin) -> Replies {
        let active = self.shared.settings.active.as_ref().filter(|_| origin.is_active());
        let withhold = active.map_or_else(Codes::default, |active| active.withhold);
        Replies::new(origin, self.server_id, &self.shared.world.tellable(), &withhold)
    }

    /// One step of one query.
    fn work(&mut self) {
        if self.ending.is_some() || !self.out.is_empty() || Instant::now() < self.gate {
            return;
        }
        let shared = self.shared;
        let Some(job) = self.jobs.pop_front() else { return };
        let (job, step) = match job {
            Job::Bulk(mut bulk) => {
                let Bulk { replies, walk } = &mut *bulk;
                let base_s = shared.world.clock.now_s();
                let step = walk.step(&shared.world, replies, base_s, &mut self.out.bytes);
                if step.is_done {
                    replies.done(&mut self.out.bytes, None);
                    self.idle_until = Instant::now() + shared.settings.data_timeout;
                    (None, step)
                } else {
                    (Some(Job::Bulk(bulk)), step)
                }
            }
            Job::Active(mut active) => {
                let step = active.step(&shared.world, &mut self.out.bytes);
                (Some(Job::Active(active)), step)
            }
        };
        self.jobs.extend(job);
        self.account(step);
        self.said();
    }

    fn account(&mut self, step: Step) {
        self.shared.counters.told(step.told);
        if step.slots > 0 {
            self.pay(step.told, step.slots);
        }
        if step.must_wait {
            self.gate = self.gate.max(Instant::now() + MOMENT);
        }
    }

    fn pay(&mut self, bindings: u32, slots: u32) {
        self.gate = self.shared.throttle.pay(bindings, slots, Instant::now());
    }

    /// There is something to write, within a time.
    fn said(&mut self) {
        if self.out.is_empty() || self.out.until.is_some() {
            return;
        }
        let settings = &self.shared.settings;
        let patience = match &settings.active {
            Some(active) if self.is_active() => active.send_timeout,
            _ => settings.data_timeout,
        };
        self.out.until = Some(Instant::now() + patience);
    }

    fn end_active(&mut self, ending: &Ending) {
        if let Some(Job::Active(active)) = self.jobs.pop_front() {
            log::info!("leasequery: an active query ends: {ending}");
            self.shared.counters.active(-1);
            active.end(ending, &mut self.out.bytes);
            self.said();
        }
        self.ending = Some(if matches!(ending, Ending::Lagged) { End::Lagged } else { End::Failed });
    }

    /// "When a server is requested to shut down, it SHOULD send" what is outstanding its end (RFC 7724 7.4, RFC 6926 8.5).
    fn stop(&mut self) {
        self.close(End::Stopped, "the server is stopping");
        self.out.until = Some(Instant::now() + LAST_WORDS);
    }

    /// Ends it when all is said: each bulk query "MUST be terminated by sending a final DHCPLEASEQUERYDONE message if such a
    /// message can be sent" (RFC 6926 8.2).
    fn close(&mut self, end: End, why: &str) {
        log::debug!("leasequery: a connection is closed: {why}");
        for job in self.jobs.drain(..) {
            match job {
                Job::Bulk(mut bulk) => {
                    bulk.replies.done(&mut self.out.bytes, Some((Status::QueryTerminated, why)));
                }
                Job::Active(active) => {
                    self.shared.counters.active(-1);
                    active.end(&Ending::Failed(why.into()), &mut self.out.bytes);
                }
            }
        }
        self.ending = Some(end);
        self.said();
    }

    fn drop_jobs(&mut self) {
        if self.is_active() {
            self.shared.counters.active(-1);
        }
        self.jobs.clear();
    }
}

/// Waits for what an active query follows; for ever where there is none.
async fn changes(jobs: &mut VecDeque<Job>, shared: &Shared) -> Result<(), Ending> {
    match jobs.front_mut() {
        Some(Job::Active(active)) => active.changes(&shared.world).await,
        _ => std::future::pending().await,
    }
}
