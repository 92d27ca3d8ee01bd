//! Differences from Kea that stay, each with the sentence that makes ours right.

/// A difference that is known.
#[derive(Debug)]
pub struct Known {
    /// Part of the messages' names; empty is every message.
    message: &'static str,
    /// Parts of what differs, any of them.
    differences: &'static [&'static str],
    /// Why ours is right.
    because: &'static str,
}

const fn known(message: &'static str, differences: &'static [&'static str], because: &'static str) -> Known {
    Known { message, differences, because }
}

/// All of them. One that no message shows any more is a failure too, so that this list stays true.
pub const KNOWN: &[Known] = &[
    known("", &[": hops differs"], "RFC 2131 table 3: `hops` is 0 in every reply; Kea copies the request's"),
    known(
        "",
        &[
            "option 119 is there",
            "option 121 is there",
            "option 224 is there",
            "option 28 is there",
            "option 42 is there",
        ],
        "RFC 2131 4.3.1: without a parameter request list the client gets every parameter that its subnet has a value for; Kea \
         sends a few of its own choice",
    ),
    known(
        "",
        &["OFFER: option 119 differs", "ACK: option 119 differs"],
        "RFC 3397 2: the search list is compressed as RFC 1035 4.1.4 says; Kea, given the same bytes, writes the names out",
    ),
    known(
        "",
        &["option 3 is not there", "option 6 is not there", "option 15 is not there"],
        "RFC 2132 9.8: the parameter request list says which parameters the client wants; Kea sends these three unasked",
    ),
    known(
        "",
        &["OFFER: sent to MAC differs", "ACK: sent to MAC differs"],
        "RFC 2131 4.1: with the broadcast bit set the reply is broadcast; Kea sends it to the limited broadcast address in IP and \
         yet to the one client's MAC address, where a client that asked for a broadcast need not listen",
    ),
    known(
        "",
        &["NAK: sent to"],
        "RFC 2131 4.1: in all cases, when `giaddr` is zero, the server broadcasts any DHCPNAK to 0xffffffff; Kea sends it to one \
         MAC address, and to a rebinding client's `ciaddr`",
    ),
    known(
        "",
        &["NAK: flags differs"],
        "RFC 2131 4.3.2: through a relay agent the broadcast bit is set in a DHCPNAK; Kea leaves it as the client had it",
    ),
    known("", &["NAK: option 56 is there"], "RFC 2131 table 3: a DHCPNAK SHOULD carry a message; Kea's does not"),
    known(
        "",
        &["OFFER: address Previous for"],
        "RFC 2131 4.3.1: the client's previous address comes before one that it asks for and before a new one; this Kea forgets a \
         lease when it is released",
    ),
    known(
        "DISCOVER for an address of the pool",
        &["OFFER: address Pool for Requested"],
        "RFC 2131 4.3.1: what the server has on record for the client comes before what it asks for, and an offer that is held \
         is such a record: a client that asks again gets the same answer. Kea keeps no record of offers",
    ),
    known(
        "REQUEST for nothing",
        &["silence for ACK", "silence for NAK"],
        "RFC 2131 table 4: SELECTING must have a requested IP address and INIT-REBOOT no server identifier: this is neither; Kea \
         gives it some address, or refuses none in particular",
    ),
    known(
        "RENEWING of an unknown client through routers",
        &["silence for ACK", "silence for NAK"],
        "RFC 2131 4.3.2: a server may choose not to extend a lease, as its operator decides. Anybody can send such a message for \
         each address of a pool; unless `unknown_renewals = \"all\"`, it must come through the relay agent (or be from the \
         server's own link), whose limits then hold. Kea binds whoever asks",
    ),
    known(
        "INFORM",
        &["ACK: option 82 is there"],
        "RFC 3046 2.2: the option is echoed in all replies; Kea leaves it out of the ACK to a relayed INFORM",
    ),
    known(
        "INFORM",
        &["ACK: giaddr differs"],
        "RFC 2131 table 3: `giaddr` of a DHCPACK is the request's; Kea puts 0 there for a relayed INFORM",
    ),
    known(
        "with CutOption",
        &["silence for"],
        "RFC 2131 4.1 and 2132 2: an option that runs past the end of the message is malformed, and what it was is unknown",
    ),
    known("with Op", &["silence for"], "RFC 2131 table 1: a message with op 2 is a server's, not a client's"),
    known("with Hlen", &["silence for"], "RFC 2131 figure 1: chaddr has 16 bytes, so a longer address is none"),
    known(
        "with Overload",
        &["option 61 is there", "option 51 differs", "option 58 differs", "option 59 differs", "address", " for "],
        "RFC 2132 9.3: with option 52 the options in `file` and `sname` count like any other; this Kea does not read them",
    ),
];

impl Known {
    /// Whether this is such a difference.
    pub fn covers(&self, message: &str, difference: &str) -> bool {
        message.contains(self.message) && self.differences.iter().any(|part| difference.contains(part))
    }
}

/// The list as a page for people.
pub fn document() -> String {
    let mut page = String::from(
        "# Where this server answers differently from Kea\n\nMade from the end-to-end test that sends the same thousands of client \
         messages, right, odd and malformed ones, to both (Kea 2.2 of Debian 12; `cargo xtask test kea`), and compares the replies \
         field by field. What is not in this table is the same. Which address of a pool a client gets, the order of options and \
         padding are not compared.\n\n| message | ours against Kea's | why |\n|---|---|---|\n",
    );
    for Known { message, differences, because } in KNOWN {
        let message = if message.is_empty() { "any" } else { message };
        let differences =
            differences.iter().map(|part| part.trim().trim_start_matches(": ")).collect::<Vec<_>>().join("; ");
        page.push_str(&format!("| {message} | {differences} | {because} |\n"));
    }
    page
}
