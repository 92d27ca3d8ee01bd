//! The clients and the relay agent that the world runs, driven as their users would.
//!
//! Each client keeps its leases, its process id and its hook script in a folder of the laboratory, and configures the
//! address that it got in its own namespace, so that its renewals are unicast; nothing of the machine's own is touched.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{End, Namespace, Process, process::last_lines, wait_for, write_script};
use crate::command;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BusyBox's.
    Udhcpc,
    /// ISC's.
    Dhclient,
    /// Roy Marples'.
    Dhcpcd,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Udhcpc, Kind::Dhclient, Kind::Dhcpcd];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Udhcpc => "udhcpc",
            Kind::Dhclient => "dhclient",
            Kind::Dhcpcd => "dhcpcd",
        }
    }
}

/// Time for an exchange: a client waits some seconds before it asks again.
const EXCHANGE: Duration = Duration::from_secs(20);
/// dhclient renews by its timer alone: at half of the lease time, which tests keep short, and some seconds at its whim.
const TIMER: Duration = Duration::from_secs(40);

/// A client on an interface.
#[derive(Debug)]
pub struct Client<'a> {
    kind: Kind,
    end: End<'a>,
    folder: PathBuf,
    words: Vec<String>,
    process: Option<Process>,
    /// Events that were looked at already.
    seen: usize,
}

/// One call of a client's hook script.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    name: String,
    address: Option<Ipv4Addr>,
}

impl<'a> Client<'a> {
    /// A client that keeps its files in `folder`; it does nothing yet.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn new(kind: Kind, end: End<'a>, folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(folder.join("state")).with_context(|| format!("cannot make {}", folder.display()))?;
        write_script(&folder.join("hook"), &hook(kind, &folder.join("events")))?;
        let client = Self { kind, end, folder, words: Vec::new(), process: None, seen: 0 };
        fs::write(client.file("conf"), client.configuration()).context("cannot write a client's configuration")?;
        Ok(client)
    }

    /// The same, with more words on its command line.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Starts it and waits until it holds a lease.
    ///
    /// # Errors
    /// It got none in time: with the end of its log.
    pub fn take(&mut self) -> Result<Ipv4Addr> {
        ensure!(self.process.is_none(), "{} runs already", self.kind.name());
        self.seen = self.events().len();
        let mut command = self.command(self.start_words())?;
        self.process = Some(Process::spawn(&mut command, self.file("log"))?);
        self.wait(&["bound", "BOUND", "REBOOT"], EXCHANGE)
    }

    /// Makes it renew its lease, or waits until it does, and gives the address.
    ///
    /// # Errors
    /// It did not in time.
    pub fn renew(&mut self) -> Result<Ipv4Addr> {
        self.seen = self.events().len();
        match self.kind {
            Kind::Udhcpc | Kind::Dhcpcd => self.running()?.signal(Signal::SIGUSR1)?,
            Kind::Dhclient => {}
        }
        self.wait(&["renew", "RENEW"], TIMER)
    }

    /// Makes it release its lease and end.
    ///
    /// # Errors
    /// It did not in time.
    pub fn release(&mut self) -> Result<()> {
        match self.kind {
            Kind::Udhcpc => {
                self.seen = self.events().len();
                self.running()?.signal(Signal::SIGUSR2)?;
                self.wait_for_event(&["deconfig"], EXCHANGE)?;
                self.running()?.terminate(EXCHANGE)?;
            }
            Kind::Dhclient => {
                // Another dhclient sends the release and ends the first, which it finds by the process id in its file.
                command::output(&mut self.command(self.release_words())?)?;
                self.running()?.wait(EXCHANGE)?;
            }
            Kind::Dhcpcd => {
                self.running()?.signal(Signal::SIGALRM)?;
                self.running()?.wait(EXCHANGE)?;
            }
        }
        self.process = None;
        Ok(())
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} does not run", self.kind.name()))
    }

    fn configuration(&self) -> &'static str {
        match self.kind {
            Kind::Udhcpc => "",
            Kind::Dhclient => {
                "timeout 20;\nretry 1;\ninitial-interval 1;\ninitial-delay 0;\nbackoff-cutoff 2;\n\
                 request subnet-mask, routers, domain-name-servers, host-name;\n"
            }
            Kind::Dhcpcd => "ipv4only\nnoarp\nnoipv4ll\nnodelay\nclientid\noption routers, domain_name_servers\n",
        }
    }

    fn start_words(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).to_string_lossy().into_owned();
        let interface = self.end.interface;
        let mut words: Vec<String> = match self.kind {
            Kind::Udhcpc => {
                ["-f", "-i", interface, "-s", &file("hook"), "-p", &file("pid"), "-t", "15", "-T", "1", "-n"]
                    .map(str::to_owned)
                    .to_vec()
            }
            Kind::Dhclient => return self.dhclient_words("-d"),
            Kind::Dhcpcd => ["-4", "-B", "-d", "-f", &file("conf"), "-c", &file("hook")].map(str::to_owned).to_vec(),
        };
        words.extend(self.words.iter().cloned());
        if self.kind == Kind::Dhcpcd {
            words.push(interface.to_owned());
        }
        words
    }

    fn release_words(&self) -> Vec<String> {
        self.dhclient_words("-r")
    }

    fn dhclient_words(&self, what: &str) -> Vec<String> {
        let file = |name: &str| self.file(name).to_string_lossy().into_owned();
        let (conf, hook, leases, pid) = (file("conf"), file("hook"), file("leases"), file("pid"));
        let fixed = ["-4", what, "-v", "-cf", &conf, "-sf", &hook, "-lf", &leases, "-pf", &pid];
        let fixed = fixed.map(str::to_owned).into_iter();
        fixed.chain(self.words.iter().cloned()).chain([self.end.interface.to_owned()]).collect()
    }

    fn command(&self, words: Vec<String>) -> Result<Command> {
        let namespace = self.end.namespace;
        let Kind::Dhcpcd = self.kind else {
            let mut command = namespace.command(self.kind.name())?;
            command.args(words);
            return Ok(command);
        };
        // dhcpcd's paths are compiled in. `ip netns exec` gives a mount namespace too: put ours over the machine's.
        let dhcpcd = command::find("dhcpcd").context("`dhcpcd` is not installed: run `cargo xtask setup`")?;
        let mut command = namespace.command("sh")?;
        command.arg("-c");
        command.arg("mount -t tmpfs tmpfs /run && mount --bind \"$0\" /var/lib/dhcpcd && exec \"$@\"");
        command.arg(self.file("state")).arg(dhcpcd).args(words);
        Ok(command)
    }

    fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.file("events")).unwrap_or_default();
        // Only whole lines: the last may be on its way.
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(Event::parse).collect()
    }

    fn wait(&mut self, names: &[&str], limit: Duration) -> Result<Ipv4Addr> {
        let event = self.wait_for_event(names, limit)?;
        event.address.with_context(|| format!("{} told of {} without an address", self.kind.name(), event.name))
    }

    fn wait_for_event(&mut self, names: &[&str], limit: Duration) -> Result<Event> {
        let what = format!("{} to tell of {}", self.kind.name(), names.join(" or "));
        let found = wait_for(&what, limit, || {
            let events = self.events();
            if let Some(event) = events.iter().skip(self.seen).find(|event| names.contains(&event.name.as_str())) {
                return Ok(Some(event.clone()));
            }
            self.running()?.expect_running().map(|()| None)
        });
        found.with_context(|| format!("its log ends:\n{}", last_lines(&self.log(), 15)))
    }
}

