//! `cargo xtask` as a process: what becomes of the processes that it starts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that has ended and is only waited for does not.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_signal_to_this_process_alone_ends_the_compilers_too() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        // A cargo that compiles for ever, with a child as rustc is one; `audit` runs it, once its tools are there.
        script(&file("cargo"), "#!/bin/sh\nsleep 300 &\necho $! > \"$0.compiler\"\nwait\n");
        for tool in ["cargo-deny", "cargo-machete"] {
            script(&file(tool), "#!/bin/sh\n");
        }
        let path = std::env::join_paths(
            [dir.path().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("audit")
            .env("PATH", path.unwrap())
            .env("CARGO", file("cargo"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let compiler = wait_for("the compiler", || {
            let pid = fs::read_to_string(file("cargo.compiler")).ok()?;
            pid.ends_with('\n').then(|| pid.trim().to_owned())
        });
        assert!(is_running(&compiler));
        kill(Pid::from_raw(xtask.id().cast_signed()), signal).unwrap();
        let status = wait_for("xtask to end", || xtask.try_wait().unwrap());
        assert!(!status.success());
        wait_for("the compiler to end", || (!is_running(&compiler)).then_some(()));
    }
}
