//! The thread of the ping check.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::{StartError, interface::Seat};
use crate::{
    config::Config,
    ping::{IcmpSocket, PingCounters, Prober, Recent, desk, places},
    wake::Wake,
};

/// Probes until it is dropped.
pub(super) struct Pinging {
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    counters: Arc<PingCounters>,
    thread: Option<JoinHandle<()>>,
}

impl Pinging {
    /// Starts it, and gives each worker a desk.
    pub fn start(config: &Config, socket: IcmpSocket, seats: &mut [Seat]) -> Result<Self, StartError> {
        let wake = Arc::new(Wake::new().map_err(StartError::Wake)?);
        let (stop, counters) = (Arc::<AtomicBool>::default(), Arc::<PingCounters>::default());
        let mut pinging = Self { wake: Arc::clone(&wake), stop: Arc::clone(&stop), counters, thread: None };
        let Some(check) = &config.ping_check else { return Ok(pinging) };
        let recent = Arc::new(Recent::new(check));
        let workers = seats.len();
        let links = seats.iter_mut().map(|seat| {
            let places = seat.places(places(check, workers));
            let ends = (Arc::clone(&wake), Arc::clone(&seat.wake));
            let (desk, link) = desk(check, workers, places, Arc::clone(&recent), ends.0, ends.1);
            seat.sit_at(desk, Arc::clone(&recent));
            link
        });
        let counters = Arc::clone(&pinging.counters);
        let prober = Prober::new(socket, links.collect(), check, config.decline_quarantine_s, counters);
        let thread = std::thread::Builder::new()
            .name("ping".into())
            .spawn(move || prober.run(&wake, &stop))
            .map_err(|source| StartError::Thread { name: "ping".into(), source })?;
        pinging.thread = Some(thread);
        Ok(pinging)
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<PingCounters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot panic but for a bug; the panic was printed then.
            let _ = thread.join();
        }
    }
}
