//! Every option of the IANA registry "BOOTP Vendor Extensions and DHCP Options", by name, with what its data is.
//!
//! One table for all that needs names or types: the configuration's `options`, expressions over a request, the documentation
//! (`docs/options.md` is made of it; a test compares). The first name of an option is the one that messages use; the others
//! are those of other servers, for who comes from there.

use std::{borrow::Cow, sync::LazyLock};

use super::options::code;

/// What an option's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No data: the option's presence says it all.
    Empty,
    /// An IPv4 address.
    Ip,
    /// IPv4 addresses.
    Ips,
    /// IPv4 addresses in pairs: destination and router (RFC 2132 5.8).
    IpPairs,
    /// IPv4 networks: address and mask in pairs (RFC 2132 4.3).
    IpMasks,
    /// An IPv6 address.
    Ip6,
    /// IPv6 addresses.
    Ip6s,
    /// A byte, 0 or 1.
    Bool,
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// 32 bits, with a sign.
    I32,
    /// Numbers of 8 bits.
    U8s,
    /// Numbers of 16 bits.
    U16s,
    /// Text without a terminating zero.
    Text,
    /// Texts, each behind a byte with its length (RFC 3004).
    Texts,
    /// URIs, each behind two bytes with its length (RFC 8572 8.1).
    Uris,
    /// Bytes without a type of their own.
    Hex,
    /// A domain name in wire form (RFC 1035 3.1).
    DomainName,
    /// Domain names in wire form, not compressed.
    DomainNames,
    /// Domain names in wire form, compressed (RFC 3397 with RFC 1035 4.1.4).
    SearchList,
    /// Destinations with their routers (RFC 3442).
    Routes,
    /// SIP servers: names or addresses, with a byte that says which (RFC 3361).
    SipServers,
    /// IPv4 addresses in lists, each behind a byte with its length (RFC 7291).
    IpLists,
    /// Options within the option: code, length, data (RFC 2132 8.4).
    Suboptions,
    /// Vendor classes, each behind an enterprise number (RFC 3925 3).
    VendorClasses,
    /// Options of vendors, each set behind an enterprise number (RFC 3925 4).
    VendorOptions,
    /// Several things one after the other; only the last may be of any length.
    Record(Cow<'static, [Kind]>),
}

use Kind::{
    Bool, DomainName, DomainNames, Empty, Hex, I32, Ip, Ip6, IpLists, IpMasks, IpPairs, Ips, Record, Routes,
    SearchList, SipServers, Suboptions, Text, Texts, U8, U16, U16s, U32, Uris, VendorClasses, VendorOptions,
};

/// Kinds by the names that definitions in a configuration use.
pub const KIND_NAMES: [(&str, Kind); 21] = [
    ("empty", Empty),
    ("ip", Ip),
    ("ips", Ips),
    ("ip-pairs", IpPairs),
    ("ip-masks", IpMasks),
    ("ip6", Ip6),
    ("ip6s", Kind::Ip6s),
    ("bool", Bool),
    ("u8", U8),
    ("u16", U16),
    ("u32", U32),
    ("i32", I32),
    ("u8s", Kind::U8s),
    ("u16s", U16s),
    ("string", Text),
    ("strings", Texts),
    ("hex", Hex),
    ("domain", DomainName),
    ("domains", DomainNames),
    ("search-list", SearchList),
    ("routes", Routes),
];

