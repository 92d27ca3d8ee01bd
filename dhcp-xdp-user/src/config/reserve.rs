//! Reading reservations: `[[reservation]]` in the configuration, and files of them, in TOML or as a table of comma-separated
//! values.

mod identifiers;
mod rows;

use std::{fs, net::Ipv4Addr, ops::Range, path::Path};

use serde::Deserialize as _;
use toml::{Spanned, de::DeTable};

pub use identifiers::identifier_bytes;

use super::{
    Anywhere, Collision, Gives, IdKind, Level, OptionBlob, OptionSet, Overlay, Reservations, Scope, Subnets, boot,
    check::Checker,
    file::{FileForm, MOST_BYTES, ReservationForm, ReservationsForm, SubnetForm, Text},
    levels::Levels,
    machine::InterfaceState,
    schema,
    source::{self, Source},
    subnets::{MAX_LEASE_TIME_S, host_range},
};
use crate::{
    lease::{Space, SpacedAddress},
    wire::options::code,
};

/// All reservations; what they lay over replies is added to `overlays`.
pub(super) fn reservations(
    checker: &mut Checker<'_>,
    form: &FileForm,
    subnets: &Subnets,
    levels: &Levels<'_>,
    overlays: &mut Vec<Overlay>,
) -> Reservations {
    let (all, places, files) = Default::default();
    let mut reader = Reader { form, subnets, levels, overlays, all, places, files, warned_of_colons: false };
    reader.all.reserve(form.own_reservations.len());
    for spanned in &form.own_reservations {
        reader.read(checker, Home::Anywhere, spanned.get_ref(), spanned.span());
    }
    if let Some(path) = &form.reservations {
        reader.file(checker, Home::Anywhere, path);
    }
    let of_networks = form.networks.iter().map(Spanned::get_ref).filter_map(|network| {
        let (file, name) = (network.reservations.as_ref()?, network.name.as_ref()?.get_ref());
        let place = subnets.iter().position(|subnet| subnet.network.as_ref() == Some(name))?;
        Some((Home::Network(u16::try_from(place).ok()?), file))
    });
    // As they are read: without those that have no prefix.
    let has_prefix = |subnet: &&SubnetForm| {
        subnet.prefix.as_ref().is_some_and(|text| text.get_ref().parse::<ipnet::Ipv4Net>().is_ok())
    };
    let of_subnets = form.subnets.iter().map(Spanned::get_ref).filter(has_prefix).zip(0..=u16::MAX);
    let of_subnets =
        of_subnets.filter_map(|(subnet, place)| Some((Home::Subnet(place), subnet.reservations.as_ref()?)));
    for (home, path) in of_networks.chain(of_subnets) {
        reader.file(checker, home, path);
    }
    reader.end(checker)
}

/// Where a list of reservations stands.
#[derive(Clone, Copy)]
enum Home {
    Anywhere,
    /// The first subnet of a network.
    Network(u16),
    Subnet(u16),
}

struct Reader<'a> {
    form: &'a FileForm,
    subnets: &'a Subnets,
    levels: &'a Levels<'a>,
    overlays: &'a mut Vec<Overlay>,
    all: Reservations,
    /// By reservation: the file (0 is the configuration itself) and where in it.
    places: Vec<(u32, usize)>,
    files: Vec<Source>,
    /// That a text which looks like bytes is none was said.
    warned_of_colons: bool,
}

