//! VPNs (VRFs): what their subnets, relay agents, operators and the journal call them.
//!
//! The journal knows a VPN by a number, which must be the same after every change of the configuration, and on every server that
//! reads the journal. So it comes from what the VPN itself is called, or is written down in `[[vrf]]`; never from an order.

use std::collections::HashMap;

use toml::Spanned;

use super::{
    check::Checker,
    file::{FileForm, Text, VrfForm},
    values,
};
use crate::{
    control::colons,
    lease::{Space, SpacedAddress},
};

/// What operators call the space outside of all VPNs.
pub const GLOBAL_NAME: &str = "global";
/// How the identifier of RFC 2685 is written.
const VPN_ID: &str = "vpn-id:";
/// The types of a virtual subnet selection (RFC 6607 3.5): a name in ASCII, an identifier of RFC 2685, no VPN at all.
const TYPE_NAME: u8 = 0;
const TYPE_VPN_ID: u8 = 1;
const TYPE_GLOBAL: u8 = 255;
/// Most VPNs: a number each, and one for the space outside of them.
const MOST: usize = u16::MAX as usize;

/// A VPN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// The address space of its subnets.
    pub space: Space,
    /// What operators call it.
    pub name: String,
    /// What the virtual subnet selection options call it (RFC 6607): type and identifier.
    pub id: Vec<u8>,
}

/// All VPNs of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrfs {
    /// Sorted by `id`.
    all: Vec<Vrf>,
    /// Their places, sorted by their spaces.
    by_space: Vec<(Space, u16)>,
}

impl Vrfs {
    /// Of VPNs that differ in their identifiers and in their spaces.
    pub fn new(mut all: Vec<Vrf>) -> Self {
        all.sort_by(|one, other| one.id.cmp(&other.id));
        let mut by_space: Vec<(Space, u16)> = all.iter().zip(0..).map(|(vrf, place)| (vrf.space, place)).collect();
        by_space.sort_unstable();
        Self { all, by_space }
    }

    /// Of what operators call them; `None` when one is no name, or two have one space or one name.
    pub fn of_names(names: impl IntoIterator<Item = (String, Space)>) -> Option<Self> {
        let read = |(name, space): (String, Space)| {
            let id = id_of(&name).ok()?;
            Some(Vrf { space, name: name_of(&id), id })
        };
        let made = Self::new(names.into_iter().map(read).collect::<Option<_>>()?);
        let apart = made.by_space.windows(2).all(|pair| pair[0].0 != pair[1].0)
            && made.all.windows(2).all(|pair| pair[0].id != pair[1].id);
        (apart && !made.all.iter().any(|vrf| vrf.space == Space::GLOBAL)).then_some(made)
    }

    /// The space that a virtual subnet selection option or sub-option names (RFC 6607 3.5); `None`: a VPN that is not here.
    pub fn selected(&self, selection: &[u8]) -> Option<Space> {
        if selection.first() == Some(&TYPE_GLOBAL) {
            return Some(Space::GLOBAL);
        }
        let at = self.all.binary_search_by(|vrf| vrf.id.as_slice().cmp(selection)).ok()?;
        Some(self.all[at].space)
    }

    /// The space of the VPN that operators call so; [`GLOBAL_NAME`] is outside of all. One that is none of these, of which a journal
    /// has leases still, is called as by [`name_of`](Self::name_of).
    pub fn named(&self, name: &str) -> Option<Space> {
        let known = if name == GLOBAL_NAME { Some(Space::GLOBAL) } else { self.selected(&id_of(name).ok()?) };
        known.or_else(|| name.strip_prefix('#')?.parse().ok().map(Space))
    }

    /// As [`named`](Self::named); a VPN that is not here is added, with its own number.
    ///
    /// # Errors
    /// It is no name, or its number is another's.
    pub fn learn(&mut self, name: &str) -> Result<Space, String> {
        if let Some(space) = self.named(name) {
            return Ok(space);
        }
        let id = id_of(name).map_err(|expected| format!("found VPN `{name}`; expected {expected}"))?;
        let space = Space(own_number(&id));
        if self.by_space.iter().any(|(known, _)| *known == space) {
            let (number, other) = (space.0, self.name_of(space));
            return Err(format!(
                "found VPN `{name}`, whose number {number} is that of VPN `{other}`; expected one that the server was started with, or `#` and its number"
            ));
        }
        let mut all = std::mem::take(self).all;
        all.push(Vrf { space, name: name_of(&id), id });
        *self = Self::new(all);
        Ok(space)
    }

    /// What operators call a space: a VPN's by its name, one that is none of these by its number, as `#7`.
    pub fn name_of(&self, space: Space) -> String {
        match self.by_space.binary_search_by_key(&space, |(space, _)| *space) {
            Ok(at) => self.all[usize::from(self.by_space[at].1)].name.clone(),
            Err(_) if space == Space::GLOBAL => GLOBAL_NAME.to_owned(),
            Err(_) => format!("#{}", space.0),
        }
    }

    /// What the virtual subnet selection options call a space; nothing of the one outside of all VPNs, or of one that is not here.
    pub fn selection_of(&self, space: Space) -> Option<&[u8]> {
        let at = self.by_space.binary_search_by_key(&space, |(space, _)| *space).ok()?;
        Some(&self.all[usize::from(self.by_space[at].1)].id)
    }

