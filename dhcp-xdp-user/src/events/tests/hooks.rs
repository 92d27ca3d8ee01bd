//! The program that is run for events: what it gets, its time, and what becomes of what it starts.

use super::*;

/// A hook's program and what it wrote.
struct Program {
    dir: TempDir,
}

impl Program {
    fn new(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("hook");
        let script = script.replace("DIR", &dir.path().display().to_string());
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn hook(&self) -> Hook {
        Hook {
            command: self.dir.path().join("hook"),
            events: vec![EventKind::Bound, EventKind::Released],
            rate_per_s: 1000,
            timeout: Duration::from_millis(300),
            queue: 4,
        }
    }

    fn wrote(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

struct Hooked {
    world: World,
    counters: Arc<Counters>,
    threads: [JoinHandle<()>; 2],
    stopping: Arc<AtomicBool>,
}

impl Hooked {
    fn start(hook: &Hook) -> Self {
        Self::start_with(hook, table())
    }

    fn start_with(hook: &Hook, table: Arc<LeaseTable>) -> Self {
        let world = World::start(TempDir::new().unwrap());
        let (counters, stopping): (Arc<Counters>, Arc<AtomicBool>) = Default::default();
        let (sender, queue) = hook::queue(hook);
        let runner = Runner::new(hook.clone(), Arc::clone(&counters), queue, Arc::clone(&stopping));
        let feeder = Feeder {
            hook: hook.clone(),
            followers: world.followers.clone(),
            after: world.followers.now(),
            table,
            clock: Clock::start(),
            line: Box::new(|event, ahead_s| Line::new(event, None, &crate::config::Vrfs::default(), ahead_s)),
            counters: Arc::clone(&counters),
            queue: sender,
            stopping: Arc::clone(&stopping),
        };
        let threads = [std::thread::spawn(move || feeder.run()), std::thread::spawn(move || runner.run())];
        Self { world, counters, threads, stopping }
    }

    fn stop(self) -> HookStats {
        drop(self.world.stop());
        self.stopping.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.counters.stats()
    }
}

#[test]
fn a_hook_is_run_with_variables_and_nothing_else_of_the_environment() {
    let program = Program::new("env | sort > DIR/env.new; ls -l /proc/self/fd > DIR/fds; mv DIR/env.new DIR/env");
    let mut hooked = Hooked::start(&program.hook());
    let now_s = now_s();
    hooked.world.submit(7, Bound, 1, now_s, now_s + 600);
    until("run", || hooked.counters.stats().done == 1);
    let env = program.wrote("env");
    for expected in [
        "DHCP_XDP_EVENT=bound\n".to_owned(),
        "DHCP_XDP_ADDRESS=10.0.0.7\n".to_owned(),
        "DHCP_XDP_HW_ADDRESS=00:00:00:00:00:07\n".to_owned(),
        format!("DHCP_XDP_EXPIRES_AT={}\n", crate::control::rfc3339(now_s + 600)),
        "PATH=".to_owned(),
    ] {
        assert!(env.contains(&expected), "{expected} is not in:\n{env}");
    }
    let strange = env.lines().find(|line| {
        !["DHCP_XDP_", "PATH=", "PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|known| line.starts_with(known))
    });
    assert_eq!(strange, None, "{env}");
    assert!(!env.contains("CLIENT_ID"), "it sent none:\n{env}");
    // Nothing that this process has open: not its journal, eventfds and sockets.
    let (fds, state) = (program.wrote("fds"), hooked.world.dir.path().display().to_string());
    assert!(fds.contains("0 -> /dev/null") && fds.contains("2 -> /dev/null"), "{fds}");
    assert!(!["anon_inode", "socket:", &state].iter().any(|ours| fds.contains(ours)), "{fds}");
    let stats = hooked.stop();
    assert_eq!((stats.done, stats.failed, stats.dropped, stats.waiting), (1, 0, 0, 0));
}

#[test]
fn a_hook_is_told_what_the_relay_agent_said() {
    let program = Program::new("env > DIR/env.new; mv DIR/env.new DIR/env");
    let mut hooked = Hooked::start(&program.hook());
    let now_s = now_s();
    let agent_info = b"\x01\x04eth7\x02\x02\x00\xff\x06\x04anna\x0c\x03olt";
    let kept = Kept { agent_info, ..Kept::default() };
    hooked.world.submit_kept(7, Bound, 1, (now_s, now_s + 600), kept);
    until("run", || hooked.counters.stats().done == 1);
    let env = program.wrote("env");
    for expected in ["CIRCUIT_ID=eth7", "REMOTE_ID=0x00ff", "SUBSCRIBER_ID=anna", "RELAY_ID=olt"] {
        assert!(env.contains(&format!("DHCP_XDP_{expected}\n")), "{expected} is not in:\n{env}");
    }
    hooked.stop();
}

#[test]
fn a_hook_is_told_all_of_the_client_whose_lease_has_ended_by_time() {
    let program = Program::new("env > DIR/env.new; mv DIR/env.new DIR/env");
    let (table, now_s) = (table(), now_s());
    let mut hw = HwAddress { htype: 1, hlen: 6, ..HwAddress::default() };
    hw.chaddr[5] = 7;
    let binding = Binding {
        space: crate::lease::Space::GLOBAL,
        address: Ipv4Addr::new(10, 0, 0, 7),
        state: Bound,
        generation: 1,
        started_s: now_s - 100,
        expires_s: now_s - 50,
        hw,
        client_id: [1, 2].into_iter().collect(),
        limits: Default::default(),
        agent_info: (*b"\x01\x04eth7").into_iter().collect(),
    };
    table.restore(&binding, 0, now_s).unwrap();
    let mut hooked = Hooked::start_with(&Hook { events: vec![EventKind::Expired], ..program.hook() }, table);
    hooked.world.submit(7, Bound, 1, now_s - 100, now_s - 50);
    until("run", || hooked.counters.stats().done == 1);
    let env = program.wrote("env");
    for expected in ["EVENT=expired", "ADDRESS=10.0.0.7", "CLIENT_ID=01:02", "CIRCUIT_ID=eth7"] {
        assert!(env.contains(&format!("DHCP_XDP_{expected}\n")), "{expected} is not in:\n{env}");
    }
    hooked.stop();
}

#[test]
fn a_hook_is_run_for_the_events_that_it_is_for_and_no_other() {
    let program = Program::new("echo $DHCP_XDP_EVENT $DHCP_XDP_ADDRESS >> DIR/out");
    let mut hooked = Hooked::start(&Hook { events: vec![EventKind::Renewed, EventKind::Declined], ..program.hook() });
    let now_s = now_s();
    hooked.world.submit(7, Bound, 1, now_s, now_s + 600);
    hooked.world.submit(7, Bound, 2, now_s + 1, now_s + 601);
    hooked.world.submit(7, Released, 3, now_s + 2, now_s + 2);
    hooked.world.submit(8, BindingState::Declined, 1, now_s + 3, now_s + 603);
    until("the last one", || program.wrote("out").contains("declined"));
    assert_eq!(program.wrote("out"), "renewed 10.0.0.7\ndeclined 10.0.0.8\n");
    hooked.stop();
}

/// The process numbers that a program wrote.
fn pids(program: &Program, name: &str) -> Vec<u32> {
    program.wrote(name).lines().map(|line| line.parse().unwrap()).collect()
}

/// Whether there is such a process, and it has not ended. Whoever has ended may still wait for `init` to be told of it.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started_and_what_waits_too_long_is_dropped() {
    let program = Program::new(
        "echo $$ >> DIR/own; sleep 1000 & echo $! >> DIR/pids; (sleep 1000 & echo $! >> DIR/pids); sleep 1000",
    );
    let mut hooked = Hooked::start(&program.hook());
    let now_s = now_s();
    for number in 0..100 {
        hooked.world.submit(number, Bound, 1, now_s, now_s + 600);
    }
    until("two were killed", || hooked.counters.stats().timed_out >= 2);
    let stats = hooked.counters.stats();
    // One is run, four wait, and one may have been taken meanwhile.
    assert!(stats.dropped >= 100 - 4 - 4, "{stats:?}");
    assert!(stats.waiting <= 4, "{stats:?}");
    // Nobody waited for it.
    until("the history has all", || hooked.world.stats().lines == 100);
    hooked.stop();
    let started = pids(&program, "pids");
    assert!(started.len() >= 4, "{started:?}");
    until("all have ended", || !started.iter().any(|pid| is_running(*pid)));
    let left: Vec<u32> = pids(&program, "own").into_iter().filter(|pid| is_ours(*pid)).collect();
    assert!(left.is_empty(), "{left:?}: a process of ours is left, ended or not");
}

/// Whether there is such a child of this process, be it one that has ended and was not waited for.
fn is_ours(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line == format!("PPid:\t{}", std::process::id()))
}

#[test]
fn what_a_hook_leaves_running_is_killed_when_its_time_is_over() {
    let program = Program::new("echo $$ >> DIR/own; sleep 1000 & echo $! >> DIR/pids");
    let mut hooked = Hooked::start(&Hook { timeout: Duration::from_secs(2), ..program.hook() });
    let (now_s, start) = (now_s(), Instant::now());
    hooked.world.submit(1, Bound, 1, now_s, now_s + 600);
    until("run", || hooked.counters.stats().done == 1);
    let [pid] = pids(&program, "pids")[..] else { panic!("{}", program.wrote("pids")) };
    // It has its time, as one has that the program waits for.
    assert!(is_running(pid) || start.elapsed() > Duration::from_secs(2));
    until("killed", || !is_running(pid));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    until("counted", || hooked.counters.stats().left_running == 1);
    assert!(!pids(&program, "own").into_iter().any(is_ours));
    let stats = hooked.stop();
    assert_eq!((stats.done, stats.timed_out, stats.left_running), (1, 0, 1));
}

#[test]
fn what_a_hook_leaves_running_is_killed_when_the_server_stops() {
    let program = Program::new("sleep 1000 & echo $! >> DIR/pids");
    let mut hooked = Hooked::start(&Hook { timeout: Duration::from_secs(600), ..program.hook() });
    let now_s = now_s();
    for number in 1..4 {
        hooked.world.submit(number, Bound, 1, now_s, now_s + 600);
    }
    until("run", || hooked.counters.stats().done == 3);
    let started = pids(&program, "pids");
    assert!(started.len() == 3 && started.iter().all(|pid| is_running(*pid)), "{started:?}");
    assert_eq!(hooked.stop().left_running, 0, "their time was not over");
    until("killed", || !started.iter().any(|pid| is_running(*pid)));
}

#[test]
fn what_a_hook_left_running_and_has_ended_is_forgotten() {
    let program = Program::new("sleep 0.2 & echo $! >> DIR/pids");
    let timeout = Duration::from_secs(5);
    let mut hooked = Hooked::start(&Hook { timeout, ..program.hook() });
    let (now_s, start) = (now_s(), Instant::now());
    hooked.world.submit(1, Bound, 1, now_s, now_s + 600);
    until("run", || hooked.counters.stats().done == 1);
    let [pid] = pids(&program, "pids")[..] else { panic!("{}", program.wrote("pids")) };
    // Not when it ended, but when `init` was told: until then there is such a group.
    until("ended", || !fs::exists(format!("/proc/{pid}")).unwrap());
    let is_in_time = start.elapsed() < timeout;
    std::thread::sleep(timeout);
    assert!(hooked.stop().left_running == 0 || !is_in_time);
}

#[test]
fn a_hook_that_fails_or_is_gone_is_counted() {
    let program = Program::new("exit 3");
    let mut hooked = Hooked::start(&program.hook());
    let now_s = now_s();
    hooked.world.submit(1, Bound, 1, now_s, now_s + 600);
    until("failed", || hooked.counters.stats().failed == 1);
    fs::remove_file(program.dir.path().join("hook")).unwrap();
    hooked.world.submit(1, Released, 2, now_s, now_s);
    until("failed", || hooked.counters.stats().failed == 2);
    hooked.stop();
}

#[test]
fn a_hook_is_run_no_oftener_than_its_rate() {
    let program = Program::new("true");
    let mut hooked = Hooked::start(&Hook { rate_per_s: 10, queue: 100, ..program.hook() });
    let (start, now_s) = (Instant::now(), now_s());
    for number in 0..6 {
        hooked.world.submit(number, Bound, 1, now_s, now_s + 600);
    }
    until("run", || hooked.counters.stats().done == 6);
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    hooked.stop();
}
