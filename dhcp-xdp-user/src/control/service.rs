//! The HTTP service on the control socket, on a thread of its own.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/health` | [`Health`]; 503 while the disk fails or a worker is gone |
//! | `GET /v1/stats` | [`Stats`](crate::stats::Stats) |
//! | `GET /v1/leases?state=&subnet=&vrf=&hw_address=&client_id=&circuit_id=&remote_id=` | [`LeaseView`]s, one a line |
//! | `GET /v1/leases/ADDRESS?vrf=` | [`LeaseView`]; 404 when nobody has or had it |
//! | `POST /v1/leases/ADDRESS/release?vrf=` | the released [`LeaseView`], durable; 404, 409, 503 |
//!
//! An address that pools of several VPNs have needs `vrf`: without it the answer is 300, with their names.
//! Every error is an [`ErrorView`].

use std::{io, net::Ipv4Addr, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::{Semaphore, oneshot};

use super::{
    api::{ErrorView, Filter, FilterQuery, Health, LeaseView, parse_vrf},
    backend::{Backend, ReleaseError},
    listing,
    socket::{self, ControlError},
};
use crate::lease::{Space, SpacedAddress};

/// Listings at the same time; each has a thread while it lasts.
const MAX_LISTINGS: usize = 4;
/// Releases at the same time: they share one lane into the journal, so that a second one would only wait in a thread.
const MAX_RELEASES: usize = 1;
/// Threads that are left for all that never waits: statistics and health.
const OTHER_THREADS: usize = 2;
/// How long a reader of a listing may take nothing before it is cut off.
const READER_PATIENCE: Duration = Duration::from_secs(60);
/// How long open connections may take to end when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Control, running. Dropping it without [`stop`](Control::stop) leaves its thread to the process.
pub struct Control {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the socket and starts the thread.
    ///
    /// # Errors
    /// The socket cannot be made, or another server has it.
    pub fn start(path: &std::path::Path, backend: Arc<dyn Backend>) -> Result<Self, ControlError> {
        Self::start_with(path, backend, READER_PATIENCE)
    }

    /// As [`start`](Self::start), with another patience for readers of listings.
    pub(super) fn start_with(
        path: &std::path::Path,
        backend: Arc<dyn Backend>,
        patience: Duration,
    ) -> Result<Self, ControlError> {
        let io = |action| move |source| ControlError::Io { path: path.to_owned(), action, source };
        let listener = socket::open(path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(MAX_LISTINGS + MAX_RELEASES + OTHER_THREADS)
            .thread_name("control-blocking")
            .build()
            .map_err(io("start control's runtime"))?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::from_std(listener).map_err(io("listen"))?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve(listener, router(backend, patience), stopped)) {
                    log::error!("control: {error}");
                }
                runtime.shutdown_timeout(STOP_PATIENCE);
            })
            .map_err(io("start control's thread"))?;
        Ok(Self { path: path.to_owned(), stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Takes no more requests, lets those under way end (for a second or two), ends the thread, removes the socket.
    pub fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only when the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("control: its thread panicked");
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("{}: cannot remove the socket: {error}", self.path.display());
        }
    }
}

async fn serve(listener: tokio::net::UnixListener, router: Router, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let (ended, end) = tokio::sync::watch::channel(false);
    let graceful = async move {
        let _ = stopped.await;
        let _ = ended.send(true);
    };
    let mut late = end;
    let cut = async move {
        let _ = late.wait_for(|ended| *ended).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        done = async { axum::serve(listener, router).with_graceful_shutdown(graceful).await } => done,
        () = cut => Ok(()),
    }
}

#[derive(Clone)]
struct Shared {
    backend: Arc<dyn Backend>,
    listings: Arc<Semaphore>,
    releases: Arc<Semaphore>,
    patience: Duration,
}

/// The routes, over any backend.
pub(super) fn router(backend: Arc<dyn Backend>, patience: Duration) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/stats", get(stats))
        .route("/v1/leases", get(leases))
        .route("/v1/leases/{address}", get(lease))
        .route("/v1/leases/{address}/release", post(release))
        .fallback(|| async {
            Failure::new(StatusCode::NOT_FOUND, "no such path; see /v1/health, /v1/stats, /v1/leases")
        })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path takes another method (release is a POST, all else a GET)",
            )
        })
        .with_state(Shared {
            backend,
            listings: Arc::new(Semaphore::new(MAX_LISTINGS)),
            releases: Arc::new(Semaphore::new(MAX_RELEASES)),
            patience,
        })
}

/// An error as the API answers it.
struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorView { error: self.message })).into_response()
    }
}

/// Runs what may block off the runtime's only thread.
async fn blocking<T: Send + 'static>(
    backend: &Arc<dyn Backend>,
    work: impl FnOnce(&dyn Backend) -> T + Send + 'static,
) -> Result<T, Failure> {
    let backend = backend.clone();
    tokio::task::spawn_blocking(move || work(&*backend)).await.map_err(|_| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the server: see its log")
    })
}