impl Kind {
    /// The kind of a definition: a name, or several for a record, separated by commas.
    ///
    /// # Errors
    /// What was found and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut kinds = Vec::new();
        for name in text.split(',').map(str::trim) {
            let Some((_, kind)) = KIND_NAMES.iter().find(|(known, _)| *known == name) else {
                let known = KIND_NAMES.map(|(name, _)| name).join(", ");
                return Err(format!("found `{name}`; expected one of {known}, or several for a record as \"u8, ip\""));
            };
            if let Some(before) = kinds.last().filter(|kind: &&Kind| !kind.has_fixed_size()) {
                return Err(format!("found `{name}` behind {}, which has no end of its own", before.name()));
            }
            kinds.push(kind.clone());
        }
        match <[Kind; 1]>::try_from(kinds) {
            Ok([kind]) => Ok(kind),
            Err(kinds) => Ok(Record(kinds.into())),
        }
    }

    /// Whether a reader knows where its data ends.
    fn has_fixed_size(&self) -> bool {
        matches!(self, Empty | Ip | Ip6 | Bool | U8 | U16 | U32 | I32 | DomainName)
    }

    /// Its name in definitions and in the documentation.
    pub fn name(&self) -> String {
        match self {
            Record(kinds) => kinds.iter().map(Kind::name).collect::<Vec<_>>().join(", "),
            Uris => "uris".into(),
            SipServers => "sip-servers".into(),
            IpLists => "ip-lists".into(),
            Suboptions => "options".into(),
            VendorClasses => "vendor-classes".into(),
            VendorOptions => "vendor-options".into(),
            kind => KIND_NAMES.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name).into(),
        }
    }

    /// How a value is written, for messages.
    pub fn expected(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Empty => "\"\": the option has no data",
            Ip => "an IPv4 address as \"192.0.2.1\"",
            Ips => "IPv4 addresses as [\"192.0.2.1\", \"192.0.2.2\"]",
            IpPairs => "pairs of host and router as [\"198.51.100.7 via 192.0.2.1\"]",
            IpMasks => "networks as [\"198.51.100.0/24\"]",
            Ip6 => "an IPv6 address as \"2001:db8::1\"",
            Kind::Ip6s => "IPv6 addresses as [\"2001:db8::1\"]",
            Bool => "true or false",
            U8 => "a number from 0 to 255",
            U16 => "a number from 0 to 65535",
            U32 => "a number from 0 to 4294967295",
            I32 => "a number from -2147483648 to 2147483647",
            Kind::U8s => "numbers from 0 to 255 as [1, 2]",
            U16s => "numbers from 0 to 65535 as [1, 2]",
            Text => "a text as \"example.net\"",
            Texts => "texts as [\"one\", \"two\"], each of 1 to 255 bytes",
            Uris => "URIs as [\"https://example.net/\"]",
            Hex => "bytes in hexadecimal as \"01:04:c0:00:02:01\"",
            DomainName => "a domain name as \"example.net\"",
            DomainNames | SearchList => "domain names as [\"example.net\", \"example.org\"]",
            Routes => "routes as [\"198.51.100.0/24 via 192.0.2.1\"]",
            SipServers => "IPv4 addresses or domain names, not both, as [\"sip.example.net\"]",
            IpLists => "lists of IPv4 addresses as [[\"192.0.2.1\", \"192.0.2.2\"]]",
            Suboptions => {
                "{ options = { 1 = { ip = \"192.0.2.1\" } } }, with names after space = \"…\"; or { hex = \"…\" }"
            }
            VendorClasses => "{ enterprise = 4491, string = \"docsis3.0\" }, or a list of those",
            VendorOptions => "{ enterprise = 4491, options = { 2 = { ip = \"192.0.2.1\" } } }, or a list of those",
            Record(kinds) => {
                let parts: Vec<String> = kinds.iter().map(|kind| kind.expected().into_owned()).collect();
                return format!("a list of {} values: {}", parts.len(), parts.join("; ")).into();
            }
        })
    }
}

/// Who puts an option into a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setter {
    /// The configuration.
    Configuration,
    /// Not the configuration: only clients or relay agents send it, or the server sets it by itself. The text says which, and
    /// what to do in place of setting it.
    Other(&'static str),
}

/// An option of the registry.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its code.
    pub code: u8,
    /// Its names, the first one for messages.
    pub names: &'static [&'static str],
    /// What its data is.
    pub kind: Kind,
    /// Where that is written: an RFC with its section, or who uses it.
    pub source: &'static str,
    /// Who sets it.
    pub setter: Setter,
}

const fn set(code: u8, names: &'static [&'static str], kind: Kind, source: &'static str) -> Definition {
    Definition { code, names, kind, source, setter: Setter::Configuration }
}

