//! Options by name or number: which one a key means, and how an entry of an `options` table becomes the bytes of a reply.
//!
//! Names and types are those of the registry ([`crate::wire::registry`]) and of the file's own `[[option_definition]]`s; any
//! other option is written by number with a type beside its value, as `224 = { ip = "192.0.2.9" }`.

use std::collections::{BTreeMap, HashMap};

use toml::{Table, Value};

use super::{
    OptionBlob,
    values::{self, wrong},
};
use crate::{
    class::Shape,
    wire::{
        options::MAX_OPTION_DATA,
        registry::{self, KIND_NAMES, Kind, Setter},
    },
};

/// Most data of an option: more would leave no room in a frame for anything else. Above 255 bytes it is split (RFC 3396).
pub(super) const MAX_DATA: usize = 1024;

/// What a definition of the file says of an option or sub-option.
#[derive(Clone, Debug)]
struct Defined {
    name: String,
    code: u8,
    kind: Kind,
}

/// The definitions of the file: options, and sub-options of vendors' spaces.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    options: Vec<Defined>,
    spaces: HashMap<String, Vec<Defined>>,
}

impl Definitions {
    /// Adds an option, or a sub-option of `space`.
    ///
    /// # Errors
    /// It is there already, or the protocol's own.
    pub fn add(&mut self, space: Option<&str>, code: u8, name: &str, kind: Kind) -> Result<(), String> {
        if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) || ["hex", "always"].contains(&name) {
            return Err(format!("found `{name}`; expected a name, with a letter in it"));
        }
        if space.is_none() {
            if let Some(known) = registry::by_code(code) {
                return Err(format!("option {code} is {}; a definition is for one that has no name", known.names[0]));
            }
            if let Some(known) = registry::by_name(name) {
                return Err(format!("`{name}` is the name of option {} already", known.code));
            }
        }
        let into = match space {
            None => &mut self.options,
            Some(space) => self.spaces.entry(space.to_owned()).or_default(),
        };
        if let Some(other) = into.iter().find(|other| other.code == code || other.name == name) {
            return Err(format!("`{name}` ({code}): there is a definition of {} ({}) already", other.name, other.code));
        }
        into.push(Defined { name: name.to_owned(), code, kind });
        Ok(())
    }

    /// The name of an option in messages: its own, or its number.
    pub fn name_of(&self, code: u8) -> String {
        let defined = || self.options.iter().find(|option| option.code == code).map(|option| option.name.as_str());
        let name = registry::by_code(code).map(|option| option.names[0]).or_else(defined);
        name.map_or_else(|| format!("option {code}"), |name| format!("{name} ({code})"))
    }

    /// The code that a key of an `options` table means.
    ///
    /// # Errors
    /// There is no such option, or it is not for the configuration to set.
    pub fn code_of(&self, key: &str) -> Result<u8, String> {
        let by_number = key.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty();
        let code = if by_number {
            key.parse::<u8>().map_err(|_| format!("found option number {key}; expected 1 to 254"))?
        } else if let Some(option) = registry::by_name(key) {
            option.code
        } else if let Some(option) = self.options.iter().find(|option| option.name == key) {
            option.code
        } else {
            let known = registry::all().iter().filter(|option| option.setter == Setter::Configuration);
            let names = known.flat_map(|option| option.names.iter().copied());
            let names = names.chain(self.options.iter().map(|option| option.name.as_str()));
            let near = nearest(key, names, '-').map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            return Err(format!(
                "no option is known by the name `{key}`{near} (any option can be written by its number, as 224 = {{ ip = \"192.0.2.9\" }})"
            ));
        };
        match registry::by_code(code).map(|option| (option.setter, option.names[0])) {
            Some((Setter::Other(why), name)) => Err(format!("option {name} ({code}) cannot be set here: {why}")),
            _ => Ok(code),
        }
    }

    /// The code of any option by its name: also of those that clients and relay agents send.
    ///
    /// # Errors
    /// There is no such option.
    pub fn option_named(&self, name: &str) -> Result<u8, String> {
        let defined = || self.options.iter().find(|option| option.name == name).map(|option| option.code);
        if let Some(code) = registry::by_name(name).map(|option| option.code).or_else(defined) {
            return Ok(code);
        }
        let names = registry::all().iter().flat_map(|option| option.names.iter().copied());
        let names = names.chain(self.options.iter().map(|option| option.name.as_str()));
        let near = nearest(name, names, '-').map(|near| format!("did you mean `{near}`?"));
        let advice = near.unwrap_or_else(|| "expected its number, as option[60]".to_owned());
        Err(format!("no option is known by the name `{name}`; {advice}"))
    }

    /// What the data of an option is, as far as that is known.
    pub fn kind_of(&self, code: u8) -> Option<&Kind> {
        let defined = || self.options.iter().find(|option| option.code == code).map(|option| &option.kind);
        registry::by_code(code).map(|option| &option.kind).or_else(defined)
    }

    /// Whether a table with an option's expression has it sent unasked.
    ///
    /// # Errors
    /// It has other keys.
    pub(super) fn always(&self, table: &Table) -> Result<bool, String> {
        only(table, &["computed", "always"])?;
        table
            .get("always")
            .map_or(Ok(false), |always| always.as_bool().ok_or_else(|| wrong(always, "true or false", "always")))
    }

    /// What the value of an option's expression is, by the option's type.
    ///
    /// # Errors
    /// It cannot be computed.
    pub(super) fn shape_of(&self, code: u8) -> Result<Shape, String> {
        match self.kind_of(code) {
            None | Some(Kind::Text | Kind::Hex) => Ok(Shape::Bytes),
            Some(Kind::Ip | Kind::Ips) => Ok(Shape::Address),
            Some(Kind::U8) => Ok(Shape::Number(1)),
            Some(Kind::U16) => Ok(Shape::Number(2)),
            Some(Kind::U32) => Ok(Shape::Number(4)),
            Some(Kind::Bool) => Ok(Shape::Condition),
            Some(kind) => Err(format!(
                "{} is of type {}, which cannot be computed; expected an option of type string, hex, ip, ips, u8, u16, u32 or bool",
                self.name_of(code),
                kind.name()
            )),
        }
    }

    /// Encodes one entry of an `options` table: a value of the option's own type, or a table `{ value = …, always = true }` or
    /// `{ hex = …, always = true }` (also `string`, `ip` and the other types of definitions).
    ///
    /// # Errors
    /// What was found and what would be right.
    pub fn encode(&self, code: u8, value: &Value) -> Result<OptionBlob, String> {
        let own = self.kind_of(code);
        let always = match value.as_table().and_then(|table| table.get("always")) {
            Some(always) => always.as_bool().ok_or_else(|| wrong(always, "true or false", "always"))?,
            None => false,
        };
        let data = self.encode_as(own, &self.name_of(code), value)?;
        if data.len() > MAX_DATA {
            return Err(format!("is {} bytes long; an option holds at most {MAX_DATA}", data.len()));
        }
        if data.is_empty() && own != Some(&Kind::Empty) {
            let expected = own.map_or("bytes".into(), Kind::expected);
            return Err(format!("is empty; expected {expected}"));
        }
        Ok(OptionBlob { code, data, always, ..OptionBlob::default() })
    }

    /// Encodes a value of an option or sub-option whose own type, if it has one, is `own`.
    fn encode_as(&self, own: Option<&Kind>, name: &str, value: &Value) -> Result<Vec<u8>, String> {
        match (value, own) {
            (Value::Table(table), Some(_)) if table.contains_key("value") => {
                only(table, &["value", "always"])?;
                self.encode_as(own, name, &table["value"])
            }
            (Value::Table(table), Some(Kind::Suboptions)) if table.contains_key("options") => {
                only(table, &["space", "options", "always"])?;
                self.suboptions(table)
            }
            (Value::Table(table), Some(Kind::VendorClasses)) if table.contains_key("enterprise") => vendor_class(table),
            (Value::Table(table), Some(Kind::VendorOptions)) if table.contains_key("enterprise") => {
                self.vendor_options(table)
            }
            (Value::Array(values), Some(Kind::VendorClasses | Kind::VendorOptions)) => {
                let parts = values.iter().map(|value| self.encode_as(own, name, value));
                Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
            }
            (Value::Table(table), _) => {
                let mut typed = None;
                for (key, value) in table.iter().filter(|(key, _)| *key != "always") {
                    let Some(kind) = typed_as(key) else {
                        if key == "value" {
                            return Err(needs_type(name));
                        }
                        let known = KIND_NAMES.map(|(name, _)| name).join(", ");
                        return Err(format!("unknown key `{key}`; expected value, always, or a type: {known}"));
                    };
                    if typed.replace((kind, value)).is_some() {
                        return Err("found two values; expected one, as { hex = \"0a:0b\" }".into());
                    }
                }
                let (kind, value) = typed.ok_or_else(|| {
                    format!("has no value; expected {}", own.map_or("{ hex = … }".into(), Kind::expected))
                })?;
                values::encode(&kind, value)
            }
            (value, Some(kind)) => values::encode(kind, value),
            (_, None) => Err(needs_type(name)),
        }
    }

    /// `{ space = "…", options = { … } }` as code, length and data of each, in the order of codes.
    fn suboptions(&self, table: &Table) -> Result<Vec<u8>, String> {
        let space = match table.get("space") {
            None => &[][..],
            Some(name) => {
                let known = || {
                    let mut names: Vec<&str> = self.spaces.keys().map(String::as_str).collect();
                    names.sort_unstable();
                    if names.is_empty() {
                        "a space of an [[option_definition]], of which there is none".into()
                    } else {
                        format!("one of {}", names.join(", "))
                    }
                };
                name.as_str().and_then(|name| self.spaces.get(name)).ok_or_else(|| wrong(name, &known(), "space"))?
            }
        };
        let given = &table["options"];
        let given = given.as_table().ok_or_else(|| wrong(given, "a table of sub-options", "options"))?;
        let mut all = BTreeMap::new();
        for (key, value) in given {
            let by_number = key.parse::<u8>().ok().filter(|code| (1..255).contains(code));
            let defined = space.iter().find(|option| option.name == *key || by_number == Some(option.code));
            let Some(code) = defined.map(|option| option.code).or(by_number) else {
                let names: Vec<&str> = space.iter().map(|option| option.name.as_str()).collect();
                let names = if names.is_empty() { String::new() } else { format!(", or one of {}", names.join(", ")) };
                return Err(format!("found sub-option `{key}`; expected a number from 1 to 254{names}"));
            };
            let data = self.encode_as(defined.map(|option| &option.kind), "it", value);
            let data = data.map_err(|why| format!("sub-option {key}: {why}"))?;
            let len = u8::try_from(data.len()).map_err(|_| {
                format!("sub-option {key} is {} bytes long; it holds at most {MAX_OPTION_DATA}", data.len())
            })?;
            if all.insert(code, [&[code, len], &data[..]].concat()).is_some() {
                return Err(format!("sub-option {code} is set twice"));
            }
        }
        Ok(all.into_values().flatten().collect())
    }

    /// `{ enterprise = 4491, space = "…", options = { … } }` (RFC 3925 4).
    fn vendor_options(&self, table: &Table) -> Result<Vec<u8>, String> {
        only(table, &["enterprise", "space", "options", "hex", "always"])?;
        let data = match (table.get("options"), table.get("hex")) {
            (Some(_), None) => self.suboptions(table)?,
            (None, Some(hex)) => values::encode(&Kind::Hex, hex)?,
            _ => return Err(format!("expected {}", Kind::VendorOptions.expected())),
        };
        enterprise(table, &data)
    }
}

