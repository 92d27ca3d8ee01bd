//! Which server is meant: its state directory and its control socket.

use std::path::PathBuf;

use clap::Args;
use dhcp_xdp::{
    config::DEFAULT_STATE_DIR,
    control::{
        SOCKET_NAME,
        client::{Client, ClientError},
    },
};

use super::failure::Failure;

/// `--state-dir` and `--socket`.
#[derive(Clone, Debug, Args)]
pub(super) struct State {
    /// The server's state directory
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// The server's control socket; control.sock in the state directory unless given
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl State {
    #[cfg(test)]
    pub fn of(state_dir: &std::path::Path) -> Self {
        Self { state_dir: state_dir.to_owned(), socket: None }
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state_dir.join(SOCKET_NAME))
    }

    /// The running server; `None` when there is none.
    pub fn try_connect(&self) -> Result<Option<Client>, Failure> {
        match Client::connect(&self.socket()) {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::NotRunning(_)) => Ok(None),
            Err(error) => Err(Failure::of(error)),
        }
    }

    /// The running server.
    pub fn connect(&self) -> Result<Client, Failure> {
        self.try_connect()?.ok_or_else(|| {
            Failure::Failed(format!(
                "{}: no server is running here: start one, or say with --state-dir where it is",
                self.socket().display()
            ))
        })
    }
}