const fn not(
    code: u8,
    names: &'static [&'static str],
    kind: Kind,
    source: &'static str,
    why: &'static str,
) -> Definition {
    Definition { code, names, kind, source, setter: Setter::Other(why) }
}

const fn record(kinds: &'static [Kind]) -> Kind {
    Record(Cow::Borrowed(kinds))
}

const ONLY_CLIENTS: &str = "only clients send it";
const LEASEQUERY: &str = "it belongs to leasequery";

/// All options, in the order of their codes.
static OPTIONS: [Definition; 163] = [
    not(code::PAD, &["pad"], Empty, "RFC 2132 3.1", "it has no value"),
    set(code::SUBNET_MASK, &["subnet-mask"], Ip, "RFC 2132 3.3"),
    set(2, &["time-offset"], I32, "RFC 2132 3.4"),
    set(code::ROUTER, &["routers"], Ips, "RFC 2132 3.5"),
    set(4, &["time-servers"], Ips, "RFC 2132 3.6"),
    set(5, &["ien116-name-servers", "name-servers"], Ips, "RFC 2132 3.7"),
    set(code::DOMAIN_NAME_SERVER, &["dns-servers", "domain-name-servers"], Ips, "RFC 2132 3.8"),
    set(7, &["log-servers"], Ips, "RFC 2132 3.9"),
    set(8, &["cookie-servers", "quotes-servers"], Ips, "RFC 2132 3.10"),
    set(9, &["lpr-servers"], Ips, "RFC 2132 3.11"),
    set(10, &["impress-servers"], Ips, "RFC 2132 3.12"),
    set(11, &["resource-location-servers"], Ips, "RFC 2132 3.13"),
    set(code::HOST_NAME, &["host-name"], Text, "RFC 2132 3.14"),
    set(13, &["boot-size"], U16, "RFC 2132 3.15"),
    set(14, &["merit-dump"], Text, "RFC 2132 3.16"),
    set(code::DOMAIN_NAME, &["domain-name"], Text, "RFC 2132 3.17"),
    set(16, &["swap-server"], Ip, "RFC 2132 3.18"),
    set(17, &["root-path"], Text, "RFC 2132 3.19"),
    set(18, &["extensions-path"], Text, "RFC 2132 3.20"),
    set(19, &["ip-forwarding"], Bool, "RFC 2132 4.1"),
    set(20, &["non-local-source-routing"], Bool, "RFC 2132 4.2"),
    set(21, &["policy-filter"], IpMasks, "RFC 2132 4.3"),
    set(22, &["max-dgram-reassembly"], U16, "RFC 2132 4.4"),
    set(23, &["default-ip-ttl"], U8, "RFC 2132 4.5"),
    set(24, &["path-mtu-aging-timeout"], U32, "RFC 2132 4.6"),
    set(25, &["path-mtu-plateau-table"], U16s, "RFC 2132 4.7"),
    set(code::INTERFACE_MTU, &["interface-mtu"], U16, "RFC 2132 5.1"),
    set(27, &["all-subnets-local"], Bool, "RFC 2132 5.2"),
    set(code::BROADCAST_ADDRESS, &["broadcast-address"], Ip, "RFC 2132 5.3"),
    set(29, &["perform-mask-discovery"], Bool, "RFC 2132 5.4"),
    set(30, &["mask-supplier"], Bool, "RFC 2132 5.5"),
    set(31, &["router-discovery"], Bool, "RFC 2132 5.6"),
    set(32, &["router-solicitation-address"], Ip, "RFC 2132 5.7"),
    set(code::STATIC_ROUTE, &["static-routes"], IpPairs, "RFC 2132 5.8"),
    set(34, &["trailer-encapsulation"], Bool, "RFC 2132 6.1"),
    set(35, &["arp-cache-timeout"], U32, "RFC 2132 6.2"),
    set(36, &["ieee802-3-encapsulation"], Bool, "RFC 2132 6.3"),
    set(37, &["default-tcp-ttl"], U8, "RFC 2132 7.1"),
    set(38, &["tcp-keepalive-interval"], U32, "RFC 2132 7.2"),
    set(39, &["tcp-keepalive-garbage"], Bool, "RFC 2132 7.3"),
    set(40, &["nis-domain"], Text, "RFC 2132 8.1"),
    set(41, &["nis-servers"], Ips, "RFC 2132 8.2"),
    set(code::NTP_SERVER, &["ntp-servers"], Ips, "RFC 2132 8.3"),
    set(code::VENDOR_ENCAPSULATED, &["vendor-encapsulated-options"], Suboptions, "RFC 2132 8.4"),
    set(44, &["netbios-name-servers"], Ips, "RFC 2132 8.5"),
    set(45, &["netbios-dd-servers", "netbios-dd-server"], Ips, "RFC 2132 8.6"),
    set(46, &["netbios-node-type"], U8, "RFC 2132 8.7"),
    set(47, &["netbios-scope"], Text, "RFC 2132 8.8"),
    set(48, &["font-servers"], Ips, "RFC 2132 8.9"),
    set(49, &["x-display-managers", "x-display-manager"], Ips, "RFC 2132 8.10"),
    not(code::REQUESTED_ADDRESS, &["requested-address", "dhcp-requested-address"], Ip, "RFC 2132 9.1", ONLY_CLIENTS),
    not(
        code::LEASE_TIME,
        &["lease-time", "dhcp-lease-time"],
        U32,
        "RFC 2132 9.2",
        "the server sets it: use `lease_time_s`",
    ),
    not(
        code::OVERLOAD,
        &["option-overload", "dhcp-option-overload"],
        U8,
        "RFC 2132 9.3",
        "the server sets it where it is needed",
    ),
    not(code::MESSAGE_TYPE, &["message-type", "dhcp-message-type"], U8, "RFC 2132 9.6", "the server sets it"),
    not(
        code::SERVER_ID,
        &["server-identifier", "dhcp-server-identifier"],
        Ip,
        "RFC 2132 9.7",
        "the server sets it: use `server_id`",
    ),
    not(
        code::PARAMETER_REQUEST_LIST,
        &["parameter-request-list", "dhcp-parameter-request-list"],
        Kind::U8s,
        "RFC 2132 9.8",
        ONLY_CLIENTS,
    ),
    not(code::MESSAGE, &["message", "dhcp-message"], Text, "RFC 2132 9.9", "the server sets it in a NAK"),
    not(code::MAX_MESSAGE_SIZE, &["max-message-size", "dhcp-max-message-size"], U16, "RFC 2132 9.10", ONLY_CLIENTS),
    not(
        code::RENEWAL_TIME,
        &["renewal-time", "dhcp-renewal-time"],
        U32,
        "RFC 2132 9.11",
        "the server sets it: use `t1`",
    ),
    not(
        code::REBINDING_TIME,
        &["rebinding-time", "dhcp-rebinding-time"],
        U32,
        "RFC 2132 9.12",
        "the server sets it: use `t2`",
    ),
    set(code::VENDOR_CLASS_ID, &["vendor-class-identifier"], Text, "RFC 2132 9.13"),
    not(
        code::CLIENT_ID,
        &["client-identifier", "dhcp-client-identifier"],
        Hex,
        "RFC 2132 9.14",
        "the server echoes the client's (RFC 6842)",
    ),
    set(62, &["nwip-domain-name"], Text, "RFC 2242"),
    set(63, &["nwip-suboptions"], Suboptions, "RFC 2242"),
    set(64, &["nisplus-domain-name"], Text, "RFC 2132 8.11"),
    set(65, &["nisplus-servers"], Ips, "RFC 2132 8.12"),
    set(code::TFTP_SERVER_NAME, &["tftp-server-name"], Text, "RFC 2132 9.4"),
    set(code::BOOT_FILE_NAME, &["boot-file-name"], Text, "RFC 2132 9.5"),
    set(68, &["mobile-ip-home-agents", "mobile-ip-home-agent"], Ips, "RFC 2132 8.13"),
    set(69, &["smtp-servers", "smtp-server"], Ips, "RFC 2132 8.14"),
    set(70, &["pop3-servers", "pop-server"], Ips, "RFC 2132 8.15"),
    set(71, &["nntp-servers", "nntp-server"], Ips, "RFC 2132 8.16"),
    set(72, &["www-servers", "www-server"], Ips, "RFC 2132 8.17"),
    set(73, &["finger-servers", "finger-server"], Ips, "RFC 2132 8.18"),
    set(74, &["irc-servers", "irc-server"], Ips, "RFC 2132 8.19"),
    set(75, &["streettalk-servers", "streettalk-server"], Ips, "RFC 2132 8.20"),
    set(
        76,
        &["streettalk-directory-assistance-servers", "streettalk-directory-assistance-server"],
        Ips,
        "RFC 2132 8.21",
    ),
    set(code::USER_CLASS, &["user-class"], Texts, "RFC 3004"),
    set(78, &["slp-directory-agents", "slp-directory-agent"], record(&[Bool, Ips]), "RFC 2610 3"),
    set(79, &["slp-service-scope"], record(&[Bool, Text]), "RFC 2610 4"),
    not(code::RAPID_COMMIT, &["rapid-commit"], Empty, "RFC 4039", "the server sets it: use `rapid_commit`"),
    set(81, &["client-fqdn", "fqdn"], Hex, "RFC 4702"),
    not(
        code::RELAY_AGENT_INFO,
        &["relay-agent-information", "dhcp-agent-options"],
        Suboptions,
        "RFC 3046",
        "the server echoes the relay agent's (RFC 3046)",
    ),
    set(83, &["isns"], Hex, "RFC 4174"),
    set(85, &["nds-servers"], Ips, "RFC 2241"),
    set(86, &["nds-tree-name"], Text, "RFC 2241"),
    set(87, &["nds-context"], Text, "RFC 2241"),
    set(88, &["bcmcs-controller-names", "bcms-controller-names"], DomainNames, "RFC 4280 4.1"),
    set(89, &["bcmcs-controller-addresses", "bcms-controller-address"], Ips, "RFC 4280 4.3"),
    not(90, &["authentication", "authenticate"], Hex, "RFC 3118", "authentication is not supported"),
    not(91, &["client-last-transaction-time"], U32, "RFC 4388 6.1", LEASEQUERY),
    not(92, &["associated-ip"], Ips, "RFC 4388 6.1", LEASEQUERY),
    not(
        code::CLIENT_ARCHITECTURE,
        &["client-architecture", "client-system"],
        U16s,
        "RFC 4578 2.1",
        "only clients send it: see `boot_files`",
    ),
    not(code::CLIENT_NETWORK_INTERFACE, &["client-network-interface", "client-ndi"], Hex, "RFC 4578 2.2", ONLY_CLIENTS),
    set(95, &["ldap-url", "ldap"], Text, "RFC 3679 (Apple)"),
    not(
        code::CLIENT_MACHINE_ID,
        &["client-machine-identifier", "uuid-guid"],
        Hex,
        "RFC 4578 2.3",
        "the server echoes the client's",
    ),
    set(98, &["user-authentication", "uap-servers"], Text, "RFC 2485"),
    set(99, &["geoconf-civic"], Hex, "RFC 4776"),
    set(100, &["posix-timezone", "pcode"], Text, "RFC 4833"),
    set(101, &["tzdb-timezone", "tcode"], Text, "RFC 4833"),
    set(code::IPV6_ONLY_PREFERRED, &["ipv6-only-preferred", "v6-only-preferred"], U32, "RFC 8925"),
    set(109, &["softwire-source-address", "s46-source-address"], Ip6, "RFC 8539"),
    set(112, &["netinfo-server-addresses", "netinfo-server-address"], Ips, "RFC 3679 (Apple)"),
    set(113, &["netinfo-server-tag"], Text, "RFC 3679 (Apple)"),
    set(114, &["captive-portal", "v4-captive-portal"], Text, "RFC 8910 2.1"),
    not(
        code::AUTO_CONFIGURE,
        &["auto-configure", "auto-config"],
        U8,
        "RFC 2563",
        "the server sets it: use `auto_configure`",
    ),
    set(117, &["name-service-search"], U16s, "RFC 2937"),
    not(code::SUBNET_SELECTION, &["subnet-selection"], Ip, "RFC 3011", "the server echoes the client's (RFC 3011)"),
    set(119, &["domain-search"], SearchList, "RFC 3397"),
    set(120, &["sip-servers"], SipServers, "RFC 3361"),
    set(code::CLASSLESS_ROUTE, &["classless-static-routes", "classless-static-route"], Routes, "RFC 3442"),
    set(122, &["cablelabs-client-configuration", "ccc"], Suboptions, "RFC 3495"),
    set(123, &["geoconf"], Hex, "RFC 6225"),
    set(code::VENDOR_CLASSES, &["vendor-identifying-classes", "vivco-suboptions"], VendorClasses, "RFC 3925 3"),
    set(code::VENDOR_OPTIONS, &["vendor-identifying-options", "vivso-suboptions"], VendorOptions, "RFC 3925 4"),
    set(128, &["pxe-128"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(129, &["pxe-129"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(130, &["pxe-130"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(131, &["pxe-131"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(132, &["pxe-132"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(133, &["pxe-133"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(134, &["pxe-134"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(135, &["pxe-135"], Hex, "RFC 4578 (PXE, vendor-specific)"),
    set(136, &["pana-agents", "pana-agent"], Ips, "RFC 5192"),
    set(137, &["lost-server", "v4-lost"], DomainName, "RFC 5223"),
    set(138, &["capwap-controllers", "capwap-ac-v4"], Ips, "RFC 5417"),
    set(139, &["mos-addresses"], Suboptions, "RFC 5678"),
    set(140, &["mos-domain-names"], Suboptions, "RFC 5678"),
    set(141, &["sip-ua-domains", "sip-ua-cs-domains"], DomainNames, "RFC 6011"),
    set(142, &["andsf-addresses"], Ips, "RFC 6153"),
    set(143, &["sztp-redirect", "v4-sztp-redirect"], Uris, "RFC 8572 8.1"),
    set(144, &["geoloc"], Hex, "RFC 6225"),
    not(145, &["forcerenew-nonce-capable"], Hex, "RFC 6704", "DHCPFORCERENEW is not supported"),
    set(146, &["rdnss-selection"], record(&[U8, Ip, Ip, DomainNames]), "RFC 6731 4.3"),
    set(147, &["dots-reference-identifier", "v4-dots-ri"], DomainName, "RFC 8973 5.1"),
    set(148, &["dots-addresses", "v4-dots-address"], Ips, "RFC 8973 5.2"),
    set(150, &["tftp-server-addresses"], Ips, "RFC 5859"),
    not(151, &["status-code"], record(&[U8, Text]), "RFC 6926 6.2.2", LEASEQUERY),
    not(152, &["base-time"], U32, "RFC 6926 6.2.3", LEASEQUERY),
    not(153, &["start-time-of-state"], U32, "RFC 6926 6.2.4", LEASEQUERY),
    not(154, &["query-start-time"], U32, "RFC 6926 6.2.5", LEASEQUERY),
    not(155, &["query-end-time"], U32, "RFC 6926 6.2.6", LEASEQUERY),
    not(156, &["dhcp-state"], U8, "RFC 6926 6.2.7", LEASEQUERY),
    not(157, &["data-source"], U8, "RFC 6926 6.2.8", LEASEQUERY),
    set(158, &["pcp-servers", "v4-pcp-server"], IpLists, "RFC 7291 4"),
    set(159, &["port-parameters", "v4-portparams"], record(&[U8, U8, U16]), "RFC 7618 9"),
    set(160, &["captive-portal-160"], Text, "RFC 7710 (obsolete: use captive-portal)"),
    set(161, &["mud-url"], Text, "RFC 8520"),
    set(162, &["encrypted-dns-servers", "v4-dnr"], Hex, "RFC 9463 5"),
    set(175, &["etherboot-175"], Suboptions, "Etherboot, iPXE"),
    set(176, &["ip-telephone"], Text, "IP telephones"),
    set(177, &["packetcable-177"], Suboptions, "PacketCable and CableHome (obsolete: use 122)"),
    set(208, &["pxelinux-magic"], Hex, "RFC 5071 3"),
    set(209, &["pxelinux-configuration-file"], Text, "RFC 5071 4"),
    set(210, &["pxelinux-path-prefix"], Text, "RFC 5071 5"),
    set(211, &["pxelinux-reboot-time"], U32, "RFC 5071 6"),
    set(212, &["6rd", "option-6rd"], record(&[U8, U8, Ip6, Ips]), "RFC 5969 7.1.1"),
    set(213, &["access-network-domain", "v4-access-domain"], DomainName, "RFC 5986 3.2"),
    not(220, &["subnet-allocation"], Hex, "RFC 6656", "the allocation of subnets is not supported"),
    not(
        code::VIRTUAL_SUBNET_SELECTION,
        &["virtual-subnet-selection"],
        Hex,
        "RFC 6607",
        "only clients send it: see `vrf`",
    ),
    set(249, &["ms-classless-static-routes"], Routes, "Microsoft (as option 121)"),
    set(252, &["web-proxy-autodiscovery"], Text, "Web Proxy Auto-Discovery"),
    not(code::END, &["end"], Empty, "RFC 2132 3.2", "it has no value"),
];

/// All options, in the order of their codes.
pub fn all() -> &'static [Definition] {
    &OPTIONS
}

/// The place of each code in [`OPTIONS`].
static BY_CODE: LazyLock<[Option<u8>; 256]> = LazyLock::new(|| {
    let mut places = [None; 256];
    for (place, option) in (0..=u8::MAX).zip(&OPTIONS) {
        places[usize::from(option.code)] = Some(place);
    }
    places
});

/// The option with this code, if the registry has one.
pub fn by_code(code: u8) -> Option<&'static Definition> {
    BY_CODE[usize::from(code)].map(|place| &OPTIONS[usize::from(place)])
}

/// The option with this name.
pub fn by_name(name: &str) -> Option<&'static Definition> {
    OPTIONS.iter().find(|option| option.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_names_unique() {
        assert!(OPTIONS.windows(2).all(|pair| pair[0].code < pair[1].code));
        let mut names: Vec<&str> = OPTIONS.iter().flat_map(|option| option.names).copied().collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            panic!("{twice:?}");
        }
    }

    #[test]
    fn every_code_that_the_registry_assigns_is_there() {
        // What IANA lists as removed, unassigned or reserved for private use (249 and 252 are in private use everywhere).
        let free = |code: u8| matches!(code, 84 | 96 | 102..=107 | 110 | 111 | 115 | 126 | 127 | 149 | 163..=174 | 178..=207 | 214..=219 | 222..=248 | 250 | 251 | 253 | 254);
        for code in 0..=255 {
            assert_eq!(by_code(code).is_some(), !free(code), "{code}");
        }
    }

    #[test]
    fn an_option_is_found_by_each_of_its_names_and_by_its_code() {
        for option in all() {
            assert!(option.names.iter().all(|name| by_name(name).unwrap().code == option.code));
            assert_eq!(by_code(option.code).unwrap().names, option.names);
        }
        assert!(by_name("frobnicate").is_none() && by_code(224).is_none());
    }

    #[test]
    fn a_kind_is_read_from_its_name_and_a_record_from_several() {
        for (name, kind) in KIND_NAMES {
            assert_eq!(Kind::parse(name).unwrap(), kind);
            assert_eq!(kind.name(), name);
        }
        assert_eq!(Kind::parse("u8,ip , string").unwrap(), Record(vec![U8, Ip, Text].into()));
        assert!(Kind::parse("string, u8").unwrap_err().contains("found `u8` behind string, which has no end"));
        assert!(Kind::parse("float").unwrap_err().contains("found `float`; expected one of empty, ip"));
    }

    #[test]
    fn a_record_of_the_registry_has_only_its_last_part_of_any_length() {
        for option in all() {
            if let Record(kinds) = &option.kind {
                assert!(kinds[..kinds.len() - 1].iter().all(Kind::has_fixed_size), "{}", option.names[0]);
            }
        }
    }
}