/// `{ enterprise = 4491, string = "…" }`, or with `hex` (RFC 3925 3): behind the number one class, behind its length.
fn vendor_class(table: &Table) -> Result<Vec<u8>, String> {
    only(table, &["enterprise", "string", "hex", "always"])?;
    let data = match (table.get("string"), table.get("hex")) {
        (Some(text), None) => values::encode(&Kind::Text, text)?,
        (None, Some(hex)) => values::encode(&Kind::Hex, hex)?,
        _ => return Err(format!("expected {}", Kind::VendorClasses.expected())),
    };
    let len =
        u8::try_from(data.len()).map_err(|_| format!("is {} bytes long; a class holds at most 255", data.len()))?;
    enterprise(table, &[&[len], &data[..]].concat())
}

/// Data behind its enterprise number and its length.
fn enterprise(table: &Table, data: &[u8]) -> Result<Vec<u8>, String> {
    let number = values::encode(&Kind::U32, &table["enterprise"]).map_err(|why| format!("enterprise: {why}"))?;
    let len = u8::try_from(data.len())
        .map_err(|_| format!("is {} bytes long; one enterprise's data holds at most 255", data.len()))?;
    Ok([&number[..], &[len], data].concat())
}

/// Complains of a key that is none of these.
fn only(table: &Table, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key `{key}`; expected {}", known.join(", "))),
        None => Ok(()),
    }
}

