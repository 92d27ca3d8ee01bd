//! Options at their levels: global, network, subnet, pool, each over the one before. All merging is done here, once, so that a reply
//! takes one set; what depends on the request (classes, reservations) is laid over it then ([`super::Overlay`]).

use std::{collections::BTreeMap, net::Ipv4Addr, ops::Range, sync::Arc};

use ipnet::Ipv4Net;
use toml::{Spanned, Table, Value};

use super::{
    AddressRange, Level, OptionBlob, OptionSet, PoolOptions,
    check::Checker,
    classes::class_named,
    file::{DefinitionForm, FileForm, NetworkForm, Options, SubnetForm, Text},
    options::Definitions,
    ranges,
    subnets::{host_range, keep_out},
};
use crate::{
    class::{Expression, Scope},
    wire::{options::code, registry::Kind},
};

/// The key of an option's expression.
const COMPUTED: &str = "computed";

/// Bytes of options above which a reply may not fit the 576 bytes that every client takes (RFC 2131 2: 312 bytes of
/// options, less what the server itself sets).
const ROOMY_OPTIONS: usize = 250;

/// Options by code.
type Compiled = BTreeMap<u8, OptionBlob>;

/// What all subnets have in common: definitions and the global options.
pub(super) struct Levels<'f> {
    form: &'f FileForm,
    definitions: Definitions,
    global: Compiled,
}

impl<'f> Levels<'f> {
    pub fn new(checker: &mut Checker<'_>, form: &'f FileForm) -> Self {
        let mut definitions = Definitions::default();
        for spanned in &form.option_definitions {
            define(checker, spanned, &mut definitions);
        }
        let mut levels = Self { form, definitions, global: Compiled::new() };
        levels.global = levels.compile(checker, &form.defaults.options, Level::Global);
        levels
    }

    /// The options that a class or a reservation gives.
    pub fn overlay(&self, checker: &mut Checker<'_>, given: &Options) -> OptionSet {
        OptionSet::new(self.compile(checker, given, Level::Overlay).into_values())
    }

    /// The definitions, once all is read.
    pub fn into_definitions(self) -> Definitions {
        self.definitions
    }

    /// The code of an option by its name, that of the registry or of a definition.
    ///
    /// # Errors
    /// There is no such option.
    pub fn option_named(&self, name: &str) -> Result<u8, String> {
        self.definitions.option_named(name)
    }

    /// The code of an option that the configuration may set, by name or number.
    ///
    /// # Errors
    /// There is no such option, or others set it.
    pub fn settable(&self, name: &str) -> Result<u8, String> {
        self.definitions.code_of(name)
    }

    /// A subnet's options: its own, else its network's, else the global ones, else what follows from the prefix; and those of
    /// its pools over them.
    pub fn subnet(
        &self,
        checker: &mut Checker<'_>,
        form: &FileForm,
        network: Option<&NetworkForm>,
        given: &SubnetForm,
        prefix: Ipv4Net,
        pools: &[AddressRange],
    ) -> (OptionSet, Vec<PoolOptions>) {
        let derived = |code, address: Ipv4Addr, always| OptionBlob {
            code,
            data: address.octets().to_vec(),
            always,
            level: Level::Prefix,
            ..OptionBlob::default()
        };
        let mut all = Compiled::from([(code::SUBNET_MASK, derived(code::SUBNET_MASK, prefix.netmask(), true))]);
        if prefix.prefix_len() < 31 {
            let broadcast = derived(code::BROADCAST_ADDRESS, prefix.broadcast(), false);
            all.insert(code::BROADCAST_ADDRESS, broadcast);
        }
        let of_network = network.and_then(|network| network.ipv6_only);
        if given.ipv6_only.or(of_network).or(form.defaults.ipv6_only) == Some(true) {
            // RFC 8925 3.1: V6ONLY_WAIT as configured; "otherwise, the server MUST set it to zero".
            let code = code::IPV6_ONLY_PREFERRED;
            all.insert(code, OptionBlob { code, data: vec![0; 4], ..OptionBlob::default() });
        }
        all.extend(self.global.clone());
        let none = Options::new();
        let of_network = network.map_or(&none, |network| &network.options);
        all.extend(self.compile(checker, of_network, Level::Network));
        all.extend(self.compile(checker, &given.options, Level::Subnet));
        let tables = [&given.options, of_network, &form.defaults.options];
        self.check(checker, &tables, given, prefix, pools, &all);
        let mut own = Vec::new();
        for pool in given.pool.iter().map(Spanned::get_ref).filter(|pool| !pool.options.is_empty()) {
            let Some(range) = pool.range.as_ref().and_then(|text| ranges::parse(text.get_ref()).ok()) else { continue };
            let mut options = all.clone();
            options.extend(self.compile(checker, &pool.options, Level::Pool));
            self.check(checker, &[&pool.options], given, prefix, pools, &options);
            own.push(PoolOptions { range, options: OptionSet::new(options.into_values()) });
        }
        own.sort_by_key(|pool| pool.range.first);
        (OptionSet::new(all.into_values()), own)
    }

