//! One configuration, in our words and, made from them, in Kea's.

use anyhow::{Context, Result, anyhow};
use dhcp_xdp::config::{self, AnyMachine, Config, OptionBlob, Subnet};
use serde_json::{Value, json};

use super::world::{LINK, Net, RELAYED, SERVER};
use crate::site::INSIDE;

fn pool(net: Net) -> String {
    let (first, last) = net.pool();
    format!("{first}-{last}")
}

/// Two subnets: one on the link, one behind a relay agent.
pub fn ours() -> String {
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
[[subnet]]
prefix = "{}/20"
pools = ["{}"]
next_server = "192.0.2.99"
boot_file = "modem.bin"
[subnet.options]
routers = ["{}"]
dns-servers = ["192.0.2.55"]
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
    let subnets: Vec<Value> =
        subnets.iter().zip(1..).map(|(subnet, id)| self::subnet(subnet, id)).collect::<Result<_>>()?;
    Ok(json!({
        "interfaces-config": {"interfaces": [INSIDE], "dhcp-socket-type": "raw"},
        "lease-database": {"type": "memfile", "persist": false},
        "multi-threading": {"enable-multi-threading": false},
        "ddns-send-updates": false,
        "calculate-tee-times": true,
        "decline-probation-period": decline_quarantine_s,
        "subnet4": subnets,
    }))
}

fn subnet(subnet: &Subnet, id: u32) -> Result<Value> {
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
    });
    if let Some(interface) = &subnet.interface {
        value["interface"] = json!(interface);
    }
    Ok(value)
}

fn option(option: &OptionBlob) -> Value {
    let hex: String = option.data.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"code": option.code, "space": "dhcp4", "csv-format": false, "data": hex, "always-send": option.always})
}
