//! The quick flags of `serve`: one interface and one subnet with no file. They become the same form as a file and go
//! through the same checks; findings name the flag.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::{Spanned, Value};

use super::{
    check::{self, Checked},
    file::{FileForm, InterfaceForm, SubnetForm, Text},
    machine::{InterfaceState, Machine},
    source::{Rejected, Severity, Source},
};

use crate::wire::options::code;

/// What the command line gave, as text; the checks read it.
#[derive(Clone, Debug, Default)]
pub struct QuickFlags {
    /// `--interface`
    pub interface: String,
    /// `--subnet`
    pub subnet: String,
    /// `--pool`; without it, all hosts of the subnet save this machine's own addresses and the router.
    pub pool: Option<String>,
    /// `--router`
    pub router: Option<String>,
    /// `--dns`, separated by commas.
    pub dns: Option<String>,
    /// `--lease-time`, seconds.
    pub lease_time_s: Option<i64>,
    /// `--state-dir`
    pub state_dir: Option<String>,
    /// `--workers`
    pub workers: Option<i64>,
    /// `--busy-poll`
    pub busy_poll: bool,
    /// `--durability`
    pub durability: Option<String>,
}

impl QuickFlags {
    /// Checks the flags as a file with the same content would be.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its flag.
    pub fn check(&self, machine: &dyn Machine) -> Result<Checked, Rejected> {
        let mut source = Source::flags();
        let form = self.form(&mut source, machine);
        let mut checked = check::check(&form, &source, machine, Vec::new())?;
        if self.pool.is_none()
            && self.router.is_none()
            && let [subnet] = &*checked.config.subnets
        {
            let pools: Vec<String> = subnet.pools.iter().map(ToString::to_string).collect();
            let message = format!(
                "neither --pool nor --router is given: {} are leased, be they a router's or anybody's; clients get no router",
                pools.join(", ")
            );
            // It is about the command line as a whole.
            checked.warnings.push(source.finding(Severity::Warning, 0..0, message));
        }
        Ok(checked)
    }

    fn form(&self, source: &mut Source, machine: &dyn Machine) -> FileForm {
        let mut form = FileForm::default();
        let name = source.add_flag("--interface", self.interface.clone());
        form.interfaces.push(Spanned::new(
            name.span(),
            InterfaceForm {
                name: Some(name.clone()),
                workers: self.workers.map(|workers| source.add_flag("--workers", workers)),
                busy_poll: self.busy_poll,
                ..InterfaceForm::default()
            },
        ));
        let prefix = source.add_flag("--subnet", self.subnet.clone());
        let mut subnet = SubnetForm { prefix: Some(prefix.clone()), interface: Some(name), ..SubnetForm::default() };
        match &self.pool {
            Some(pool) => {
                let pool = source.add_flag("--pool", pool.clone());
                let span = pool.span();
                subnet.pools =
                    pool.get_ref().split(',').map(|one| Spanned::new(span.clone(), one.to_owned())).collect();
            }
            None => self.whole_subnet(&mut subnet, &prefix, machine),
        }
        if let Some(router) = &self.router {
            add_addresses(&mut subnet, source.add_flag("--router", router.clone()), code::ROUTER);
        }
        if let Some(dns) = &self.dns {
            add_addresses(&mut subnet, source.add_flag("--dns", dns.clone()), code::DOMAIN_NAME_SERVER);
        }
        subnet.lease_time_s = self.lease_time_s.map(|s| source.add_flag("--lease-time", s));
        form.subnets.push(Spanned::new(prefix.span(), subnet));
        form.state_dir = self.state_dir.as_ref().map(|dir| source.add_flag("--state-dir", dir.clone()));
        form.durability = self.durability.as_ref().map(|kind| source.add_flag("--durability", kind.clone()));
        form
    }

    /// The pool when none is given: every host but this machine's own addresses and the router.
    fn whole_subnet(&self, subnet: &mut SubnetForm, prefix: &Text, machine: &dyn Machine) {
        // A wrong prefix is found by the checks; it has no hosts.
        let Ok(net) = prefix.get_ref().parse::<Ipv4Net>() else { return };
        subnet.pools = vec![Spanned::new(prefix.span(), net.trunc().to_string())];
        let mut taken: Vec<Ipv4Addr> = match machine.interface(&self.interface) {
            InterfaceState::Present(link) => link.addresses,
            InterfaceState::Missing | InterfaceState::Unknown => Vec::new(),
        };
        taken.extend(
            self.router.iter().flat_map(|text| text.split(',')).filter_map(|text| text.trim().parse::<Ipv4Addr>().ok()),
        );
        taken.retain(|address| net.contains(address));
        subnet.exclude = taken.iter().map(|address| Spanned::new(prefix.span(), address.to_string())).collect();
    }
}

/// Puts addresses separated by commas into an option.
fn add_addresses(subnet: &mut SubnetForm, flag: Text, code: u8) {
    let list = flag.get_ref().split(',').map(|one| Value::String(one.trim().to_owned())).collect();
    subnet.options.insert(Spanned::new(flag.span(), code.to_string()), Spanned::new(flag.span(), Value::Array(list)));
}