/// The type that a key names beside a value; an address may be several.
fn typed_as(key: &str) -> Option<Kind> {
    let kind = KIND_NAMES.iter().find(|(name, _)| *name == key).map(|(_, kind)| kind.clone())?;
    Some(if kind == Kind::Ip { Kind::Ips } else { kind })
}

fn needs_type(name: &str) -> String {
    format!(
        "{name} has no type of its own: write one, as {{ hex = \"0a:0b\" }}, {{ string = \"…\" }} or {{ ip = [\"192.0.2.9\"] }}"
    )
}

/// The known name that is nearest to a mistyped one, if any is near; `dash` is what stands between words in `names`.
pub(crate) fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>, dash: char) -> Option<&'a str> {
    let key = key.to_ascii_lowercase().replace(['_', '-'], &dash.to_string());
    let (distance, name) = names.map(|name| (edit_distance(&key, name), name)).min()?;
    (distance <= 3 && distance * 2 < name.len()).then_some(name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(key: &str, toml: &str) -> Result<Vec<u8>, String> {
        let table: toml::Table = format!("v = {toml}").parse().unwrap();
        let definitions = Definitions::default();
        Ok(definitions.encode(definitions.code_of(key)?, &table["v"])?.data)
    }

    #[test]
    fn each_type_is_encoded_as_its_rfc_says() {
        let cases: &[(&str, &str, &[u8])] = &[
            ("subnet-mask", "\"255.255.255.0\"", &[255, 255, 255, 0]),
            ("routers", "[\"192.0.2.1\", \"192.0.2.2\"]", &[192, 0, 2, 1, 192, 0, 2, 2]),
            ("routers", "\"192.0.2.1\"", &[192, 0, 2, 1]),
            ("time-offset", "-3600", &[0xff, 0xff, 0xf1, 0xf0]),
            ("domain-name", "\"example.net\"", b"example.net"),
            ("interface-mtu", "1500", &[5, 220]),
            ("ip-forwarding", "false", &[0]),
            ("static-routes", "[\"198.51.100.7 via 192.0.2.1\"]", &[198, 51, 100, 7, 192, 0, 2, 1]),
            // The examples of RFC 3442.
            ("classless-static-routes", "\"0.0.0.0/0 via 10.0.0.1\"", &[0, 10, 0, 0, 1]),
            ("classless-static-routes", "[\"10.229.0.128/25 via 10.229.0.1\"]", &[25, 10, 229, 0, 128, 10, 229, 0, 1]),
            ("domain-search", "[\"a.bc\", \"d.\"]", &[1, b'a', 2, b'b', b'c', 0, 1, b'd', 0]),
            // The example of RFC 3397 section 2.
            (
                "domain-search",
                "[\"eng.apple.com.\", \"marketing.apple.com.\"]",
                b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04",
            ),
            ("domain-search", "[\"x.net\", \"X.NET\"]", b"\x01x\x03net\x00\xc0\x00"),
            ("sip-ua-domains", "[\"a.x\", \"b.x\"]", b"\x01a\x01x\x00\x01b\x01x\x00"),
            ("lost-server", "\"lost.x\"", b"\x04lost\x01x\x00"),
            ("policy-filter", "[\"198.51.100.0/24\"]", &[198, 51, 100, 0, 255, 255, 255, 0]),
            ("path-mtu-plateau-table", "[68, 1500]", &[0, 68, 5, 220]),
            ("user-class", "[\"ab\", \"c\"]", b"\x02ab\x01c"),
            ("slp-directory-agents", "[true, [\"192.0.2.9\"]]", &[1, 192, 0, 2, 9]),
            ("sip-servers", "[\"192.0.2.9\"]", &[1, 192, 0, 2, 9]),
            ("sip-servers", "[\"s.x\", \"t.x\"]", b"\x00\x01s\x01x\x00\x01t\x01x\x00"),
            (
                "pcp-servers",
                "[[\"192.0.2.1\", \"192.0.2.2\"], [\"192.0.2.3\"]]",
                &[8, 192, 0, 2, 1, 192, 0, 2, 2, 4, 192, 0, 2, 3],
            ),
            ("pcp-servers", "[\"192.0.2.1\"]", &[4, 192, 0, 2, 1]),
            ("port-parameters", "[4, 8, 0x1200]", &[4, 8, 0x12, 0]),
            ("sztp-redirect", "[\"https://x\"]", b"\x00\x09https://x"),
            ("captive-portal", "\"https://portal.example.net/\"", b"https://portal.example.net/"),
            ("ipv6-only-preferred", "1800", &[0, 0, 7, 8]),
            ("softwire-source-address", "\"2001:db8::1\"", &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (
                "43",
                "{ options = { 2 = { u16 = 5 }, 1 = { string = \"x\" } }, always = true }",
                &[1, 1, b'x', 2, 2, 0, 5],
            ),
            (
                "vendor-identifying-classes",
                "{ enterprise = 4491, string = \"docsis3.0\" }",
                b"\x00\x00\x11\x8b\x0a\x09docsis3.0",
            ),
            (
                "125",
                "[{ enterprise = 4491, options = { 2 = { ip = \"192.0.2.9\" } } }, { enterprise = 9, hex = \"01\" }]",
                b"\x00\x00\x11\x8b\x06\x02\x04\xc0\x00\x02\x09\x00\x00\x00\x09\x01\x01",
            ),
            ("125", "{ value = { enterprise = 9, hex = \"01\" }, always = true }", &[0, 0, 0, 9, 1, 1]),
            ("224", "{ domains = [\"a.x\"] }", b"\x01a\x01x\x00"),
            ("43", "{ hex = \"01:04 ff\", always = true }", &[1, 4, 255]),
            ("43", "\"0104\"", &[1, 4]),
            ("224", "{ string = \"x\" }", b"x"),
            ("225", "{ ip = \"192.0.2.9\" }", &[192, 0, 2, 9]),
            ("226", "{ u32 = 4294967295 }", &[255, 255, 255, 255]),
            ("3", "\"192.0.2.1\"", &[192, 0, 2, 1]),
            ("dns-servers", "{ value = [\"192.0.2.1\"], always = true }", &[192, 0, 2, 1]),
        ];
        for (key, value, data) in cases {
            assert_eq!(encoded(key, value).as_deref(), Ok(*data), "{key} = {value}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_type() {
        let cases = [
            ("routers", "[\"192.0.2.1\", \"nonsense\"]", "found `nonsense`; expected IPv4 addresses"),
            ("routers", "[]", "is empty; expected IPv4 addresses"),
            ("interface-mtu", "70000", "found `70000`; expected a number from 0 to 65535"),
            ("ip-forwarding", "1", "expected true or false"),
            ("43", "\"012\"", "found `012`; expected { options = {"),
            ("224", "\"x\"", "has no type of its own"),
            ("224", "{ always = true }", "has no value"),
            ("224", "{ hex = \"00\", string = \"x\" }", "found two values"),
            ("224", "{ text = \"x\" }", "unknown key `text`"),
            ("classless-static-routes", "\"10.0.0.1/8 via 10.0.0.1\"", "expected routes as"),
            ("domain-search", "\"a..b\"", "expected domain names"),
            ("sip-servers", "[\"192.0.2.1\", \"a.x\"]", "not both"),
            ("port-parameters", "[4, 8]", "found 2 values; expected a list of 3 values: a number from 0 to 255; a"),
            ("port-parameters", "[4, 256, 1]", "found `256`; expected a number from 0 to 255"),
            ("43", "{ options = { x = 1 } }", "found sub-option `x`; expected a number from 1 to 254"),
            ("43", "{ options = { 7 = 1 } }", "sub-option 7: it has no type of its own"),
            (
                "43",
                "{ space = \"acs\", options = { 7 = { u8 = 1 } } }",
                "space: found `acs`; expected a space of an [[option_definition]]",
            ),
            ("125", "{ enterprise = -1, hex = \"00\" }", "enterprise: found `-1`"),
            ("125", "{ enterprise = 1 }", "expected { enterprise = 4491, options"),
            ("125", "\"xyz\"", "expected { enterprise = 4491"),
            ("124", "{ enterprise = 1, colour = 1 }", "unknown key `colour`; expected enterprise, string, hex"),
            ("routers", "{ ips = [\"192.0.2.1\"], always = 5 }", "always: found `5`; expected true or false"),
            ("256", "1", "expected 1 to 254"),
            ("router", "1", "did you mean `routers`?"),
            ("ntp_servers", "1", "did you mean `ntp-servers`?"),
            ("frobnicate", "1", "no option is known by the name `frobnicate` (any"),
        ];
        for (key, value, part) in cases {
            let error = encoded(key, value).unwrap_err();
            assert!(error.contains(part), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn an_option_longer_than_its_length_byte_can_say_is_taken_up_to_what_a_message_holds() {
        let text = |n: usize| encoded("domain-name", &format!("\"{}\"", "x".repeat(n)));
        assert_eq!(text(1024).unwrap().len(), 1024);
        assert!(text(1025).unwrap_err().contains("is 1025 bytes long; an option holds at most 1024"));
        let sub = format!("{{ options = {{ 1 = {{ string = \"{}\" }} }} }}", "x".repeat(256));
        assert!(encoded("43", &sub).unwrap_err().contains("sub-option 1 is 256 bytes long; it holds at most 255"));
    }

    #[test]
    fn definitions_give_options_and_sub_options_names_and_types() {
        let mut definitions = Definitions::default();
        definitions.add(None, 224, "site", Kind::U16).unwrap();
        definitions.add(Some("acs"), 1, "url", Kind::Text).unwrap();
        definitions.add(Some("acs"), 2, "retry", Kind::U32).unwrap();
        let encoded = |key: &str, toml: &str| {
            let table: toml::Table = format!("v = {toml}").parse().unwrap();
            definitions.encode(definitions.code_of(key)?, &table["v"]).map(|blob| blob.data)
        };
        assert_eq!(encoded("site", "7").unwrap(), [0, 7]);
        assert_eq!(encoded("224", "7").unwrap(), [0, 7]);
        assert_eq!(
            encoded("43", "{ space = \"acs\", options = { retry = 9, url = \"u\", 5 = { hex = \"ff\" } } }").unwrap(),
            b"\x01\x01u\x02\x04\0\0\0\x09\x05\x01\xff"
        );
        assert_eq!(encoded("43", "{ space = \"acs\", options = { 2 = 9 } }").unwrap(), b"\x02\x04\0\0\0\x09");
        let error = encoded("43", "{ space = \"acs\", options = { url = \"u\", 1 = \"v\" } }").unwrap_err();
        assert!(error.contains("sub-option 1 is set twice"), "{error}");
        let error = encoded("43", "{ space = \"asc\", options = { url = \"u\" } }").unwrap_err();
        assert!(error.contains("space: found `asc`; expected one of acs"), "{error}");
        assert!(encoded("sites", "7").unwrap_err().contains("did you mean `site`?"));
        for (space, code, name, part) in [
            (None, 6, "site2", "option 6 is dns-servers; a definition is for one that has no name"),
            (None, 225, "routers", "`routers` is the name of option 3 already"),
            (None, 224, "other", "there is a definition of site (224) already"),
            (Some("acs"), 3, "url", "there is a definition of url (1) already"),
            (None, 226, "17", "expected a name, with a letter in it"),
        ] {
            let error = definitions.add(space, code, name, Kind::U8).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn options_that_the_protocol_sets_are_refused_with_a_reason() {
        for code in [0u8, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255] {
            assert!(
                Definitions::default().code_of(&code.to_string()).unwrap_err().contains("cannot be set here: "),
                "{code}"
            );
        }
        assert!(Definitions::default().code_of("lease-time").unwrap_err().contains("use `lease_time_s`"));
    }
}
