//! `dhcp-xdp leases [list|show|export|import|release]`

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use dhcp_xdp::{
    control::{Filter, LeaseView, now_s, parse_bytes, parse_state, parse_subnet, parse_text_or_hex, parse_vrf},
    lease::BindingState,
};
use ipnet::Ipv4Net;

use super::{
    export::Export,
    failure::{Done, Failure},
    import::Import,
    output::Output,
    source::{Source, of_client, wrong_usage},
    state::State,
};

/// List, show, export, import or release leases; without a running server, what its journal holds
///
/// `started_at` is when the binding last changed: the client's last transaction, or its release by an operator. The journal knows
/// no subnets and no offers: without a running server, the subnet is empty. An address of a VPN is written with its name, as
/// 192.0.2.10%red; in JSON, `vrf` has it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp leases\n  dhcp-xdp leases list --state bound --json")]
pub(super) struct Leases {
    #[command(flatten)]
    state: State,
    #[command(subcommand)]
    command: Option<LeasesCommand>,
}

#[derive(Debug, Subcommand)]
enum LeasesCommand {
    /// List leases as a table, in the order of addresses; those of VPNs after all others
    #[command(
        after_help = "Example:\n  dhcp-xdp leases list --subnet 192.0.2.0/24 --state bound\n  dhcp-xdp leases list --circuit-id olt1/0/7 --json"
    )]
    List {
        #[command(flatten)]
        filter: FilterFlags,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one address
    #[command(after_help = "Example:\n  dhcp-xdp leases show 192.0.2.10")]
    Show {
        /// The address
        address: Ipv4Addr,
        /// Of this VPN, where several have the address; global is outside of all
        #[arg(long, value_name = "NAME")]
        vrf: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    Export(Export),
    Import(Import),
    /// Take an address back from whoever has it; the client is not told. Needs a running server
    #[command(
        after_help = "Example:\n  dhcp-xdp leases release 192.0.2.10\n  dhcp-xdp leases release 10.0.0.10 --vrf red"
    )]
    Release {
        /// The address
        address: Ipv4Addr,
        /// Of this VPN, where several have the address; global is outside of all
        #[arg(long, value_name = "NAME")]
        vrf: Option<String>,
        /// Print the released lease as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct FilterFlags {
    /// Only in this state: offered, bound, released, expired or declined
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<BindingState>,
    /// Only addresses of this prefix
    #[arg(long, value_name = "CIDR", value_parser = parse_subnet)]
    subnet: Option<Ipv4Net>,
    /// Only addresses of this VPN; global is outside of all
    #[arg(long, value_name = "NAME")]
    vrf: Option<String>,
    /// Only of this hardware address, as 02:00:00:00:00:01
    #[arg(long, value_name = "MAC", value_parser = parse_hex)]
    hw_address: Option<Bytes>,
    /// Only of this client identifier, as 01:02:00:00:00:00:01
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    client_id: Option<Bytes>,
    /// Only of clients whose relay agent named this circuit (option 82): a text, or bytes as 0x0004
    #[arg(long, value_name = "ID", value_parser = parse_identifier)]
    circuit_id: Option<Bytes>,
    /// Only of clients whose relay agent named this remote end (option 82): a text, or bytes as 0x0004
    #[arg(long, value_name = "ID", value_parser = parse_identifier)]
    remote_id: Option<Bytes>,
}

/// Bytes; a type of its own because clap takes a `Vec` for a repeated flag.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

fn parse_hex(text: &str) -> Result<Bytes, String> {
    parse_bytes(text).map(Bytes)
}

fn parse_identifier(text: &str) -> Result<Bytes, String> {
    parse_text_or_hex(text).map(Bytes)
}

impl From<FilterFlags> for Filter {
    fn from(flags: FilterFlags) -> Self {
        Self {
            state: flags.state,
            subnet: flags.subnet,
            vrf: flags.vrf,
            hw_address: flags.hw_address.map(|hex| hex.0),
            client_id: flags.client_id.map(|hex| hex.0),
            circuit_id: flags.circuit_id.map(|id| id.0),
            remote_id: flags.remote_id.map(|id| id.0),
        }
    }
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    JsonArray,
}

impl Leases {
    pub fn run(self) -> Done {
        match self.command {
            None => list(&self.state, &Filter::default(), Form::Table),
            Some(LeasesCommand::List { filter, json }) => {
                list(&self.state, &filter.into(), if json { Form::JsonArray } else { Form::Table })
            }
            Some(LeasesCommand::Export(export)) => export.run(&self.state),
            Some(LeasesCommand::Import(import)) => import.run(&self.state),
            Some(LeasesCommand::Show { address, vrf, json }) => {
                show(&lease(&self.state, address, vrf.as_deref())?, json)
            }
            Some(LeasesCommand::Release { address, vrf, json }) => release(&self.state, address, vrf.as_deref(), json),
        }
    }
}

