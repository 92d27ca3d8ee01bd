//! `dhcp-xdp check FILE --explain CAPTURE`: what becomes of each client message, and why.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use dhcp_xdp::{
    capture::Capture,
    config::{Config, InterfaceState, Machine as _, ThisMachine},
    control::now_s,
    engine::Request,
    explain::{self, Class, Explainer, Reply, Reservation, Setting, Story},
    wire::{link::Datagram, options::Scratch},
    worker::port::Port,
};
use dhcp_xdp_ebpf::{Role, Verdict};
use serde::{Serialize, Serializer};

use super::{
    failure::{Done, Failure},
    output::Output,
};

/// `--explain` and what belongs to it.
#[derive(Debug, Args)]
pub(super) struct Explanation {
    /// Say for each client message of a capture (pcap, pcapng) which subnet, class, reservation, pool and options would serve
    /// it, and why; nothing is sent, and nothing changed
    #[arg(long, value_name = "CAPTURE", requires = "file", conflicts_with = "schema")]
    explain: Option<PathBuf>,
    /// The interface that the messages come in on; the first of the configuration unless given
    #[arg(long, value_name = "NAME", requires = "explain")]
    interface: Option<String>,
    /// The addresses of that interface, in place of those that it has on this machine
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "explain")]
    address: Vec<Ipv4Addr>,
    /// Begin with the leases of this state directory, in place of none
    #[arg(long, value_name = "DIR", requires = "explain")]
    state_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long, requires = "explain")]
    json: bool,
}

/// All that is said, for programs.
#[derive(Serialize)]
#[serde(bound = "")]
struct Report<'a, I: Iterator<Item = Told>> {
    schema: u32,
    configuration: String,
    capture: String,
    interface: &'a str,
    server_addresses: &'a [Ipv4Addr],
    /// The state directory that the leases are from.
    state_dir: Option<String>,
    packets: u64,
    others: BTreeMap<&'static str, u64>,
    damage: Option<&'a str>,
    messages: OneByOne<I>,
}

/// Stories that are told while they are written: those of a large capture would not fit into memory together.
struct OneByOne<I>(Cell<Option<I>>);

impl<I: Iterator<Item = Told>> Serialize for OneByOne<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// One message's story.
#[derive(Serialize)]
struct Told {
    packet: u64,
    /// Seconds since the first message.
    at_s: f64,
    #[serde(flatten)]
    story: Story,
}

/// Where the addresses of the interface are from.
enum From {
    Flag,
    Machine,
    Capture,
    Nowhere,
}

impl Explanation {
    /// Whether a capture is to be explained.
    pub fn is_wanted(&self) -> bool {
        self.explain.is_some()
    }

