//! The control socket as a file: who may open it, and whether one that is there already is alive.

use std::{
    fs::Permissions,
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Its owner and group may connect; to connect is to be allowed to release leases.
const MODE: u32 = 0o660;

/// Why control cannot start; each says the path and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another server answers on it.
    #[error("{}: another server is running with this state directory: stop it, or use another `state_dir`", .0.display())]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("{}: is there and is no socket: move it away", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Makes the socket and listens on it. What a dead server left there is replaced; a live one's is not.
pub(super) fn open(path: &Path) -> Result<UnixListener, ControlError> {
    clear(path)?;
    let io = |action| move |source| ControlError::Io { path: path.to_owned(), action, source };
    let errno = |action| move |errno: nix::Error| io(action)(errno.into());
    // By hand, so that the mode is set before anybody can connect.
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        .map_err(errno("make a socket"))?;
    let address = UnixAddr::new(path).map_err(errno("use it as a socket's path (too long?)"))?;
    bind(fd.as_raw_fd(), &address).map_err(errno("bind"))?;
    std::fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io("set its mode"))?;
    listen(&fd, Backlog::MAXCONN).map_err(errno("listen"))?;
    Ok(UnixListener::from(fd))
}

fn clear(path: &Path) -> Result<(), ControlError> {
    let io = |action| move |source| ControlError::Io { path: path.to_owned(), action, source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at it")(error)),
        Ok(data) if !data.file_type().is_socket() => return Err(ControlError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(io("remove what a dead server left"))
        }
        Err(error) => Err(io("tell whether a server answers on it")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_servers_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET_NAME);
        let alive = open(&path).unwrap();
        assert!(matches!(open(&path), Err(ControlError::InUse(_))));
        drop(alive);
        assert!(path.exists(), "a socket's file outlives its process");
        let again = open(&path).unwrap();
        drop(again);
    }

    #[test]
    fn owner_and_group_may_connect_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET_NAME);
        let _open = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn a_file_of_the_sockets_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET_NAME);
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(open(&path), Err(ControlError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_is_too_long_is_told() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(open(&path).unwrap_err().to_string().contains("too long"));
    }
}
