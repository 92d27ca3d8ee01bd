//! One configuration, in our words and, made from them, in Kea's.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use dhcp_xdp::config::{self, AnyMachine, Config, IdKind, OptionBlob, Subnet};
use serde_json::{Value, json};

use super::world::{Client, LINK, Net, RELAYED, SERVER};
use crate::site::INSIDE;

fn pool(net: Net) -> String {
    let (first, last) = net.pool();
    format!("{first}-{last}")
}

/// Clients with a reservation: every fifth, direct and relayed ones, with and without an identifier.
fn reserved() -> impl Iterator<Item = (u32, Client)> {
    (25..250).step_by(5).map(|number| (number, Client::number(number)))
}

/// A client's reservation: of an address outside of all pools, in each third one with settings of its own.
fn reservation((number, client): (u32, Client)) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let by = match &client.client_id {
        Some(id) => format!("client_id = \"{}\"", hex(id)),
        None => format!("hw_address = \"{}\"", hex(&client.mac)),
    };
    let address = client.net().reserved(number as u8);
    let own = match number % 3 {
        0 => "next_server = \"192.0.2.98\"\nboot_file = \"own.bin\"\noptions = { domain-name = \"own.example\" }\n",
        _ => "",
    };
    format!("[[reservation]]\n{by}\naddress = \"{address}\"\n{own}")
}

/// Two subnets on the link and behind a relay agent each; behind the relay agent they are a shared network.
pub fn ours() -> String {
    let reservations: String = reserved().map(reservation).collect();
    format!(
        r#"
state_dir = "unused"
[[interface]]
name = "{INSIDE}"
workers = 1
[defaults]
lease_time_s = 3600
min_lease_time_s = 600
max_lease_time_s = 7200
renewal_jitter = 0.0
authoritative = true
server_id = "{SERVER}"
[[subnet]]
prefix = "{}/20"
interface = "{INSIDE}"
pools = ["{}"]
[subnet.options]
routers = ["{}"]
dns-servers = ["192.0.2.53", "192.0.2.54"]
domain-name = "link.example"
ntp-servers = ["192.0.2.123"]
domain-search = ["example.net", "sub.example.net", "example.org"]
classless-static-routes = ["203.0.113.0/24 via 198.18.0.9"]
224 = {{ hex = "de:ad:be:ef" }}
[[network]]
name = "behind-the-relay-agent"
[[subnet]]
prefix = "{}/20"
network = "behind-the-relay-agent"
pools = ["{}"]
next_server = "192.0.2.99"
boot_file = "modem.bin"
[subnet.options]
routers = ["{}"]
dns-servers = ["192.0.2.55"]
[[subnet]]
prefix = "198.20.0.0/24"
network = "behind-the-relay-agent"
pools = ["198.20.0.10-198.20.0.250"]
{reservations}
"#,
        LINK.host(0),
        pool(LINK),
        LINK.host(1),
        RELAYED.host(0),
        pool(RELAYED),
        RELAYED.host(1),
    )
}

/// The same for Kea: the checked form of ours in its words.
pub fn kea(ours: &str) -> Result<Value> {
    let checked = config::parse("ours", ours, &AnyMachine).map_err(|error| anyhow!("{error:?}"))?;
    let Config { subnets, decline_quarantine_s, .. } = &checked.config;
    let mut alone: Vec<Value> = Vec::new();
    let mut networks: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (subnet, id) in subnets.iter().zip(1..) {
        let made = self::subnet(subnet, id, &checked.config)?;
        match &subnet.network {
            Some(name) => networks.entry(name).or_default().push(made),
            None => alone.push(made),
        }
    }
    // Kea wants a network to say it too.
    let networks = networks
        .into_iter()
        .map(|(name, subnets)| json!({"name": name, "authoritative": subnets[0]["authoritative"], "subnet4": subnets}));
    Ok(json!({
        "interfaces-config": {"interfaces": [INSIDE], "dhcp-socket-type": "raw"},
        "lease-database": {"type": "memfile", "persist": false},
        "multi-threading": {"enable-multi-threading": false},
        "ddns-send-updates": false,
        "calculate-tee-times": true,
        "decline-probation-period": decline_quarantine_s,
        "host-reservation-identifiers": ["client-id", "hw-address"],
        "reservations-out-of-pool": false,
        "reservations-in-subnet": true,
        "subnet4": alone,
        "shared-networks": networks.collect::<Vec<_>>(),
    }))
}

fn subnet(subnet: &Subnet, id: u32, config: &Config) -> Result<Value> {
    let pools = subnet.pools.iter().map(|pool| json!({"pool": format!("{} - {}", pool.first, pool.last)}));
    let mut options: Vec<Value> = subnet.options.iter().map(option).collect();
    let server_id = subnet.server_id.context("a subnet without a server identifier")?;
    options.push(json!({"name": "dhcp-server-identifier", "data": server_id.to_string()}));
    let mut value = json!({
        "id": id,
        "subnet": subnet.prefix.to_string(),
        "pools": pools.collect::<Vec<_>>(),
        "authoritative": subnet.authoritative,
        "valid-lifetime": subnet.lease.default_s,
        "min-valid-lifetime": subnet.lease.min_s,
        "max-valid-lifetime": subnet.lease.max_s,
        "t1-percent": f64::from(subnet.lease.t1_permille) / 1000.0,
        "t2-percent": f64::from(subnet.lease.t2_permille) / 1000.0,
        "next-server": subnet.next_server.to_string(),
        "boot-file-name": String::from_utf8(subnet.boot_file.clone())?,
        "option-data": options,
        "reservations": reservations(subnet, config),
    });
    if let Some(interface) = &subnet.interface {
        value["interface"] = json!(interface);
    }
    Ok(value)
}

/// The reservations of a subnet's addresses.
fn reservations(subnet: &Subnet, config: &Config) -> Vec<Value> {
    let in_subnet = config.reservations.iter().filter_map(|(reservation, id)| {
        let address = reservation.address.filter(|address| subnet.prefix.contains(address))?;
        let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut value = match reservation.kind() {
            IdKind::HwAddress => json!({"hw-address": hex[1..].join(":")}),
            _ => json!({"client-id": hex.join("")}),
        };
        value["ip-address"] = json!(address.to_string());
        if let Some(overlay) = reservation.overlay.and_then(|at| config.overlays.get(at as usize)) {
            value["next-server"] = json!(overlay.next_server.map(|address| address.to_string()).unwrap_or_default());
            value["boot-file-name"] = json!(String::from_utf8_lossy(overlay.boot_file.as_deref().unwrap_or_default()));
            value["option-data"] = overlay.options.iter().map(option).collect();
        }
        Some(value)
    });
    in_subnet.collect()
}

fn option(option: &OptionBlob) -> Value {
    let hex: String = option.data.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"code": option.code, "space": "dhcp4", "csv-format": false, "data": hex, "always-send": option.always})
}