impl Reader<'_> {
    /// Reads a file of reservations.
    fn file(&mut self, checker: &mut Checker<'_>, home: Home, path: &Text) {
        let (file, at) = (checker.source.beside(path.get_ref()), path.span());
        let text = match read_text(&file) {
            Ok(text) => text,
            Err(why) => return checker.error(at, format!("{}: {why}", file.display())),
        };
        let name = file.display().to_string();
        let is_table = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let source = if is_table {
            self.table(checker, home, at, name, &text)
        } else {
            self.toml(checker, home, at, &name, &text)
        };
        self.files.push(source);
    }

    fn toml(&mut self, checker: &mut Checker<'_>, home: Home, at: Range<usize>, name: &str, text: &str) -> Source {
        let (mut tree, errors) = DeTable::parse_recoverable(text);
        let source = Source::file(name, text, &tree);
        checker.elsewhere(&source, at.start, |checker| {
            for error in &errors {
                checker.error(error.span().unwrap_or(0..0), super::file::in_our_words(error, text));
            }
            if !errors.is_empty() {
                return;
            }
            let mut complaints = Vec::new();
            schema::weed(tree.get_mut(), schema::RESERVATIONS, &mut complaints);
            for (at, why) in complaints {
                checker.error(at, why);
            }
            match ReservationsForm::deserialize(toml::de::Deserializer::from(tree)) {
                Ok(form) => {
                    self.all.reserve(form.reservations.len());
                    for spanned in &form.reservations {
                        self.read(checker, home, spanned.get_ref(), spanned.span());
                    }
                }
                Err(error) => checker.error(error.span().unwrap_or(0..0), super::file::in_our_words(&error, text)),
            }
        });
        source
    }

    /// Reads one reservation.
    fn read(&mut self, checker: &mut Checker<'_>, home: Home, form: &ReservationForm, at: Range<usize>) {
        let Some((kind, id)) = self.identifier(checker, form, at.clone()) else { return };
        let address = match &form.address {
            None => None,
            Some(text) => match self.address(checker, home, text, form.vrf.as_ref()) {
                Some(address) => Some(address),
                None => return,
            },
        };
        let scope = match (home, address.and_then(|at: SpacedAddress| self.subnets.index_of(at))) {
            (Home::Anywhere, None) => Scope::Everywhere,
            (Home::Anywhere, Some(place)) | (Home::Network(place) | Home::Subnet(place), _) => {
                Scope::Network(self.subnets.network_of(place))
            }
        };
        let lease_time_s = form
            .lease_time_s
            .as_ref()
            .map(|given| checker.number(Some(given), 1..=MAX_LEASE_TIME_S, MAX_LEASE_TIME_S, " seconds") as u32);
        let overlay = self.overlay(checker, form);
        if kind == IdKind::FlexId && self.form.flex_id.is_none() {
            let example = "flex_id = \"concat(relay.remote-id, relay.circuit-id)\"";
            checker.error(at, format!("no expression says what a flex_id is; expected one at the top, as {example}"));
            return;
        }
        let classes = super::classes::named(checker, &form.classes, self.form);
        if let (None, Some(vrf)) = (&form.address, &form.vrf) {
            checker.error(vrf.span(), "says which VPN an `address` is of; expected one");
        }
        if address.is_none() && overlay.is_none() && lease_time_s.is_none() && form.classes.is_empty() {
            checker.warn(at.clone(), "reserves nothing; expected an `address`, a `hostname`, `options` or the like");
        }
        let space = address.map_or(Space::GLOBAL, |at| at.space);
        let gives = Gives { address: address.map(|at| at.address), space, lease_time_s, classes, overlay };
        match self.all.add(scope, kind, &id, gives) {
            Ok(_) => self.places.push((self.files.len() as u32 + u32::from(!self.is_main(checker)), at.start)),
            Err(Collision::Client(other)) => {
                let other = self.place(checker, other);
                checker.error(at, format!("this {} has a reservation already, at {other}", kind.name()));
            }
            Err(Collision::Full) => checker.error(at, "there are too many reservations before it"),
        }
    }

    fn is_main(&self, checker: &Checker<'_>) -> bool {
        !checker.is_elsewhere
    }

    /// Where a reservation stands, as `file:line`.
    fn place(&self, checker: &Checker<'_>, number: u32) -> String {
        let Some(&(file, offset)) = self.places.get(number as usize) else { return "another place".into() };
        let of_file = file.checked_sub(1).map(|file| self.files.get(file as usize));
        let source = match of_file {
            None => checker.main,
            Some(Some(source)) => source,
            // The one that is being read.
            Some(None) => checker.source,
        };
        source.line_at(offset)
    }

    /// An address that may be reserved here.
    fn address(&self, checker: &mut Checker<'_>, home: Home, text: &Text, vrf: Option<&Text>) -> Option<SpacedAddress> {
        let address = checker.address(text)?;
        let space = self.space(checker, home, address, text, vrf)?;
        let at = SpacedAddress::new(space, address);
        let Some(place) = self.subnets.index_of(at) else {
            let of = self.subnets.vrfs().within(space);
            checker.error(text.span(), format!("{address} is in no subnet{of}"));
            return None;
        };
        let prefix = self.subnets[usize::from(place)].prefix;
        let wrong = match home {
            Home::Subnet(own) if own != place => Some(self.subnets[usize::from(own)].prefix.to_string()),
            Home::Network(own) if !self.subnets.are_together(own, place) => {
                let name = self.subnets[usize::from(own)].network.as_deref();
                Some(format!("the subnets of network `{}`", name.unwrap_or_default()))
            }
            _ => None,
        };
        if let Some(own) = wrong {
            checker.error(text.span(), format!("{address} is outside of {own}; it is in {prefix}"));
            return None;
        }
        let hosts = host_range(prefix);
        if !hosts.contains(address) {
            checker.error(text.span(), format!("{address} is no host of {prefix}; the hosts are {hosts}"));
            return None;
        }
        Some(at)
    }

    /// The space of an address that is reserved: that of the list's subnet or network, or the one that `vrf` names, or the only one
    /// that has it.
    fn space(
        &self,
        checker: &mut Checker<'_>,
        home: Home,
        address: Ipv4Addr,
        text: &Text,
        vrf: Option<&Text>,
    ) -> Option<Space> {
        let (subnets, vrfs) = (self.subnets, self.subnets.vrfs());
        let own = match home {
            Home::Network(own) | Home::Subnet(own) => subnets.get(usize::from(own)).map(|subnet| subnet.space),
            Home::Anywhere => None,
        };
        if let Some(given) = vrf {
            let named = vrfs.named(given.get_ref());
            let wrong = match (named, own) {
                (None, _) => Some(format!("no subnet is in VPN `{}`", given.get_ref())),
                (Some(space), Some(own)) if space != own => Some(format!(
                    "found `{}`; this list is of a subnet in VPN `{}`",
                    given.get_ref(),
                    vrfs.name_of(own)
                )),
                _ => None,
            };
            if let Some(why) = wrong {
                checker.error(given.span(), why);
                return None;
            }
            return named;
        }
        match subnets.anywhere(address) {
            _ if own.is_some() => own,
            Anywhere::In(place) => Some(subnets[usize::from(place)].space),
            Anywhere::Nowhere => Some(Space::GLOBAL),
            Anywhere::Several => {
                let names: Vec<String> = subnets.spaces_of(address).map(|space| vrfs.name_of(space)).collect();
                checker.error(
                    text.span(),
                    format!("{address} is in subnets of several VPNs; expected `vrf` with one of {}", names.join(", ")),
                );
                None
            }
        }
    }

    /// What a reservation lays over its replies, if anything.
    fn overlay(&mut self, checker: &mut Checker<'_>, form: &ReservationForm) -> Option<u32> {
        let ReservationForm { hostname, next_server, server_name, boot_file, options, .. } = form;
        let is_empty = hostname.is_none()
            && next_server.is_none()
            && server_name.is_none()
            && boot_file.is_none()
            && options.is_empty();
        if is_empty {
            return None;
        }
        let mut set = self.levels.overlay(checker, options);
        if let Some(text) = hostname
            && let Some(blob) = host_name(checker, text)
        {
            set = OptionSet::new(set.iter().cloned().chain([blob]));
        }
        let name = |checker: &mut Checker<'_>, text: Option<&Text>, most| {
            text.is_some().then(|| boot::name(checker, text, most))
        };
        let overlay = Overlay {
            options: set,
            next_server: next_server.as_ref().and_then(|text| checker.address(text)),
            server_name: name(checker, server_name.as_ref(), boot::MAX_SERVER_NAME),
            boot_file: name(checker, boot_file.as_ref(), boot::MAX_BOOT_FILE),
        };
        self.overlays.push(overlay);
        u32::try_from(self.overlays.len() - 1).ok()
    }

    /// What can be told once all are there.
    fn end(mut self, checker: &mut Checker<'_>) -> Reservations {
        let mut twice = Vec::new();
        let in_pool = |at: SpacedAddress| {
            let pools = self.subnets.holding(at).map_or(&[][..], |subnet| &subnet.pools);
            let after = pools.partition_point(|pool| pool.first <= at.address);
            after.checked_sub(1).is_some_and(|before| pools[before].contains(at.address))
        };
        self.all.end(in_pool, |address, first, second| twice.push((address, first, second)));
        for (address, first, second) in twice {
            let at = self.place(checker, first);
            let of = self.subnets.vrfs().within(address.space);
            self.tell(checker, second, format!("{}{of} is reserved already, at {at}", address.address));
        }
        let mut own = Vec::new();
        for name in self.form.interfaces.iter().filter_map(|interface| interface.get_ref().name.as_ref()) {
            let InterfaceState::Present(link) = checker.interface(name.get_ref()) else { continue };
            // Where it has an address it is outside of all VPNs, but for those on that interface.
            let mut spaces: Vec<Space> = self.subnets.of_interface(name.get_ref()).map(|subnet| subnet.space).collect();
            spaces.push(Space::GLOBAL);
            let taken = link.addresses.iter();
            let taken = taken.flat_map(|address| spaces.iter().map(|space| SpacedAddress::new(*space, *address)));
            own.extend(taken.filter_map(|at| Some((at.address, "this machine's", self.all.of_address(at)?))));
        }
        for subnet in self.subnets {
            let routers = subnet.options.get(code::ROUTER).map_or(&[][..], |routers| &routers.data);
            let routers = routers.chunks_exact(4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3]));
            let taken =
                routers.map(|router| (router, "a router's")).chain(subnet.server_id.map(|id| (id, "this server's")));
            own.extend(taken.filter_map(|(address, whose)| {
                Some((address, whose, self.all.of_address(SpacedAddress::new(subnet.space, address))?))
            }));
        }
        own.sort_by_key(|(address, _, number)| (*address, *number));
        own.dedup();
        for (address, whose, number) in own {
            self.tell(checker, number, format!("{address} is {whose} own address and cannot be a client's"));
        }
        self.all
    }

    /// An error about a reservation that was read before.
    fn tell(&self, checker: &mut Checker<'_>, number: u32, message: String) {
        let Some(&(file, offset)) = self.places.get(number as usize) else { return };
        match file.checked_sub(1).and_then(|file| self.files.get(file as usize)) {
            None => checker.error(offset..offset + 1, message),
            Some(source) => checker.elsewhere(source, usize::MAX - 1, |checker| checker.error(offset..offset, message)),
        }
    }
}

/// A regular file's text. What has no end is no such file.
fn read_text(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|error| format!("cannot read it: {error}"))?;
    if !about.is_file() {
        return Err("is no file".into());
    }
    if about.len() > MOST_BYTES {
        return Err(format!("is longer than {} MiB", MOST_BYTES >> 20));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot read it: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let (line, column, why) = source::not_utf8(error.as_bytes(), &error.utf8_error());
        format!("line {line}, column {column}: {why}")
    })
}

fn host_name(checker: &mut Checker<'_>, text: &Text) -> Option<OptionBlob> {
    let name = text.get_ref();
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        checker.error(text.span(), format!("found `{name}`; expected a host's name as \"cpe-17\""));
        return None;
    }
    Some(OptionBlob {
        code: code::HOST_NAME,
        data: name.clone().into_bytes(),
        level: Level::Overlay,
        ..OptionBlob::default()
    })
}