    /// An address with its VPN, if it is in one, as operators write it: `10.0.0.1%red`.
    pub fn place(&self, at: SpacedAddress) -> String {
        match at.space {
            Space::GLOBAL => at.address.to_string(),
            space => format!("{}%{}", at.address, self.name_of(space)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Vrf> {
        self.all.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The space of a text of the file that was read before; what is wrong with it was told then.
    pub(super) fn of(&self, given: Option<&Text>) -> Space {
        given.and_then(|text| self.named(text.get_ref())).unwrap_or_default()
    }

    /// A space as messages name it behind an address or prefix.
    pub(super) fn within(&self, space: Space) -> String {
        if space == Space::GLOBAL { String::new() } else { format!(" of VPN `{}`", self.name_of(space)) }
    }
}

/// The number that a VPN has unless it is written down: a sum of its identifier, of 16 bits, never 0. It must not change: the
/// records of the journal have it.
pub fn own_number(id: &[u8]) -> u16 {
    let sum = crc32c::crc32c(id);
    ((sum >> 16) as u16 ^ sum as u16).max(1)
}

/// What the virtual subnet selection options call a VPN: a text is its name (type 0 of RFC 6607 3.5), seven bytes in hexadecimal
/// are its identifier (type 1, RFC 2685).
///
/// # Errors
/// What is expected.
fn id_of(name: &str) -> Result<Vec<u8>, &'static str> {
    match name.strip_prefix(VPN_ID) {
        Some(digits) => match values::hex(digits) {
            Some(id) if id.len() == 7 => Ok([&[TYPE_VPN_ID], &id[..]].concat()),
            _ => Err("seven bytes as vpn-id:00:11:22:33:44:55:66"),
        },
        None => {
            let is_shown = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            let is_name = !name.is_empty() && name.len() <= 254 && name.trim() == name && name.bytes().all(is_shown);
            let expected = "a VPN's name of ASCII letters, or vpn-id: and its number";
            is_name.then(|| [&[TYPE_NAME], name.as_bytes()].concat()).ok_or(expected)
        }
    }
}

/// One way to write each.
fn name_of(id: &[u8]) -> String {
    match id {
        [TYPE_VPN_ID, id @ ..] => format!("{VPN_ID}{}", colons(id)),
        [_, name @ ..] => String::from_utf8_lossy(name).into_owned(),
        [] => String::new(),
    }
}

/// Reads what a file says of VPNs, wherever it does.
pub(super) fn vrfs(checker: &mut Checker<'_>, form: &FileForm) -> Vrfs {
    let mut found = Reading::default();
    for spanned in &form.vrfs {
        found.table(checker, spanned);
    }
    let of_subnets = form.subnets.iter().filter_map(|subnet| subnet.get_ref().vrf.as_ref());
    let of_networks = form.networks.iter().filter_map(|network| network.get_ref().vrf.as_ref());
    for text in of_networks.chain(of_subnets) {
        if text.get_ref() != GLOBAL_NAME
            && let Some(id) = found.id(checker, text)
        {
            found.add(checker, id, text, None);
        }
    }
    Vrfs::new(found.all)
}

#[derive(Default)]
struct Reading {
    all: Vec<Vrf>,
    by_id: HashMap<Vec<u8>, usize>,
    by_number: HashMap<u16, usize>,
}

impl Reading {
    fn table(&mut self, checker: &mut Checker<'_>, spanned: &Spanned<VrfForm>) {
        let VrfForm { name, number } = spanned.get_ref();
        let Some(text) = name else {
            checker.error(spanned.span(), "`name` is missing; expected it as name = \"customer-red\"");
            return;
        };
        if text.get_ref() == GLOBAL_NAME {
            checker.error(text.span(), "found `global`, which is the space outside of all VPNs; expected a VPN's name");
            return;
        }
        let Some(id) = self.id(checker, text) else { return };
        if self.by_id.contains_key(&id) {
            checker.error(text.span(), format!("VPN `{}` is there already", text.get_ref()));
            return;
        }
        let number = number.as_ref().map(|given| checker.number(Some(given), 1..=MOST as i64, 1, "") as u16);
        self.add(checker, id, text, number);
    }

    fn id(&self, checker: &mut Checker<'_>, text: &Text) -> Option<Vec<u8>> {
        let read = id_of(text.get_ref());
        read.map_err(|expected| checker.error(text.span(), format!("found `{}`; expected {expected}", text.get_ref())))
            .ok()
    }

    fn add(&mut self, checker: &mut Checker<'_>, id: Vec<u8>, text: &Text, given: Option<u16>) {
        if self.by_id.contains_key(&id) {
            return;
        }
        let (number, name) = (given.unwrap_or_else(|| own_number(&id)), name_of(&id));
        if let Some(other) = self.by_number.get(&number) {
            let other = &self.all[*other].name;
            let free = (1..=u16::MAX).find(|number| !self.by_number.contains_key(number)).unwrap_or_default();
            checker.error(
                text.span(),
                format!(
                    "VPNs `{other}` and `{name}` have the same number {number} in the journal; give the one that has no leases yet another one, as [[vrf]] name = \"{name}\", number = {free}"
                ),
            );
            return;
        }
        self.by_number.insert(number, self.all.len());
        self.by_id.insert(id.clone(), self.all.len());
        self.all.push(Vrf { space: Space(number), name, id });
    }
}
