//! A listing of leases as a stream: one JSON object a line, a chunk at a time, however many there are.

use std::{
    io,
    ops::ControlFlow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, error::TrySendError},
};

use super::{
    api::{Filter, LeaseView},
    backend::Backend,
};
use crate::lease::Space;

/// Bytes of a chunk, about 250 leases.
const CHUNK: usize = 64 * 1024;
/// Chunks made ahead of a slow reader.
const AHEAD: usize = 2;
/// Longest pause between two looks whether a slow reader has taken a chunk.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The body of the answer: chunks from the thread that walks the table.
pub(super) struct Listing {
    chunks: mpsc::Receiver<Bytes>,
    /// The reader paused for too long: what it has is not all.
    is_cut: Arc<AtomicBool>,
}

/// Starts to walk the table on a blocking thread; `space` is the filter's. It ends with the table, or when the reader goes away or takes nothing for
/// `patience`: a thread is too dear to wait for somebody who reads in a pager.
pub(super) fn stream(
    backend: Arc<dyn Backend>,
    filter: Filter,
    space: Option<Space>,
    permit: OwnedSemaphorePermit,
    patience: Duration,
) -> Listing {
    let (sender, chunks) = mpsc::channel(AHEAD);
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    tokio::task::spawn_blocking(move || {
        // Held for as long as this thread is taken.
        let _permit = permit;
        let is_gone = || sender.is_closed();
        walk(&*backend, &filter, space, &is_gone, &|chunk| match send(&sender, chunk, patience) {
            Sent::Yes => ControlFlow::Continue(()),
            Sent::NobodyThere => ControlFlow::Break(()),
            Sent::TooSlow => {
                log::info!("control: a listing is cut off: nobody read on for {} s", patience.as_secs());
                // Before the sender goes, whose end the reader sees.
                cut.store(true, Ordering::Release);
                ControlFlow::Break(())
            }
        });
    });
    Listing { chunks, is_cut }
}

/// What became of a chunk.
enum Sent {
    Yes,
    NobodyThere,
    TooSlow,
}

/// Waits for room by looking: a timer of the runtime's would fail while that shuts down.
fn send(sender: &mpsc::Sender<Bytes>, mut chunk: Bytes, patience: Duration) -> Sent {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        chunk = match sender.try_send(chunk) {
            Ok(()) => return Sent::Yes,
            Err(TrySendError::Closed(_)) => return Sent::NobodyThere,
            Err(TrySendError::Full(_)) if Instant::now() >= deadline => return Sent::TooSlow,
            Err(TrySendError::Full(chunk)) => chunk,
        };
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn walk(
    backend: &dyn Backend,
    filter: &Filter,
    space: Option<Space>,
    is_gone: &dyn Fn() -> bool,
    send: &dyn Fn(Bytes) -> ControlFlow<()>,
) {
    let mut chunk = Vec::with_capacity(CHUNK + 1024);
    backend.leases(&mut |binding| {
        if space.is_some_and(|space| binding.space != space) || !filter.takes(&binding) {
            return if is_gone() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        let view = LeaseView::new(&binding, backend.subnet_of(binding.at()), backend.vrfs());
        // Plain strings and numbers into memory: nothing that could fail.
        if serde_json::to_writer(&mut chunk, &view).is_ok() {
            chunk.push(b'\n');
        }
        if chunk.len() < CHUNK {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK + 1024));
        send(full.into())
    });
    if !chunk.is_empty() {
        // The reader may have gone; then there is nobody to tell.
        let _ = send(chunk.into());
    }
}

impl Body for Listing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.chunks.poll_recv(context).map(|chunk| match chunk {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            // An error breaks the connection off, so that nobody takes a part for the whole.
            None if self.is_cut.swap(false, Ordering::Acquire) => Some(Err(io::ErrorKind::TimedOut.into())),
            None => None,
        })
    }
}
