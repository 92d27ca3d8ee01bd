//! A listing of leases as a stream: one JSON object a line, a chunk at a time, however many there are.

use std::{
    convert::Infallible,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    api::{Filter, LeaseView},
    backend::Backend,
};

/// Bytes of a chunk, about 250 leases.
const CHUNK: usize = 64 * 1024;
/// Chunks made ahead of a slow reader.
const AHEAD: usize = 2;

/// The body of the answer: chunks from the thread that walks the table.
pub(super) struct Listing {
    chunks: mpsc::Receiver<Bytes>,
}

/// Starts to walk the table on a blocking thread. It ends with the table, or when the reader goes away.
pub(super) fn stream(backend: Arc<dyn Backend>, filter: Filter, permit: OwnedSemaphorePermit) -> Listing {
    let (sender, chunks) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        // Held for as long as this thread is taken.
        let _permit = permit;
        walk(&*backend, &filter, &sender);
    });
    Listing { chunks }
}

fn walk(backend: &dyn Backend, filter: &Filter, sender: &mpsc::Sender<Bytes>) {
    let mut chunk = Vec::with_capacity(CHUNK + 1024);
    backend.leases(&mut |binding| {
        if !filter.takes(&binding) {
            return if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        let view = LeaseView::new(&binding, backend.subnet_of(binding.address));
        // Plain strings and numbers into memory: nothing that could fail.
        if serde_json::to_writer(&mut chunk, &view).is_ok() {
            chunk.push(b'\n');
        }
        if chunk.len() < CHUNK {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK + 1024));
        match sender.blocking_send(full.into()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    if !chunk.is_empty() {
        // The reader may have gone; then there is nobody to tell.
        let _ = sender.blocking_send(chunk.into());
    }
}

impl Body for Listing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}