impl Event {
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        Self { name, address: words.next().and_then(|word| word.parse().ok()) }
    }
}

/// The hook script: it configures the address and appends a line to the events. A client calls it with the event's name as
/// its argument (udhcpc) or in `$reason` (the others).
fn hook(kind: Kind, events: &Path) -> String {
    let configure = match kind {
        Kind::Udhcpc => CONFIGURE.replace("EVENT", "$1").replace("ADDRESS", "$ip").replace("MASK", "$subnet"),
        Kind::Dhclient => CONFIGURE
            .replace("EVENT", "$reason")
            .replace("ADDRESS", "$new_ip_address")
            .replace("MASK", "$new_subnet_mask"),
        // It does so itself.
        Kind::Dhcpcd => String::new(),
    };
    let events = events.display();
    format!(
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{configure}\
         echo \"${{reason:-$1}} ${{new_ip_address:-$ip}}\" >> '{events}'\n"
    )
}

const CONFIGURE: &str = "\
case \"EVENT\" in
    bound | renew | BOUND | RENEW | REBIND | REBOOT)
        ip address replace \"ADDRESS/MASK\" dev \"$interface\"
        gateway=${router:-$new_routers}
        if [ -n \"$gateway\" ]; then ip route replace default via \"${gateway%% *}\" dev \"$interface\"; fi
        ;;
    deconfig | EXPIRE | FAIL | RELEASE | STOP)
        ip address flush dev \"$interface\"
        ;;
esac
";

/// ISC's relay agent between two interfaces of a namespace.
#[derive(Debug)]
pub struct Relay {
    process: Process,
}

impl Relay {
    /// Starts it: clients on `downstream`, the server behind `upstream`; both have their addresses already. With
    /// `agent_options` it adds relay agent information (option 82) to what it relays.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(
        namespace: &Namespace,
        (downstream, upstream): (&str, &str),
        server: &str,
        agent_options: bool,
        log: &Path,
    ) -> Result<Self> {
        // Renewals are unicast to the server, past the relay agent: this machine must route them.
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        let mut command = namespace.command("dhcrelay")?;
        command.args(["-4", "-d"]);
        if agent_options {
            command.args(["-a", "-m", "append"]);
        }
        command.args(["-id", downstream, "-iu", upstream, server]);
        let mut process = Process::spawn(&mut command, log)?;
        process.wait_for_output("Sending on   Socket/fallback", Duration::from_secs(10))?;
        Ok(Self { process })
    }

    /// An error when it has ended.
    ///
    /// # Errors
    /// See there.
    pub fn expect_running(&mut self) -> Result<()> {
        if let Err(error) = self.process.expect_running() {
            bail!("the relay agent: {error}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_events_is_a_name_and_perhaps_an_address() {
        let bound = Event { name: "bound".into(), address: Some(Ipv4Addr::new(198, 18, 0, 9)) };
        assert_eq!(Event::parse("bound 198.18.0.9\n"), bound);
        assert_eq!(Event::parse("deconfig \n"), Event { name: "deconfig".into(), address: None });
    }

    #[test]
    fn a_hook_script_has_no_placeholder_left() {
        for kind in Kind::ALL {
            let script = hook(kind, Path::new("/tmp/events"));
            for word in ["EVENT\"", "ADDRESS", "MASK"] {
                assert!(!script.contains(word), "{kind:?}: {script}");
            }
        }
    }
}