fn list(state: &State, filter: &Filter, form: Form) -> Done {
    // First where they come from, so that nothing is written when there are none to be had.
    let source = Source::open(state)?;
    let mut writer = ListWriter { out: Output::new(), form, written: 0 };
    writer.head()?;
    source.each(filter, &mut |lease| writer.lease(lease))?;
    writer.tail()
}

fn lease(state: &State, address: Ipv4Addr, vrf: Option<&str>) -> Result<LeaseView, Failure> {
    if let Some(client) = state.try_connect()? {
        return client.lease(address, vrf).map_err(of_client);
    }
    let offline = Source::of_journal(state)?;
    let vrfs = &offline.vrfs;
    let space = vrf.map(|name| parse_vrf(name, vrfs)).transpose().map_err(wrong_usage)?;
    let mut found = offline.find(address, now_s()).map_err(Failure::of)?;
    found.retain(|binding| space.is_none_or(|space| binding.space == space));
    match &found[..] {
        [] => Err(Failure::Failed(format!("the journal has nothing about {address}"))),
        [binding] => Ok(LeaseView::new(binding, None, vrfs)),
        several => {
            let names: Vec<String> = several.iter().map(|binding| vrfs.name_of(binding.space)).collect();
            Err(wrong_usage(format!(
                "{address} was leased in several VPNs: say which with --vrf, of {}",
                names.join(", ")
            )))
        }
    }
}

fn show(lease: &LeaseView, json: bool) -> Done {
    let mut out = Output::new();
    if json {
        out.json(lease)?;
        return out.flush();
    }
    let subnet = lease.subnet.map(|subnet| subnet.to_string());
    let rows = [
        ("address", Some(lease.address.to_string())),
        ("subnet", subnet),
        ("vrf", lease.vrf.clone()),
        ("state", Some(lease.state.clone())),
        ("hw address", lease.hw_address.clone()),
        ("hw type", Some(lease.hw_type.to_string())),
        ("client id", lease.client_id.clone()),
        ("started at", Some(lease.started_at.clone())),
        ("expires at", Some(lease.expires_at.clone().unwrap_or_else(|| "never".into()))),
    ];
    for (name, value) in rows {
        out.line(format!("{name:<15}{}", value.as_deref().unwrap_or("-")))?;
    }
    let of_relay_agent = [
        ("circuit id", &lease.circuit_id),
        ("remote id", &lease.remote_id),
        ("subscriber id", &lease.subscriber_id),
        ("relay id", &lease.relay_id),
        ("option 82", &lease.relay_agent_info),
    ];
    for (name, value) in of_relay_agent.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        out.line(format!("{name:<15}{value}"))?;
    }
    out.flush()
}

fn release(state: &State, address: Ipv4Addr, vrf: Option<&str>, json: bool) -> Done {
    let client = state.connect()?;
    let released = client.release(address, vrf).map_err(of_client)?;
    let mut out = Output::new();
    if json {
        out.json(&released)?;
    } else {
        let whose = released.hw_address.as_deref().unwrap_or("an unknown client");
        out.line(format!("{} is released; {whose} had it", released.place()))?;
    }
    out.flush()
}

struct ListWriter {
    out: Output,
    form: Form,
    written: u64,
}

impl ListWriter {
    fn head(&mut self) -> Done {
        match self.form {
            Form::Table => self.out.line(row(["ADDRESS", "STATE", "HW ADDRESS", "EXPIRES AT", "CLIENT ID"])),
            Form::JsonArray => self.out.text("["),
        }
    }

    fn lease(&mut self, lease: &LeaseView) -> Done {
        let expires_at = lease.expires_at.as_deref();
        let hw_address = lease.hw_address.as_deref();
        let client_id = lease.client_id.as_deref();
        self.written += 1;
        match self.form {
            Form::Table => {
                let address = lease.place();
                let fields = [
                    &address,
                    lease.state.as_str(),
                    hw_address.unwrap_or("-"),
                    expires_at.unwrap_or("never"),
                    client_id.unwrap_or("-"),
                ];
                self.out.line(row(fields))
            }
            Form::JsonArray => {
                let json = serde_json::to_string(lease).map_err(Failure::of)?;
                self.out.text(&format!("{}\n{json}", if self.written == 1 { "" } else { "," }))
            }
        }
    }

    fn tail(mut self) -> Done {
        if self.form == Form::JsonArray {
            self.out.text(if self.written == 0 { "]\n" } else { "\n]\n" })?;
        }
        self.out.flush()
    }
}

/// A line of the table, without spaces at its end.
fn row([address, state, hw_address, expires_at, client_id]: [&str; 5]) -> String {
    format!("{address:<15}  {state:<8}  {hw_address:<17}  {expires_at:<20}  {client_id}").trim_end().to_owned()
}
