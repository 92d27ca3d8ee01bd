//! The other end of the control socket, for the command line: blocking calls, listings as they come.

use std::{
    io,
    net::Ipv4Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, runtime::Runtime};

use super::api::{ErrorView, Filter, Health, LeaseView, vrf_query};
use crate::stats::Stats;

/// Longest wait for the next part of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that is read whole, and of a line of a listing.
const MAX_ANSWER: usize = 16 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: no socket, or a dead server's.
    #[error("{}: no server is running here", .0.display())]
    NotRunning(PathBuf),
    /// There is a server, and this user may not talk to it.
    #[error(
        "{}: {source}{}",
        .path.display(),
        match .source.kind() {
            io::ErrorKind::PermissionDenied => ": be root, or of the group that owns it",
            _ => ": say with --state-dir or --socket where the server is",
        }
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server said no; with status 300 or 400 the question was wrong.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// The conversation broke off.
    #[error("the server's answer broke off: {0}; is it a dhcp-xdp server of this version, and alive? See its log")]
    Broken(String),
}

/// A client of a running server. Each call is a connection of its own.
pub struct Client {
    path: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// Of the server that listens on `path`; looks whether there is one.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = |source| ClientError::Connect { path: path.to_owned(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(connect)?;
        let client = Self { path: path.to_owned(), runtime };
        client.runtime.block_on(open(&client.path))?;
        Ok(client)
    }

    /// `GET /v1/stats`
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stats(&self) -> Result<Stats, ClientError> {
        self.json(Method::GET, "/v1/stats")
    }

    /// `GET /v1/health`; a failing server is no error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn health(&self) -> Result<Health, ClientError> {
        self.runtime.block_on(async {
            let (_, body) = request(&self.path, Method::GET, "/v1/health").await?;
            parse(&whole(body).await?)
        })
    }

    /// `GET /v1/leases/ADDRESS`, of a VPN by its name where several have the address.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn lease(&self, address: Ipv4Addr, vrf: Option<&str>) -> Result<LeaseView, ClientError> {
        self.json(Method::GET, &format!("/v1/leases/{address}{}", of_vrf(vrf)))
    }

    /// `POST /v1/leases/ADDRESS/release`, of a VPN by its name where several have the address.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn release(&self, address: Ipv4Addr, vrf: Option<&str>) -> Result<LeaseView, ClientError> {
        self.json(Method::POST, &format!("/v1/leases/{address}/release{}", of_vrf(vrf)))
    }

    /// `GET /v1/leases`: calls `each` for every lease as it comes, until it breaks off.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn leases(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(LeaseView) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.runtime.block_on(async {
            let (status, mut body) = request(&self.path, Method::GET, &format!("/v1/leases{}", filter.query())).await?;
            if status != StatusCode::OK {
                return Err(refusal(status, body).await);
            }
            let mut pending: Vec<u8> = Vec::new();
            while let Some(bytes) = next(&mut body).await? {
                pending.extend_from_slice(&bytes);
                let complete = pending.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
                for line in pending[..complete].split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                    if each(parse(line)?).is_break() {
                        return Ok(());
                    }
                }
                pending.drain(..complete);
                if pending.len() > MAX_ANSWER {
                    return Err(ClientError::Broken("a line without end".into()));
                }
            }
            if pending.is_empty() { Ok(()) } else { Err(ClientError::Broken("in the middle of a lease".into())) }
        })
    }

    fn json<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        self.runtime.block_on(async {
            let (status, body) = request(&self.path, method, path).await?;
            if status != StatusCode::OK {
                return Err(refusal(status, body).await);
            }
            parse(&whole(body).await?)
        })
    }
}

fn of_vrf(vrf: Option<&str>) -> String {
    vrf.map_or_else(String::new, |name| format!("?{}", vrf_query(name)))
}

async fn open(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path.to_owned()),
        _ => ClientError::Connect { path: path.to_owned(), source },
    })
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

async fn patiently<T, E: std::fmt::Display>(wait: impl Future<Output = Result<T, E>>) -> Result<T, ClientError> {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(result) => result.map_err(broken),
        Err(_) => Err(ClientError::Broken(format!("nothing came for {} seconds", PATIENCE.as_secs()))),
    }
}

async fn request(path: &Path, method: Method, uri: &str) -> Result<(StatusCode, Incoming), ClientError> {
    let stream = open(path).await?;
    let (mut sender, connection) = patiently(http1::handshake(TokioIo::new(stream))).await?;
    // Drives the connection while the answer is read; what fails there shows as a broken answer here.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(broken)?;
    let response = patiently(sender.send_request(request)).await?;
    Ok((response.status(), response.into_body()))
}

/// The next bytes of an answer; none at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
    loop {
        let frame = patiently(async { body.frame().await.transpose() }).await?;
        match frame.map(hyper::body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(bytes)) => return Ok(Some(bytes)),
            Some(Err(_trailers)) => {}
        }
    }
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, ClientError> {
    let mut answer = Vec::new();
    while let Some(bytes) = next(&mut body).await? {
        answer.extend_from_slice(&bytes);
        if answer.len() > MAX_ANSWER {
            return Err(ClientError::Broken("it is too long".into()));
        }
    }
    Ok(answer)
}

async fn refusal(status: StatusCode, body: Incoming) -> ClientError {
    match whole(body).await.and_then(|bytes| parse::<ErrorView>(&bytes)) {
        Ok(view) => ClientError::Refused { status: status.as_u16(), message: view.error },
        Err(_) => ClientError::Refused { status: status.as_u16(), message: format!("the server answered {status}") },
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(broken)
}
