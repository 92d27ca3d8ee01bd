//! Where leases come from: the running server, or the journal that it left.

use std::ops::ControlFlow;

use dhcp_xdp::{
    control::{
        Filter, LeaseView,
        client::{Client, ClientError},
        now_s,
    },
    lease::Binding,
};

use super::{
    failure::{Done, Failure},
    offline::Offline,
    state::State,
};

/// A server's leases.
pub(super) enum Source {
    /// Of the running server.
    Server(Client),
    /// Of one that does not run.
    Journal(Offline),
}

impl Source {
    /// Looks for a server, then for a journal; says on stderr when it is the journal.
    pub fn open(state: &State) -> Result<Self, Failure> {
        if let Some(client) = state.try_connect()? {
            return Ok(Self::Server(client));
        }
        Self::of_journal(state).map(Self::Journal)
    }

    /// What the journal holds, with a word on stderr that this is where it comes from.
    pub fn of_journal(state: &State) -> Result<Offline, Failure> {
        if let Some(socket) = &state.socket {
            return Err(Failure::Failed(format!(
                "{}: no server is running here: start one, or say with --socket where it is",
                socket.display()
            )));
        }
        let dir = &state.state_dir;
        if !dir.is_dir() {
            return Err(Failure::Failed(format!(
                "{}: no server is running here, and there is no such directory: say with --state-dir where it is",
                dir.display()
            )));
        }
        let offline = Offline::read(dir).map_err(Failure::of)?.ok_or_else(|| {
            Failure::Failed(format!(
                "no server is running here, and there is no journal in {}: say with --state-dir where it is",
                dir.display()
            ))
        })?;
        eprintln!("dhcp-xdp: no server is running; this is from the journal in {}", dir.display());
        Ok(offline)
    }

    /// How many there are, without a filter, as far as that is known beforehand.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Server(client) => {
                let counts = client.stats().ok()?.leases;
                Some(counts.offered + counts.bound + counts.remembered + counts.declined)
            }
            Self::Journal(offline) => Some(offline.count()),
        }
    }

    /// Calls `each` for every lease that the filter takes, in the order of addresses, as they come.
    ///
    /// # Errors
    /// Of the server, or the first of `each`, which ends it.
    pub fn each(&self, filter: &Filter, each: &mut dyn FnMut(&LeaseView) -> Done) -> Done {
        let mut failure = None;
        let mut each = |lease: LeaseView| match each(&lease) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        };
        match self {
            Self::Server(client) => client.leases(filter, &mut each).map_err(of_client)?,
            Self::Journal(offline) => {
                let space = filter.space(&offline.vrfs).map_err(wrong_usage)?;
                let is_wanted =
                    |binding: &Binding| space.is_none_or(|space| binding.space == space) && filter.takes(binding);
                let mut wanted = |binding: Binding| match is_wanted(&binding) {
                    true => each(LeaseView::new(&binding, None, &offline.vrfs)),
                    false => ControlFlow::Continue(()),
                };
                offline.each(now_s(), &mut wanted).map_err(Failure::of)?;
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// What a server refused: the question, or to answer it.
pub(super) fn of_client(error: ClientError) -> Failure {
    match error {
        ClientError::Refused { status: 300 | 400, message } => wrong_usage(message),
        other => Failure::of(other),
    }
}

/// Tells what is wrong with the command line.
pub(super) fn wrong_usage(message: String) -> Failure {
    eprintln!("dhcp-xdp: {message}");
    Failure::Told { usage: true }
}