    pub fn run(&self, file: &Path, config: Config, out: &mut Output) -> Done {
        let Some(capture_file) = &self.explain else { return Ok(()) };
        let (index, name) = self.interface(&config)?;
        let capture = Capture::read(capture_file).map_err(Failure::of)?;
        let (addresses, from) = self.addresses(&name, &capture);
        let start_s = now_s();
        let leases = explain::lease_table(&config, self.state_dir.as_deref(), start_s).map_err(Failure::of)?;
        let others = config.interfaces.len() > 1 && self.interface.is_none();
        let port = Port {
            interface: index,
            name: name.clone(),
            addresses: addresses.clone(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
        };
        let mut explainer = Explainer::new(Arc::new(config), leases, port);
        let told = capture.times_ns().into_iter().enumerate().map(|(at, ns)| {
            let now_s = start_s.saturating_add(u32::try_from(ns / 1_000_000_000).unwrap_or(u32::MAX));
            let story = explainer.explain(now_s, capture.frame(at));
            Told { packet: capture.packet(at), at_s: ns as f64 / 1e9, story }
        });
        if self.json {
            let mut others: BTreeMap<&'static str, u64> =
                capture.others().map(|(verdict, count)| (verdict.name(), count)).collect();
            for (name, count) in [("left_out", capture.left_out), ("not_ethernet", capture.not_ethernet)] {
                if count > 0 {
                    others.insert(name, count);
                }
            }
            out.json(&Report {
                schema: 1,
                configuration: file.display().to_string(),
                capture: capture_file.display().to_string(),
                interface: &name,
                server_addresses: &addresses,
                state_dir: self.state_dir.as_ref().map(|dir| dir.display().to_string()),
                packets: capture.packets,
                others,
                damage: capture.damage.as_deref(),
                messages: OneByOne(Cell::new(Some(told))),
            })?;
            return out.flush();
        }
        out.line(head(capture_file, &capture))?;
        out.line(format!(
            "  in on {name}{}",
            if others { ", the first interface of several (--interface)" } else { "" }
        ))?;
        out.line(format!("  {}", server(&addresses, &from)))?;
        out.line(match &self.state_dir {
            Some(dir) => format!("  with the leases of {}", dir.display()),
            None => "  with no leases at first (--state-dir begins with a server's)".to_owned(),
        })?;
        for told in told {
            out.line("")?;
            tell(out, &told)?;
        }
        out.flush()
    }

    fn interface(&self, config: &Config) -> Result<(usize, String), Failure> {
        let names = config.interfaces.iter().map(|interface| interface.name.as_str());
        let Some(wanted) = &self.interface else {
            // A configuration has at least one.
            return Ok((0, names.into_iter().next().unwrap_or_default().to_owned()));
        };
        match names.clone().position(|name| name == wanted) {
            Some(at) => Ok((at, wanted.clone())),
            None => {
                let names = names.collect::<Vec<_>>().join(", ");
                eprintln!("dhcp-xdp: --interface: the configuration has no interface `{wanted}`; there are {names}");
                Err(Failure::Told { usage: true })
            }
        }
    }

    /// The addresses of the interface: the flag's, this machine's, or those by which the clients of the capture name their
    /// server, whose place this one then takes.
    fn addresses(&self, name: &str, capture: &Capture) -> (Vec<Ipv4Addr>, From) {
        if !self.address.is_empty() {
            return (self.address.clone(), From::Flag);
        }
        if let InterfaceState::Present(link) = ThisMachine.interface(name)
            && !link.addresses.is_empty()
        {
            return (link.addresses, From::Machine);
        }
        let mut named = BTreeSet::new();
        for at in 0..capture.len() {
            let frame = capture.frame(at);
            let mut memory = vec![0; frame.len()];
            let Ok(datagram) = Datagram::new_checked(frame, Role::Server, false) else { continue };
            let mut scratch = Scratch::new(&mut memory);
            let Ok(request) = Request::parse(datagram.payload(frame), datagram.destination, &mut scratch) else {
                continue;
            };
            named.extend(Some(request.destination).filter(|destination| !destination.is_broadcast()));
            named.extend(request.server_id);
        }
        let from = if named.is_empty() { From::Nowhere } else { From::Capture };
        (named.into_iter().collect(), from)
    }
}

fn head(file: &Path, capture: &Capture) -> String {
    let mut parts: Vec<String> =
        capture.others().map(|(verdict, count)| format!("{count} {}", other(verdict))).collect();
    for (count, what) in [
        (capture.left_out, "client messages cut off by the capture or too long"),
        (capture.not_ethernet, "not of Ethernet"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let others = if parts.is_empty() { String::new() } else { format!("; others: {}", parts.join(", ")) };
    let damage = capture.damage.as_ref().map_or_else(String::new, |damage| format!("; {damage}"));
    format!("{}: {} client messages of {} packets{others}{damage}", file.display(), capture.len(), capture.packets)
}

/// What a packet is that is no client's message.
fn other(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::PassNotIpv4 => "not IPv4",
        Verdict::PassNotUdp => "not UDP",
        Verdict::PassFragment => "fragments",
        Verdict::PassOtherPort => "to other ports",
        Verdict::PassOtherOp => "replies of servers",
        Verdict::PassTruncated => "cut short",
        _ => "others",
    }
}

fn server(addresses: &[Ipv4Addr], from: &From) -> String {
    let list = addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    match from {
        From::Flag => format!("the server is {list}"),
        From::Machine => format!("the server is {list} (this machine's)"),
        From::Capture => format!("the server is {list} (named in the capture; --address says otherwise)"),
        From::Nowhere => "the server has no address there (--address says which)".into(),
    }
}

fn tell(out: &mut Output, told: &Told) -> Done {
    let story = &told.story;
    let Some(asked) = &story.asked else {
        let why =
            story.dropped.as_ref().map_or_else(String::new, |dropped| format!("{}: {}", dropped.reason, dropped.words));
        return out.line(format!("packet {} at {:.3} s: dropped, {why}", told.packet, told.at_s));
    };
    let fields: String = asked.fields.iter().map(|(name, value)| format!(", {name} {value}")).collect();
    out.line(format!(
        "packet {} at {:.3} s: {} of {}{fields}",
        told.packet, told.at_s, asked.message_type, asked.hw_address
    ))?;
    if let Some(subnet) = &story.subnet {
        let prefix = subnet.prefix.as_deref().unwrap_or("none");
        let vpn = subnet.vpn.as_ref().map_or_else(String::new, |name| format!(", VPN {name}"));
        let network = subnet.network.as_ref().map_or_else(String::new, |name| format!(", network {name}"));
        out.line(format!("  subnet       {prefix}{vpn}{network}: {}", subnet.why))?;
        if let Some(client) = &subnet.client {
            out.line(format!("  client       {client}"))?;
        }
    }
    for class in &story.classes {
        class_lines(out, class)?;
    }
    if let Some(reservation) = &story.reservation {
        out.line(format!("  reservation  {}", reservation_line(reservation)))?;
    }
    for pool in &story.pools {
        let is = if pool.admits { "for the client" } else { "not for the client" };
        out.line(format!("  pool         {} of {}: {is} ({})", pool.range, pool.subnet, pool.why))?;
    }
    for change in &story.changes {
        out.line(format!("  binding      {change}"))?;
    }
    if let Some(reply) = &story.reply {
        reply_lines(out, reply)?;
    }
    if let Some(dropped) = &story.dropped {
        out.line(format!("  no reply     {}: {}", dropped.reason, dropped.words))?;
        if let Some(otherwise) = &dropped.otherwise {
            out.line(format!("               {otherwise}"))?;
        }
    }
    Ok(())
}

fn class_lines(out: &mut Output, class: &Class) -> Done {
    let is = if class.member { "yes" } else { "no" };
    let expression = class.expression.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    out.line(format!("  class        {} {is}{expression}", class.name))?;
    for (text, value) in &class.values {
        out.line(format!("                 {text} is {value}"))?;
    }
    if let Some((text, value)) = &class.spawned {
        out.line(format!("                 spawn = {text} is {value}"))?;
    }
    if let Some((count, limit)) = class.leases {
        out.line(format!("                 lease_limit: {count} of {limit} in use after this message"))?;
    }
    class.note.iter().try_for_each(|note| out.line(format!("                 {note}")))
}

fn reservation_line(reservation: &Reservation) -> String {
    let note = reservation.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    match &reservation.by {
        Some((kind, value)) => {
            let address = reservation.address.map_or_else(|| "no address".to_owned(), |address| address.to_string());
            format!("by {kind} {value}: {address}{note}")
        }
        None if reservation.looked_for.is_empty() => format!("none{note}"),
        None => {
            let looked_for = reservation.looked_for.iter().map(|(kind, value)| format!("{kind} ({value})"));
            format!("none; looked for by {}{note}", looked_for.collect::<Vec<_>>().join(", "))
        }
    }
}

fn reply_lines(out: &mut Output, reply: &Reply) -> Done {
    let note = reply.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    out.line(format!("  reply        {}{note}", reply.message_type))?;
    if let Some(address) = &reply.address {
        out.line(format!("    address      {}: {}", address.address, address.why))?;
    }
    if let Some(time) = &reply.lease_time {
        let seconds = if time.seconds == u32::MAX { "for ever".to_owned() } else { format!("{} s", time.seconds) };
        out.line(format!("    lease time   {seconds}: {}", time.why))?;
    }
    if let (Some((t1, t2)), Some(why)) = (reply.renewal_times_s, &reply.renewal_why) {
        out.line(format!("    T1, T2       {t1} s, {t2} s: {why}"))?;
    }
    out.line(format!("    sent to      {}", reply.sent_to))?;
    for Setting { name, value, from } in &reply.header {
        out.line(format!("    {name:<12} {value} ({from})"))?;
    }
    for option in &reply.options {
        out.line(format!("    option       {} = {} ({})", option.name, option.value, option.from))?;
    }
    reply.left_out.iter().try_for_each(|left_out| out.line(format!("    left out     {left_out}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use dhcp_xdp::config::{self, AnyMachine};

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/explain.md");

    #[derive(Parser)]
    struct Words {
        file: PathBuf,
        #[arg(long)]
        schema: bool,
        #[command(flatten)]
        explanation: Explanation,
    }

    /// What a command of the document prints; its paths are from the project's root.
    fn printed(words: &[&str]) -> Result<String, Failure> {
        let rooted: Vec<String> = words
            .iter()
            .map(|word| if word.starts_with("examples/") { format!("../{word}") } else { (*word).into() })
            .collect();
        let Words { file, explanation, .. } = Words::parse_from(rooted.iter().map(String::as_str));
        let text = fs::read_to_string(&file).unwrap();
        let config = config::parse("f", &text, &AnyMachine).unwrap().config;
        let to = tempfile::NamedTempFile::new().unwrap();
        let mut out = Output::to(to.reopen().unwrap());
        explanation.run(&file, config, &mut out)?;
        Ok(fs::read_to_string(to.path()).unwrap().replace("../examples/", "examples/"))
    }

    #[test]
    fn the_output_in_the_document_is_the_real_one() {
        let mut count = 0;
        for block in DOCUMENT.split("```text\n$ dhcp-xdp ").skip(1) {
            let block = block.split("```").next().unwrap();
            let (command, expected) = block.split_once('\n').unwrap();
            let (command, filter) = command.split_once(" | ").unwrap_or((command, ""));
            let text = printed(&command.split_whitespace().collect::<Vec<_>>()).unwrap();
            // `| head -NN`
            let lines = filter.strip_prefix("head -").map_or(usize::MAX, |lines| lines.parse().unwrap());
            let text: String = text.lines().take(lines).flat_map(|line| [line, "\n"]).collect();
            if text != expected {
                let made = std::env::temp_dir().join("explained.txt");
                fs::write(&made, &text).unwrap();
                panic!("docs/explain.md: `{command}` prints another text: see {}", made.display());
            }
            count += 1;
        }
        assert!(count >= 3, "{count}");
    }

    #[test]
    fn json_has_each_message_with_its_story() {
        let text = printed(&["check", "examples/cable.toml", "--explain", "examples/cable.pcap", "--json"]).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let messages = report["messages"].as_array().unwrap();
        assert_eq!((report["schema"].as_u64(), messages.len()), (Some(1), 3));
        assert_eq!(messages[0]["classes"][0]["name"], "modem");
        assert_eq!(messages[2]["reply"]["message_type"], "ACK");
        assert_eq!(messages[2]["reply"]["options"][0]["from"], "the subnet's prefix");
    }

    #[test]
    fn the_server_of_the_capture_is_taken_for_ours_where_the_interface_is_not_here() {
        let text = printed(&["check", "examples/hotel.toml", "--explain", "examples/hotel.pcap"]).unwrap();
        assert!(
            text.contains("  the server is 10.20.0.1 (named in the capture; --address says otherwise)\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_explained_is_one_line() {
        for (words, part) in [
            (["check", "examples/ftth.toml", "--explain", "/nowhere.pcap"], "cannot read /nowhere.pcap: No such file"),
            (["check", "examples/ftth.toml", "--explain", "examples/ftth.toml"], "is neither a pcap nor a pcapng file"),
            (["check", "examples/ftth.toml", "--explain", "/"], "cannot read /: is a directory"),
        ] {
            let Failure::Failed(message) = printed(&words).unwrap_err() else { panic!("{words:?}") };
            assert!(message.contains(part) && !message.contains('\n'), "{message}");
        }
        let words = ["check", "examples/ftth.toml", "--explain", "examples/ftth.pcap", "--interface", "eth9"];
        assert!(matches!(printed(&words), Err(Failure::Told { usage: true })));
        let words = ["check", "examples/ftth.toml", "--explain", "examples/ftth.pcap", "--state-dir", "/nowhere"];
        assert!(matches!(printed(&words), Err(Failure::Failed(_))));
    }
}
