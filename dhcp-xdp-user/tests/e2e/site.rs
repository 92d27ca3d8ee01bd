//! The networks that tests take place in, and the server in them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::{End, Lab, Namespace, Server, Veth};

/// Interface of the server.
pub const INSIDE: &str = "server0";
/// Interface of the client.
pub const OUTSIDE: &str = "client0";
/// Address of the server.
pub const SERVER: &str = "198.18.0.1";
/// Address of the client's interface, where a program wants one: outside of the pool.
pub const LOAD: &str = "198.18.0.2";

/// A server and its clients on one link, 198.18.0.0/15 (RFC 2544).
pub struct Direct {
    // Dropped in this order: the folder goes last.
    pub inside: Namespace,
    pub outside: Namespace,
    pub lab: Lab,
}

impl Direct {
    pub fn new(veth: Veth) -> Result<Self> {
        let lab = Lab::new()?;
        let site = Self { inside: lab.namespace("s")?, outside: lab.namespace("c")?, lab };
        veth.join(site.server_end(), site.client_end())?;
        site.server_end().add_address(&format!("{SERVER}/15"))?;
        Ok(site)
    }

    pub fn server_end(&self) -> End<'_> {
        End::new(&self.inside, INSIDE)
    }

    pub fn client_end(&self) -> End<'_> {
        End::new(&self.outside, OUTSIDE)
    }

    pub fn state(&self) -> PathBuf {
        self.lab.path("state")
    }

    /// The server with its quick flags, and these words besides.
    pub fn serve(&self, words: &[&str]) -> Result<Server> {
        let mut all = vec!["--interface", INSIDE, "--subnet", "198.18.0.0/15"];
        all.extend(["--pool", "198.18.1.0-198.19.255.254", "--router", SERVER]);
        all.extend(words);
        Server::start(&self.inside, self.state(), &all)
    }
}

/// Clients on one link, a relay agent, and the server on another: 198.18.0.0/24 for the server, 198.19.0.0/24 for clients.
pub struct Relayed {
    pub inside: Namespace,
    pub between: Namespace,
    pub outside: Namespace,
    pub lab: Lab,
}

impl Relayed {
    /// The relay agent's interface towards clients, and the one towards the server.
    pub const INTERFACES: (&'static str, &'static str) = ("down0", "up0");
    /// The relay agent's address towards clients: giaddr, and their router.
    pub const GATEWAY: &'static str = "198.19.0.1";

    pub fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let site =
            Self { inside: lab.namespace("s")?, between: lab.namespace("r")?, outside: lab.namespace("c")?, lab };
        let (down, up) = Self::INTERFACES;
        let (down, up) = (End::new(&site.between, down), End::new(&site.between, up));
        let server = End::new(&site.inside, INSIDE);
        Veth::default().join(server, up)?;
        Veth::default().join(down, site.client_end())?;
        server.add_address(&format!("{SERVER}/24"))?;
        up.add_address("198.18.0.254/24")?;
        down.add_address(&format!("{}/24", Self::GATEWAY))?;
        // The server answers with no help of the kernel; a ping to a client would want this.
        site.inside.ip("route add 198.19.0.0/24 via 198.18.0.254")?;
        Ok(site)
    }

    pub fn client_end(&self) -> End<'_> {
        End::new(&self.outside, OUTSIDE)
    }

    pub fn serve(&self, words: &[&str]) -> Result<Server> {
        let mut all = vec!["--interface", INSIDE, "--subnet", "198.19.0.0/24", "--router", Self::GATEWAY];
        all.extend(words);
        Server::start(&self.inside, self.lab.path("state"), &all)
    }
}

/// The state of the lease of an address, if the server lists it.
pub fn state_of(leases: &[Value], address: &str) -> Option<String> {
    let lease = leases.iter().find(|lease| lease["address"] == address)?;
    lease["state"].as_str().map(str::to_owned)
}

/// Stops the server with its ledger closed and no program left on its interface.
pub fn stop(server: Server, end: End<'_>) -> Result<Value> {
    let stats = server.stop()?;
    ensure!(end.xdp_program()?.is_none(), "the XDP program is still attached after the server ended");
    Ok(stats)
}

/// A figure that statistics must have.
pub fn figure(value: &Value, path: &str) -> Result<u64> {
    value.pointer(path).and_then(Value::as_u64).with_context(|| format!("no figure {path} in {value}"))
}