async fn health(State(shared): State<Shared>) -> Result<Response, Failure> {
    let (stats, trouble) = blocking(&shared.backend, |backend| (backend.stats(), backend.trouble())).await?;
    let reason = stats.journal.failing.map(|why| format!("journal: {why}")).or(trouble);
    let (code, status) = match reason {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let health = Health { status: status.to_owned(), reason, version: stats.version };
    Ok((code, Json(health)).into_response())
}

async fn stats(State(shared): State<Shared>) -> Result<Response, Failure> {
    Ok(Json(blocking(&shared.backend, |backend| backend.stats()).await?).into_response())
}

async fn leases(
    State(shared): State<Shared>,
    query: Result<Query<FilterQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why.body_text()))?;
    let filter = Filter::try_from(query).map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why))?;
    let space = filter.space(shared.backend.vrfs()).map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why))?;
    let Ok(permit) = shared.listings.clone().try_acquire_owned() else {
        return Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MAX_LISTINGS} listings are under way already: try again"),
        ));
    };
    let body = listing::stream(shared.backend.clone(), filter, space, permit, shared.patience);
    Ok(([("content-type", "application/x-ndjson")], axum::body::Body::new(body)).into_response())
}

fn address(text: &str) -> Result<Ipv4Addr, Failure> {
    text.parse().map_err(|_| Failure::new(StatusCode::BAD_REQUEST, format!("found `{text}`; expected an IPv4 address")))
}

/// Which of the addresses that several VPNs may have.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct VrfQuery {
    vrf: Option<String>,
}

type VrfGiven = Result<Query<VrfQuery>, QueryRejection>;

/// The address of a request in the space that it means: that of the VPN that it names, or the only one whose pools have it.
fn place(backend: &dyn Backend, text: &str, query: VrfGiven) -> Result<SpacedAddress, Failure> {
    let address = address(text)?;
    let bad = |why| Failure::new(StatusCode::BAD_REQUEST, why);
    let Query(VrfQuery { vrf }) = query.map_err(|why| bad(why.body_text()))?;
    if let Some(name) = vrf {
        let space = parse_vrf(&name, backend.vrfs()).map_err(bad)?;
        return Ok(SpacedAddress::new(space, address));
    }
    let spaces = [Space::GLOBAL].into_iter().chain(backend.vrfs().iter().map(|vrf| vrf.space));
    let having: Vec<Space> = spaces.filter(|space| backend.in_pool(SpacedAddress::new(*space, address))).collect();
    match having[..] {
        [] => Ok(address.into()),
        [space] => Ok(SpacedAddress::new(space, address)),
        _ => {
            let names: Vec<String> = having.iter().map(|space| backend.vrfs().name_of(*space)).collect();
            let why = format!("{address} is in pools of several VPNs: say which, of {}", names.join(", "));
            Err(Failure::new(StatusCode::MULTIPLE_CHOICES, why))
        }
    }
}

/// What a message ends with that is about an address of a VPN.
fn of_vrf(backend: &dyn Backend, at: SpacedAddress) -> String {
    if at.space == Space::GLOBAL { String::new() } else { format!(" (VPN {})", backend.vrfs().name_of(at.space)) }
}

async fn lease(State(shared): State<Shared>, Path(text): Path<String>, query: VrfGiven) -> Result<Response, Failure> {
    let backend = &*shared.backend;
    let at = place(backend, &text, query)?;
    let missing = |what: String| Failure::new(StatusCode::NOT_FOUND, format!("{what}{}", of_vrf(backend, at)));
    match backend.lease(at) {
        Some(binding) => Ok(Json(LeaseView::new(&binding, backend.subnet_of(at), backend.vrfs())).into_response()),
        None if backend.in_pool(at) => Err(missing(format!("{} is free: nobody has or had it", at.address))),
        None => Err(missing(ReleaseError::NotInPool(at.address).to_string())),
    }
}

async fn release(State(shared): State<Shared>, Path(text): Path<String>, query: VrfGiven) -> Result<Response, Failure> {
    let at = place(&*shared.backend, &text, query)?;
    // Waiting here takes no thread. The permit goes with the work, which also ends when whoever asked for it has gone.
    let permit = shared.releases.clone().acquire_owned().await;
    let released = blocking(&shared.backend, move |backend| {
        let _permit = permit;
        backend.release(at)
    })
    .await?;
    let of = of_vrf(&*shared.backend, at);
    match released {
        Ok(binding) => {
            log::info!("{}: released by an operator{of}", at.address);
            let view = LeaseView::new(&binding, shared.backend.subnet_of(at), shared.backend.vrfs());
            Ok(Json(view).into_response())
        }
        Err(why) => {
            let status = match why {
                ReleaseError::NotInPool(_) => StatusCode::NOT_FOUND,
                ReleaseError::NotLeased(_) => StatusCode::CONFLICT,
                ReleaseError::JournalFull(_) | ReleaseError::NotDurable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(Failure::new(status, format!("{why}{of}")))
        }
    }
}