    /// What is wrong or doubtful about the options of a level, all above it counted in; `tables` are where they were written.
    fn check(
        &self,
        checker: &mut Checker<'_>,
        tables: &[&Options],
        given: &SubnetForm,
        prefix: Ipv4Net,
        pools: &[AddressRange],
        all: &Compiled,
    ) {
        let own = |code| {
            let is = |key: &&Text| self.definitions.code_of(key.get_ref()) == Ok(code);
            tables.iter().find_map(|table| table.keys().find(is)).map(Spanned::span)
        };
        let at = |code| own(code).unwrap_or_else(|| given.prefix.as_ref().map_or(0..0, Spanned::span));
        let bytes: usize = all.values().map(|blob| blob.data.len() + 2).sum();
        if bytes > ROOMY_OPTIONS {
            let longest = all.values().max_by_key(|blob| blob.data.len()).map_or(0, |blob| blob.code);
            checker.warn(at(longest), format!("{prefix} has {bytes} bytes of options; above {ROOMY_OPTIONS}, replies to clients that take only the least message (576 bytes) may lack some"));
        }
        let Some(routers) = all.get(&code::ROUTER).filter(|_| own(code::ROUTER).is_some()) else { return };
        for router in routers.data.chunks_exact(4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3])) {
            if let Some(pool) = pools.iter().find(|pool| pool.contains(router)) {
                checker.error(at(code::ROUTER), format!("router {router} is in pool {pool}; {}", keep_out(router)));
            } else if !prefix.contains(&router) {
                let why = format!("router {router} is outside of {prefix}: clients may not reach it");
                checker.warn(at(code::ROUTER), why);
            } else if !host_range(prefix).contains(router) {
                let why = format!("router {router} is no host of {prefix}; the hosts are {}", host_range(prefix));
                checker.error(at(code::ROUTER), why);
            }
        }
    }

    /// Encodes an `options` table, by code.
    fn compile(&self, checker: &mut Checker<'_>, given: &Options, level: Level) -> Compiled {
        let mut compiled = Compiled::new();
        for (key, value) in given {
            let code = match self.definitions.code_of(key.get_ref()) {
                Ok(code) => code,
                Err(why) => {
                    checker.error(key.span(), why);
                    continue;
                }
            };
            let blob = match value.get_ref() {
                Value::Table(table) if table.contains_key(COMPUTED) => {
                    self.computed(checker, code, table, value.span())
                }
                plain => self.definitions.encode(code, plain).map_err(|why| checker.error(value.span(), why)).ok(),
            };
            if let Some(blob) = blob
                && compiled.insert(code, OptionBlob { level, ..blob }).is_some()
            {
                let name = self.definitions.name_of(code);
                checker.error(key.span(), format!("{name} is set twice in this table"));
            }
        }
        compiled
    }

    /// `{ computed = "…" }`: an expression over each request and its reply.
    fn computed(&self, checker: &mut Checker<'_>, code: u8, table: &Table, span: Range<usize>) -> Option<OptionBlob> {
        let always = self.definitions.always(table).map_err(|why| checker.error(span.clone(), why)).ok()?;
        let Some(text) = table[COMPUTED].as_str() else {
            checker.error(span, format!("found {}; expected an expression in quotes", table[COMPUTED]));
            return None;
        };
        let shape = match self.definitions.shape_of(code) {
            Ok(shape) => shape,
            Err(why) => {
                checker.error(span, why);
                return None;
            }
        };
        let scope = Scope {
            option: &|name| self.option_named(name),
            class: &|name| class_named(self.form, name),
            has_reply: true,
        };
        match Expression::compile(text, shape, &scope) {
            Ok(expression) => {
                Some(OptionBlob { code, always, computed: Some(Arc::new(expression)), ..OptionBlob::default() })
            }
            Err(faults) => {
                let at = checker.source.value_of(&span, COMPUTED).unwrap_or(span);
                let text = Spanned::new(at, text.to_owned());
                for fault in faults {
                    checker.error_within(&text, fault.span, fault.message);
                }
                None
            }
        }
    }
}

/// Reads an `[[option_definition]]`.
fn define(checker: &mut Checker<'_>, spanned: &Spanned<DefinitionForm>, definitions: &mut Definitions) {
    let form = spanned.get_ref();
    let (Some(code), Some(name), Some(kind)) = (&form.code, &form.name, &form.kind) else {
        let example = "as code = 224, name = \"site-number\", type = \"u16\"";
        checker.error(spanned.span(), format!("expected `code`, `name` and `type`, {example}"));
        return;
    };
    let code_number = checker.number(Some(code), 1..=254, 0, " (an option's code)");
    let kind = match Kind::parse(kind.get_ref()) {
        Ok(kind) => kind,
        Err(why) => {
            checker.error(kind.span(), why);
            return;
        }
    };
    let Ok(number @ 1..) = u8::try_from(code_number) else { return };
    let space = form.space.as_ref().map(|space| space.get_ref().as_str());
    if let Err(why) = definitions.add(space, number, name.get_ref(), kind) {
        checker.error(name.span(), why);
    }
}
